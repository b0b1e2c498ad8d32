"""How much more two hubs can do than one, on one PostgreSQL; the peer has no second hub.

Two hubs, their database and the load want more than two processors, so here a rate on the clock says little. What
limits hubs is the one that is busy first: what all did for each second of *its* processor time. That counts what
they do twice (both hear of every change) and how unevenly work is dealt out, and not the database, which is one for
one hub as for two. As much as the clock said stands in the results (`beside`), with the database's processor time.
Everything may run on both processors, for one hub as for two: else one would pay for waking others on another
processor, and two would not.
"""

import asyncio
import os
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from bench import load, report
from bench.measures import Row
from bench.rig import COMMON, processor_seconds
from bench.storm import storm
from perijove.testing.databases import PostgreSQL
from perijove.testing.replicas import Cluster, run_cluster

WANTED = 1.6
# For one hub as for two: 64 for each of the two.
CONNECTIONS = 128
PART = "two hubs"
STARTED, STOPPED, LOGINS, REQUESTS = ROWS = tuple(
    Row(f"two hubs, {what} a processor second of the busiest", unit, WANTED)
    for what, unit in (
        ("servers started", "servers/s"),
        ("servers stopped", "servers/s"),
        ("logins", "logins/s"),
        ("GET /hub/api/user", "requests/s"),
    )
)
CONFIG = {
    "hub": {
        "config": {
            "JupyterHub": {
                "spawner_class": "bench.no_spawner.NoSpawner",
                # As in the rows beside the peer: a start is answered when the server is there.
                "tornado_settings": {"slow_spawn_timeout": 10},
            }
        },
        "concurrentSpawnLimit": 1000,
    },
    "cull": {"enabled": False},
}


@dataclass(frozen=True)
class Sample:
    per_busiest_second: float
    per_second: float
    # A second of the clock.
    database_share: float


@dataclass
class Group:
    """So many hubs on a database of their own."""

    cluster: Cluster
    database: PostgreSQL
    users: list[str]

    @property
    def ports(self) -> list[int]:
        return [hub.port for hub in self.cluster.hubs]

    def sample(self, act: Callable[[], tuple[float, float]]) -> Sample:
        """`act` says how many it did, and how many a second."""
        pids = [hub.process.pid for hub in self.cluster.hubs]
        before = [processor_seconds(pid) for pid in (*pids, self.database.process.pid)]
        count, rate = act()
        *hubs, database = (
            processor_seconds(pid) - was for pid, was in zip((*pids, self.database.process.pid), before, strict=True)
        )
        return Sample(count / max(hubs), rate, database / (count / rate))

    def storm(self, *, start: bool) -> tuple[float, float]:
        act = partial(storm, self.ports, self.users, token=self.cluster.token, connections=CONNECTIONS)
        return len(self.users), asyncio.run(act(start=start)).per_second

    def logins(self, seconds: float) -> tuple[float, float]:
        async def on_all() -> float:
            share = len(self.users) // len(self.ports)
            parts = [self.users[at * share : (at + 1) * share] for at in range(len(self.ports))]
            clients = CONNECTIONS // 2 // len(self.ports)
            rates = [
                load.logins(port, part, seconds=seconds, clients=clients)
                for port, part in zip(self.ports, parts, strict=True)
            ]
            return sum(rate.per_second for rate in await asyncio.gather(*rates))

        rate = asyncio.run(on_all())
        return rate * seconds, rate

    def requests(self, seconds: float) -> tuple[float, float]:
        # Two programs, for one hub as for two.
        urls = [f"http://127.0.0.1:{port}/hub/api/user" for port in (self.ports * 2)[:2]]
        ask = partial(load.wrk, seconds=seconds, token=self.cluster.token, connections=CONNECTIONS // 2, pinned=False)
        with ThreadPoolExecutor(len(urls)) as pool:
            rate = sum(found.per_second for found in pool.map(ask, urls))
        return rate * seconds, rate


def measured(place: Path, users: list[str], seconds: float, rounds: int) -> list[report.Result]:
    os.sched_setaffinity(0, {0, 1})
    taken: dict[tuple[int, Row], list[Sample]] = {}
    with (
        PostgreSQL() as database,
        _group(place, database, users, 1) as one,
        _group(place, database, users, 2) as two,
    ):
        for number in range(rounds):
            for group in (one, two) if number % 2 else (two, one):
                acts = {
                    STARTED: partial(group.storm, start=True),
                    STOPPED: partial(group.storm, start=False),
                    LOGINS: partial(group.logins, seconds),
                    REQUESTS: partial(group.requests, seconds),
                }
                for row, act in acts.items():
                    sample = group.sample(act)
                    taken.setdefault((len(group.ports), row), []).append(sample)
                    shown = f"{sample.per_busiest_second:,.4g}"
                    clock = f"by the clock {sample.per_second:,.4g} {row.unit}, database {sample.database_share:.0%}"
                    print(
                        f"two-hubs {number + 1}/{rounds}, {len(group.ports)}: {row.name}: {shown}; {clock}",
                        file=sys.stderr,
                    )
    return [_result(row, taken[1, row], taken[2, row]) for row in ROWS]


def _result(row: Row, one: list[Sample], two: list[Sample]) -> report.Result:
    middle = lambda samples, name: sorted(getattr(sample, name) for sample in samples)[len(samples) // 2]  # noqa: E731
    beside = {
        f"{name}, {hubs}": round(middle(samples, attribute), 2)
        for name, attribute in (("a second of the clock", "per_second"), ("database processors", "database_share"))
        for hubs, samples in (("two hubs", two), ("one hub", one))
    }
    rates = ([sample.per_busiest_second for sample in samples] for samples in (two, one))
    return report.result(row, *rates, "one hub", "postgresql", part=PART, beside=beside)


@contextmanager
def _group(place: Path, database: PostgreSQL, users: list[str], hubs: int) -> Iterator[Group]:
    directory = place / f"hubs-{hubs}"
    directory.mkdir(parents=True)
    url = database.create_database()
    with run_cluster(directory, CONFIG, database=url, hubs=hubs, proxies=1, links=False, start=False) as cluster:
        for hub in cluster.hubs:
            hub.environment = {**hub.environment, **COMMON}
        group = Group(cluster, database, users)
        asyncio.run(_ready(group))
        yield group


async def _ready(group: Group) -> None:
    await group.cluster.ready()
    for at in range(0, len(group.users), load.BATCH):
        names = {"usernames": group.users[at : at + load.BATCH]}
        status, answer = await group.cluster.api("POST", "/users", names, at=group.cluster.hubs[0])
        if status >= 300:
            raise SystemExit(f"creating users answered {status}: {answer}")
