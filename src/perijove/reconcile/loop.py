"""The reconciler of one replica: claims servers with something to do, works on them, keeps its leases alive.

Woken by hints from the bus (fast) and by a short interval (certain). Each claimed server is a task of its
own; the database decides who works on what, so any number of replicas run this loop.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from datetime import timedelta

import aiohttp

from perijove.bus.memory import Subscription
from perijove.domain.errors import HubError, LeaseLost, SpawnFailed
from perijove.domain.events import Event, Kind, Lagged
from perijove.domain.ids import ServerId, UserId
from perijove.domain.states import Desired, Observed
from perijove.lib.log import correlation_id, get_logger
from perijove.reconcile.ends import notice_ends
from perijove.reconcile.operation import Operation
from perijove.reconcile.polling import BATCH, Pace, poll_batch
from perijove.reconcile.starting import Start
from perijove.reconcile.stopping import Stop
from perijove.services.context import HubContext
from perijove.services.oauth import server_client_ids
from perijove.services.server_rows import ServerRow, by_ids
from perijove.services.server_steps import Change
from perijove.services.user_facts import facts_of
from perijove.store import claims
from perijove.store.claims import Lease

log = get_logger(__name__)

IDLE_SECONDS = 1.0
RENEW_SECONDS = claims.LEASE.total_seconds() / 3
# Operations at once in one replica. Most of an operation's time is waiting.
CONCURRENCY = 256
ERROR_BACKOFF = timedelta(seconds=5)


@dataclass(slots=True)
class Running:
    operation: Operation
    user: str
    server: str
    generation: int
    starting: bool
    task: asyncio.Task[None]


@dataclass(slots=True)
class Reconciler:
    hub: HubContext
    http: aiohttp.ClientSession
    _running: dict[ServerId, Running] = field(default_factory=dict)
    _polling: list[Lease] = field(default_factory=list)
    _pace: Pace = field(default_factory=Pace)

    async def run(self) -> None:
        """Until cancelled. Then operations end where they are and their leases are given back."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(_forever(self._work), name="reconcile: work")
                group.create_task(_forever(self._poll), name="reconcile: poll")
                group.create_task(_forever(self._renew), name="reconcile: renew")
                group.create_task(_forever(self._notice), name="reconcile: notice")
                group.create_task(_forever(self._ends), name="reconcile: ends")
        finally:
            await self._give_back()

    async def _work(self) -> None:
        with self.hub.bus.subscribe(Kind.SERVER, Kind.STARTING) as changes:
            while True:
                room = CONCURRENCY - len(self._running)
                if room > 0 and await claims.has_work(self.hub.store, host=self._host):
                    leases = await claims.claim_work(
                        self.hub.store, owner=self.hub.replica_id, host=self._host, limit=room
                    )
                    if leases:
                        await self._begin(leases)
                await self._something_to_do(changes)

    async def _something_to_do(self, changes: Subscription) -> None:
        """Until somebody asked for something, as far as is told, or it is time to look anyway.

        In a storm most of what is told is what this replica's own operations write.
        """
        deadline = self.hub.clock.monotonic() + IDLE_SECONDS
        while (left := deadline - self.hub.clock.monotonic()) > 0 and (heard := await changes.take(left)):
            if any(map(self._is_news, heard)):
                return

    def _is_news(self, change: Event | Lagged) -> bool:
        """Whether it may be about something that no operation of this replica is at."""
        if isinstance(change, Lagged) or "pending" not in change.data:
            return True
        pending, running = change.data["pending"], self._running.get(ServerId(int(change.key)))
        if pending is None or running is None:
            return pending is not None
        return bool(running.generation != change.data["generation"] or running.starting != (pending == "spawn"))

    @property
    def _host(self) -> str | None:
        return self.hub.host if self.hub.spawners.host_bound else None

    async def _begin(self, leases: list[Lease]) -> None:
        """Read what all of them need at once, and let each go its way."""
        async with self.hub.store.read() as connection:
            rows = await by_ids(connection, [lease.server_id for lease in leases])
        starts = [row for row in rows.values() if is_start(row)]
        users = {
            **await facts_of(self.hub, {UserId(row.user_id) for row in rows.values()}),
            **await facts_of(self.hub, {UserId(row.user_id) for row in starts}, with_auth_state=True),
        }
        clients = await server_client_ids(self.hub, {row.id: (row.user_name, row.name) for row in starts})
        for lease in leases:
            row = rows.get(lease.server_id)
            if row is None or row.lease_epoch != lease.epoch or row.user_id not in users:
                continue
            operation = Operation(self.hub, lease, users[row.user_id])
            starting = row.id in clients
            if starting:
                # Known from here on to whatever undoes this start.
                row = replace(row, oauth_client_id=clients[row.id])
            task = asyncio.create_task(self._operate(operation, row, starting=starting), name=f"server {row.full_name}")
            self._running[lease.server_id] = Running(operation, row.user_name, row.name, row.generation, starting, task)

    async def _operate(self, operation: Operation, row: ServerRow, *, starting: bool) -> None:
        correlation_id.set(f"server-{row.id}-{row.generation}")
        try:
            await (Start(operation, self.http).run(row) if starting else Stop(operation).run(row))
        except LeaseLost:
            log.info("another replica took over", user=row.user_name, server=row.name)
        except HubError as error:
            await self._back_off(operation, row, error)
        except Exception as error:
            log.exception("operation failed", user=row.user_name, server=row.name)
            await self._back_off(operation, row, error)
        finally:
            # Since the lease was given back with the last write, the next operation may have begun already.
            current = self._running.get(operation.lease.server_id)
            if current is not None and current.operation is operation:
                del self._running[operation.lease.server_id]

    async def _back_off(self, operation: Operation, row: ServerRow, error: Exception) -> None:
        """Leave the row for another try; its deadline bounds how often."""
        log.warning(
            "operation interrupted, will be tried again",
            user=row.user_name,
            server=row.name,
            error=str(error),
        )
        with contextlib.suppress(LeaseLost, HubError):
            await operation.decide(
                row,
                lambda _intent, now: Change(
                    values={"attempts": row.attempts + 1, "next_attempt": now + ERROR_BACKOFF * (row.attempts + 1)},
                    release=True,
                ),
            )

    async def _poll(self) -> None:
        while True:
            if self._pace.is_time(self.hub.clock.monotonic()) and await claims.has_polls(
                self.hub.store, host=self._host
            ):
                self._polling = await claims.claim_polls(
                    self.hub.store, owner=self.hub.replica_id, host=self._host, limit=BATCH, ahead=self._pace.ahead
                )
                self._pace.polled(await poll_batch(self.hub, self._polling))
                more = len(self._polling) == BATCH
                self._polling = []
                if more:
                    continue
            await self.hub.clock.sleep(IDLE_SECONDS)

    async def _renew(self) -> None:
        while True:
            await self.hub.clock.sleep(RENEW_SECONDS)
            leases = [running.operation.lease for running in self._running.values()]
            held = await claims.renew(self.hub.store, [*leases, *self._polling])
            for lease in leases:
                running = self._running.get(lease.server_id)
                if lease.server_id not in held and running is not None and running.operation.lease == lease:
                    log.info("another replica took over", user=running.user, server=running.server)
                    running.task.cancel()

    async def _notice(self) -> None:
        """Tell a running start that nobody wants it any more."""
        with self.hub.bus.subscribe(Kind.SERVER, Kind.STARTING) as changes:
            while True:
                heard = await changes.take(IDLE_SECONDS * 2)
                starts = {number: running for number, running in self._running.items() if running.starting}
                # In a storm of starts each tells several times of itself: looking at all of them for every
                # one would cost the square of their number.
                if heard and not any(isinstance(change, Lagged) for change in heard):
                    keys = {change.key for change in heard if isinstance(change, Event) and self._is_news(change)}
                    starts = {number: running for number, running in starts.items() if str(number) in keys}
                if not starts:
                    continue
                async with self.hub.store.read() as connection:
                    rows = await by_ids(connection, starts)
                for number, running in starts.items():
                    row = rows.get(number)
                    if row is None or row.desired is not Desired.RUNNING or row.generation != running.generation:
                        running.operation.unwanted.set()

    async def _ends(self) -> None:
        await notice_ends(self.hub, self._pace.hurry)

    async def _give_back(self) -> None:
        tasks = [running.task for running in self._running.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        with contextlib.suppress(HubError):
            await claims.release_of(self.hub.store, [self.hub.replica_id])


def is_start(row: ServerRow) -> bool:
    """Whether the next step towards the intent is a start; otherwise something has to end first."""
    if row.desired is not Desired.RUNNING:
        return False
    if row.observed is Observed.STOPPED:
        return True
    return row.observed is Observed.STARTING and row.observed_generation == row.generation


async def _forever(work: Callable[[], Awaitable[None]]) -> None:
    """Run `work`, again after an error: a database that is away must not end the reconciler."""
    while True:
        try:
            await work()
        except SpawnFailed:
            log.exception("spawner failed outside an operation")
        except HubError as error:
            log.warning("reconciler interrupted", error=str(error))
        await asyncio.sleep(IDLE_SECONDS)
