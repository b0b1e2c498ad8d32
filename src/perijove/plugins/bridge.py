"""ASGI application that runs the Tornado handlers which authenticators and operators bring along.

The handlers run in this process and on this loop, each in the exchange made for its request. What they
cannot have here: websockets, other users' objects, starting and stopping servers (the REST API does that).
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from jupyterhub import apihandlers
from jupyterhub.handlers.login import LoginHandler, LogoutHandler
from tornado.httputil import HTTPInputError, HTTPServerRequest, RequestStartLine
from tornado.web import Application
from traitlets.config import Config

from perijove.domain.errors import HubError
from perijove.plugins.authenticator import HostedAuthenticator
from perijove.plugins.callbacks import LoginCallbacks, Scope
from perijove.plugins.exchange import Exchange, Part, tornado_request, uri_path
from perijove.plugins.facts import HubFacts
from perijove.plugins.handlers import status_of
from perijove.plugins.tornado_app import settings_for, url_specs

Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]

# Pages of the hub itself: only a plug-in's own replacement is run here.
_OURS = (LoginHandler, LogoutHandler)
MAX_BODY = 10 * 1024 * 1024


class TornadoBridge:
    def __init__(
        self,
        authenticator: HostedAuthenticator,
        callbacks: LoginCallbacks,
        facts: HubFacts,
        config: Config,
        *,
        extra_handlers: Iterable[tuple[Any, ...]] = (),
        live_spawners: dict[tuple[str, str], Any] | None = None,
    ) -> None:
        """`live_spawners`: `ClassHost.live`, for handlers that reach into a server being started."""
        self._callbacks = callbacks
        plugin = authenticator.plugin
        settings = settings_for(
            facts,
            plugin,
            config,
            hosted=authenticator,
            environment=callbacks.environment,
            db=authenticator.database,
            live_spawners=live_spawners,
        )
        handlers = [entry for entry in plugin.get_handlers(settings["app"]) if entry[1] not in _OURS]
        if plugin.auto_login and plugin.login_url(facts.hub_prefix) == settings["login_url"]:
            # Who it is stands in the request itself (REMOTE_USER); JupyterHub's handler reads it there.
            handlers.append(("/login", LoginHandler))
        handlers += [*extra_handlers, *_added_api_handlers()]
        self._specs = url_specs(facts.hub_prefix, handlers)
        self._application = Application(self._specs, **settings)

    @property
    def patterns(self) -> tuple[str, ...]:
        """Regular expressions of the paths served, with the hub's prefix."""
        return tuple(spec.regex.pattern for spec in self._specs)

    def handles(self, scope: Scope) -> bool:
        """Whether a handler is registered for the path, compared as browsers send it (escaped)."""
        path = uri_path(scope)
        return any(spec.regex.match(path) for spec in self._specs)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        exchange = Exchange(scope, self._callbacks)
        try:
            request = tornado_request(exchange)
        except HTTPInputError as exc:
            await _plain(send, 400, f"Bad request: {exc}")
            return
        body = await _read(receive)
        if body is None:
            await _plain(send, 413, f"The body is larger than {MAX_BODY} bytes.")
            return
        watching = asyncio.create_task(_watch(receive, exchange))
        try:
            self._dispatch(request, body)
            await self._answer(exchange, send)
        finally:
            watching.cancel()
            exchange.close()

    def _dispatch(self, request: HTTPServerRequest, body: bytes) -> None:
        """Start the handler; whatever happens to it, it ends by writing into the exchange."""
        delegate = self._application.find_handler(request)
        delegate.headers_received(RequestStartLine(request.method, request.uri, request.version), request.headers)
        if body:
            delegate.data_received(body)
        delegate.finish()

    async def _answer(self, exchange: Exchange, send: Send) -> None:
        while (part := await exchange.parts.get()) is not None:
            if part.headers is not None:
                part = await self._with_cookies(exchange, part)
                await send({"type": "http.response.start", "status": part.status, "headers": part.headers})
            ended = part.headers is None and part.body is None
            if part.body or ended:
                await send({"type": "http.response.body", "body": part.body or b"", "more_body": not ended})
            if not part.sent.done():
                part.sent.set_result(None)
            if ended:
                return

    async def _with_cookies(self, exchange: Exchange, part: Part) -> Part:
        """Do what handlers put off until now, and add the cookies that came of it. If that fails the response
        the handler wrote is not true: an error page takes its place."""
        assert part.headers is not None
        try:
            for work in exchange.before_headers:
                part.headers += [(b"set-cookie", value.encode("latin-1")) for value in await work()]
        except HubError as exc:
            await self._drain(exchange, part)
            namespace = {"status_code": status_of(exc), "status_message": exc.message, "message": exc.message}
            html = self._callbacks.render(exchange.scope, "error.html", namespace).encode()
            exchange.finish()
            headers = [(b"content-type", b"text/html; charset=utf-8"), (b"content-length", str(len(html)).encode())]
            return Part(part.sent, status_of(exc), headers, html)
        return part

    @staticmethod
    async def _drain(exchange: Exchange, part: Part) -> None:
        """Take the rest of the handler's response and drop it."""
        while part.headers is not None or part.body is not None:
            if not part.sent.done():
                part.sent.set_result(None)
            part = await exchange.parts.get()


def _added_api_handlers() -> list[tuple[Any, ...]]:
    """What packages appended to JupyterHub's own list when they were imported, as batchspawner does."""
    return [entry for entry in apihandlers.default_handlers if not entry[1].__module__.startswith("jupyterhub.")]


async def _read(receive: Receive) -> bytes | None:
    """The request's body, None when it is too large."""
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return bytes(body)
        body += message.get("body", b"")
        if len(body) > MAX_BODY:
            return None
        if not message.get("more_body", False):
            return bytes(body)


async def _watch(receive: Receive, exchange: Exchange) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    exchange.close()


async def _plain(send: Send, status: int, text: str) -> None:
    body = text.encode()
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
