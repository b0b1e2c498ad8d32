"""How operations of the API are declared: path, method, scopes, handler; and the answers they share.

    Endpoint("/users/{user}", GET=Operation(get_user, "read:users!user", "read:users:name!user"))

A scope with a bare filter is checked for what the path names (`!user` -> `{user}`, `!server` -> `{user}/{server}`,
`!group`, `!service`). A scope without one must be held for everything, unless the operation is a listing:
then any filter will do, and the handler shows what it reveals.
"""

import hashlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from perijove.domain.errors import Forbidden, Invalid, NotFound, Unauthenticated
from perijove.services.audit import record_denied
from perijove.services.context import HubContext
from perijove.services.identity import Identity, require
from perijove.web.errors import api_headers, json_error
from perijove.web.identity import identify
from perijove.web.requests import MAX_JSON_BYTES, check_length, remote_ip

Handler = Callable[["Call"], Awaitable[Response]]

# Methods of HTTP that some client may send to any path.
ALL_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
_READING = frozenset({"GET", "HEAD", "OPTIONS"})


@dataclass(frozen=True, slots=True)
class Call:
    """One authorised request."""

    hub: HubContext
    request: Request
    # None only for operations that need no credentials.
    visitor: Identity | None
    path: Mapping[str, str]

    @property
    def identity(self) -> Identity:
        if self.visitor is None:
            raise Unauthenticated("Missing or invalid credentials.")
        return self.visitor

    @property
    def actor(self) -> str:
        """As the audit trail names the caller."""
        identity = self.identity
        return identity.name if identity.kind == "user" else f"service:{identity.name}"

    @property
    def address(self) -> str:
        return remote_ip(self.hub, self.request)

    def query(self, name: str, default: str = "") -> str:
        return self.request.query_params.get(name, default)

    def flag(self, name: str) -> bool:
        """`?name=1`: any value but 0 and false."""
        return self.query(name, "0").lower() not in {"0", "false"}

    # -- answers

    def json(self, model: Any, status: int = 200) -> Response:
        body = msgspec.json.encode(model)
        headers = api_headers(self.hub)
        if status == 200 and self.request.method in {"GET", "HEAD"}:  # noqa: PLR2004 - HTTP
            etag = f'"{hashlib.sha1(body, usedforsecurity=False).hexdigest()}"'
            headers["ETag"] = etag
            if matches(self.request.headers.get("if-none-match"), etag):
                return Response(status_code=304, headers=headers)
        return Response(body, status, headers, media_type="application/json")

    def empty(self, status: int = 200, *, media_type: str = "application/json") -> Response:
        """No body, with the content type clients expect all the same."""
        headers = api_headers(self.hub)
        if status != 204:  # noqa: PLR2004 - HTTP
            headers["Content-Type"] = media_type
        return Response(status_code=status, headers=headers)


def matches(if_none_match: str | None, etag: str) -> bool:
    if not if_none_match:
        return False
    candidates = {part.strip().removeprefix("W/") for part in if_none_match.split(",")}
    return etag in candidates or "*" in candidates


class Operation:
    """A handler and the scopes any one of which opens it."""

    __slots__ = ("cost", "handler", "listing", "public", "scopes")

    def __init__(
        self, handler: Handler, *scopes: str, listing: bool = False, public: bool = False, cost: str = ""
    ) -> None:
        """`listing`: a filtered scope suffices. `public`: no credentials are looked at before the handler.
        `cost`: the kind of request whose rate is limited (`domain/rates.py`)."""
        self.cost = cost or ("list" if listing else "")
        self.handler = handler
        self.scopes = scopes
        self.listing = listing
        self.public = public

    async def __call__(self, hub: HubContext, request: Request) -> Response:
        path = {name: _clean(value) for name, value in request.path_params.items()}
        check_length(request, MAX_JSON_BYTES)
        if self.public:
            return await self.handler(Call(hub, request, None, path))
        identity = await identify(hub, request)
        call = Call(hub, request, identity, path)
        try:
            if self.listing:
                _require_listing(identity, self.scopes)
            else:
                await require(hub, identity, *(_filtered(scope, path) for scope in self.scopes))
        except (Forbidden, NotFound):
            if identity is not None and request.method not in _READING:
                await record_denied(hub, actor=call.actor, method=request.method, path=request.url.path)
            raise
        if self.cost and identity is not None:
            hub.rates.spend(self.cost, identity.kind, identity.id, now=hub.clock.monotonic())
        return await self.handler(call)


def _require_listing(identity: Identity | None, scopes: tuple[str, ...]) -> None:
    if identity is None:
        raise Unauthenticated("Missing or invalid credentials.")
    if not any(identity.scopes.grant(scope) for scope in scopes):
        raise Forbidden(f"Action is not authorized with current scopes; requires any of [{', '.join(scopes)}]")


def _clean(value: str) -> str:
    """No name has control characters; looking one up would reach databases that refuse them."""
    if not value.isprintable() and any(ord(character) < 32 or ord(character) == 127 for character in value):  # noqa: PLR2004
        raise NotFound("No such resource")
    return value


def _filtered(scope: str, path: Mapping[str, str]) -> str:
    base, bare, kind = scope.partition("!")
    if not bare:
        return scope
    value = f"{path['user']}/{path.get('server', '')}" if kind == "server" else path[kind]
    return f"{base}!{kind}={value}"


class Endpoint:
    """A path of the API with its operations by method."""

    def __init__(self, path: str, **operations: Operation) -> None:
        self.path = path
        self.operations = operations

    def route(self, hub: HubContext) -> Route:
        return Route(f"/api{self.path}", _Answer(hub, self.operations), methods=None, include_in_schema=False)


class _Answer:
    """The ASGI application of one path: Starlette's own route would answer 405 for the first path that matches."""

    def __init__(self, hub: HubContext, operations: Mapping[str, Operation]) -> None:
        self._hub = hub
        self._operations = operations
        self._allow = ", ".join(sorted({*operations, "OPTIONS"}))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive, send)
        response = await self._answer(request)
        await response(scope, receive, send)

    async def _answer(self, request: Request) -> Response:
        operation = self._operations.get(request.method)
        if operation is not None:
            return await operation(self._hub, request)
        if request.method == "OPTIONS":
            return Response(status_code=200, headers=api_headers(self._hub), media_type="application/json")
        message = f"Method {request.method} is not allowed here"
        return json_error(self._hub, 405, message, {"Allow": self._allow})


def no_body(name: str) -> Invalid:
    return Invalid(f"A JSON body with {name} is needed", field=name)
