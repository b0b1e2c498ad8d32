"""Upgraded connections: two transports and bytes between them, untouched, for as long as both sides like.

After a target's 101 the two HTTP protocols are replaced by two small ends, so that a quiet websocket keeps nothing
of its request alive. There is no idle time-out: a kernel may say nothing for days.
"""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Protocol, cast

from perijove.proxy.table import Route

if TYPE_CHECKING:
    from perijove.proxy.plane import DataPlane
    from perijove.proxy.server import ClientConnection
    from perijove.proxy.upstream import Pool, UpstreamConnection


class _Receiver(Protocol):
    def __call__(self, data: bytes) -> None: ...


class TunnelEnd(asyncio.Protocol):
    """One side; what it reads goes to the other."""

    __slots__ = ("address", "data_received", "ended", "half_closes", "other", "plane", "pool", "transport")

    def __init__(
        self,
        plane: "DataPlane",
        transport: asyncio.Transport,
        *,
        pool: "Pool | None" = None,
        half_closes: bool,
    ) -> None:
        self.plane = plane
        self.transport = transport
        self.pool = pool
        """Only on the target's side, whose connection it counts."""
        self.data_received: _Receiver
        self.other: TunnelEnd = cast("TunnelEnd", None)
        self.address = b""
        """Of the client, where its connections are counted."""
        self.ended = False
        self.half_closes = half_closes

    def pause_writing(self) -> None:
        if not self.other.transport.is_closing():
            self.other.transport.pause_reading()

    def resume_writing(self) -> None:
        if not self.other.transport.is_closing():
            self.other.transport.resume_reading()

    def eof_received(self) -> bool:
        """Pass a half-close on; the other direction may go on. In a websocket it has nothing left to say."""
        other = self.other.transport
        self.ended = True
        if not self.half_closes or self.other.ended or other.is_closing():
            return False
        if not other.can_write_eof() or not self.transport.can_write_eof():
            return False
        other.write_eof()
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        other = self.other.transport
        if not other.is_closing():
            if exc is None:
                other.close()
            else:
                other.abort()
        if self.pool is not None:
            self.pool.closed()
        else:
            self.plane.tunnel_ended(self)


def _pass_on(write: Callable[[bytes], None], touch: Callable[[Route], None], route: Route, data: bytes) -> None:
    """What a client says is activity."""
    write(data)
    touch(route)


def tunnel(
    client: "ClientConnection", upstream: "UpstreamConnection", route: Route, first: bytes, protocol: bytes
) -> None:
    """Join the two. `first` is the 101 and what the target said right after it, `protocol` what they speak now."""
    half_closes = protocol.lower() != b"websocket"
    plane = client.plane
    client_was_writable = client.writable
    target_was_writable = upstream.writable
    early = client.detach()
    near = TunnelEnd(plane, client.transport, half_closes=half_closes)
    far = TunnelEnd(plane, upstream.detach(), pool=upstream.pool, half_closes=half_closes)
    near.other, far.other = far, near
    near.data_received = partial(_pass_on, far.transport.write, plane.activity.touch, route)
    # Straight from one transport to the other, without a frame of Python between them.
    far.data_received = near.transport.write
    plane.tunnel_began(near, client.downstream.address)
    plane.activity.touch(route)
    near.transport.set_protocol(near)
    far.transport.set_protocol(far)
    near.transport.write(first)
    if early:
        far.transport.write(early)
    # Each side reads as long as the other takes it; `resume_writing` of the ends sees to the rest.
    if target_was_writable and not near.transport.is_closing():
        near.transport.resume_reading()
    if client_was_writable and not far.transport.is_closing():
        far.transport.resume_reading()
