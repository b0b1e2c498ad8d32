"""What all connections of a proxy share: the table, the pools, the counters, the clock.

One object, handed to each connection; everything in it belongs to the one thread of the event loop.
"""

import asyncio
import ssl
import time
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from perijove.lib.log import get_logger
from perijove.proxy.access import AccessLog
from perijove.proxy.activity import Activity
from perijove.proxy.complaints import Complaints
from perijove.proxy.follow import Follower
from perijove.proxy.forward import Exchange
from perijove.proxy.hubs import Hubs
from perijove.proxy.metrics import Metrics
from perijove.proxy.options import ProxyOptions, TrustedPeers
from perijove.proxy.pages import ErrorPages
from perijove.proxy.response_head import SWITCHING
from perijove.proxy.server import ClientConnection
from perijove.proxy.table import HUB, RouteTable, starting_table
from perijove.proxy.targets import read_target, target_tls
from perijove.proxy.upgrade import TunnelEnd
from perijove.proxy.upstream import Pool

log = get_logger(__name__)

_SWEEP_SECONDS = 1.0
_DRAIN_POLL_SECONDS = 0.02
_SUCCESS = 2
_CHP_HEALTH = b"_chp_healthz"
_HEALTH = b"_perijove"


class DataPlane:
    """Make it inside a running loop."""

    health_segments = frozenset((_CHP_HEALTH, _HEALTH))

    def __init__(self, options: ProxyOptions, *, max_clients: int = 0) -> None:
        loop = asyncio.get_running_loop()
        self.options = options
        # Not the loop's: that is a call more on asyncio, and rounded to milliseconds on uvloop.
        self.time: Callable[[], float] = time.monotonic
        self.now = self.time()
        """As of the last sweep: good enough for deadlines of many seconds."""
        self.table: RouteTable = starting_table(options.base_url)
        self.trusted = TrustedPeers(options.trusted_networks())
        self.activity = Activity()
        self.metrics = Metrics(self._gauges)
        self.pages = ErrorPages(self)
        self.hubs = Hubs(options)
        self.follower = Follower(self, self.hubs)
        self.complaints = Complaints(self.time)
        self.access = AccessLog(options.access_log) if options.access_log != "off" else None
        self.clients: set[ClientConnection] = set()
        self.tunnels: set[TunnelEnd] = set()
        self.draining = False
        self._max_clients = max_clients
        self._full = False
        self._loop = loop
        self._tasks: set[asyncio.Task[None]] = set()
        self._pools: dict[str, tuple[Pool, ...]] = {}
        self._hub_pools = tuple(Pool(self, read_target(url)) for url in options.hub_urls)
        self._target_tls: ssl.SSLContext | None = None

    # -- targets

    def pools_for(self, target: str) -> tuple[Pool, ...]:
        """Where to connect, best first. Raises ValueError for a target that is no address."""
        if target is HUB:
            return self._hub_pools
        pools = self._pools.get(target)
        if pools is None:
            pools = self._pools[target] = (Pool(self, read_target(target)),)
        return pools

    def prefer_hub(self, pool: Pool) -> None:
        """It answered where the first one did not."""
        self._hub_pools = (pool, *(other for other in self._hub_pools if other is not pool))

    def target_tls(self) -> ssl.SSLContext:
        if self._target_tls is None:
            self._target_tls = target_tls(self.options)
        return self._target_tls

    # -- what exchanges report

    def record(self, exchange: Exchange) -> None:
        """Called once an exchange, at its end."""
        seconds = self.time() - exchange.started
        route = exchange.route
        if exchange.status == SWITCHING:
            self.metrics.upgraded()
        else:
            self.metrics.observe(route.kind if route is not None else "none", exchange.status, seconds)
            if route is not None and exchange.status // 100 == _SUCCESS:
                self.activity.touch(route)
        if self.access is not None:
            self.access.note(exchange, seconds)

    def health(self, segments: Sequence[bytes]) -> tuple[bool, bytes] | None:
        """Alive as soon as we answer (configurable-http-proxy's path); ready once there is a table to route by."""
        if segments[1:] == [_CHP_HEALTH]:
            return True, b'{"status":"OK"}'
        if segments[1:] == [_HEALTH, b"healthz"]:
            if self.table.loaded and not self.draining:
                return True, b'{"status":"OK"}'
            return False, b'{"status":"draining"}' if self.draining else b'{"status":"no routes yet"}'
        return None

    def is_full(self) -> bool:
        full = 0 < self._max_clients < len(self.clients) + len(self.tunnels)
        if full and not self._full:
            log.error("too many connections: new ones are refused", limit=self._max_clients)
        self._full = full
        return full

    # -- background work

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run it beside everything else; a failure is a bug, and is logged as one."""
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._reap)

    def _reap(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._loop.call_exception_handler({"message": "background work failed", "exception": error})

    def sweep(self) -> None:
        """Close what is overdue and write what is buffered; once a second."""
        now = self.now = self.time()
        for client in [client for client in self.clients if client.deadline < now]:
            client.expire()
        oldest = now - self.options.timeouts.idle_upstream_seconds
        for pool in self._hub_pools:
            pool.close_idle(oldest)
        for target, (pool,) in list(self._pools.items()):
            pool.close_idle(oldest)
            if not pool.open:
                del self._pools[target]
        self.complaints.forget_old()
        if self.access is not None:
            self.access.flush()

    async def keep_sweeping(self) -> None:
        while True:
            await asyncio.sleep(_SWEEP_SECONDS)
            self.sweep()

    def _gauges(self) -> dict[str, tuple[str, float]]:
        pools = [*self._hub_pools, *(pool for pools in self._pools.values() for pool in pools)]
        return {
            "routes": ("Routes in the table", len(self.table)),
            "route_revision": ("Revision of the table", self.follower.revision),
            "hub_connected": ("1 while a hub's routes are followed", float(self.follower.connected)),
            "client_connections": ("Open connections of clients, without upgraded ones", len(self.clients)),
            "upgraded_connections": ("Open upgraded connections", len(self.tunnels)),
            "upstream_connections": ("Open connections to targets", sum(pool.open for pool in pools)),
        }

    # -- stopping

    async def drain(self, seconds: float) -> None:
        """Let requests and upgraded connections end, for at most `seconds`; then cut them."""
        self.draining = True
        for client in list(self.clients):
            client.drain()
        deadline = self.time() + seconds
        # Polled: this runs once a process, and connections end in too many places to count them with an event.
        while (self.clients or self.tunnels) and self.time() < deadline:  # noqa: ASYNC110 - said above
            await asyncio.sleep(_DRAIN_POLL_SECONDS)
        for client in list(self.clients):
            client.abort()
        for end in list(self.tunnels):
            end.transport.close()

    async def close(self) -> None:
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for pools in (self._hub_pools, *self._pools.values()):
            for pool in pools:
                pool.close_idle(float("inf"))
        await self.hubs.close()
        if self.access is not None:
            self.access.flush()
