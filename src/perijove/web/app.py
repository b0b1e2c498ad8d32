"""The hub's ASGI application: what answers which path, said in one place.

Two answers never reach the router: `/hub/health` and whatever `fast_paths` holds (the identity call that every
single-user server makes for each visitor). They are hit by machines, thousands of times a second.
"""

import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from starlette.applications import Starlette
from starlette.routing import BaseRoute, Mount
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from perijove import WIRE_VERSION
from perijove.lib.log import correlation_id
from perijove.services.context import HubContext
from perijove.web import api, errors, oauth, pages
from perijove.web.internal import routes as internal
from perijove.web.metrics import RequestMetrics, metrics_routes

FastPath = Callable[[Scope, Receive, Send], Awaitable[bool]]

_HEALTH_START: Message = {
    "type": "http.response.start",
    "status": 200,
    "headers": [
        (b"content-length", b"0"),
        (b"content-type", b"text/plain"),
        (b"x-jupyterhub-version", WIRE_VERSION.encode()),
    ],
}
_HEALTH_BODY: Message = {"type": "http.response.body", "body": b""}


def build_app(hub: HubContext, *, plugin_routes: Sequence[BaseRoute] = ()) -> ASGIApp:
    """`plugin_routes`: the Tornado handlers of authenticators and `extra_handlers`, relative to `<base_url>hub`.

    They come before our pages, so that an authenticator can replace `/login`, but after API and OAuth.
    """
    base = hub.options.base_url.rstrip("/")
    site = pages.Pages(hub)
    inner = [
        *internal.routes(hub),
        *oauth.routes(hub, site.render),
        *metrics_routes(hub),
        *plugin_routes,
        *api.routes(hub),
        *pages.routes(site),
    ]
    app = Starlette(
        routes=[Mount(f"{base}/hub", routes=inner), *pages.user_routes(site)],
        exception_handlers=errors.handlers(hub, pages.error_renderer(site)),
    )
    return Front(hub, app, api.fast_paths(hub))


class Front:
    """Outermost ring: health, correlation id, version header, fast paths, metrics."""

    def __init__(self, hub: HubContext, app: ASGIApp, fast_paths: Mapping[str, FastPath]) -> None:
        prefix = hub.hub_prefix
        self._health = frozenset({f"{prefix}health", f"{prefix}api/health"})
        self._fast = {f"{prefix.rstrip('/')}{path}": handler for path, handler in fast_paths.items()}
        self._app = app
        self._version = (b"x-jupyterhub-version", WIRE_VERSION.encode())
        # The content security policy is merged where pages are rendered: what allows a frame must not allow scripts.
        self._extra = [
            (name.lower().encode(), str(value).encode())
            for name, value in hub.options.headers.items()
            if name.lower() != "content-security-policy"
        ]
        self._extra_names = frozenset(name for name, _ in self._extra)
        self._metrics = RequestMetrics()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        path = scope["path"]
        if path in self._health and scope["method"] in ("GET", "HEAD"):
            await send(_HEALTH_START)
            await send(_HEALTH_BODY)
            return
        if path in self._fast and scope["method"] == "GET" and await self._fast[path](scope, receive, send):
            return
        request_id = _request_id(scope)
        token = correlation_id.set(request_id)
        stamped = [self._version, (b"x-request-id", request_id.encode())]

        async def stamp(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers: list[Any] = [h for h in message["headers"] if h[0] not in self._extra_names]
                message["headers"] = [*headers, *stamped, *self._extra]
                self._metrics.observe(scope, message["status"])
            await send(message)

        try:
            await self._app(scope, receive, stamp)
        finally:
            correlation_id.reset(token)


def _request_id(scope: Scope) -> str:
    """The proxy's, if it gave one that is safe to print; else a new one."""
    for name, value in scope["headers"]:
        if name == b"x-request-id" and 0 < len(value) <= 64 and value.replace(b"-", b"").isalnum():  # noqa: PLR2004
            return str(value.decode("ascii"))
    return secrets.token_hex(8)
