"""Periodic work that exactly one replica does at a time: culling, deadlines, orphans, expiry.

A chore is a row in `leases`: taken by a conditional UPDATE, done, and stamped. If its holder dies in the
middle, the lease runs out and the chore, which can be done twice, is done again.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import insert, select, update

from perijove.domain.errors import Conflict, HubError
from perijove.lib.log import get_logger
from perijove.reconcile import culling, overdue, sweep
from perijove.services import audit_trail
from perijove.services.context import HubContext
from perijove.services.tokens import purge_expired
from perijove.store.schema import leases, outbox

log = get_logger(__name__)

HOLD = timedelta(seconds=120)
TICK_SECONDS = 5.0
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
    while True:
        for chore in chores or chores_of(hub):
            try:
                if await _take(hub, chore):
                    await chore.run(hub)
                    await _done(hub, chore)
            except HubError as error:
                log.warning("chore interrupted, will be tried again", chore=chore.name, error=str(error))
            except Exception:
                log.exception("chore failed", chore=chore.name)
        await asyncio.sleep(TICK_SECONDS)


async def _take(hub: HubContext, chore: Chore) -> bool:
    now = hub.store.now()
    async with hub.store.read() as connection:
        row = (await connection.execute(select(leases).where(leases.c.name == chore.name))).first()
    if row is not None and (row.expires > now or (row.done is not None and row.done + chore.every > now)):
        return False
    try:
        async with hub.store.transaction() as tx:
            if row is None:
                values = {"name": chore.name, "owner": hub.replica_id, "epoch": 1, "expires": tx.now + HOLD}
                await tx.execute(insert(leases), values)
                return True
            result = await tx.execute(
                update(leases)
                .where(leases.c.name == chore.name, leases.c.epoch == row.epoch)
                .values(owner=hub.replica_id, epoch=row.epoch + 1, expires=tx.now + HOLD)
            )
            return result.rowcount == 1
    except Conflict:  # another replica made the row first
        return False


async def _done(hub: HubContext, chore: Chore) -> None:
    async with hub.store.transaction() as tx:
        await tx.execute(
            update(leases)
            .where(leases.c.name == chore.name, leases.c.owner == hub.replica_id)
            .values(done=tx.now, expires=tx.now)
        )


async def trim_outbox(hub: HubContext) -> int:
    async with hub.store.transaction() as tx:
        result = await tx.execute(outbox.delete().where(outbox.c.at < tx.now - OUTBOX_KEPT))
        return result.rowcount
