"""configurable-http-proxy's REST API: a stock JupyterHub fills our table as it would fill that proxy's.

Paths come and go unescaped and without their last slash there, escaped prefixes are what we route by; `_prefix_of`
and `_key_of` are the two directions. An escaped slash stays data, where configurable-http-proxy takes it for a
separator. Beyond that API: `PUT /api/routes` replaces the whole table in one go.
"""

import hmac
import re
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from secrets import token_hex
from typing import Any
from urllib.parse import parse_qs, quote, unquote

import msgspec

from perijove.proxy.activity import Activity
from perijove.proxy.control_server import ControlRequest, ControlResponse
from perijove.proxy.metrics import Metrics
from perijove.proxy.paths import BadTarget, resolve
from perijove.proxy.routing import Change, Routing, WireRoute, put
from perijove.proxy.table import Route

ROOT = b"/api/routes"
_TOKEN = re.compile(rb"(?:token|bearer)\s+(\S+)", re.IGNORECASE)
_SAFE_IN_SEGMENT = "%@~!$&'()*+,;=:"
_JSON = b"application/json"

Settled = Callable[[int], Awaitable[None]]
"""Resolves when every worker routes by that revision."""


class BadCall(ValueError):
    """What was sent cannot be used: 400."""


class RouteAPI:
    """A handler for a `ControlServer`."""

    def __init__(
        self,
        routing: Routing,
        metrics: Metrics,
        activity: Activity,
        *,
        token: str,
        host_routing: bool,
        settled: Settled | None = None,
    ) -> None:
        self._routing = routing
        self._metrics = metrics
        self._activity = activity
        self._token = token.encode()
        self._host_routing = host_routing
        self._settled = settled

    def begin(self, default_target: str) -> None:
        """An empty table is a table here: nobody will send us a first one."""
        table = self._routing.empty()
        if default_target:
            put(table, WireRoute("/", default_target))
            table.routes["/"].last_activity = time.time()
        self._routing.connected = True
        self._routing.replace(table, epoch=token_hex(8), revision=1)

    def __call__(self, request: ControlRequest) -> "ControlResponse | Awaitable[ControlResponse]":
        rest = request.path[len(ROOT) :]
        name = ""
        if self._token and not self._allowed(request.authorization):
            answer: ControlResponse | Awaitable[ControlResponse] = ControlResponse(403)
        else:
            try:
                name, answer = self._dispatch(request, rest.rstrip(b"/"))
            except (BadCall, BadTarget) as error:
                answer = ControlResponse(400, f"{error}\n".encode())
        if isinstance(answer, ControlResponse):
            self._metrics.api_call(name, answer.status)
        return answer

    def _allowed(self, authorization: bytes) -> bool:
        match = _TOKEN.fullmatch(authorization)
        return match is not None and hmac.compare_digest(match[1], self._token)

    def _dispatch(
        self, request: ControlRequest, path: bytes
    ) -> "tuple[str, ControlResponse | Awaitable[ControlResponse]]":
        match request.method:
            case b"GET" | b"HEAD":
                self._activity.stamp()
                return "api_route_get", self._one(path) if path else self._all(request.query)
            case b"POST":
                return "api_route_add", self._add(path, request.body)
            case b"DELETE":
                return "api_route_delete", self._delete(path)
            case b"PUT" if not path:
                return "api_route_replace", self._replace_all(request.body)
        return "", ControlResponse(405, allow=b"GET, HEAD, POST, DELETE")

    # -- reading

    def _all(self, query: bytes) -> ControlResponse:
        since = _inactive_since(query)
        routes = list(self._routing.table.routes.values())
        if since is not None:
            routes = [route for route in routes if route.last_activity < since]
        return ControlResponse(200, msgspec.json.encode({_key_of(route): _shown(route) for route in routes}), _JSON)

    def _one(self, path: bytes) -> ControlResponse:
        route = self._routing.table.routes.get(self._prefix_of(path))
        return (
            ControlResponse(404) if route is None else ControlResponse(200, msgspec.json.encode(_shown(route)), _JSON)
        )

    # -- changing

    def _add(self, path: bytes, body: bytes) -> "ControlResponse | Awaitable[ControlResponse]":
        item = _wire_route(self._prefix_of(path), _decoded(body))
        self._change(put=[item])
        route = self._routing.table.routes.get(item.prefix)
        if route is None:
            raise BadCall("this path cannot be routed")
        route.last_activity = time.time()
        return self._once_settled(ControlResponse(201), "api_route_add")

    def _delete(self, path: bytes) -> "ControlResponse | Awaitable[ControlResponse]":
        prefix = self._prefix_of(path)
        if prefix not in self._routing.table.routes:
            return ControlResponse(404)
        self._change(delete=[prefix])
        return self._once_settled(ControlResponse(204), "api_route_delete")

    def _replace_all(self, body: bytes) -> "ControlResponse | Awaitable[ControlResponse]":
        listed = _decoded(body)
        if not isinstance(listed, dict):
            raise BadCall("an object of paths and routes is wanted")
        old = self._routing.table.routes
        table = self._routing.empty()
        now = time.time()
        for path, given in listed.items():
            prefix = self._prefix_of(quote(path, safe="/" + _SAFE_IN_SEGMENT.replace("%", "")).encode())
            route = _wire_route(prefix, given).route()
            before = old.get(prefix)
            kept = before is not None and before.target == route.target
            route.last_activity = before.last_activity if before is not None and kept else now
            table.put(route)
        self._routing.replace(table, epoch=self._routing.epoch, revision=self._routing.revision + 1)
        return self._once_settled(ControlResponse(200, b'{"routes":%d}' % len(table), _JSON), "api_route_replace")

    def _change(self, put: list[WireRoute] | None = None, delete: list[str] | None = None) -> None:
        self._routing.apply(Change(self._routing.revision + 1, put=put or [], delete=delete or []))

    def _once_settled(self, answer: ControlResponse, name: str) -> "ControlResponse | Awaitable[ControlResponse]":
        """Whoever added a route may send somebody there at once, whichever worker that one meets."""
        if self._settled is None:
            return answer
        return self._answer_later(self._settled(self._routing.revision), answer, name)

    async def _answer_later(self, settled: Awaitable[None], answer: ControlResponse, name: str) -> ControlResponse:
        await settled
        self._metrics.api_call(name, answer.status)
        return answer

    # -- names

    def _prefix_of(self, path: bytes) -> str:
        """`/user/a%20b` as it came, `/user/a%20b/` or with host routing `host/user/a%20b/` as it is routed."""
        segments = resolve(b"/" + path.strip(b"/")).segments[1:]
        try:
            b"/".join(segments).decode()
        except UnicodeDecodeError as error:
            # It could not be listed by its name, which is in JSON.
            raise BadCall("a path that is not UTF-8") from error
        # Dot segments may leave some at the end.
        while segments and not segments[-1]:
            segments.pop()
        parts = [quote(segment, safe=_SAFE_IN_SEGMENT) for segment in segments]
        if not parts:
            return "/"
        joined = "/".join(parts) + "/"
        return joined if self._host_routing else "/" + joined


