"""What all connections of a proxy share: the table, the pools, the counters, the clock.

One object, handed to each connection; everything in it belongs to the one thread of the event loop.
"""

import asyncio
import errno
import os
from collections.abc import Coroutine, Sequence
from typing import Any

from perijove.lib.log import get_logger
from perijove.proxy.access import AccessLog
from perijove.proxy.activity import Activity
from perijove.proxy.admission import Admission
from perijove.proxy.complaints import Complaints
from perijove.proxy.forward import Exchange
from perijove.proxy.hub_watch import HubWatch
from perijove.proxy.metrics import Gauges, Metrics
from perijove.proxy.options import ProxyOptions, TrustedPeers
from perijove.proxy.pages import ErrorPages
from perijove.proxy.response_head import SWITCHING
from perijove.proxy.rewrite import Rewriting
from perijove.proxy.routing import Routing
from perijove.proxy.server import ClientConnection
from perijove.proxy.upgrade import TunnelEnd
from perijove.proxy.upstreams import Upstreams

log = get_logger(__name__)

_SWEEP_SECONDS = 1.0
_DRAIN_POLL_SECONDS = 0.02
# A kept connection that was busy so lately may have a request on its way, and is ended with its answer. A second of
# it is how late the sweep's clock may be.
_FAREWELL_SECONDS = 2.0
_SUCCESS = 2
_CHP_HEALTH = b"_chp_healthz"
_HEALTH = b"_perijove"
# From this share of the connections there may be, idle ones make room.
_CROWDED = 0.9
_QUIET_SECONDS = 10.0
_EXHAUSTED = frozenset((errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM))


class DataPlane:
    """Make it inside a running loop."""

    health_segments = frozenset((_CHP_HEALTH, _HEALTH))

    def __init__(
        self,
        options: ProxyOptions,
        *,
        routing: Routing,
        upstreams: Upstreams,
        activity: Activity,
        max_clients: int = 0,
    ) -> None:
        loop = asyncio.get_running_loop()
        self.options = options
        self.routing = routing
        self.upstreams = upstreams
        self.activity = activity
        self.time = upstreams.time
        self.trusted = TrustedPeers(options.trusted_networks())
        self.admission = Admission(options.limits, self.trusted, self.time)
        self.rewriting = None if options.rewrite.plain() else Rewriting(options.rewrite)
        self.special_cases = bool(options.redirect_listen or options.redirect_sockets or self.admission.counts_requests)
        """Whether a request may have to be answered otherwise before it is sent on."""
        rate = options.limits.body_bytes_per_second
        self.seconds_per_body_byte = 1 / rate if rate else float("inf")
        self.metrics = Metrics(self.gauges)
        self.pages = ErrorPages(self)
        self.complaints = Complaints(self.time)
        self.access = AccessLog(options.access_log) if options.access_log != "off" else None
        self.clients: set[ClientConnection] = set()
        self.tunnels: set[TunnelEnd] = set()
        self.draining = False
        self.hub_watch = HubWatch(self)
        self._max_clients = max_clients
        self._full_until = 0.0
        self._exhausted_until = 0.0
        self._loop = loop
        self._tasks: set[asyncio.Task[None]] = set()

    # -- connections

    def admits(self, client: ClientConnection) -> bool:
        if self.admission.counts_connections and not self.admission.arrives(client.downstream.address.decode()):
            self.metrics.limited("clients_per_address")
            return False
        return True

    def is_full(self) -> bool:
        if not 0 < self._max_clients < len(self.clients) + len(self.tunnels):
            return False
        self.metrics.limited("clients")
        now = self.upstreams.now
        if now >= self._full_until:
            log.error("too many connections: new ones are refused", limit=self._max_clients)
            self._full_until = now + _QUIET_SECONDS
        return True

    def client_ended(self, client: ClientConnection) -> None:
        self.clients.discard(client)
        if self.admission.counts_connections:
            self.admission.leaves(client.downstream.address.decode())

    def tunnel_began(self, end: TunnelEnd, address: bytes) -> None:
        self.tunnels.add(end)
        if self.admission.counts_connections:
            end.address = address

    def tunnel_ended(self, end: TunnelEnd) -> None:
        self.tunnels.discard(end)
        if end.address:
            self.admission.leaves(end.address.decode())

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
            if self.routing.table.loaded and not self.draining:
                return True, b'{"status":"OK"}'
            return False, b'{"status":"draining"}' if self.draining else b'{"status":"no routes yet"}'
        return None

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
        now = self.time()
        self.upstreams.sweep(now)
        self.activity.stamp()
        crowded = 0 < self._max_clients * _CROWDED < len(self.clients) + len(self.tunnels)
        crowded = crowded or not self._descriptors_left()
        for client in [client for client in self.clients if client.deadline < now or (crowded and client.idle)]:
            client.expire()
        if self.options.timeouts.target_silence_seconds:
            self._end_silent(now - self.options.timeouts.target_silence_seconds)
        self.complaints.forget_old()
        self.admission.forget_old()
        if self.access is not None:
            self.access.flush()

    def _descriptors_left(self) -> bool:
        """Tried, because libuv closes what it cannot accept without telling anybody."""
        try:
            os.close(os.dup(2))
        except OSError as error:
            self.note_loop_error({"exception": error})
            return False
        return True

    def _end_silent(self, oldest: float) -> None:
        for client in list(self.clients):
            exchange = client.exchange
            if exchange is not None and client.writable and (since := exchange.silent_since()) and since < oldest:
                exchange.target_silent()

    async def keep_sweeping(self) -> None:
        while True:
            await asyncio.sleep(_SWEEP_SECONDS)
            self.sweep()

    def note_loop_error(self, context: dict[str, Any]) -> None:
        """What nobody has caught, in the log's format. Running out of descriptors is no bug, and comes in floods."""
        error = context.get("exception")
        if isinstance(error, OSError) and error.errno in _EXHAUSTED:
            now = self.upstreams.now
            if now >= self._exhausted_until:
                self._exhausted_until = now + _QUIET_SECONDS
                log.error(
                    "out of file descriptors: idle connections are closed, new ones refused; raise `ulimit -n`",
                    problem=str(error),
                    clients=len(self.clients),
                    upgraded=len(self.tunnels),
                )
            return
        log.error(context.get("message", "unhandled error"), exc_info=error)

    def gauges(self) -> Gauges:
        return {
            "routes": len(self.routing.table),
            "route_revision": self.routing.revision,
            "hub_connected": float(self.routing.connected),
            "workers": 1,
            "client_connections": len(self.clients),
            "upgraded_connections": len(self.tunnels),
            "upstream_connections": self.upstreams.open,
        }

    # -- stopping

    async def drain(self, seconds: float) -> None:
        """Let requests and upgraded connections end, for at most `seconds`; then cut them."""
        self.draining = self.upstreams.draining = True
        began = self.time()
        # Polled: this runs once a process, and connections end in too many places to count them with an event.
        while (self.clients or self.tunnels) and self.time() < began + seconds:
            for client in list(self.clients):
                client.drain(fresh_since=self.time() - _FAREWELL_SECONDS)
            await asyncio.sleep(_DRAIN_POLL_SECONDS)
        for client in list(self.clients):
            client.abort()
        for end in list(self.tunnels):
            end.transport.close()

    async def close(self) -> None:
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self.upstreams.close()
        if self.access is not None:
            self.access.flush()
