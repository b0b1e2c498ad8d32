"""Questions about addresses before anything is started: is the port free, who could reach it."""

import errno
import ipaddress
import random
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final

from perijove.cli.exits import CommandFailed, Exit

# A burst of logins must not be refused while the loop is busy with the first ones.
BACKLOG = 2048
_NOT_EPHEMERAL: Final = range(15_000, 32_000)


def _bind(ip: str, port: int) -> socket.socket:
    # "" is every address, of both families where the machine has them.
    dual = not ip and socket.has_dualstack_ipv6()
    family = socket.AF_INET6 if dual or ":" in ip else socket.AF_INET
    # Named, so that asyncio without uvloop turns Nagle's algorithm off (it asks the socket which protocol it has).
    sock = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        # As a server would: connections in TIME_WAIT from the last run are no obstacle.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family is socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, not dual)
        sock.bind((ip, port))
    except BaseException:
        sock.close()
        raise
    return sock


def free_port(ip: str = "127.0.0.1") -> int:
    """A port nobody listens on now.

    Below those that the kernel gives to whoever connects somewhere (32768 and above on Linux): such a one may be
    somebody's end of a connection by the time that it is listened on.
    """
    for port in random.sample(_NOT_EPHEMERAL, 100):
        with suppress(OSError), _bind(ip, port) as sock:
            sock.listen(1)
            return port
    with _bind(ip, 0) as sock:
        return int(sock.getsockname()[1])


@contextmanager
def _explained(ip: str, port: int, option: str) -> Iterator[None]:
    """Name the port, and the option that moves it, when it cannot be listened on."""
    try:
        yield
    except OSError as exc:
        where = f"port {port} on {ip or 'all addresses'}"
        if exc.errno == errno.EADDRINUSE:
            message = f"Something already listens on {where}."
            remedy = f"Stop it, or choose another port, for example: {option} {free_port()}"
        elif exc.errno == errno.EACCES:
            message = f"Not allowed to listen on {where}: ports below 1024 need privileges."
            remedy = f"Choose a higher port with {option}."
        else:
            message = f"Cannot listen on {where}: {exc.strerror or exc}."
            remedy = f"Check the address, or choose another port with {option}."
        raise CommandFailed(message, remedy=remedy, code=Exit.UNAVAILABLE) from exc


def require_free(ip: str, port: int, option: str) -> None:
    """Fail while nothing is started yet when another process has the port."""
    with _explained(ip, port, option), _bind(ip, port) as sock:
        # Bound twice is allowed by SO_REUSEADDR as long as nobody listens; listening is the question.
        sock.listen(1)


def is_loopback(ip: str) -> bool:
    """Only this machine can reach it. A name counts as open unless it is `localhost`."""
    if ip == "localhost":
        return True
    try:
        return ipaddress.ip_address(ip).is_loopback
    except ValueError:
        return False


def connectable(ip: str) -> str:
    """The address to connect to for something that listens on `ip`."""
    if ip in ("", "0.0.0.0"):  # noqa: S104 - compared with, not listened on
        return "127.0.0.1"
    if ip == "::":
        return "[::1]"
    return f"[{ip}]" if ":" in ip else ip


@contextmanager
def listening(ip: str, port: int, option: str) -> Iterator[socket.socket]:
    """A socket that listens, with the same errors as `require_free`."""
    with _explained(ip, port, option):
        sock = _bind(ip, port)
    with sock:
        sock.listen(BACKLOG)
        sock.setblocking(False)
        yield sock
