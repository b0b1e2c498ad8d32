"""The proxy's own requests: one at a time on a connection of its own, through the data plane's parser.

A few a minute, so a connection is made for each. Not a general client library: those that there are would be half
of this process's memory, and one parser of responses is enough to trust.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

from perijove.proxy.response_head import ResponseHead
from perijove.proxy.upstream import Pool, UpstreamConnection

_QUEUED_BYTES = 1 << 18
_MAX_BODY = 1 << 30


class FetchFailed(OSError):
    """No whole response came."""


@dataclass(frozen=True, kw_only=True)
class Patience:
    """Seconds, for the whole request and between two pieces of what is read."""

    total: float | None = None
    silence: float | None = None


class Fetched:
    """A response whose head has come; its body is read with `read` or `pieces`. A `ResponseSink`."""

    head_request = False
    decode_chunks = True
    wants_upgrade = False

    def __init__(self, connection: UpstreamConnection, silence: float | None) -> None:
        self._connection = connection
        self._silence = silence
        self._head: asyncio.Future[ResponseHead] = asyncio.get_running_loop().create_future()
        self._pieces: deque[bytes] = deque()
        self._queued = 0
        self._more = asyncio.Event()
        self._ended = False
        self._failed: FetchFailed | None = None

    # -- for the caller

    @property
    def status(self) -> int:
        return self._head.result().status

    def field(self, name: bytes) -> bytes | None:
        """The first of that (lower-case) name."""
        head = self._head.result()
        for line in head.raw[head.line_end + 2 : -4].split(b"\r\n"):
            key, _, value = line.partition(b":")
            if key.lower() == name:
                return value.strip()
        return None

    async def head(self) -> None:
        async with asyncio.timeout(self._silence):
            await self._head

    async def pieces(self) -> AsyncIterator[bytes]:
        """The body as it comes. Raises FetchFailed when it is cut short, TimeoutError when it stalls."""
        while True:
            while self._pieces:
                piece = self._pieces.popleft()
                self._queued -= len(piece)
                yield piece
            if self._failed is not None:
                raise self._failed
            if self._ended:
                return
            self._connection.resume_reading()
            self._more.clear()
            async with asyncio.timeout(self._silence):
                await self._more.wait()

    async def read(self, most: int = _MAX_BODY) -> bytes:
        parts: list[bytes] = []
        size = 0
        async for piece in self.pieces():
            parts.append(piece)
            size += len(piece)
            if size > most:
                raise FetchFailed("a longer response than expected")
        return b"".join(parts)

    # -- ResponseSink

    def interim(self, head: ResponseHead) -> None:
        pass

    def switch(self, head: ResponseHead, early: bytes) -> None:  # noqa: ARG002 - ResponseSink's signature
        raise AssertionError("nobody asked for an upgrade")

    def respond(self, head: ResponseHead, data: bytes, *, done: bool) -> bool:
        if not self._head.done():
            self._head.set_result(head)
        self.relay(data[len(head.raw) :], done=done)
        return True

    def relay(self, body: bytes, *, done: bool) -> None:
        if body:
            self._pieces.append(body)
            self._queued += len(body)
            if self._queued > _QUEUED_BYTES:
                self._connection.pause_reading()
        self._ended = self._ended or done
        self._more.set()

    def upstream_writable(self, *, writable: bool) -> None:
        pass

    def upstream_lost(self, error: Exception | None) -> None:
        self._fail(f"the connection ended early: {error}" if error else "the connection ended early")

    def upstream_broken(self, reason: str) -> None:
        self._fail(reason)

    def _fail(self, reason: str) -> None:
        self._failed = FetchFailed(reason)
        if not self._head.done():
            self._head.set_exception(self._failed)
        self._more.set()


@asynccontextmanager
async def fetch(
    pool: Pool,
    method: str,
    path: str,
    *,
    fields: Mapping[str, str] | None = None,
    body: bytes = b"",
    patience: Patience,
) -> AsyncIterator[Fetched]:
    """Ask. Raises OSError, of which FetchFailed and TimeoutError are kinds."""
    async with asyncio.timeout(patience.total):
        connection = await pool.connect()
        fetched = Fetched(connection, patience.silence)
        connection.sink = fetched
        try:
            place = pool.target
            lines = [
                f"{method} {place.path.decode()}{path} HTTP/1.1",
                f"Host: {place.authority.decode()}",
                "Connection: close",
                *(f"{name}: {value}" for name, value in (fields or {}).items()),
                *([f"Content-Length: {len(body)}"] if body or method != "GET" else []),
            ]
            connection.transport.write("\r\n".join((*lines, "", "")).encode("latin-1") + body)
            await fetched.head()
            yield fetched
        finally:
            connection.discard()
