"""A client's connection: finds requests in its bytes, one at a time and in order.

Bytes that are not yet wanted (a pipelined request, a body whose target is still being reached) stay in `_buffer`,
and above a limit the client is not read any further. Everything that waits for the client has a deadline, which
one sweep a second compares with the clock: a timer per connection and state would cost more than the requests.
"""

import asyncio
from math import inf
from typing import TYPE_CHECKING, cast

from perijove.proxy.entrance import ACME_PREFIX, Entrance, redirect
from perijove.proxy.forward import Exchange
from perijove.proxy.head import BadHead
from perijove.proxy.headers import Downstream
from perijove.proxy.paths import BadTarget, resolve
from perijove.proxy.request_head import RequestHead, read_request

if TYPE_CHECKING:
    from perijove.proxy.plane import DataPlane

_LINGER_BYTES = 1 << 20
# What the start of a body, or of its going on after the target was busy, may take; more is earned by sending.
_FIRST_BODY_SECONDS = 60.0
_REASONS = {400: b"Bad Request", 405: b"Method Not Allowed", 408: b"Request Timeout", 417: b"Expectation Failed"}
_REASONS |= {431: b"Request Header Fields Too Large", 501: b"Not Implemented", 505: b"HTTP Version Not Supported"}


class ClientConnection(asyncio.Protocol):
    """One connection of the public side."""

    __slots__ = (
        *("_blocked", "_buffer", "_entrance", "_eof", "_lingering", "_paused", "_reading", "_sent", "_waiting"),
        *("deadline", "downstream", "exchange", "fields", "idle_since", "plane", "transport", "writable"),
    )

    def __init__(self, plane: "DataPlane", entrance: Entrance) -> None:
        self.plane = plane
        self._entrance = entrance
        self.fields = entrance.fields
        """Lines added to every response."""
        self.transport: asyncio.Transport = cast("asyncio.Transport", None)
        self.downstream = cast("Downstream", None)
        self.exchange: Exchange | None = None
        self.writable = True
        self.deadline = inf
        self.idle_since = 0.0
        """As of the last sweep."""
        self._buffer = b""
        self._paused = False
        # The target does not take our bytes at present.
        self._blocked = False
        self._eof = False
        # `_read` is running: it will see to the next request itself, without recursion.
        self._reading = False
        # Bytes of the response at the last look at a half-closed client.
        self._sent = 0
        # What is left to drain before closing, after an error.
        self._lingering = 0
        # The next request waits until this client has taken more of the last response.
        self._waiting = False

    # -- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        plane = self.plane
        self.transport.set_write_buffer_limits(high=plane.options.limits.buffer_bytes)
        peer = transport.get_extra_info("peername")
        tls = transport.get_extra_info("sslcontext") is not None
        if isinstance(peer, tuple):
            address = _plain_address(str(peer[0]))
            self.downstream = Downstream(address, trusted=address in plane.trusted, tls=tls)
        else:
            self.downstream = Downstream("127.0.0.1", trusted=True, tls=tls)
        self.idle_since = plane.upstreams.now
        self.deadline = self.idle_since + plane.options.timeouts.head_seconds
        plane.clients.add(self)
        if not plane.admits(self) or plane.is_full():
            self.transport.abort()

    def data_received(self, data: bytes) -> None:
        if self._lingering:
            self._lingering -= len(data)
            if self._lingering <= 0:
                self.transport.abort()
            return
        buffered = self._buffer
        if buffered:
            data = buffered + data
        exchange = self.exchange
        if exchange is None:
            if not self._waiting:
                self._read(data, len(buffered))
                return
        elif exchange.accepts_body():
            self._upload(exchange, data)
            return
        self._buffer = data
        self._check_reading()

    def eof_received(self) -> bool:
        self._eof = True
        exchange = self.exchange
        if self._lingering or (exchange is None and not self._waiting):
            return False
        if exchange is not None and exchange.accepts_body():
            # The rest of the request will never come.
            return False
        # A client that only half closed looks like one that has gone, until a write fails. So it gets its answer,
        # as long as some of it comes now and then (see `expire`).
        self._sent = exchange.sent if exchange is not None else 0
        self.deadline = self.plane.upstreams.now + self.plane.options.timeouts.half_closed_seconds
        return self.transport.can_write_eof()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        self.plane.client_ended(self)
        exchange, self.exchange = self.exchange, None
        if exchange is not None:
            exchange.client_lost()

    def pause_writing(self) -> None:
        self.writable = False
        self.deadline = self.plane.upstreams.now + self.plane.options.timeouts.send_seconds
        if self.exchange is not None and self.exchange.upstream is not None:
            self.exchange.upstream.pause_reading()

    def resume_writing(self) -> None:
        self.writable = True
        self.deadline = (
            inf if self.exchange else self.plane.upstreams.now + self.plane.options.timeouts.keep_alive_seconds
        )
        if self.exchange is not None:
            if self.exchange.upstream is not None:
                self.exchange.upstream.resume_reading()
        elif self._waiting:
            self._waiting = False
            self._next()

    # -- for exchanges

    def send(self, data: bytes) -> None:
        self.transport.write(data)

    def upload_buffered(self) -> None:
        """The target is there: what has come of the body goes first."""
        exchange = self.exchange
        assert exchange is not None
        buffered, self._buffer = self._buffer, b""
        self.deadline = self.plane.upstreams.now + _FIRST_BODY_SECONDS
        self._upload(exchange, buffered)
        self._check_reading()
        if self._eof and exchange.framing is not None:
            self.transport.close()

    def _upload(self, exchange: Exchange, data: bytes) -> None:
        plane = self.plane
        self._buffer = b""
        if data:
            # Each byte buys time, so that one now and then is not enough to stay for ever.
            latest = plane.upstreams.now + plane.options.timeouts.body_seconds
            self.deadline = min(self.deadline + len(data) * plane.seconds_per_body_byte, latest)
            self._buffer = exchange.upload(data)
        if exchange.framing is None or self._blocked:
            self.deadline = inf

    def upload_possible(self, *, possible: bool) -> None:
        """Back-pressure of the target."""
        self._blocked = not possible
        self.deadline = inf
        if possible and self.exchange is not None and self.exchange.framing is not None:
            self.deadline = self.plane.upstreams.now + _FIRST_BODY_SECONDS
        self._check_reading()

    def exchange_done(self, *, close: bool, linger: bool) -> None:
        self.exchange = None
        self._blocked = False
        if close or (self._eof and not self._buffer):
            self._close(linger=linger)
            return
        self.idle_since = self.plane.upstreams.now
        self.deadline = self.idle_since + self.plane.options.timeouts.keep_alive_seconds
        if self.writable:
            if (self._buffer or self._paused) and not self._reading:
                self._next()
        else:
            self.deadline = self.plane.upstreams.now + self.plane.options.timeouts.send_seconds
            self._waiting = True

    def abort(self) -> None:
        self.exchange = None
        self.transport.abort()

    def detach(self) -> bytes:
        """Hand the transport over to a tunnel; returns what has been read too far."""
        self.exchange = None
        self.plane.clients.discard(self)
        return self._buffer

    @property
    def idle(self) -> bool:
        """Kept alive, and nothing is going on."""
        return self.exchange is None and not self._buffer and not self._waiting and not self._lingering

    def refuse(self, status: int, reason: str, *, answer: bool = True) -> None:
        """This connection cannot be understood any further."""
        self.exchange = None
        self._buffer = b""
        if answer:
            body = f"{status} {reason}\n".encode()
            self.transport.write(
                b"HTTP/1.1 %d %s\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: %d\r\n"
                b"Connection: close\r\n\r\n%s" % (status, _REASONS.get(status, b"Error"), len(body), body)
            )
            self._close(linger=True)
        else:
            self.transport.abort()
        self.plane.metrics.refused(status)

    # -- reading requests

    def _read(self, data: bytes, seen: int = 0) -> None:
        """Requests from `data`, of which the first `seen` bytes have been searched before."""
        self._reading = True
        while data and self.exchange is None and not self._waiting and not self._lingering:
            if data.startswith(b"\r\n"):
                # Sent after a body by old clients; RFC 9112 2.2.
                data = data[2:]
                continue
            blank = data.find(b"\r\n\r\n", max(0, seen - 3))
            if blank < 0:
                self._incomplete(data)
                break
            end = blank + 4
            if end > self.plane.options.limits.head_bytes:
                self.refuse(431, "request head too long")
                break
            self._buffer = data[end:]
            self._request(data if end == len(data) else data[:end])
            data = self._buffer
            seen = 0
        else:
            self._buffer = data
        self._reading = False

    def _incomplete(self, data: bytes) -> None:
        if not self._buffer and data:
            self.deadline = self.plane.upstreams.now + self.plane.options.timeouts.head_seconds
        self._buffer = data
        if len(data) > self.plane.options.limits.head_bytes:
            self.refuse(431, "request head too long")

    def _request(self, raw: bytes) -> None:
        try:
            head = read_request(raw, self.downstream.plain)
            resolved = resolve(head.target)
        except BadHead as error:
            self.refuse(error.status, str(error))
            return
        except BadTarget as error:
            self.refuse(400, str(error))
            return
        self.deadline = inf
        plane = self.plane
        if resolved.segments[1] in plane.health_segments and self._health(head, resolved.segments):
            return
        # Equal means the very object: heads are forwarded as they came only then.
        target = head.target if resolved.target == head.target else resolved.target
        table = plane.routing.table
        route = table.find(resolved, head.host)
        exchange = self.exchange = Exchange(self, head, target, route)
        if plane.special_cases and self._special(exchange):
            return
        if route is not None:
            exchange.start()
        else:
            exchange.fail(404 if table.loaded else 503)

    def _special(self, exchange: Exchange) -> bool:
        """What only some proxies do, before a request is sent on; True when it has been answered."""
        plane = self.plane
        head = exchange.head
        if self._entrance.redirects_to and (exchange.route is None or exchange.route.prefix != ACME_PREFIX):
            exchange.close = exchange.close or exchange.framing is not None
            exchange.answer(*redirect(head, exchange.target, self._entrance.redirects_to))
            return True
        if plane.admission.counts_requests:
            forwarded_for = head.forwarded.get(b"x-forwarded-for") if head.forwarded else None
            client = plane.admission.client(self.downstream.address.decode(), forwarded_for)
            if plane.admission.wait_for(client) > 0:
                plane.metrics.limited("requests_per_second")
                exchange.fail(429)
                return True
        return False

    def _health(self, head: RequestHead, segments: list[bytes]) -> bool:
        answer = self.plane.health(segments)
        if answer is None:
            return False
        ready, body = answer
        status, reason = (200, b"OK") if ready else (503, b"Service Unavailable")
        exchange = self.exchange = Exchange(self, head, head.target, None)
        exchange.close = exchange.close or exchange.framing is not None
        exchange.answer(
            status,
            b"HTTP/1.1 %d %s\r\nContent-Type: application/json\r\nCache-Control: no-store\r\nContent-Length: %d\r\n"
            % (status, reason, len(body)),
            body,
        )
        return True

    def _next(self) -> None:
        data, self._buffer = self._buffer, b""
        self._check_reading()
        if data:
            self._read(data)
        if self._eof and self.exchange is None and not self.transport.is_closing():
            self._close(linger=False)

    def _check_reading(self) -> None:
        """Read from the client exactly while its bytes have somewhere to go."""
        if self.transport.is_closing():
            return
        full = len(self._buffer) >= self.plane.options.limits.buffer_bytes
        paused = self._blocked or full
        if paused != self._paused:
            self._paused = paused
            if paused:
                self.transport.pause_reading()
            else:
                self.transport.resume_reading()

    # -- ends

    def expire(self) -> None:
        """The deadline has passed."""
        self.deadline = inf
        if self._eof and self.exchange is not None and self.writable and self._sent != self.exchange.sent:
            self._sent = self.exchange.sent
            self.deadline = self.plane.upstreams.now + self.plane.options.timeouts.half_closed_seconds
        elif self.exchange is None and self._buffer and not self._waiting:
            self.refuse(408, "the request did not arrive in time")
        elif self.exchange is None and self.writable and not self.transport.is_closing():
            self.transport.close()
        else:
            self.transport.abort()

    def drain(self, *, fresh_since: float) -> None:
        """The proxy is stopping: finish what is under way, and go when nothing is."""
        if self.exchange is not None:
            self.exchange.close = True
        elif not self._buffer and self.idle_since < fresh_since:
            self.transport.close()

    def _close(self, *, linger: bool) -> None:
        """After an error, closing with unread bytes would reset the connection, and the reason would be lost."""
        if linger and self.transport.can_write_eof() and not self._eof and not self.transport.is_closing():
            self._lingering = _LINGER_BYTES
            self._buffer = b""
            self.deadline = self.plane.upstreams.now + self.plane.options.timeouts.linger_seconds
            self._blocked = False
            self._check_reading()
            self.transport.write_eof()
        else:
            # What is unsent still goes out, but a client that takes none of it must not keep us.
            self.deadline = self.plane.upstreams.now + self.plane.options.timeouts.send_seconds
            self.transport.close()


def _plain_address(host: str) -> str:
    """An IPv4 client of a dual-stack socket is an IPv4 client."""
    return host.removeprefix("::ffff:") if "." in host else host
