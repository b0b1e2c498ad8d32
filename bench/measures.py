"""What is measured, and what must come out. A ratio is always so that more is better for us."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import psutil

from bench import load, rig
from bench.rig import Hub
from bench.storm import p99, storm

TOKENS = 1000
STORM = 500
CREATED = 1000
# Twice what hubs let pass between two polls of a server, so that each server is polled as often.
IDLE_SECONDS = 60
FIRST_POLLS_SECONDS = 40
MB = 1 << 20


@dataclass
class Bench:
    """Two hubs that hold the same users, and how long each round may take."""

    users: list[str]
    # Of these, the first, with a running server.
    servers: int
    seconds: float
    created: int = 0

    @property
    def idle_users(self) -> list[str]:
        return self.users[self.servers :]

    def tokens(self, hub: Hub) -> Path:
        """A file with a token for each of a thousand users who have a server, "user token" in a line; made once."""
        path = hub.directory / "tokens.txt"
        if not path.exists():
            lines = []
            for user in self.users[: min(TOKENS, self.servers)]:
                made = hub.call("POST", f"/users/{user}/tokens", {"note": "bench"})
                lines.append(f"{user} {made['token']}\n")
            path.write_text("".join(lines))
        return path

    def user_token(self, hub: Hub) -> str:
        path = hub.directory / "token.txt"
        if not path.exists():
            path.write_text(hub.call("POST", f"/users/{self.users[-1]}/tokens", {"note": "bench"})["token"])
        return path.read_text()


@dataclass(frozen=True)
class Row:
    """One published number."""

    name: str
    unit: str
    target: float
    # False: less is better, the ratio is peer / ours.
    more_is_better: bool = True


@dataclass(frozen=True)
class Measure:
    """One load, which may give several rows."""

    key: str
    rows: tuple[Row, ...]
    run: Callable[[Bench, Hub], tuple[float, ...]]
    # Rounds, where more would take too long.
    at_most: int = 5


def user_by_token(bench: Bench, hub: Hub) -> tuple[float, ...]:
    rate = load.wrk(hub.base + "/hub/api/user", seconds=bench.seconds, token=bench.user_token(hub))
    return (rate.per_second,)


def page_of_users(bench: Bench, hub: Hub) -> tuple[float, ...]:
    path = f"/hub/api/users?limit=200&offset={len(bench.users) // 2}"
    rate = asyncio.run(load.sequential(hub.port, path, token=hub.token, count=20))
    return (rate.p50_ms,)


def login(bench: Bench, hub: Hub) -> tuple[float, ...]:
    return (asyncio.run(load.logins(hub.port, bench.users, seconds=bench.seconds)).per_second,)


def health(bench: Bench, hub: Hub) -> tuple[float, ...]:
    # Long enough that a full garbage collection falls into every round, if the hub has any.
    rate = load.wrk(hub.base + "/hub/health", seconds=bench.seconds * 2.5)
    return rate.per_second, rate.p99_ms


def users_by_tokens(bench: Bench, hub: Hub) -> tuple[float, ...]:
    tokens = bench.tokens(hub)
    return (load.wrk(hub.base, seconds=bench.seconds, script="wrk_tokens.lua", tokens=tokens).per_second,)


def activity(bench: Bench, hub: Hub) -> tuple[float, ...]:
    tokens = bench.tokens(hub)
    return (load.wrk(hub.base, seconds=bench.seconds, script="wrk_activity.lua", tokens=tokens).per_second,)


def full_listing(bench: Bench, hub: Hub) -> tuple[float, ...]:
    began = time.perf_counter()
    found = sum(
        len(hub.call("GET", f"/users?limit={load.BATCH}&offset={at}")) for at in range(0, len(bench.users), load.BATCH)
    )
    if found < len(bench.users):
        raise SystemExit(f"{hub.name}: {found} users of {len(bench.users)} listed")
    return (time.perf_counter() - began,)


def create_users(bench: Bench, hub: Hub) -> tuple[float, ...]:
    bench.created += 1
    names = [f"more{bench.created:04}-{number:04}" for number in range(CREATED)]
    began = time.perf_counter()
    for at in range(0, CREATED, load.BATCH):
        hub.call("POST", "/users", {"usernames": names[at : at + load.BATCH]})
    return (CREATED / (time.perf_counter() - began),)


def storm_by(connections: int) -> Callable[[Bench, Hub], tuple[float, ...]]:
    def run(bench: Bench, hub: Hub) -> tuple[float, ...]:
        users = bench.idle_users[:STORM]
        act = partial(storm, [hub.port], users, token=hub.token, connections=connections)
        started, stopped = (asyncio.run(act(start=start)) for start in (True, False))
        return started.per_second, stopped.per_second, p99([*started.health_ms, *stopped.health_ms])

    return run


def idle(_: Bench, hub: Hub) -> tuple[float, ...]:
    """What it holds after a start, and does when let alone."""
    hub.stop()
    hub.start()
    hub.settle()
    # Each server is polled once first. What that takes to make for each is made once; the peer makes it as it starts.
    time.sleep(FIRST_POLLS_SECONDS)
    before = rig.processor_seconds(hub.process.pid)
    time.sleep(IDLE_SECONDS)
    used = (rig.processor_seconds(hub.process.pid) - before) / IDLE_SECONDS
    return psutil.Process(hub.process.pid).memory_info().rss / MB, used * 100


def storm_rows(connections: int) -> tuple[Row, ...]:
    at_once = f"500 servers over {connections} connections"
    return (
        Row(f"{at_once}: started", "servers/s", 5),
        Row(f"{at_once}: stopped", "servers/s", 5),
        Row(f"{at_once}: /hub/health meanwhile, 99th percentile", "ms", 20, more_is_better=False),
    )


MEASURES = (
    Measure("user", (Row("GET /hub/api/user, one token", "requests/s", 5),), user_by_token),
    Measure("page", (Row("GET /hub/api/users, 200 of 10,000", "ms", 5, more_is_better=False),), page_of_users),
    Measure("login", (Row("login, GET and POST", "logins/s", 3),), login),
    Measure(
        "health",
        (
            Row("GET /hub/health", "requests/s", 3),
            Row("GET /hub/health, 99th percentile", "ms", 10, more_is_better=False),
        ),
        health,
    ),
    Measure("tokens", (Row("GET /hub/api/user, 1,000 tokens in turn", "requests/s", 8),), users_by_tokens, at_most=3),
    Measure("activity", (Row("POST activity, 1,000 servers in turn", "requests/s", 20),), activity, at_most=3),
    Measure("listing", (Row("10,000 users in pages of 200", "s", 5, more_is_better=False),), full_listing, at_most=3),
    Measure("storm", storm_rows(64), storm_by(64), at_most=3),
    Measure("storm500", storm_rows(500), storm_by(500), at_most=2),
    Measure(
        "idle",
        (
            Row("memory, 10,000 users and 1,000 running servers", "MB", 1 / 0.9, more_is_better=False),
            Row("processor when nobody asks, 1,000 running servers", "%", 1, more_is_better=False),
        ),
        idle,
        at_most=1,
    ),
    Measure("create", (Row("users created, in batches of 200", "users/s", 10),), create_users, at_most=3),
)
