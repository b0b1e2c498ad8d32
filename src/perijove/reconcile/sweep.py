"""World to rows: what carries this hub's mark and is wanted by no row is ended.

The counterpart of leases: a replica frozen before its call to a spawner may make that call long after its
lease was lost. What it starts then has a server id and a generation; this finds it.
"""

from sqlalchemy import select

from perijove.domain.ports import Found
from perijove.domain.states import Observed
from perijove.lib.log import get_logger
from perijove.services.context import HubContext
from perijove.store.schema import servers

log = get_logger(__name__)


async def sweep_orphans(hub: HubContext) -> int:
    """End unwanted things; returns how many."""
    ended = 0
    for found in await hub.spawners.find():
        # Read for each, after it was found: a start that began meanwhile is in its row by now.
        if await _unwanted(hub, found):
            log.warning(
                "ending an orphan",
                found=found.description,
                server_id=found.server_id,
                generation=found.generation,
            )
            await hub.spawners.destroy(found)
            ended += 1
    return ended


async def _unwanted(hub: HubContext, found: Found) -> bool:
    async with hub.store.read() as connection:
        columns = (
            servers.c.observed,
            servers.c.generation,
            servers.c.observed_generation,
            servers.c.lease_expires,
            servers.c.state,
        )
        row = (await connection.execute(select(*columns).where(servers.c.id == found.server_id))).first()
    if row is None:
        return True
    if row.lease_expires is not None and row.lease_expires > hub.store.now():
        return False  # somebody works on it right now
    if row.observed == Observed.STOPPED:
        return True
    if found.generation < row.observed_generation:
        return True
    # Of the same start, made by a hub that was frozen in the middle while another took over.
    return row.observed == Observed.RUNNING and any(row.state.get(key) != value for key, value in found.state.items())
