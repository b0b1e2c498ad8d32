"""Looking after running servers: in batches, spread by jitter, each batch under one claim and one write back."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from time import perf_counter

from perijove.domain.errors import LeaseLost, SpawnFailed
from perijove.domain.ids import UserId
from perijove.domain.ports import Mishap, UserFacts
from perijove.lib import faults, metrics
from perijove.lib.log import get_logger
from perijove.reconcile.operation import Operation
from perijove.reconcile.stopping import Stop
from perijove.services.context import HubContext
from perijove.services.progress import events_so_far
from perijove.services.server_rows import ServerRow, by_ids
from perijove.services.server_steps import Change
from perijove.services.user_facts import facts_of
from perijove.store.claims import Lease, release_polls

log = get_logger(__name__)

# One batch takes longer the more are in it, and is over with its slowest; its claim, its rows and its release
# cost as much for one server as for all of them.
BATCH = 250
CONCURRENCY = 20
POLL_SECONDS = 20.0
JITTER = 0.2
DEFAULT_INTERVAL_SECONDS = 30.0


# Of the time between two polls of a server: who is due within it is polled along with those who are due now.
_AHEAD = 1 / 6
# And how often it is asked who is due; a poll may be late by as much.
_LOOK = 1 / 10
_LONGEST_AHEAD = timedelta(seconds=5)
_LONGEST_LOOK_SECONDS = 3.0


class Pace:
    """How often to ask who is to be polled. By the interval that plug-ins wish for, as the last batch told it."""

    def __init__(self) -> None:
        # What most wish for, and nobody yet: none is polled before they are due.
        self._interval_seconds = DEFAULT_INTERVAL_SECONDS
        self._told = False
        self._next = 0.0

    @property
    def ahead(self) -> timedelta:
        return min(timedelta(seconds=self._interval_seconds * _AHEAD), _LONGEST_AHEAD) if self._told else timedelta()

    def is_time(self, monotonic: float) -> bool:
        """True at most once in a while, until `hurry`."""
        if monotonic < self._next:
            return False
        self._next = monotonic + min(self._interval_seconds * _LOOK, _LONGEST_LOOK_SECONDS)
        return True

    def polled(self, interval_seconds: float | None) -> None:
        """None: nobody in the batch lives, whose wish would count."""
        if interval_seconds is not None:
            self._interval_seconds, self._told = interval_seconds, True

    def hurry(self) -> None:
        """Somebody became due who was not."""
        self._next = 0.0


@dataclass(frozen=True, slots=True)
class Polled:
    """`interval_seconds` is the plug-in's wish."""

    lease: Lease
    # None: it runs.
    end: Callable[[], Awaitable[None]] | None
    interval_seconds: float


async def poll_batch(hub: HubContext, leases: list[Lease]) -> float | None:
    """Poll all; give the living back in one write, end the dead one by one. The shortest interval they wish for."""
    if not leases:  # another hub was first
        return None
    faults.hit("poll.claimed")
    polled = await _poll_all(hub, leases)
    faults.hit("poll.polled")
    interval = await _let_live(hub, [result for result in polled if result.end is None])
    for result in polled:
        if result.end is not None:
            try:
                await result.end()
            except LeaseLost:
                log.info("another replica took over a dead server", server_id=result.lease.server_id)
    return interval


async def _poll_all(hub: HubContext, leases: list[Lease]) -> list[Polled]:
    polled: list[Polled] = []
    unseen: list[Lease] = []
    for lease in leases:
        seconds = hub.spawners.seen(lease.server_id)
        if seconds is None:
            unseen.append(lease)
        else:
            polled.append(Polled(lease, None, seconds))
    if unseen:
        # A task for each of so many at once, not for each server: most polls are over before a task has begun.
        turns = iter(await _read(hub, unseen))

        async def take_turns() -> None:
            for lease, row, user in turns:
                polled.append(await _poll(hub, lease, row, user))
                # Spawners seldom wait. Whoever else is on the event loop is not to wait for all of them.
                await asyncio.sleep(0)

        await asyncio.gather(*(take_turns() for _ in range(min(CONCURRENCY, len(unseen)))))
    return polled


async def _let_live(hub: HubContext, alive: list[Polled]) -> float | None:
    if not alive:
        return None
    interval = min(result.interval_seconds for result in alive)
    async with hub.store.transaction() as tx:
        wait = interval * random.uniform(1 - JITTER, 1 + JITTER)  # noqa: S311 - spreads load
        await release_polls(tx, [result.lease for result in alive], tx.now + timedelta(seconds=wait))
    return interval


async def _read(hub: HubContext, leases: list[Lease]) -> list[tuple[Lease, ServerRow, UserFacts]]:
    """All of the batch at once: a query costs as much as a poll, and ten thousand servers are polled all the time."""
    async with hub.store.read() as connection:
        rows = await by_ids(connection, [lease.server_id for lease in leases])
    users = await facts_of(hub, {UserId(row.user_id) for row in rows.values()})
    found = []
    for lease in leases:
        row = rows.get(lease.server_id)
        if row is None or row.lease_epoch != lease.epoch or row.user_id not in users:
            log.info("another replica took over a poll", server_id=lease.server_id)
        else:
            found.append((lease, row, users[row.user_id]))
    return found


async def _poll(hub: HubContext, lease: Lease, row: ServerRow, user: UserFacts) -> Polled:
    operation, began = Operation(hub, lease, user), perf_counter()
    try:
        spawner = await hub.spawners.open_to_poll(operation.spec(row))
    except SpawnFailed as error:
        log.warning("a server cannot be polled", server_id=lease.server_id, error=str(error))
        return Polled(lease, None, DEFAULT_INTERVAL_SECONDS)
    try:
        async with asyncio.timeout(POLL_SECONDS):
            exited = await spawner.poll()
    except (SpawnFailed, TimeoutError) as error:
        # Not knowing is not dead: ask again later.
        log.warning("a server cannot be polled", user=row.user_name, server=row.name, error=str(error))
        exited = None
    finally:
        spawner.close()
    if exited is None and (mishap := spawner.mishap) is not None:
        await _tell(operation, row, mishap)
    status = "running" if exited is None else "stopped"
    metrics.poll_duration.labels(status).observe(perf_counter() - began)
    end = None if exited is None else partial(Stop(operation, exited=exited).run, row)
    return Polled(lease, end, spawner.poll_interval_seconds)


async def _tell(operation: Operation, row: ServerRow, mishap: Mishap) -> None:
    """Once, whoever polls: among the events of this start, where the user sees it; the admin reads the log."""
    told = await events_so_far(operation.hub, row)
    if any(event.get("mishap") == mishap.mark for event in told):
        return
    event = {"mishap": mishap.mark, "reason": mishap.reason, "message": mishap.message}
    await operation.write(row, Change(event=event))
    log.warning(
        "server had a mishap",
        user=row.user_name,
        server=row.name,
        reason=mishap.reason,
        message=mishap.message,
        details=mishap.details,
    )
