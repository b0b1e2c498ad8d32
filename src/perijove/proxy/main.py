"""A proxy process: listen, follow, serve until told to stop.

SIGTERM or SIGINT drains (a second one stops at once), SIGHUP reads the routes again. Exit codes: 0 stopped as
asked, 1 could not listen.
"""

import asyncio
import gc
import resource
import signal
import socket
import ssl
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from perijove.lib.log import configure, get_logger
from perijove.proxy.metrics_server import MetricsServer
from perijove.proxy.options import ProxyOptions
from perijove.proxy.plane import DataPlane
from perijove.proxy.server import ClientConnection

log = get_logger(__name__)

Ready = Callable[[Sequence[tuple[str, int]]], None]
"""Called with the addresses once the public side listens."""

_BACKLOG = 4096
# Kept back for the hubs, logs, the saved table and listeners.
_RESERVED_FILES = 128
_CANNOT_LISTEN = 1


class Proxy:
    """One proxy on the running loop; `start`, then `stop`."""

    def __init__(self, options: ProxyOptions) -> None:
        self.options = options
        self.plane = DataPlane(options, max_clients=options.limits.clients or _clients_for(_file_limit()))
        self._servers: list[asyncio.Server] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._metrics: MetricsServer | None = None

    async def start(self) -> None:
        """Raises OSError if an address cannot be listened on."""
        options, plane = self.options, self.plane
        await plane.hubs.open()
        context = _server_tls(options)
        try:
            await self._listen(context)
            if options.metrics_listen:
                self._metrics = MetricsServer(plane.metrics)
                await self._metrics.start(*options.metrics_listen)
        except BaseException:
            await self.stop(0)
            raise
        follower = plane.follower
        self._tasks = [
            asyncio.create_task(work(), name=work.__qualname__)
            for work in (follower.run, follower.keep_saved, follower.report_activity, plane.keep_sweeping)
        ]
        for task in self._tasks:
            task.add_done_callback(_note_end)

    async def _listen(self, context: ssl.SSLContext | None) -> None:
        loop = asyncio.get_running_loop()
        plane = self.plane

        def make() -> ClientConnection:
            return ClientConnection(plane)

        reuse = self.options.reuse_port or None
        for host, port in self.options.listen:
            address = host if host not in ("", "*") else None
            self._servers.append(
                await loop.create_server(
                    make, address, port, backlog=_BACKLOG, reuse_address=True, reuse_port=reuse, ssl=context
                )
            )
        for descriptor in self.options.sockets:
            sock = socket.socket(fileno=descriptor)
            self._servers.append(await loop.create_server(make, sock=sock, backlog=_BACKLOG, ssl=context))
        for path in self.options.unix_sockets:
            self._servers.append(await loop.create_unix_server(make, str(path), backlog=_BACKLOG, ssl=context))

    @property
    def addresses(self) -> list[tuple[str, int]]:
        return [
            sock.getsockname()[:2]
            for server in self._servers
            for sock in server.sockets
            if sock.family != socket.AF_UNIX
        ]

    @property
    def metrics_address(self) -> tuple[str, int] | None:
        return self._metrics.address if self._metrics else None

    def reload(self) -> None:
        self.plane.follower.relist()

    async def stop(self, drain_seconds: float) -> None:
        """Accept nothing more, let go on what may, then close."""
        for server in self._servers:
            server.close()
        await self.plane.drain(drain_seconds)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._tasks:
            await self.plane.follower.save_now()
            await self.plane.follower.report_now()
        if self._metrics is not None:
            await self._metrics.stop()
        await self.plane.close()


async def run(options: ProxyOptions, ready: Ready | None = None) -> int:
    """Serve until SIGTERM or SIGINT; the exit code."""
    proxy = Proxy(options)
    try:
        await proxy.start()
    except OSError as error:
        log.critical("cannot listen", problem=str(error), addresses=[f"{host}:{port}" for host, port in options.listen])
        return _CANNOT_LISTEN
    log.info("proxy listens", addresses=[f"{host}:{port}" for host, port in proxy.addresses])
    # What is here now, and a table of a hundred thousand routes later, lives as long as we do: a collector that
    # looks through it again and again only stops the traffic.
    gc.collect()
    gc.freeze()
    proxy.plane.follower.after_list = gc.freeze
    told = asyncio.Event()
    again = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(_log_bug)

    def on_signal() -> None:
        (again if told.is_set() else told).set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal)
    loop.add_signal_handler(signal.SIGHUP, proxy.reload)
    if ready is not None:
        ready(proxy.addresses)
    await told.wait()
    log.info("proxy stops", drain_seconds=options.drain_seconds)
    stopping = asyncio.create_task(proxy.stop(options.drain_seconds))
    at_once = asyncio.create_task(again.wait())
    await asyncio.wait((stopping, at_once), return_when=asyncio.FIRST_COMPLETED)
    if not stopping.done():
        stopping.cancel()
        with suppress(asyncio.CancelledError):
            await stopping
        await proxy.stop(0)
    at_once.cancel()
    return 0


def serve(options: ProxyOptions, ready: Ready | None = None) -> int:
    """Run a proxy as this process; the exit code. On uvloop where it is installed (a tenth faster)."""
    configure(json=options.log_json, debug=options.debug)
    _raise_file_limit()
    with asyncio.Runner(loop_factory=_loop_factory(), debug=False) as runner:
        return runner.run(run(options, ready))


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop  # noqa: PLC0415 - optional
    except ImportError:
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory


def _note_end(task: "asyncio.Task[None]") -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        message = f"background work ended: {task.get_name()}"
        task.get_loop().call_exception_handler({"message": message, "exception": error})


def _log_bug(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """What nobody has caught, in the log's format."""
    log.error(context.get("message", "unhandled error"), exc_info=context.get("exception"))


def _server_tls(options: ProxyOptions) -> ssl.SSLContext | None:
    if options.ssl_cert is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(options.ssl_cert, options.ssl_key)
    context.set_alpn_protocols(["http/1.1"])
    return context


def _file_limit() -> int:
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def _clients_for(files: int) -> int:
    """Each client may need a second descriptor towards its target."""
    return max(16, (files - _RESERVED_FILES) // 2)


def _raise_file_limit() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
