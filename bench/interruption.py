"""How long clients wait, and what fails for them, when a hub, a proxy or the database dies.

Two hubs and two proxies on one PostgreSQL. One client asks the hub who its token's owner is, another asks a user's
server, again and again; either goes to the other proxy when one does not answer, as a balancer in front of both
would have it do. The peer has one hub and one proxy: a program starts them again at once, as Kubernetes would.
"""

import asyncio
import sys
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import ExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from itertools import pairwise
from pathlib import Path
from typing import Any

from bench import report, rig
from bench.load import Client
from bench.rig import COMMON, Hub
from bench.two_hubs import CONFIG
from perijove.testing.databases import PostgreSQL
from perijove.testing.replicas import Cluster, run_cluster
from perijove.testing.waiting import until

EVERY_SECONDS = 0.01
# Before something happens, and after it has: what follows from it comes within this time.
CALM_SECONDS, AFTER_SECONDS = 0.5, 2.0
# A frozen process sleeps so long: longer than its lease.
FROZEN_SECONDS = 20.0
PATIENCE_SECONDS = 60.0
USER = "ada"
HUB, SERVER = "hub", "server"
Seen = dict[str, "Asker"]
Fault = Callable[[], Awaitable[None]]


@dataclass
class Asker:
    """One request again and again, each when its time has come and the last was answered."""

    ports: list[int]
    path: str
    token: str
    # When the answers came that a client wants.
    times: list[float] = field(default_factory=list)
    # What came instead: a status, with whether it says when to come again.
    bad: Counter[str] = field(default_factory=Counter)
    task: "asyncio.Task[None] | None" = None
    began: float = 0.0
    ended: float = 0.0

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        clients = [Client(port) for port in self.ports]
        while True:
            due = loop.time() + EVERY_SECONDS
            answer = await self._ask(clients)
            if answer == "200":
                self.times.append(loop.time())
            else:
                self.bad[answer] += 1
            await asyncio.sleep(max(0, due - loop.time()))

    async def _ask(self, clients: list[Client]) -> str:
        head = f"GET {self.path} HTTP/1.1\r\nAuthorization: token {self.token}\r\n"
        for _ in tuple(clients):
            try:
                async with asyncio.timeout(PATIENCE_SECONDS):
                    status, headers, _ = await clients[0].request(head)
            except (OSError, EOFError):
                # Nobody is there, or nobody is there any more: what only reads may be asked again.
                clients[0].close()
                clients.append(clients.pop(0))
            else:
                again = b"\r\nretry-after:" in headers.lower()
                return f"{status}{' with Retry-After' if again else ''}"
        return "no answer"

    @property
    def gap(self) -> float:
        return self._longest()[0]

    @property
    def gap_from(self) -> float:
        """After so many seconds."""
        return self._longest()[1] - self.began

    def _longest(self) -> tuple[float, float]:
        return max((later - sooner, sooner) for sooner, later in pairwise([self.began, *self.times, self.ended]))

    async def answered(self) -> None:
        """Until an answer comes to something that is asked from now on."""
        asked = len(self.times) + 1
        # What never comes back is in the gap.
        with suppress(TimeoutError):
            await until(lambda: len(self.times) > asked, seconds=PATIENCE_SECONDS)


@asynccontextmanager
async def asking(ports: list[int], token: str) -> AsyncIterator[Seen]:
    seen = {
        HUB: Asker(ports, f"/hub/api/users/{USER}", token),
        SERVER: Asker(ports, f"/user/{USER}/api", token),
    }
    loop = asyncio.get_running_loop()
    for asker in seen.values():
        asker.began = loop.time()
        asker.task = loop.create_task(asker.run())
    try:
        yield seen
    finally:
        for asker in seen.values():
            asker.ended = loop.time()
            asker.task.cancel()
            with suppress(asyncio.CancelledError):
                await asker.task


async def while_it_happens(ports: list[int], token: str, fault: Fault) -> Seen:
    async with asking(ports, token) as seen:
        await asyncio.sleep(CALM_SECONDS)
        await fault()
        for asker in seen.values():
            await asker.answered()
        await asyncio.sleep(AFTER_SECONDS)
    return seen


@dataclass(frozen=True)
class Event:
    name: str
    target: str
    # Whether what was seen is what is promised.
    kept: Callable[[Seen], bool] | None
    happen: Callable[[Cluster, PostgreSQL, int], Awaitable[None]]
    # Rounds, where more would take too long.
    at_most: int = 100


async def _nothing(cluster: Cluster, database: PostgreSQL, number: int) -> None:
    await asyncio.sleep(AFTER_SECONDS)


async def _hub_killed(cluster: Cluster, database: PostgreSQL, number: int) -> None:
    hub = cluster.hubs[number % len(cluster.hubs)]
    hub.kill()
    await asyncio.sleep(AFTER_SECONDS)
    await hub.restart()


async def _hub_frozen(cluster: Cluster, database: PostgreSQL, number: int) -> None:
    hub = cluster.hubs[number % len(cluster.hubs)]
    hub.freeze()
    await asyncio.sleep(FROZEN_SECONDS)
    hub.wake()


