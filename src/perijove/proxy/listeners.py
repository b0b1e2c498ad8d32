"""Where a process listens: addresses become bound sockets, once, before anything else is started.

Workers that share a port each get a socket of their own (SO_REUSEPORT: the kernel deals connections out), bound by
their supervisor, which keeps them open: connections that wait for a worker that has crashed are served by the next.
"""

import contextlib
import errno
import os
import socket
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from perijove.proxy.options import ProxyOptions

BACKLOG = 4096


@dataclass(frozen=True, slots=True)
class Place:
    """`host` "" or "*" is every interface, port 0 any free one; or a unix socket; or a descriptor that listens."""

    host: str = ""
    port: int = 0
    unix: Path | None = None
    descriptor: int = -1

    def __str__(self) -> str:
        if self.unix is not None:
            return str(self.unix)
        return f"fd {self.descriptor}" if self.descriptor >= 0 else f"{self.host or '*'}:{self.port}"


class PublicPlaces(NamedTuple):
    public: list[Place]
    redirect: list[Place]


def public_places(options: ProxyOptions) -> PublicPlaces:
    public = [Place(host, port) for host, port in options.listen]
    public += [Place(unix=path) for path in options.unix_sockets]
    public += [Place(descriptor=number) for number in options.sockets]
    redirect = [Place(host, port) for host, port in options.redirect_listen]
    redirect += [Place(descriptor=number) for number in options.redirect_sockets]
    return PublicPlaces(public, redirect)


def bind(place: Place, *, reuse_port: bool = False) -> list[socket.socket]:
    """Listening, non-blocking sockets; several for a name with several addresses. Raises OSError."""
    if place.descriptor >= 0:
        return [_taken_over(place.descriptor)]
    if place.unix is not None:
        return [_unix(place.unix)]
    try:
        return _inet(place, reuse_port=reuse_port)
    except OSError as error:
        raise OSError(error.errno, f"{place}: {os.strerror(error.errno) if error.errno else error}") from error


def _inet(place: Place, *, reuse_port: bool) -> list[socket.socket]:
    host = None if place.host in ("", "*") else place.host
    found = socket.getaddrinfo(host, place.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    sockets: list[socket.socket] = []
    port = place.port
    try:
        for family, kind, protocol, _, address in dict.fromkeys(found):
            try:
                sock = socket.socket(family, kind, protocol)
            except OSError as error:
                # Named by the resolver, but this kernel has no IPv6.
                if error.errno == errno.EAFNOSUPPORT and len(found) > 1:
                    continue
                raise
            sockets.append(sock)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if reuse_port:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            if family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            sock.bind((address[0], port, *address[2:]))
            # "Any free one" is to be the same for all families.
            port = sock.getsockname()[1]
            sock.listen(BACKLOG)
            sock.setblocking(False)
    except BaseException:
        for sock in sockets:
            sock.close()
        raise
    return sockets


def _unix(path: Path) -> socket.socket:
    with contextlib.suppress(FileNotFoundError):
        if stat.S_ISSOCK(path.stat().st_mode):
            _require_abandoned(path)
            path.unlink()
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.bind(str(path))
        sock.listen(BACKLOG)
        sock.setblocking(False)
    except BaseException:
        sock.close()
        raise
    return sock


def _require_abandoned(path: Path) -> None:
    """A socket file outlives its process; one that answers belongs to somebody."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1)
        if probe.connect_ex(str(path)) == 0:
            raise OSError(errno.EADDRINUSE, f"{path}: {os.strerror(errno.EADDRINUSE)}")


def _taken_over(descriptor: int) -> socket.socket:
    sock = socket.socket(fileno=descriptor)
    sock.setblocking(False)
    return sock
