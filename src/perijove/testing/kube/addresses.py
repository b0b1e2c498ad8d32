"""Addresses in 127.0.0.0/8 for pods, services and load balancers of one cluster.

Linux answers for the whole of that network without any set-up. Each cluster takes one second octet for itself, held
by a socket, so that clusters of tests that run side by side do not meet.
"""

import random
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network

_RESERVED_PORT = 9
_FIRST, _LAST = 16, 250


class NoAddresses(Exception):
    """Every network in 127.0.0.0/8 is taken by another cluster on this machine."""


@dataclass
class Addresses:
    octet: int
    _reservation: socket.socket | None = None

    def __post_init__(self) -> None:
        self.node = f"127.{self.octet}.0.1"
        self._pods = self._range(10, 99)
        self._services = self._range(100, 199)
        self._balancers = self._range(200, 250)

    @classmethod
    def reserve(cls) -> "Addresses":
        octets = list(range(_FIRST, _LAST))
        random.shuffle(octets)
        for octet in octets:
            holder = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            try:
                holder.bind((f"127.{octet}.255.254", _RESERVED_PORT + 30_000))
            except OSError:
                holder.close()
                continue
            return cls(octet, holder)
        raise NoAddresses

    def _range(self, first: int, last: int) -> Iterator[str]:
        start = int(IPv4Address(f"127.{self.octet}.{first}.1"))
        end = int(IPv4Address(f"127.{self.octet}.{last}.254"))
        return (str(IPv4Address(number)) for number in range(start, end))

    def pod(self) -> str:
        """Never twice: a late request for a dead pod must not reach a new one."""
        return next(self._pods)

    def service(self) -> str:
        return next(self._services)

    def balancer(self) -> str:
        return next(self._balancers)

    @property
    def network(self) -> IPv4Network:
        return IPv4Network(f"127.{self.octet}.0.0/16")

    def close(self) -> None:
        if self._reservation is not None:
            self._reservation.close()
            self._reservation = None
