"""A proxy process: listen, follow, serve until told to stop.

SIGTERM or SIGINT drains (a second one stops at once), SIGHUP reads certificates and routes again. Exit codes: 0
stopped as asked, 1 could not start.
"""

import asyncio
import os
import signal
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Protocol

from perijove.lib.log import configure, get_logger
from perijove.proxy.activity import Activity
from perijove.proxy.control import Control, background
from perijove.proxy.doors import Doors
from perijove.proxy.entrance import pinned_routes
from perijove.proxy.listeners import bind, public_places
from perijove.proxy.options import ProxyOptions
from perijove.proxy.plane import DataPlane
from perijove.proxy.process import loop_factory, max_clients, raise_file_limit, settle_memory
from perijove.proxy.routing import Routing
from perijove.proxy.systemd import Notifier
from perijove.proxy.upstreams import Upstreams

log = get_logger(__name__)

Addresses = Sequence[tuple[str, int]]
Ready = Callable[[Addresses], None]
"""Called with the addresses once the public side listens."""

_CANNOT_START = 1


class Serving(Protocol):
    """A proxy of one process, or the supervisor of several."""

    options: ProxyOptions

    async def start(self) -> None:
        """Raises OSError if an address cannot be listened on, or a certificate not be used."""
        ...

    async def stop(self, drain_seconds: float) -> None: ...
    def reload(self) -> None: ...
    def note_loop_error(self, context: dict[str, Any]) -> None: ...

    @property
    def addresses(self) -> Addresses: ...


class Proxy:
    """One proxy on the running loop; `start`, then `stop`."""

    def __init__(self, options: ProxyOptions) -> None:
        self.options = options
        activity = Activity()
        upstreams = Upstreams(options)
        self.routing = routing_for(options)
        self.plane = DataPlane(
            options, routing=self.routing, upstreams=upstreams, activity=activity, max_clients=max_clients(options)
        )
        self.control = Control(
            options, routing=self.routing, upstreams=upstreams, activity=activity, metrics=self.plane.metrics
        )
        self.doors = Doors(options, self.plane)
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        try:
            places = public_places(self.options)
            sockets = [sock for place in places.public for sock in bind(place, reuse_port=self.options.reuse_port)]
            redirecting = [sock for place in places.redirect for sock in bind(place)]
            await self.doors.open(sockets, redirecting)
            await self.control.start()
        except BaseException:
            await self.stop(0)
            raise
        self._tasks = background(self.plane.keep_sweeping(), self.plane.hub_watch.run(), self.doors.keep_certificates())

    @property
    def addresses(self) -> Addresses:
        return self.doors.addresses

    def reload(self) -> None:
        self.doors.reload()
        self.control.reload()
        self.plane.upstreams.forget_tls()

    def note_loop_error(self, context: dict[str, Any]) -> None:
        self.plane.note_loop_error(context)

    async def stop(self, drain_seconds: float) -> None:
        """Accept nothing more, let go on what may, then close."""
        self.doors.close()
        await self.plane.drain(drain_seconds)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.control.stop()
        await self.plane.close()


def routing_for(options: ProxyOptions) -> Routing:
    return Routing(
        base_url=options.base_url,
        pinned=pinned_routes(options),
        hold_seconds=options.timeouts.hold_seconds,
    )


async def run(serving: Serving, ready: Ready | None = None) -> int:
    """Serve until SIGTERM or SIGINT; the exit code."""
    options = serving.options
    told = asyncio.Event()
    again = asyncio.Event()
    loop = asyncio.get_running_loop()
    notify = Notifier(os.environ)

    def on_signal() -> None:
        (again if told.is_set() else told).set()

    def on_reload() -> None:
        notify("RELOADING=1")
        serving.reload()
        notify("READY=1")

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal)
    try:
        await serving.start()
    except OSError as error:
        log.critical("cannot start", problem=str(error))
        return _CANNOT_START
    loop.set_exception_handler(lambda _, context: serving.note_loop_error(context))
    loop.add_signal_handler(signal.SIGHUP, on_reload)
    where = [f"{host}:{port}" for host, port in serving.addresses]
    log.info("proxy listens", addresses=[*where, *map(str, options.unix_sockets)])
    if options.pid_file is not None:
        options.pid_file.write_text(f"{os.getpid()}\n", encoding="ascii")
    notify("READY=1", f"STATUS=Listening on {', '.join(where)}", f"MAINPID={os.getpid()}")
    if ready is not None:
        ready(serving.addresses)
    await told.wait()
    log.info("proxy stops", drain_seconds=options.drain_seconds)
    notify("STOPPING=1")
    await _stop(serving, again)
    if options.pid_file is not None:
        options.pid_file.unlink(missing_ok=True)
    return 0


async def _stop(serving: Serving, again: asyncio.Event) -> None:
    stopping = asyncio.create_task(serving.stop(serving.options.drain_seconds))
    at_once = asyncio.create_task(again.wait())
    await asyncio.wait((stopping, at_once), return_when=asyncio.FIRST_COMPLETED)
    if not stopping.done():
        stopping.cancel()
        with suppress(asyncio.CancelledError):
            await stopping
        await serving.stop(0)
    at_once.cancel()


def serve(options: ProxyOptions, ready: Ready | None = None) -> int:
    """Run a proxy as this process; the exit code."""
    configure(json=options.log_json, debug=options.debug)
    raise_file_limit()
    with asyncio.Runner(loop_factory=loop_factory(), debug=False) as runner:
        return runner.run(_made_and_run(options, ready))


async def _made_and_run(options: ProxyOptions, ready: Ready | None) -> int:
    serving: Serving
    try:
        if options.workers > 1:
            from perijove.proxy.supervisor import Supervisor  # noqa: PLC0415 - what one process needs not load

            serving = Supervisor(options)
        else:
            serving = Proxy(options)
            settle_memory(serving.routing)
    except OSError as error:
        log.critical("cannot start", problem=str(error))
        return _CANNOT_START
    return await run(serving, ready)