async def _proxy_killed(cluster: Cluster, database: PostgreSQL, number: int) -> None:
    # The one that clients ask first.
    cluster.proxies[0].kill()
    await asyncio.sleep(AFTER_SECONDS)
    await cluster.proxies[0].restart()


async def _database_restarted(cluster: Cluster, database: PostgreSQL, number: int) -> None:
    await asyncio.to_thread(database.restart)


def _none_failed(seen: Seen) -> bool:
    return not any(asker.bad for asker in seen.values())


def _under_a_second(seen: Seen) -> bool:
    return _none_failed(seen) and all(asker.gap < 1 for asker in seen.values())


def _said_so(seen: Seen) -> bool:
    return not seen[SERVER].bad and set(seen[HUB].bad) <= {"503 with Retry-After"}


EVENTS = (
    Event("nothing", "", None, _nothing),
    Event("a hub is killed", "0 failed", _none_failed, _hub_killed),
    Event(f"a hub is frozen for {FROZEN_SECONDS:.0f} s", "", None, _hub_frozen, at_most=1),
    Event("a proxy is killed, behind another", "0 failed, under 1 s", _under_a_second, _proxy_killed),
    Event("the database restarts", "hub: only 503 with Retry-After; servers: 0 failed", _said_so, _database_restarted),
)


def measured(place: Path, rounds: int) -> list[report.Seen]:
    return [*_ours(place / "replicas", rounds), *_peers(place / "peer", rounds)]


def _ours(place: Path, rounds: int) -> list[report.Seen]:
    place.mkdir(parents=True)
    with (
        PostgreSQL() as database,
        run_cluster(place, CONFIG, database=database.create_database(), links=False, start=False) as cluster,
    ):
        for hub in cluster.hubs:
            hub.environment = {**hub.environment, **COMMON}
        asyncio.run(_prepared(cluster))
        ports = [proxy.port for proxy in cluster.proxies]
        taken: dict[Event, list[Seen]] = {event: [] for event in EVENTS}
        for number in range(rounds):
            for event in EVENTS:
                if number >= event.at_most:
                    continue

                async def fault(event: Event = event, number: int = number) -> None:
                    await event.happen(cluster, database, number)

                seen = asyncio.run(_settled(cluster, while_it_happens(ports, cluster.token, fault)))
                _tell("perijove", event.name, seen)
                taken[event].append(seen)
    who = "Perijove, 2 hubs, 2 proxies"
    return [
        _row(event.name, who, seen, event.target, all(map(event.kept, seen)) if event.kept else None)
        for event, seen in taken.items()
    ]


async def _prepared(cluster: Cluster) -> None:
    await cluster.ready()
    for path in (f"/users/{USER}", f"/users/{USER}/server"):
        status, answer = await cluster.api("POST", path)
        if status >= HTTPStatus.MULTIPLE_CHOICES:
            raise SystemExit(f"POST {path} answered {status}: {answer}")


async def _settled(cluster: Cluster, episode: Awaitable[Seen]) -> Seen:
    await cluster.ready()
    return await episode


def _peers(place: Path, rounds: int) -> list[report.Seen]:
    """What has a counterpart there: its hub dies and is started again, and the database restarts."""
    with ExitStack() as stack:
        database = stack.enter_context(PostgreSQL())
        hub = rig.peer(place, database.create_database())
        stack.callback(hub.close)
        hub.start()
        hub.call("POST", f"/users/{USER}")
        hub.call("POST", f"/users/{USER}/server")

        async def killed() -> None:
            await asyncio.to_thread(_kill_and_start, hub)

        async def restarted() -> None:
            await asyncio.to_thread(database.restart)

        taken: dict[str, list[Seen]] = {}
        for _ in range(rounds):
            for name, fault in (("a hub is killed", killed), ("the database restarts", restarted)):
                seen = asyncio.run(while_it_happens([hub.public_port], hub.token, fault))
                _tell("jupyterhub", name, seen)
                taken.setdefault(name, []).append(seen)
                if hub.process.poll() is not None:
                    hub.start()
    who = f"JupyterHub {rig.peer_version()}, its hub started again at once"
    return [_row(name, who, seen, "", None) for name, seen in taken.items()]


def _kill_and_start(hub: Hub) -> None:
    hub.process.kill()
    hub.process.wait()
    hub.start()


def _tell(who: str, name: str, seen: Seen) -> None:
    shown = (
        f"{kind} {asker.bad.total()} failed {dict(asker.bad)}, gap {asker.gap:.3f} s from {asker.gap_from:.1f} s"
        for kind, asker in seen.items()
    )
    print(f"interruption {who}, {name}: {'; '.join(shown)}", file=sys.stderr)


def _row(name: str, who: str, taken: list[Seen], target: str, met: bool | None) -> report.Seen:
    requests: dict[str, dict[str, Any]] = {}
    for kind in (HUB, SERVER):
        askers = [seen[kind] for seen in taken]
        bad = sum((asker.bad for asker in askers), Counter())
        requests[kind] = {
            "asked": sum(len(asker.times) for asker in askers) + bad.total(),
            "failed": bad.total(),
            "answers": dict(bad),
            "gap_s": round(max(asker.gap for asker in askers), 3),
        }
    return report.Seen(name, "postgresql", who, len(taken), requests, target, met)
