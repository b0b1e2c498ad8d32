"""One of several processes that serve: its table comes from the supervisor, and what it counts goes there.

Run as `python -m perijove.proxy.worker` by `supervisor` alone. It ends when the supervisor does: without one,
nobody would follow the hub.
"""

import asyncio
import os
import signal
import socket
import sys
from contextlib import suppress
from typing import Any

import msgspec

from perijove.lib.log import configure
from perijove.proxy.activity import Activity
from perijove.proxy.control import background
from perijove.proxy.doors import Doors
from perijove.proxy.main import Addresses, routing_for, run
from perijove.proxy.options import ProxyOptions
from perijove.proxy.plane import DataPlane
from perijove.proxy.process import loop_factory, max_clients, raise_file_limit, settle_memory
from perijove.proxy.upstreams import Upstreams
from perijove.proxy.worker_wire import VARIABLE, Down, Start, Up, decode_start, encode, open_line

_REPORT_SECONDS = 1.0


class Worker:
    """Serves on sockets that were bound for it."""

    def __init__(self, start: Start, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.options: ProxyOptions = start.options
        self._start = start
        self._reader = reader
        self._writer = writer
        self._activity = Activity()
        self.routing = routing_for(self.options)
        self.plane = DataPlane(
            self.options,
            routing=self.routing,
            upstreams=Upstreams(self.options),
            activity=self._activity,
            max_clients=max_clients(self.options),
        )
        self.doors = Doors(self.options, self.plane)
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        await self.doors.open(
            [socket.socket(fileno=number) for number in self._start.public],
            [socket.socket(fileno=number) for number in self._start.redirecting],
        )
        self._tasks = background(
            self._listen(),
            self._keep_reporting(),
            self.plane.keep_sweeping(),
            self.plane.hub_watch.run(),
            self.doors.keep_certificates(),
        )
        self._say(Up(ready=True))

    @property
    def addresses(self) -> Addresses:
        return self.doors.addresses

    def reload(self) -> None:
        self.doors.reload()
        self.plane.upstreams.forget_tls()

    def note_loop_error(self, context: dict[str, Any]) -> None:
        self.plane.note_loop_error(context)

    async def stop(self, drain_seconds: float) -> None:
        self.doors.close()
        await self.plane.drain(drain_seconds)
        self._report()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.plane.close()
        self._writer.close()

    async def _listen(self) -> None:
        # One that died before it had read all that we reported is a reset, not an end.
        with suppress(ConnectionError):
            while line := await self._reader.readline():
                await self._obey(msgspec.json.decode(line, type=Down))
        # The supervisor is gone.
        os.kill(os.getpid(), signal.SIGTERM)

    async def _obey(self, told: Down) -> None:
        routing = self.routing
        if told.table is not None:
            table = await routing.build(told.table.routes)
            routing.replace(table, epoch=told.table.epoch, revision=told.table.revision)
            self._say(Up(revision=routing.revision))
        if told.change is not None:
            routing.apply(told.change)
            self._say(Up(revision=routing.revision))
        if told.connected is not None:
            routing.connected = told.connected
        if told.report is not None:
            self._report(told.report)

    async def _keep_reporting(self) -> None:
        while True:
            await asyncio.sleep(_REPORT_SECONDS)
            self._report()

    def _report(self, number: int | None = None) -> None:
        counts = self.plane.metrics.take()
        gauges = self.plane.gauges()
        self._say(Up(touched=self._activity.take_raw(), counts=counts, gauges=gauges, report=number))

    def _say(self, message: Up) -> None:
        if not self._writer.is_closing():
            self._writer.write(encode(message))


async def _work(sock: socket.socket) -> int:
    reader, writer = await open_line(sock)
    start = decode_start(await reader.readline())
    configure(json=start.options.log_json, debug=start.options.debug)
    worker = Worker(start, reader, writer)
    settle_memory(worker.routing)
    return await run(worker)


def main() -> int:
    # The terminal's Ctrl-C reaches the supervisor, too, which then stops us in order.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    raise_file_limit()
    sock = socket.socket(fileno=int(os.environ.pop(VARIABLE)))
    with asyncio.Runner(loop_factory=loop_factory(), debug=False) as runner:
        return runner.run(_work(sock))


if __name__ == "__main__":
    sys.exit(main())
