"""The public listeners of one process: sockets to protocols, with the certificates in between."""

import asyncio
import socket
from collections.abc import Sequence

from perijove.proxy.certificates import Certificates
from perijove.proxy.entrance import Entrance, entrance_of
from perijove.proxy.listeners import BACKLOG
from perijove.proxy.options import ProxyOptions
from perijove.proxy.plane import DataPlane
from perijove.proxy.server import ClientConnection

_LOOK_SECONDS = 10.0
_HTTPS_PORT = 443


class Doors:
    """`open`, then `close`."""

    def __init__(self, options: ProxyOptions, plane: DataPlane) -> None:
        self._options = options
        self._plane = plane
        self._certificates = Certificates(options.tls) if options.tls else None
        self._public: list[asyncio.Server] = []
        self._redirecting: list[asyncio.Server] = []

    async def open(self, sockets: Sequence[socket.socket], redirecting: Sequence[socket.socket]) -> None:
        """On listening sockets, which are ours from here on."""
        entrance = entrance_of(self._options)
        self._public = [await self._serve(sock, entrance, tls=True) for sock in sockets]
        port = self._options.redirect_to_port or (self.addresses[0][1] if self.addresses else _HTTPS_PORT)
        leading = Entrance(redirects_to=port)
        self._redirecting = [await self._serve(sock, leading, tls=False) for sock in redirecting]

    async def _serve(self, sock: socket.socket, entrance: Entrance, *, tls: bool) -> asyncio.Server:
        loop = asyncio.get_running_loop()
        plane = self._plane

        def make() -> ClientConnection:
            return ClientConnection(plane, entrance)

        context = self._certificates.context if self._certificates is not None and tls else None
        handshake = self._options.timeouts.handshake_seconds if context is not None else None
        if sock.family == socket.AF_UNIX:
            return await loop.create_unix_server(
                make, sock=sock, backlog=BACKLOG, ssl=context, ssl_handshake_timeout=handshake
            )
        return await loop.create_server(make, sock=sock, backlog=BACKLOG, ssl=context, ssl_handshake_timeout=handshake)

    @property
    def addresses(self) -> list[tuple[str, int]]:
        return _addresses(self._public)

    @property
    def redirecting_addresses(self) -> list[tuple[str, int]]:
        return _addresses(self._redirecting)

    def reload(self) -> None:
        if self._certificates is not None:
            self._certificates.reload()

    async def keep_certificates(self) -> None:
        """A renewed certificate is shown without anybody having to say so. Never returns."""
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            self.reload()

    def close(self) -> None:
        """Accept nothing more."""
        for server in (*self._public, *self._redirecting):
            server.close()


def _addresses(servers: Sequence[asyncio.Server]) -> list[tuple[str, int]]:
    return [sock.getsockname()[:2] for server in servers for sock in server.sockets if sock.family != socket.AF_UNIX]
