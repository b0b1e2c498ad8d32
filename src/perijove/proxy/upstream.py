"""Connections to targets: kept alive, parsed, pooled per target.

A connection belongs to one exchange at a time. It goes back to the pool only when the response ended where its
framing said, the request was sent whole, and both sides want to keep it. It is put there *reading*: one that was
paused because a client was slow would otherwise stall the request that takes it next.

A pool may be limited: then requests wait in line for a connection that comes free. A target that does not answer
the knock of one request is tried by one at a time until it does, so that a machine that is gone does not keep a
thousand requests waiting for the time-out of each.
"""

import asyncio
from collections import deque
from math import inf
from typing import TYPE_CHECKING, Protocol, cast

from perijove.proxy.framing import BadFraming, ChunkedFraming, CloseFraming, Framing, LengthFraming
from perijove.proxy.head import BadHead
from perijove.proxy.response_head import BODILESS, FINAL, SWITCHING, ResponseHead, read_response
from perijove.proxy.targets import Target

if TYPE_CHECKING:
    from perijove.proxy.upstreams import Upstreams

# A server may close an idle connection just as a request arrives on it. A request that must not be sent twice
# takes only one that was busy until a moment ago.
_FRESH_SECONDS = 1.0
# How long a target that let a connection attempt run out is tried by one request at a time.
_DOWN_SECONDS = 30.0


class TargetBusy(OSError):
    """All connections that the target may have are in use."""


class TargetDown(OSError):
    """The target did not answer a moment ago, and somebody else is trying it already."""


class ResponseSink(Protocol):
    """The exchange a connection works for."""

    head_request: bool
    decode_chunks: bool
    wants_upgrade: bool

    def interim(self, head: ResponseHead) -> None: ...
    def switch(self, head: ResponseHead, early: bytes) -> None: ...
    def respond(self, head: ResponseHead, data: bytes, *, done: bool) -> bool:
        """Take the head and what has come of the body behind it, in one piece, which is how most responses come.
        False to be asked again later (`UpstreamConnection.release_hold`).
        """
        ...

    def relay(self, body: bytes, *, done: bool) -> None: ...
    def upstream_writable(self, *, writable: bool) -> None: ...
    def upstream_lost(self, error: Exception | None) -> None: ...
    def upstream_broken(self, reason: str) -> None: ...


