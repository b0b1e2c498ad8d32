"""One HTTP exchange between ASGI and a Tornado handler: the connection that the handler believes in.

Response parts are queued by the handler and sent by the bridge, so that work which handlers start from
synchronous methods (`set_login_cookie`, `clear_login_cookie`) can be done before the headers leave.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from tornado.httputil import HTTPConnection, HTTPHeaders, HTTPServerRequest, RequestStartLine, ResponseStartLine
from tornado.iostream import StreamClosedError

from perijove.plugins.callbacks import LoginCallbacks, Scope, Session

# Said by the hub's own server, or meaningless behind it.
_DROPPED = frozenset({"server", "date", "connection", "transfer-encoding", "x-jupyterhub-version"})


@dataclass(frozen=True, slots=True)
class Context:
    """What Tornado reads of a connection."""

    remote_ip: str
    protocol: str


@dataclass(slots=True)
class Part:
    """Headers (with `status`), a piece of body, or the end (neither)."""

    sent: asyncio.Future[None]
    status: int = 0
    headers: list[tuple[bytes, bytes]] | None = None
    body: bytes | None = None


class Exchange(HTTPConnection):
    """`callbacks` is None for a handler that only carries facts to `Authenticator.authenticate()`."""

    def __init__(self, scope: Scope, callbacks: LoginCallbacks | None) -> None:
        self.scope = scope
        self.callbacks = callbacks
        self.context = Context((scope.get("client") or ("", 0))[0], scope.get("scheme", "http"))
        # Set by a login during this request.
        self.session: Session | None = None
        # Awaited before the headers are sent; each gives `Set-Cookie` values.
        self.before_headers: list[Callable[[], Awaitable[Sequence[str]]]] = []
        self.parts: asyncio.Queue[Part] = asyncio.Queue()
        self._closed = False
        self._on_close: Callable[[], Any] | None = None

    def set_close_callback(self, callback: Callable[[], Any] | None) -> None:
        self._on_close = callback

    def write_headers(
        self,
        start_line: RequestStartLine | ResponseStartLine,
        headers: HTTPHeaders,
        chunk: bytes | None = None,
    ) -> asyncio.Future[None]:
        assert isinstance(start_line, ResponseStartLine)
        pairs = [
            (name.lower().encode("latin-1"), value.encode("utf-8"))
            for name, value in headers.get_all()
            if name.lower() not in _DROPPED
        ]
        return self._put(status=start_line.code, headers=pairs, body=chunk)

    def write(self, chunk: bytes) -> asyncio.Future[None]:
        return self._put(body=bytes(chunk))

    def finish(self) -> None:
        self._put()

    def _put(self, **part: Any) -> asyncio.Future[None]:
        sent: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        # Handlers that do not wait for a flush do not look at its outcome either.
        sent.add_done_callback(lambda future: future.cancelled() or future.exception())
        if self._closed:
            sent.set_exception(StreamClosedError())
        else:
            self.parts.put_nowait(Part(sent, **part))
        return sent

    def close(self) -> None:
        """It is over, or the client went away: tell the handler, whoever waits for a flush, and the sender."""
        if self._closed:
            return
        while not self.parts.empty():
            part = self.parts.get_nowait()
            if not part.sent.done():
                part.sent.set_exception(StreamClosedError())
        self._put()
        self._closed = True
        if self._on_close is not None:
            self._on_close()


def uri_path(scope: Scope) -> str:
    raw: bytes = scope.get("raw_path") or quote(scope["path"]).encode()
    return raw.decode("latin-1")


def tornado_request(exchange: Exchange) -> HTTPServerRequest:
    """Raises `HTTPInputError` for what no HTTP/1.1 server would take."""
    scope = exchange.scope
    uri = uri_path(scope)
    if query := scope.get("query_string"):
        uri = f"{uri}?{query.decode('latin-1')}"
    headers = HTTPHeaders()
    for name, value in scope["headers"]:
        headers.add(name.decode("latin-1"), value.decode("latin-1"))
    start = RequestStartLine(scope["method"], uri, "HTTP/1.1")
    return HTTPServerRequest(headers=headers, connection=exchange, start_line=start)


def scope_of(request: Mapping[str, Any]) -> Scope:
    """An ASGI scope from the facts that `Authenticator.authenticate()` gets of a request."""
    headers = {str(name).lower(): str(value) for name, value in dict(request.get("headers") or {}).items()}
    headers.setdefault("host", "localhost")
    encoded = [(name.encode("latin-1", "replace"), text.encode("latin-1", "replace")) for name, text in headers.items()]
    return {
        "type": "http",
        "method": str(request.get("method") or "POST"),
        "path": str(request.get("path") or "/"),
        "query_string": str(request.get("query") or "").encode(),
        "headers": encoded,
        "client": (str(request.get("remote_ip") or "127.0.0.1"), 0),
        "scheme": str(request.get("scheme") or "http"),
    }
