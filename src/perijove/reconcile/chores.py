"""Periodic work that exactly one replica does at a time: culling, deadlines, orphans, expiry.

A chore is a lease of its name: taken, done, and stamped. If its holder dies in the middle, the lease runs out
and the chore, which can be done twice, is done again.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta

from perijove.domain.errors import HubError
from perijove.lib.log import get_logger
from perijove.reconcile import culling, overdue, sweep
from perijove.services import audit_trail
from perijove.services.context import HubContext
from perijove.services.tokens import purge_expired
from perijove.store.named_leases import NamedLease
from perijove.store.schema import outbox

log = get_logger(__name__)

HOLD = timedelta(seconds=120)
TICK_SECONDS = 5.0
# Of its period, how long a chore is not looked at again that was not free: somebody did it, or is at it.
LOOK_AGAIN = 0.25
# Watchers that lag behind more than this list again.
OUTBOX_KEPT = timedelta(minutes=10)


@dataclass(frozen=True, slots=True)
class Chore:
    # Also the name of its lease; one per host where the work is a host's own.
    name: str
    every: timedelta
    run: Callable[[HubContext], Awaitable[object]]


def chores_of(hub: HubContext) -> list[Chore]:
    work = [
        Chore("overdue", timedelta(seconds=10), overdue.end_overdue),
        Chore("expire", timedelta(minutes=5), purge_expired),
        Chore("outbox", timedelta(minutes=2), trim_outbox),
        Chore("audit", timedelta(hours=1), audit_trail.trim),
    ]
    if hub.options.cull.enabled:
        work.append(Chore("cull", timedelta(seconds=hub.options.cull.every_seconds), culling.cull))
    where = f"sweep {hub.host}"[:64] if hub.spawners.host_bound else "sweep"
    work.append(Chore(where, timedelta(seconds=60), sweep.sweep_orphans))
    return work


async def run_chores(hub: HubContext, chores: Sequence[Chore] = ()) -> None:
    """These, or the hub's own, one after the other, until cancelled."""
    # By the monotonic clock. Memory of what the leases say, so that an idle hub does not read them all the time.
    look_at: dict[str, float] = {}
    while True:
        for chore in chores or chores_of(hub):
            if hub.clock.monotonic() < look_at.get(chore.name, 0.0):
                continue
            try:
                done = await _do(hub, chore)
            except HubError as error:
                log.warning("chore interrupted, will be tried again", chore=chore.name, error=str(error))
            except Exception:
                log.exception("chore failed", chore=chore.name)
            else:
                wait = chore.every.total_seconds() * (1 if done else LOOK_AGAIN)
                look_at[chore.name] = hub.clock.monotonic() + wait
        await asyncio.sleep(TICK_SECONDS)


async def _do(hub: HubContext, chore: Chore) -> bool:
    """False: it is not yet time, or another replica is at it."""
    lease = NamedLease(hub.store, chore.name, hub.replica_id, HOLD)
    if not await lease.take(every=chore.every):
        return False
    await chore.run(hub)
    await lease.release(done=True)
    return True


async def trim_outbox(hub: HubContext) -> int:
    async with hub.store.transaction() as tx:
        result = await tx.execute(outbox.delete().where(outbox.c.at < tx.now - OUTBOX_KEPT))
        return result.rowcount
