"""Servers that ended by themselves are looked at now, not when it is their turn to be polled.

A hint, as those of the bus are: what it says is checked by the poll it brings forward, and what it misses is
found by the poll that comes anyway.
"""

from sqlalchemy import and_, update

from perijove.domain.errors import SpawnFailed
from perijove.domain.states import Observed
from perijove.lib.log import get_logger
from perijove.services.context import HubContext
from perijove.store.schema import servers

log = get_logger(__name__)

LOOK_SECONDS = 1.0
BLIND_SECONDS = 10.0
# Parameters of one statement; a node that is lost takes hundreds of servers with it.
BATCH = 500


async def notice_ends(hub: HubContext) -> None:
    """Until cancelled."""
    while True:
        wait = LOOK_SECONDS
        try:
            ended = sorted(await hub.spawners.ended())
        except SpawnFailed as error:
            log.warning("servers cannot be watched", error=error.message, details=error.details)
            ended, wait = [], BLIND_SECONDS
        for first in range(0, len(ended), BATCH):
            async with hub.store.transaction() as tx:
                running = and_(servers.c.observed == Observed.RUNNING, servers.c.next_poll > tx.now)
                chosen = servers.c.id.in_(ended[first : first + BATCH])
                await tx.execute(update(servers).where(and_(chosen, running)).values(next_poll=tx.now))
        await hub.clock.sleep(wait)