class UpstreamConnection(asyncio.Protocol):
    """One connection to a target."""

    __slots__ = (
        *("_buffer", "_close", "_framing", "_held", "_lost", "heard", "idle_since"),
        *("paused", "pool", "reused", "sink", "transport", "writable"),
    )

    def __init__(self, pool: "Pool") -> None:
        self.pool = pool
        self.transport: asyncio.Transport = cast("asyncio.Transport", None)
        self.sink: ResponseSink | None = None
        self.writable = True
        self.paused = False
        self.reused = False
        self.idle_since = 0.0
        self.heard = 0.0
        """When the last bytes came, as of the last sweep."""
        self._buffer = b""
        self._framing: Framing | None = None
        self._close = False
        self._held: ResponseHead | None = None
        self._lost: tuple[Exception | None] | None = None

    # -- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.pool.open += 1
        self.transport.set_write_buffer_limits(high=self.pool.owner.options.limits.buffer_bytes)

    def data_received(self, data: bytes) -> None:
        sink = self.sink
        if sink is None:
            # Nobody asked: what it says could be read as the answer to the next request.
            self.pool.forget(self)
            self.transport.abort()
            return
        self.heard = self.pool.owner.now
        if self._held is not None:
            self._buffer += data
            return
        framing = self._framing
        if framing is None:
            if self._buffer:
                data = self._buffer + data
            # Most responses of a target to the same question, or to any question within a second, begin alike.
            known = self.pool.known
            if known is not None and data.startswith(known.raw):
                self._buffer = b""
                self._respond(known, data, sink)
            else:
                self._read_head(data, sink)
            return
        try:
            body, rest = framing.feed(data)
        except BadFraming as error:
            sink.upstream_broken(str(error))
            return
        if framing.done:
            self._close = self._close or bool(rest)
            self._framing = None
            sink.relay(body, done=True)
        elif body:
            sink.relay(body, done=False)

    def eof_received(self) -> bool:
        # Returning False closes the transport, which ends in connection_lost.
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self.pool.closed()
        sink = self.sink
        if sink is None:
            self.pool.forget(self)
        elif self._held is not None:
            self._lost = (exc,)
        else:
            self._end(sink, exc)

    def pause_writing(self) -> None:
        self.writable = False
        if self.sink is not None:
            self.sink.upstream_writable(writable=False)

    def resume_writing(self) -> None:
        self.writable = True
        if self.sink is not None:
            self.sink.upstream_writable(writable=True)

    # -- for exchanges

    def pause_reading(self) -> None:
        if not self.paused and not self.transport.is_closing():
            self.paused = True
            self.transport.pause_reading()

    def resume_reading(self) -> None:
        if self.paused and self._held is None:
            self.paused = False
            if not self.transport.is_closing():
                self.transport.resume_reading()

    def release_hold(self) -> None:
        """The exchange is ready now for the response it refused."""
        head, self._held = self._held, None
        sink = self.sink
        if head is None or sink is None:
            return
        buffered, self._buffer = self._buffer, b""
        self._respond(head, buffered, sink)
        if self._lost is not None and self.sink is sink:
            self._end(sink, self._lost[0])

    def discard(self) -> None:
        """Give up on this connection: it must not be used again."""
        self.sink = None
        self.transport.abort()

    def detach(self) -> asyncio.Transport:
        """Hand the transport over to a tunnel, which is told of its end instead of us, and tells the pool."""
        self.sink = None
        return self.transport

    def silent(self) -> bool:
        """Whether not a byte of a response has come."""
        return not self._buffer and self._framing is None and self._held is None

    # -- reading

    def _read_head(self, data: bytes, sink: ResponseSink) -> None:
        while True:
            end = data.find(b"\r\n\r\n")
            if end < 0:
                if len(data) > self.pool.owner.options.limits.upstream_head_bytes:
                    sink.upstream_broken("response head too long")
                    return
                self._buffer = data
                return
            end += 4
            try:
                head = read_response(data[:end])
            except BadHead as error:
                sink.upstream_broken(str(error))
                return
            self._buffer = b""
            if head.status >= FINAL:
                if head.plain:
                    self.pool.known = head
                self._respond(head, data, sink)
                return
            data = data[end:]
            if head.status == SWITCHING:
                if sink.wants_upgrade:
                    sink.switch(head, data)
                else:
                    sink.upstream_broken("switched protocols without being asked")
                return
            sink.interim(head)
            if not data or self.sink is not sink:
                return

    def _respond(self, head: ResponseHead, data: bytes, sink: ResponseSink) -> None:
        """`data` begins with the head."""
        size = len(data) - len(head.raw)
        told = data
        framing: Framing | None = None
        if sink.head_request or head.status in BODILESS:
            surplus = size > 0
            if surplus:
                told = head.raw
        elif size == head.length and not head.chunked:
            surplus = False
        else:
            framing = _framing(head, sink)
            body = data[-size:] if size else b""
            try:
                passed, rest = framing.feed(body)
            except BadFraming as error:
                sink.upstream_broken(str(error))
                return
            if passed is not body:
                told = head.raw + passed
            surplus = bool(rest)
            if framing.done:
                framing = None
        # Before `respond`: when it ends the exchange, the pool asks whether we can be kept.
        self._framing = framing
        self._close = head.close or surplus
        if not sink.respond(head, told, done=framing is None):
            self._framing = None
            self._held = head
            self._buffer = data
            self.pause_reading()

    def _end(self, sink: ResponseSink, error: Exception | None) -> None:
        framing = self._framing
        if framing is not None and error is None and framing.eof():
            self._close = True
            self._framing = None
            sink.relay(b"", done=True)
        else:
            sink.upstream_lost(error)

    def keepable(self) -> bool:
        return self.writable and not self._close and self._framing is None and not self.transport.is_closing()


def _framing(head: ResponseHead, sink: ResponseSink) -> Framing:
    if head.chunked:
        return ChunkedFraming(decode=sink.decode_chunks)
    if head.length is not None:
        return LengthFraming(head.length)
    head.close = head.until_close = True
    return CloseFraming()


