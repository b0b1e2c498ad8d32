"""`Service`: one address in front of several processes, as a Service of Kubernetes or a balancer of connections is.

    with run_service() as service:          # service.url, service.host, service.port
        service.lead_to(one, two)           # new connections go to these in turn: what is ready
        service.lead_to(two)                # open connections to the first go on until somebody ends them
        service.target_of(local_port)       # whom this client was led to

It knows nothing of HTTP and retries nothing: a request that a leaving process leaves unanswered is seen to fail.
"""

import asyncio
import threading
from collections.abc import Coroutine, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Protocol, TypeVar

from perijove.cli.listening import BACKLOG, free_port

T = TypeVar("T")
_CHUNK = 65536
_SECONDS = 10


class Endpoint(Protocol):
    host: str
    port: int


class Service:
    """Made by `run_service`. Runs in a thread with a loop of its own; calls block until done."""

    def __init__(self, host: str) -> None:
        self.host, self.port = host, free_port(host)
        self._endpoints: Sequence[Endpoint] = ()
        self._turn = 0
        self._led: dict[int, Endpoint] = {}
        self._open: set[asyncio.Task[None]] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="service", daemon=True)
        self._thread.start()
        self._server = self._run(asyncio.start_server(self._accept, host, self.port, backlog=BACKLOG))

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"

    def lead_to(self, *endpoints: Endpoint) -> None:
        self._endpoints = endpoints

    def target_of(self, port: int) -> Endpoint | None:
        """Where the connection that comes, or last came, from this port leads to."""
        return self._led.get(port)

    def close(self) -> None:
        self._run(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_SECONDS)
        self._loop.close()

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(_SECONDS)

    async def _end(self) -> None:
        self._server.close()
        tasks = list(self._open)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._open.add(task)
        there: asyncio.StreamWriter | None = None
        try:
            self._turn += 1
            endpoint = self._endpoints[self._turn % len(self._endpoints)]
            self._led[writer.get_extra_info("peername")[1]] = endpoint
            back, there = await asyncio.open_connection(endpoint.host, endpoint.port)
            async with asyncio.TaskGroup() as group:
                group.create_task(_pump(reader, there))
                group.create_task(_pump(back, writer))
        except (OSError, ExceptionGroup, asyncio.CancelledError):
            pass  # either end went away, and the other is told below; or the service itself goes, and nobody waits
        finally:
            self._open.discard(task)
            for side in (writer, there):
                if side is not None:
                    side.close()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(_CHUNK):
        writer.write(data)
        await writer.drain()
    with suppress(OSError):
        writer.write_eof()


@contextmanager
def run_service(host: str = "127.0.0.1") -> Iterator[Service]:
    service = Service(host)
    try:
        yield service
    finally:
        service.close()
