"""What is measured, and what must come out. A ratio is always so that more is better for us."""

import asyncio
import shutil
from collections.abc import Callable
from dataclasses import dataclass

from bench import load
from bench.rig import Hub


@dataclass(frozen=True)
class Bench:
    """Two hubs that hold the same users, and how long each round may take."""

    users: list[str]
    # Hub name -> token of an ordinary user.
    user_tokens: dict[str, str]
    seconds: float


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


def user_by_token(bench: Bench, hub: Hub) -> tuple[float, ...]:
    rate = load.wrk(hub.base + "/hub/api/user", seconds=bench.seconds, token=bench.user_tokens[hub.name])
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


def cold_start(_: Bench, hub: Hub) -> tuple[float, ...]:
    """From exec to the first answer, with no database there."""
    shutil.rmtree(hub.directory, ignore_errors=True)
    hub.start()
    hub.stop()
    return (hub.started_after,)


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
)
COLD_START = Measure(
    "start",
    (Row("cold start, empty database", "s", 1.25, more_is_better=False),),
    cold_start,
)