class Pool:
    """Kept-alive connections to one target, last in first out: the rest can age and be closed."""

    __slots__ = (
        "_connecting",
        "_down_until",
        "_limit",
        "_most_idle",
        "_patience",
        "_waiting",
        "idle",
        "known",
        "open",
        "owner",
        "target",
    )

    def __init__(self, owner: "Upstreams", target: Target, *, limit: int = 0, patience: float = inf) -> None:
        """`patience`: seconds for connecting, if less than for other targets."""
        self.owner = owner
        self.target = target
        self.idle: deque[UpstreamConnection] = deque()
        self.open = 0
        """Connections, upgraded ones among them."""
        self.known: ResponseHead | None = None
        """The last head that may stand for others."""
        self._limit = limit
        self._patience = min(patience, owner.options.timeouts.connect_seconds)
        self._most_idle = owner.options.limits.idle_upstreams
        self._connecting = 0
        self._down_until = 0.0
        self._waiting: deque[asyncio.Future[UpstreamConnection | None]] = deque()

    def take(self, *, repeatable: bool) -> UpstreamConnection | None:
        """An idle connection. Those for requests that must not be repeated were busy until just now."""
        while self.idle:
            connection = self.idle[-1]
            if not repeatable and self.owner.time() - connection.idle_since > _FRESH_SECONDS:
                return None
            self.idle.pop()
            if not connection.transport.is_closing():
                return connection
        return None

    def give_back(self, connection: UpstreamConnection) -> None:
        """The exchange is over. Kept if it can be."""
        connection.sink = None
        owner = self.owner
        if not connection.keepable() or len(self.idle) >= self._most_idle or owner.draining:
            connection.transport.close()
            return
        if connection.paused:
            connection.resume_reading()
        connection.reused = True
        connection.idle_since = owner.time()
        if self._waiting and (waiting := self._next_waiting()) is not None:
            waiting.set_result(connection)
        else:
            self.idle.append(connection)

    def forget(self, connection: UpstreamConnection) -> None:
        if connection in self.idle:
            self.idle.remove(connection)

    def closed(self) -> None:
        """A connection has ended: there is room for another."""
        self.open -= 1
        if self._waiting and (waiting := self._next_waiting()) is not None:
            waiting.set_result(None)

    async def connect(self) -> UpstreamConnection:
        """A new connection, or one that came free. Raises OSError (also for TLS, time-outs and limits)."""
        if self._limit and self.open + self._connecting >= self._limit:
            # Idle ones are those that this request must not use: they would be closed by the target any moment.
            if self.idle:
                self.idle.popleft().transport.close()
            freed = await self._wait_for_room()
            if freed is not None and not freed.transport.is_closing():
                return freed
        down = self._down_until > self.owner.time()
        if down and self._connecting:
            raise TargetDown("no answer to an earlier attempt, which is being repeated")
        self._connecting += 1
        try:
            connection = await self._open()
        except TimeoutError as error:
            self._down_until = self.owner.time() + _DOWN_SECONDS
            raise TimeoutError("no answer in time") from error
        finally:
            self._connecting -= 1
        self._down_until = 0.0
        return connection

    @property
    def busy(self) -> bool:
        """Whether a connection of it is in use."""
        return self.open > len(self.idle)

    def close_idle(self, older_than: float) -> None:
        while self.idle and self.idle[0].idle_since < older_than:
            self.idle.popleft().transport.close()

    def unused(self, now: float) -> bool:
        return not self.open and not self._connecting and not self._waiting and self._down_until < now

    async def _open(self) -> UpstreamConnection:
        loop = asyncio.get_running_loop()
        target = self.target
        owner = self.owner
        context = owner.tls_for(target)

        def make() -> UpstreamConnection:
            return UpstreamConnection(self)

        async with asyncio.timeout(self._patience):
            if target.unix is not None:
                server_hostname = "localhost" if context else None
                _, connection = await loop.create_unix_connection(
                    make, target.unix, ssl=context, server_hostname=server_hostname
                )
            else:
                _, connection = await loop.create_connection(make, target.host, target.port, ssl=context)
        return connection

    async def _wait_for_room(self) -> UpstreamConnection | None:
        waiting: asyncio.Future[UpstreamConnection | None] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiting)
        try:
            async with asyncio.timeout(self.owner.options.timeouts.connect_seconds):
                return await waiting
        except TimeoutError as error:
            raise TargetBusy(f"all of its {self._limit} connections are in use") from error

    def _next_waiting(self) -> "asyncio.Future[UpstreamConnection | None] | None":
        while self._waiting:
            waiting = self._waiting.popleft()
            if not waiting.done():
                return waiting
        return None
