"""Several worker processes on one port: kept running, told the routes, added up.

Each has listening sockets of its own on the shared port, bound here and kept open here, so that what waits in the
queue of a worker that crashed is served by the one that replaces it. The hub is followed once, here; workers get
the table and each change over a socket pair and say by which revision they route.
"""

import asyncio
import os
import signal
import socket
import sys
from typing import Any

import msgspec

from perijove.lib.log import get_logger
from perijove.proxy.activity import Activity
from perijove.proxy.control import Control, background
from perijove.proxy.listeners import Place, bind, public_places
from perijove.proxy.main import Addresses, routing_for
from perijove.proxy.metrics import Gauges, Metrics
from perijove.proxy.options import ProxyOptions
from perijove.proxy.routing import Change, WireRoute, WireTable
from perijove.proxy.upstreams import Upstreams
from perijove.proxy.worker_wire import VARIABLE, Down, Start, Up, encode, open_line

log = get_logger(__name__)

_START_SECONDS = 30.0
_SETTLE_SECONDS = 2.0
_REPORT_SECONDS = 1.0
_KILL_AFTER_SECONDS = 5.0
_FIRST_DELAY = 0.1
_LAST_DELAY = 30.0
# A worker that ran this long was healthy: its next crash is a first one.
_HEALTHY_SECONDS = 60.0


class WorkerEnded(OSError):
    """A worker ended, or said nothing, before it served."""


