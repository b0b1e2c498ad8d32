"""Who may connect, and how often they may ask: limits per client, so that one cannot crowd out the others.

A client is an address; behind a trusted proxy, the address that the proxy says it speaks for. All limits are off
until set: a campus behind one address would meet them first.
"""

from collections.abc import Callable
from ipaddress import IPv6Address, IPv6Network, ip_address

from perijove.proxy.options import ProxyLimits, TrustedPeers

_REMEMBERED = 65536
_ROUNDING = 1e-6


class Admission:
    """Counts connections and requests per client."""

    def __init__(self, limits: ProxyLimits, trusted: TrustedPeers, time: Callable[[], float]) -> None:
        self._limits = limits
        self._trusted = trusted
        self._time = time
        self._connections: dict[str, int] = {}
        # Address -> the moment until which what has been asked is paid for.
        self._paid: dict[str, float] = {}
        self.counts_connections = limits.clients_per_address > 0
        self.counts_requests = limits.requests_per_second > 0

    # -- connections

    def arrives(self, address: str) -> bool:
        """False for one too many."""
        if address in self._trusted:
            return True
        count = self._connections.get(address, 0) + 1
        self._connections[address] = count
        return count <= self._limits.clients_per_address

    def leaves(self, address: str) -> None:
        count = self._connections.get(address, 0) - 1
        if count > 0:
            self._connections[address] = count
        else:
            self._connections.pop(address, None)

    # -- requests

    def wait_for(self, client: str) -> float:
        """Seconds until this client may ask; 0 when it may now, which is then counted."""
        client = _household(client)
        cost = 1 / self._limits.requests_per_second
        now = self._time()
        paid = max(self._paid.get(client, now), now) + cost
        ahead = paid - now - self._limits.request_burst * cost
        # Sums of floats: a whole burst must not be one short.
        if ahead > _ROUNDING:
            return ahead
        if len(self._paid) >= _REMEMBERED:
            # More than come in a second, so a flood from everywhere, which no limit per client stops.
            self._paid.clear()
        self._paid[client] = paid
        return 0.0

    def client(self, peer: str, forwarded_for: bytes | None) -> str:
        """Whom a request comes from: the nearest address that is not a proxy of ours."""
        if forwarded_for is None or peer not in self._trusted:
            return peer
        address = peer
        for part in reversed(forwarded_for.decode("latin-1").split(",")):
            if part.strip():
                address = part.strip()
                if address not in self._trusted:
                    break
        return address

    def forget_old(self) -> None:
        """Clients that have not asked for a while."""
        now = self._time()
        for client in [client for client, paid in self._paid.items() if paid <= now]:
            del self._paid[client]


def _household(client: str) -> str:
    """Whoever has one IPv6 address has a network of them."""
    try:
        address = ip_address(client.partition("%")[0])
    except ValueError:
        return client
    if isinstance(address, IPv6Address) and address.ipv4_mapped is None:
        return str(IPv6Network((int(address) >> 64 << 64, 64)))
    return client
