"""The hub's ASGI application: what answers which path, said in one place.

What machines ask thousands of times a second never reaches the router: `/hub/health` and the fast paths of the API
(the identity call that every single-user server makes for each visitor, and what it reports of their activity).
"""

from collections.abc import Sequence
from time import perf_counter
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.routing import BaseRoute, Match, Mount
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from traitlets.config import Config

from perijove import WIRE_VERSION
from perijove.domain.errors import HubError
from perijove.lib.log import correlation_id
from perijove.plugins.facts import HubFacts
from perijove.services import audit
from perijove.services.context import HubContext
from perijove.web import api, errors, oauth, pages
from perijove.web.api.fast import FastPath
from perijove.web.bridge import plugin_routes
from perijove.web.convergence import revision_header
from perijove.web.errors import headers_of, json_error, status_of
from perijove.web.hosts import led_home
from perijove.web.internal import routes as internal
from perijove.web.metrics import RequestMetrics, metrics_routes
from perijove.web.requests import check_head, remote_ip, request_id

_HEALTH_START: Message = {
    "type": "http.response.start",
    "status": 200,
    "headers": [
        (b"content-length", b"0"),
        (b"content-type", b"text/plain"),
        # Framed by a page of a server on this host it would give away the cookies of its path.
        (b"content-security-policy", b"frame-ancestors 'none'"),
        (b"x-jupyterhub-version", WIRE_VERSION.encode()),
    ],
}
# Stopping: whoever chooses among hubs is to choose another.
_HEALTH_LEAVING: Message = {**_HEALTH_START, "status": 503}
# To proxies, which then ask another hub. Nobody is helped by restarting this one, so it is well to everybody else.
_HEALTH_AWAY: Message = {**_HEALTH_START, "headers": [*_HEALTH_START["headers"], (b"x-perijove-away", b"1")]}
_HEALTH_BODY: Message = {"type": "http.response.body", "body": b""}


def build_app(hub: HubContext, traits: Config, hub_facts: HubFacts) -> ASGIApp:
    """The whole application. Handlers of plug-ins come before our pages: an authenticator may replace `/login`."""
    base = hub.options.base_url.rstrip("/")
    own = pages.Pages(hub)
    below_hub = [
        *internal.routes(hub),
        *oauth.routes(hub, own.render),
        *metrics_routes(hub),
        *plugin_routes(own, traits, hub_facts),
        Below(f"{base}/hub/api", api.routes(hub)),
        *pages.routes(own),
    ]
    app = Starlette(
        # Whatever is outside of the hub, and outside of the base URL too, is led into it.
        routes=[Mount(f"{base}/hub", routes=below_hub), *pages.user_routes(own)],
        exception_handlers=errors.handlers(hub, pages.error_renderer(own)),
    )
    return Front(hub, app)


class Below(BaseRoute):
    """Many routes behind one comparison: a page does not try the patterns of the whole API first.

    Not a `Mount`: paths of the API are written whole, as its clients and its document say them.
    """

    def __init__(self, prefix: str, routes: Sequence[BaseRoute]) -> None:
        self._prefix = prefix
        self._routes = routes

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        if not scope["path"].startswith(self._prefix):
            return Match.NONE, {}
        partial: tuple[Match, Scope] = (Match.NONE, {})
        for route in self._routes:
            match, child = route.matches(scope)
            if match is Match.FULL:
                return match, {**child, "perijove.route": route}
            if match is Match.PARTIAL and partial[0] is Match.NONE:
                partial = match, {**child, "perijove.route": route}
        return partial

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        # Metrics are labelled with the route's own path.
        scope["route"] = scope["perijove.route"]
        await scope["route"].handle(scope, receive, send)


class Front:
    """Outermost ring: health, correlation id, version header, fast paths, metrics."""

    def __init__(self, hub: HubContext, app: ASGIApp) -> None:
        self._hub = hub
        prefix = hub.hub_prefix
        self._health = frozenset({f"{prefix}health", f"{prefix}api/health"})
        self._fast = api.FastPaths(hub)
        self._app = app
        self._version = (b"x-jupyterhub-version", WIRE_VERSION.encode())
        # The content security policy is merged where pages are rendered: what allows a frame must not allow scripts.
        self._extra = [
            (name.lower().encode(), str(value).encode())
            for name, value in hub.options.headers.items()
            if name.lower() != "content-security-policy"
        ]
        # Said once each: ours, and what the operator puts in place of a page's own.
        self._own_names = frozenset({self._version[0], *(name for name, _ in self._extra)})
        self._metrics = RequestMetrics()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        path = scope["path"]
        if path in self._health and scope["method"] in ("GET", "HEAD"):
            await send(self._health_start())
            await send(_HEALTH_BODY)
            return
        fast = self._fast.find(scope["method"], path)
        if fast is not None:
            left = await self._answer_fast(fast, scope, receive, send)
            if left is None:
                return
            receive = left
        if refused := check_head(scope):
            await json_error(self._hub, *refused)(scope, receive, send)
            return
        number = request_id(scope)
        token = correlation_id.set(number)
        came_from = audit.source.set(remote_ip(self._hub, Request(scope)))
        began = perf_counter()
        stamped = [self._version, (b"x-request-id", number.encode())]

        async def stamp(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers: list[Any] = [h for h in message["headers"] if h[0] not in self._own_names]
                held = await revision_header(self._hub, scope, message)
                message["headers"] = [*headers, *stamped, *self._extra, *held]
                self._metrics.observe(scope, message["status"], perf_counter() - began)
            await send(message)

        try:
            await (led_home(self._hub, Request(scope)) or self._app)(scope, receive, stamp)
        finally:
            correlation_id.reset(token)
            audit.source.reset(came_from)

    def _health_start(self) -> Message:
        if self._hub.bus.closed:
            return _HEALTH_LEAVING
        return _HEALTH_AWAY if self._hub.store.silent else _HEALTH_START

    async def _answer_fast(self, fast: FastPath, scope: Scope, receive: Receive, send: Send) -> Receive | None:
        try:
            return await fast(scope, receive, send)
        except HubError as error:
            # Said here: the ordinary way would wait as long again for a database that does not answer.
            headers = {"x-jupyterhub-version": WIRE_VERSION, "x-request-id": request_id(scope), **headers_of(error)}
            await json_error(self._hub, status_of(error), error.message, headers)(scope, receive, send)
            return None
