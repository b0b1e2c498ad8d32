"""Many servers at once, started and stopped, while somebody asks the hub every 20 ms whether it is well.

The questions come on a clock and not one after the other's answer: a hub that answers nothing for a second owes
fifty answers, and its percentiles say so.
"""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from http import HTTPStatus

from bench.load import Client

PROBE_SECONDS = 0.02
LOOK_SECONDS = 0.02
# Of a hub that was asked to do something and has not finished when it answers.
PATIENCE_SECONDS = 120


@dataclass(frozen=True)
class Storm:
    per_second: float
    # Of each answer.
    health_ms: list[float]


class Prober:
    """Open-loop GET /hub/health."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._idle: list[Client] = []
        self._running: set[asyncio.Task[None]] = set()
        self.took: list[float] = []

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        due = loop.time()
        while True:
            task = loop.create_task(self._probe(due))
            self._running.add(task)
            task.add_done_callback(self._running.discard)
            due += PROBE_SECONDS
            await asyncio.sleep(max(0, due - loop.time()))

    async def _probe(self, due: float) -> None:
        client = self._idle.pop() if self._idle else Client(self._port)
        status, _, _ = await client.request("GET /hub/health HTTP/1.1\r\n")
        if status != HTTPStatus.OK:
            raise SystemExit(f"GET /hub/health answered {status}")
        self.took.append(asyncio.get_running_loop().time() - due)
        self._idle.append(client)

    async def settle(self) -> None:
        """Take the answers that are still owed."""
        await asyncio.gather(*self._running)
        for client in self._idle:
            client.close()


async def storm(ports: list[int], users: list[str], *, token: str, start: bool, connections: int) -> Storm:
    """Start, or stop, a server for each of `users`, over `connections` spread over the hubs at `ports`."""
    loop = asyncio.get_running_loop()
    prober = Prober(ports[0])
    probing = loop.create_task(prober.run())
    names = iter(users)
    clients = [Client(ports[number % len(ports)]) for number in range(connections)]
    await asyncio.gather(*(client.connect() for client in clients))
    began = loop.time()
    await asyncio.gather(*(_act(client, names, token, start=start) for client in clients))
    seconds = loop.time() - began
    probing.cancel()
    await prober.settle()
    return Storm(len(users) / seconds, [took * 1000 for took in prober.took])


def p99(values: list[float]) -> float:
    return sorted(values)[int(len(values) * 0.99)]


async def _act(client: Client, names: Iterator[str], token: str, *, start: bool) -> None:
    authorization = f"Authorization: token {token}\r\n"
    verb, done = ("POST", HTTPStatus.CREATED) if start else ("DELETE", HTTPStatus.NO_CONTENT)
    for name in names:
        status, _, body = await client.request(f"{verb} /hub/api/users/{name}/server HTTP/1.1\r\n{authorization}")
        if status == HTTPStatus.ACCEPTED:
            await _until_done(client, name, authorization, start=start)
        elif status != done:
            raise SystemExit(f"{verb} of the server of {name} answered {status}: {body[:300]!r}")
    client.close()


async def _until_done(client: Client, name: str, authorization: str, *, start: bool) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            _, _, body = await client.request(f"GET /hub/api/users/{name} HTTP/1.1\r\n{authorization}")
            if (b'"pending":null' in body.replace(b" ", b"")) and (b'"ready":true' in body.replace(b" ", b"")) == start:
                return
            await asyncio.sleep(LOOK_SECONDS)
