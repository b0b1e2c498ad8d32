"""A small HTTP server for what is never public: the REST API and `/metrics`.

The same strict reading of heads and bodies as the public side, whole requests in memory, one answer at a time per
connection. A general server library would be a third of the process's memory, for three resources.
"""

import asyncio
import re
import ssl
from collections.abc import Awaitable, Callable, Sequence
from http import HTTPStatus
from typing import NamedTuple, cast

from perijove.lib.log import get_logger
from perijove.proxy.framing import BadFraming, ChunkedFraming, Framing, LengthFraming
from perijove.proxy.head import BadHead
from perijove.proxy.listeners import Place, bind
from perijove.proxy.request_head import RequestHead, read_request

log = get_logger(__name__)

_MAX_HEAD = 65536
# A hundred thousand routes with their data.
_MAX_BODY = 256 << 20
_IDLE_SECONDS = 120.0
_MAX_CONNECTIONS = 1024
_AUTHORIZATION = re.compile(rb"\r\nauthorization:[ \t]*([^\r]*)", re.IGNORECASE)


class ControlRequest(NamedTuple):
    method: bytes
    path: bytes
    """Still escaped."""
    query: bytes
    authorization: bytes
    body: bytes


class ControlResponse(NamedTuple):
    status: int
    body: bytes = b""
    content_type: bytes = b"text/plain; charset=utf-8"
    allow: bytes = b""


Handler = Callable[[ControlRequest], "ControlResponse | Awaitable[ControlResponse]"]


class ControlConnection(asyncio.Protocol):
    """One client of it."""

    __slots__ = ("_body", "_buffer", "_framing", "_head", "_server", "_size", "_task", "heard", "transport")

    def __init__(self, server: "ControlServer") -> None:
        self._server = server
        self._buffer = b""
        self._head: RequestHead | None = None
        self._framing: Framing | None = None
        self._body: list[bytes] = []
        self._size = 0
        self._task: asyncio.Task[None] | None = None
        self.heard = 0.0
        self.transport: asyncio.Transport = cast("asyncio.Transport", None)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.heard = asyncio.get_running_loop().time()
        self._server.connections.add(self)
        if len(self._server.connections) > _MAX_CONNECTIONS:
            self.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        self._server.connections.discard(self)
        if self._task is not None:
            self._task.cancel()

    def data_received(self, data: bytes) -> None:
        self.heard = asyncio.get_running_loop().time()
        if self._task is not None:
            self._buffer += data
            if len(self._buffer) > _MAX_HEAD:
                self.transport.pause_reading()
            return
        self._read(self._buffer + data if self._buffer else data)

    @property
    def busy(self) -> bool:
        return self._task is not None

    def _read(self, data: bytes) -> None:
        self._buffer = b""
        while data and self._task is None and not self.transport.is_closing():
            if self._framing is None:
                end = data.find(b"\r\n\r\n")
                if end < 0:
                    if len(data) > _MAX_HEAD:
                        self._refuse(431, "request head too long")
                        return
                    break
                head, data = data[: end + 4], data[end + 4 :]
                if not self._begin(head):
                    return
            data = self._take_body(data)
        self._buffer = data

    def _begin(self, raw: bytes) -> bool:
        """False when the connection is over."""
        try:
            head = self._head = read_request(raw)
        except BadHead as error:
            self._refuse(error.status, str(error))
            return False
        if head.length > _MAX_BODY:
            self._refuse(413, "too long a body")
            return False
        self._framing = ChunkedFraming(decode=True) if head.chunked else LengthFraming(head.length)
        self._body = []
        self._size = 0
        if b"\r\nexpect:" in raw.lower():
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        if self._framing.done:
            self._handle()
        return True

    def _take_body(self, data: bytes) -> bytes:
        framing = self._framing
        if framing is None or not data:
            return data
        try:
            body, rest = framing.feed(data)
        except BadFraming as error:
            self._refuse(400, str(error))
            return b""
        self._body.append(body)
        self._size += len(body)
        if self._size > _MAX_BODY:
            self._refuse(413, "too long a body")
            return b""
        if framing.done:
            self._handle()
        return rest

    def _handle(self) -> None:
        head = self._head
        assert head is not None
        self._framing = None
        path, _, query = head.target.partition(b"?")
        authorization = _AUTHORIZATION.search(head.raw)
        request = ControlRequest(
            head.method, path, query, authorization[1].strip() if authorization else b"", b"".join(self._body)
        )
        answer = self._server.handler(request)
        if isinstance(answer, ControlResponse):
            self._answer(head, answer)
        else:
            self._task = asyncio.ensure_future(self._answer_later(head, answer))

    async def _answer_later(self, head: RequestHead, answer: Awaitable[ControlResponse]) -> None:
        try:
            response = await answer
        except Exception:
            log.exception("the control interface failed")
            response = ControlResponse(500, b"internal error\n")
        self._task = None
        self._answer(head, response)
        self.transport.resume_reading()
        self._read(self._buffer)

    def _answer(self, head: RequestHead, response: ControlResponse) -> None:
        status, body, content_type, allow = response
        close = head.close or self._server.closing
        lines = [b"HTTP/1.1 %d %s" % (status, HTTPStatus(status).phrase.encode())]
        if body:
            lines.append(b"Content-Type: " + content_type)
        if allow:
            lines.append(b"Allow: " + allow)
        if status != HTTPStatus.NO_CONTENT:
            lines.append(b"Content-Length: %d" % len(body))
        if close:
            lines.append(b"Connection: close")
        self.transport.write(b"\r\n".join((*lines, b"", b"" if head.method == b"HEAD" else body)))
        if close:
            self.transport.close()

    def _refuse(self, status: int, reason: str) -> None:
        body = f"{status} {reason}\n".encode()
        self.transport.write(
            b"HTTP/1.1 %d %s\r\nContent-Type: text/plain\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s"
            % (status, HTTPStatus(status).phrase.encode(), len(body), body)
        )
        self.transport.close()


class ControlServer:
    """Answers with what `handler` returns."""

    def __init__(self, handler: Handler) -> None:
        self.handler = handler
        self.connections: set[ControlConnection] = set()
        self.closing = False
        self._servers: list[asyncio.Server] = []

    async def start(self, places: Sequence[Place], context: ssl.SSLContext | None = None) -> None:
        """Raises OSError."""
        loop = asyncio.get_running_loop()
        for place in places:
            for sock in bind(place):
                self._servers.append(await loop.create_server(lambda: ControlConnection(self), sock=sock, ssl=context))

    @property
    def address(self) -> tuple[str, int]:
        host, port = self._servers[0].sockets[0].getsockname()[:2]
        return host, port

    def sweep(self) -> None:
        """Close what says nothing."""
        oldest = asyncio.get_running_loop().time() - _IDLE_SECONDS
        for connection in list(self.connections):
            if connection.heard < oldest and not connection.busy:
                connection.transport.close()

    async def stop(self) -> None:
        self.closing = True
        for server in self._servers:
            server.close()
        for connection in list(self.connections):
            if not connection.busy:
                connection.transport.close()


def first_of(*handlers: tuple[bytes, Handler]) -> Handler:
    """By path prefix; 404 for the rest."""

    def handle(request: ControlRequest) -> ControlResponse | Awaitable[ControlResponse]:
        for prefix, handler in handlers:
            if request.path == prefix or request.path.startswith(prefix + b"/"):
                return handler(request)
        return ControlResponse(404)

    return handle
