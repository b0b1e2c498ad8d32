"""Replicas: a heartbeat row each, so that the living can tell whose leases are abandoned.

A lease of a dead replica runs out by itself. When a hub starts on the machine where an earlier one was
killed, it need not wait for that: the operating system says that the process is gone.
"""

import asyncio
import os
from datetime import timedelta

import psutil
from sqlalchemy import delete, insert, select, update

from perijove.domain.errors import HubError
from perijove.lib.log import get_logger
from perijove.services.context import HubContext
from perijove.store import claims
from perijove.store.database import Transaction
from perijove.store.schema import replicas, servers

log = get_logger(__name__)

BEAT_SECONDS = 10.0
# A row without a beat for so long is of the dead, wherever it ran.
DEAD_AFTER = timedelta(seconds=60)
SPREAD_SECONDS = 10
# A hub that is told to stop does not wait for its database.
LOOK_SECONDS = 1.0


async def arrive(hub: HubContext) -> None:
    """Write this replica's row, free what its dead predecessors on this machine held, and look at its servers soon."""
    me = psutil.Process()
    async with hub.store.transaction() as tx:
        row = {
            "id": hub.replica_id,
            "host": hub.host,
            "pid": os.getpid(),
            "process_started": me.create_time(),
            "version": hub.version,
            "started": tx.now,
            "heartbeat": tx.now,
        }
        await tx.execute(insert(replicas), row)
        known = (
            await tx.execute(select(replicas).where(replicas.c.host == hub.host, replicas.c.id != hub.replica_id))
        ).all()
        if hub.spawners.host_bound:
            await _look_soon(tx, hub.host)
    dead = [row.id for row in known if not _alive(row.pid, row.process_started)]
    freed = await claims.release_of(hub.store, dead)
    if dead:
        log.info("took over from earlier hubs on this machine", hubs=len(dead), leases=freed)


async def _look_soon(tx: Transaction, host: str) -> None:
    """Poll this machine's servers within seconds: what died while no hub looked is not to wait a whole interval.

    Spread by id, a second apart: a thousand polls at once would be all that a fresh hub does.
    """
    for second in range(SPREAD_SECONDS):
        await tx.execute(
            update(servers)
            .where(servers.c.host == host, servers.c.observed == "running", servers.c.id % SPREAD_SECONDS == second)
            .values(next_poll=tx.now + timedelta(seconds=second))
        )


def _alive(pid: int, started: float) -> bool:
    try:
        return abs(psutil.Process(pid).create_time() - started) < 1
    except psutil.NoSuchProcess:
        return False


async def beat_forever(hub: HubContext) -> None:
    while True:
        await hub.clock.sleep(BEAT_SECONDS)
        try:
            async with hub.store.transaction() as tx:
                await tx.execute(update(replicas).where(replicas.c.id == hub.replica_id).values(heartbeat=tx.now))
                await tx.execute(delete(replicas).where(replicas.c.heartbeat < tx.now - 10 * DEAD_AFTER))
        except HubError as error:
            log.warning("heartbeat failed", error=str(error))


async def leave(hub: HubContext) -> None:
    async with hub.store.transaction() as tx:
        await tx.execute(delete(replicas).where(replicas.c.id == hub.replica_id))


async def others(hub: HubContext) -> bool:
    """Whether another hub would answer in place of this one. No, as far as nobody can say."""
    try:
        async with asyncio.timeout(LOOK_SECONDS), hub.store.read() as connection:
            alive = replicas.c.heartbeat > hub.store.now() - DEAD_AFTER
            other = select(replicas.c.id).where(alive, replicas.c.id != hub.replica_id).limit(1)
            return (await connection.execute(other)).first() is not None
    except (HubError, TimeoutError) as error:
        log.warning("cannot see whether another hub stays", error=str(error))
        return False


async def living_hosts(hub: HubContext) -> set[str]:
    """Machines with a hub that has beaten lately."""
    async with hub.store.read() as connection:
        found = await connection.execute(
            select(replicas.c.host).where(replicas.c.heartbeat > hub.store.now() - DEAD_AFTER).distinct()
        )
        return set(found.scalars())