def _decoded(body: bytes) -> Any:
    try:
        return msgspec.json.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        # msgspec raises the last two as they are: strings that are not UTF-8, and nesting deeper than Python's stack.
        raise BadCall(f"not usable JSON: {error}") from error


def _wire_route(prefix: str, given: Any) -> WireRoute:
    if not isinstance(given, dict) or not isinstance(target := given.pop("target", None), str):
        raise BadCall("Must specify 'target' as string")
    given.pop("last_activity", None)
    # Our own word for "whichever hub" is nothing that others may say.
    return WireRoute(prefix, target if "://" in target else f"invalid:{target}", given)


def _key_of(route: Route) -> str:
    prefix = route.prefix if route.prefix.startswith("/") else "/" + route.prefix
    return unquote(prefix).rstrip("/") or "/"


def _shown(route: Route) -> dict[str, Any]:
    at = datetime.fromtimestamp(route.last_activity, UTC).isoformat(timespec="milliseconds")
    shown = {"target": route.target.removeprefix("invalid:"), **route.data, "last_activity": at[:-6] + "Z"}
    if not route.prefix.startswith("/"):
        shown["host"] = route.prefix.partition("/")[0]
    return shown


def _inactive_since(query: bytes) -> float | None:
    fields = parse_qs(query.decode("latin-1"), keep_blank_values=True)
    for name in ("inactiveSince", "inactive_since"):
        if name in fields:
            try:
                at = datetime.fromisoformat(fields[name][0])
            except ValueError as error:
                raise BadCall(f"Invalid datestamp '{fields[name][0]}' must be ISO8601.") from error
            return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()
    return None