class WorkerLink:
    """One worker as its supervisor sees it; the process behind it may be replaced."""

    def __init__(self, number: int, public: list[socket.socket], redirecting: list[socket.socket]) -> None:
        self.number = number
        self.public = public
        self.redirecting = redirecting
        self.process: asyncio.subprocess.Process | None = None
        self.ready = asyncio.Event()
        self.served = False
        """Whether any process of this link has become ready."""
        self.revision = -1
        self.report = 0
        self.gauges: dict[str, float] = {}
        self._writer: asyncio.StreamWriter | None = None

    async def start(self, options: ProxyOptions) -> asyncio.StreamReader:
        self.revision = -1
        numbers = [sock.fileno() for sock in (*self.public, *self.redirecting)]
        ours, theirs = socket.socketpair()
        with theirs:
            self.process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-P", "-m", "perijove.proxy.worker"),
                stdin=asyncio.subprocess.DEVNULL,
                env={**os.environ, VARIABLE: str(theirs.fileno())},
                pass_fds=(theirs.fileno(), *numbers),
            )
        reader, self._writer = await open_line(ours)
        start = Start(options, [sock.fileno() for sock in self.public], [sock.fileno() for sock in self.redirecting])
        self._writer.write(encode(start))
        return reader

    def say(self, line: bytes) -> None:
        if self._writer is not None and not self._writer.is_closing():
            self._writer.write(line)

    def signal(self, number: signal.Signals) -> None:
        if self.process is not None and self.process.returncode is None:
            self.process.send_signal(number)

    def hang_up(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None
        self.ready.clear()
        self.gauges = {}


class Supervisor:
    """`start`, then `stop`."""

    def __init__(self, options: ProxyOptions) -> None:
        self.options = options
        self.routing = routing_for(options)
        self._activity = Activity()
        self.metrics = Metrics(self._gauges)
        self._upstreams = Upstreams(options)
        self.control = Control(
            options,
            routing=self.routing,
            upstreams=self._upstreams,
            activity=self._activity,
            metrics=self.metrics,
            settled=self._settled,
            before_metrics=self._collect,
        )
        self.links: list[WorkerLink] = []
        self._lives: list[asyncio.Task[None]] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._changed = asyncio.Event()
        self._reports = 0
        self._connected = False
        self._stopping = False

    async def start(self) -> None:
        try:
            self._bind()
            self.routing.on_table.append(self._tell_table)
            self.routing.on_change.append(self._tell_change)
            await self.control.start()
            self._lives = [asyncio.create_task(self._life(link)) for link in self.links]
            await self._all_ready()
        except BaseException:
            await self.stop(0)
            raise
        self._tasks = background(self._keep_telling(), *map(_outcome, self._lives))

    def _bind(self) -> None:
        places = public_places(self.options)
        count = self.options.workers
        public, redirecting = ([_for_each(place, count) for place in kind] for kind in places)
        self.links = [
            WorkerLink(
                number,
                [sock for sockets in public for sock in sockets[number]],
                [sock for sockets in redirecting for sock in sockets[number]],
            )
            for number in range(count)
        ]

    async def _all_ready(self) -> None:
        waiting = asyncio.ensure_future(asyncio.gather(*(link.ready.wait() for link in self.links)))
        either: list[asyncio.Future[Any]] = [waiting, *self._lives]
        done, _ = await asyncio.wait(either, timeout=_START_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        for life in self._lives:
            if life in done:
                await life
        if not done:
            raise WorkerEnded("the workers did not become ready in time")

    @property
    def addresses(self) -> Addresses:
        found = [sock for sock in self.links[0].public if sock.family != socket.AF_UNIX] if self.links else []
        return [sock.getsockname()[:2] for sock in found]

    def reload(self) -> None:
        self.control.reload()
        for link in self.links:
            link.signal(signal.SIGHUP)

    def note_loop_error(self, context: dict[str, Any]) -> None:
        log.error(context.get("message", "unhandled error"), exc_info=context.get("exception"))

    async def stop(self, drain_seconds: float) -> None:
        self._stopping = True
        for link in self.links:
            # Closed in every process, so that nobody connects to a port that nobody serves.
            for sock in (*link.public, *link.redirecting):
                sock.close()
            link.signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(drain_seconds + _KILL_AFTER_SECONDS):
                await asyncio.gather(*self._lives, return_exceptions=True)
        except TimeoutError:
            for link in self.links:
                link.signal(signal.SIGKILL)
            await asyncio.gather(*self._lives, return_exceptions=True)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.control.stop()
        self._upstreams.close()

    # -- the life of a worker

    async def _life(self, link: WorkerLink) -> None:
        """Start it again whenever it ends; raise if it never served."""
        loop = asyncio.get_running_loop()
        delay = _FIRST_DELAY
        while True:
            began = loop.time()
            await self._once(link)
            if self._stopping:
                return
            if not link.served:
                raise WorkerEnded("a worker ended during its start")
            if loop.time() - began > _HEALTHY_SECONDS:
                delay = _FIRST_DELAY
            code = link.process.returncode if link.process is not None else None
            log.error("a worker ended; starting another", worker=link.number, code=code, in_seconds=delay)
            await asyncio.sleep(delay)
            delay = min(delay * 2, _LAST_DELAY)

    async def _once(self, link: WorkerLink) -> None:
        reader = await link.start(self.options)
        assert link.process is not None
        if self.routing.table.loaded:
            link.say(encode(Down(table=self._table())))
        link.say(encode(Down(connected=self.routing.connected)))
        try:
            while line := await reader.readline():
                self._hear(link, msgspec.json.decode(line, type=Up))
        except ConnectionError:
            pass  # it was killed; its end says how
        except msgspec.MsgspecError as error:
            # Of another version, after an upgrade under our feet: a new process is of this one.
            log.error("a worker said what cannot be read", problem=str(error))  # noqa: TRY400 - said above
            link.signal(signal.SIGKILL)
        finally:
            await link.process.wait()
            link.hang_up()
            self._changed.set()

    def _hear(self, link: WorkerLink, said: Up) -> None:
        if said.ready:
            link.ready.set()
            link.served = True
        if said.revision is not None:
            link.revision = said.revision
            self._changed.set()
        if said.touched:
            self._activity.merge(said.touched)
            routes = self.routing.table.routes
            for prefix, at in said.touched.items():
                route = routes.get(prefix)
                if route is not None:
                    route.last_activity = max(route.last_activity, at)
        if said.counts is not None:
            self.metrics.add(said.counts)
            link.gauges = said.gauges
        if said.report is not None:
            link.report = said.report
            self._changed.set()

    # -- telling

    def _table(self) -> WireTable:
        routes = [
            WireRoute(route.prefix, route.target, dict(route.data)) for route in self.routing.table.routes.values()
        ]
        return WireTable(self.routing.epoch, self.routing.revision, routes)

    def _tell(self, message: Down) -> None:
        line = encode(message)
        for link in self.links:
            link.say(line)

    def _tell_table(self) -> None:
        self._tell(Down(table=self._table(), connected=self.routing.connected))

    def _tell_change(self, change: Change) -> None:
        self._tell(Down(change=change, connected=self.routing.connected))

    async def _keep_telling(self) -> None:
        """That the hub went away changes no route, but which error pages are shown."""
        while True:
            await asyncio.sleep(_REPORT_SECONDS)
            if self.routing.connected != self._connected:
                self._connected = self.routing.connected
                self._tell(Down(connected=self._connected))

    async def _settled(self, revision: int) -> None:
        await self._until(lambda link: link.revision >= revision)

    async def _collect(self) -> None:
        """Everything that workers have counted, for who reads the metrics now."""
        self._reports += 1
        number = self._reports
        self._tell(Down(report=number))
        await self._until(lambda link: link.report >= number)

    async def _until(self, condition: Any) -> None:
        """Of every worker that runs. One that hangs must not hang others."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + _SETTLE_SECONDS
        while not all(condition(link) for link in self.links if link.ready.is_set()):
            self._changed.clear()
            try:
                async with asyncio.timeout_at(deadline):
                    await self._changed.wait()
            except TimeoutError:
                log.warning("a worker is slow to follow")
                return

    def _gauges(self) -> Gauges:
        added: Gauges = {}
        for link in self.links:
            for name, value in link.gauges.items():
                added[name] = added.get(name, 0) + value
        own = {
            "routes": len(self.routing.table),
            "route_revision": self.routing.revision,
            "hub_connected": float(self.routing.connected),
            "workers": sum(link.ready.is_set() for link in self.links),
        }
        return {**added, **own}


def _for_each(place: Place, count: int) -> list[list[socket.socket]]:
    """The sockets of each worker: their own for an address, shared otherwise."""
    if place.unix is not None or place.descriptor >= 0:
        return [bind(place)] * count
    first = bind(place, reuse_port=True)
    same = Place(place.host, first[0].getsockname()[1])
    return [first, *(bind(same, reuse_port=True) for _ in range(count - 1))]


async def _outcome(life: "asyncio.Task[None]") -> None:
    """So that a life that fails is logged as the bug it is."""
    await asyncio.shield(life)
