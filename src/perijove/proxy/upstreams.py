"""The pools of connections to targets: one per target, made when first used, closed when idle.

Also how targets are connected to (TLS, limits); whoever speaks HTTP to a target or a hub, in whichever process,
takes its connections from here.
"""

import ssl
import time
from collections.abc import Callable
from math import inf

from perijove.proxy.hub_pools import HubPools
from perijove.proxy.options import ProxyOptions
from perijove.proxy.table import HUB
from perijove.proxy.targets import Target, read_target, target_tls
from perijove.proxy.upstream import Pool

# One of several hubs that does not answer the knock: the next is asked.
_HUB_CONNECT_SECONDS = 2.0


class Upstreams:
    """Make it inside a running loop."""

    def __init__(self, options: ProxyOptions) -> None:
        self.options = options
        # Not the loop's: that is a call more on asyncio, and rounded to milliseconds on uvloop.
        self.time: Callable[[], float] = time.monotonic
        self.now = self.time()
        """As of the last sweep: good enough for deadlines of many seconds."""
        self.draining = False
        self._limit = options.limits.target_connections
        self._pools: dict[str, tuple[Pool, ...]] = {}
        # Hubs serve everybody: what protects one user's server from another's tabs would only stop them all.
        patience = _HUB_CONNECT_SECONDS if len(options.hub_urls) > 1 else inf
        self.hubs = HubPools([Pool(self, read_target(url), patience=patience) for url in options.hub_urls])
        self._tls: ssl.SSLContext | None = None

    def pools_for(self, target: str) -> tuple[Pool, ...]:
        """Where to connect, best first. Raises ValueError for a target that is no address."""
        if target is HUB:
            return self.hubs.in_turn()
        pools = self._pools.get(target)
        if pools is None:
            pools = self._pools[target] = (Pool(self, read_target(target), limit=self._limit),)
        return pools

    def hub_pool(self, url: str) -> Pool:
        """For the proxy's own requests to one particular hub."""
        return Pool(self, read_target(url))

    def tls_for(self, target: Target) -> ssl.SSLContext | None:
        if not target.tls:
            return None
        if self._tls is None:
            self._tls = target_tls(self.options)
        return self._tls

    def sweep(self, now: float) -> None:
        """Close what has been idle for too long."""
        self.now = now
        oldest = now - self.options.timeouts.idle_upstream_seconds
        for pool in self.hubs:
            pool.close_idle(oldest)
        for target, (pool,) in list(self._pools.items()):
            pool.close_idle(oldest)
            if pool.unused(now):
                del self._pools[target]

    @property
    def open(self) -> int:
        return sum(pool.open for pools in (tuple(self.hubs), *self._pools.values()) for pool in pools)

    def forget_tls(self) -> None:
        """The files may have changed: read them again for the next connection."""
        self._tls = None

    def close(self) -> None:
        for pools in (tuple(self.hubs), *self._pools.values()):
            for pool in pools:
                pool.close_idle(float("inf"))
