"""`Network`: machines with addresses of their own on one wire, to pull plugs for real; Linux, as root.

    with run_network() as network:                    # raises `NetworkForbidden` where namespaces are not permitted
        server = PostgreSQL(host=network.ip)          # what runs outside of any machine is reached here
        hub = network.machine()                       # hub.ip, and hub.prefix for command lines
        hub.lose(network.ip)                          # packets to there vanish: nobody is refused, nobody is told
        hub.find(network.ip)

A machine is a network namespace with one end of a virtual cable; the other end is on a bridge. What a machine sends
to an address that it has lost goes to a station that does not exist, as when a switch forgets a port. Connections
that were open stay open and stall, which no forwarder of TCP can imitate.
"""

import secrets
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

_NOWHERE = "02:00:00:00:00:01"
_FIRST = 2


class NetworkForbidden(Exception):
    """This process may not make namespaces or bridges: skip the test, saying this."""


def _ip(*arguments: str) -> None:
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)  # noqa: S603, S607 - for tests, as root
    if done.returncode:
        raise NetworkForbidden(f"ip {' '.join(arguments)}: {done.stderr.strip()}")


@dataclass(frozen=True)
class Machine:
    name: str
    ip: str

    @property
    def prefix(self) -> tuple[str, ...]:
        """In front of a command line: it runs there."""
        return ("ip", "netns", "exec", self.name)

    def lose(self, address: str) -> None:
        _ip("-n", self.name, "neigh", "replace", address, "lladdr", _NOWHERE, "nud", "permanent", "dev", "eth0")

    def find(self, address: str) -> None:
        _ip("-n", self.name, "neigh", "del", address, "dev", "eth0")


@dataclass
class Network:
    """Make one with `run_network()`."""

    name: str
    # The first two numbers are private; the third is chosen so that two tests at once have two networks.
    subnet: str
    stack: ExitStack = field(default_factory=ExitStack)
    _machines: int = 0

    @property
    def ip(self) -> str:
        return f"{self.subnet}.1"

    def machine(self) -> Machine:
        number = _FIRST + self._machines
        self._machines += 1
        name, cable = f"{self.name}m{number}", f"{self.name}c{number}"
        _ip("netns", "add", name)
        self.stack.callback(_ip, "netns", "del", name)
        _ip("link", "add", cable, "type", "veth", "peer", "name", "eth0", "netns", name)
        _ip("link", "set", cable, "master", self.name, "up")
        machine = Machine(name, f"{self.subnet}.{number}")
        _ip("-n", name, "addr", "add", f"{machine.ip}/24", "dev", "eth0")
        for device in ("lo", "eth0"):
            _ip("-n", name, "link", "set", device, "up")
        return machine


@contextmanager
def run_network() -> Iterator[Network]:
    """A bridge, gone at the end with all its machines. Raises `NetworkForbidden`."""
    chosen = secrets.randbelow(250)
    network = Network(f"pj{secrets.token_hex(3)}", f"10.{200 + secrets.randbelow(50)}.{chosen}")
    try:
        _ip("link", "add", network.name, "type", "bridge")
    except FileNotFoundError as error:
        raise NetworkForbidden("there is no program `ip` (Debian package iproute2)") from error
    with network.stack:
        network.stack.callback(_ip, "link", "del", network.name)
        _ip("addr", "add", f"{network.ip}/24", "dev", network.name)
        _ip("link", "set", network.name, "up")
        yield network
