"""Asking a hub to end, and stopping every server of one that was told to leave nothing running."""

from sqlalchemy import and_, or_

from perijove.domain.states import Desired, Observed
from perijove.lib.log import get_logger
from perijove.services.audit import record
from perijove.services.context import HubContext
from perijove.services.server_rows import from_row, query
from perijove.services.servers import stop_row
from perijove.store.schema import servers

log = get_logger(__name__)

TIMEOUT_SECONDS = 60.0
_CHECK_SECONDS = 0.2


async def ask(hub: HubContext, *, servers: bool | None, proxy: bool | None, actor: str) -> None:
    """Whoever runs this hub ends it, as wished."""
    async with hub.store.transaction() as tx:
        await record(tx, "hub.shutdown", actor=actor, subject=hub.host, servers=servers, proxy=proxy)
    hub.shutdown.ask(servers=servers, proxy=proxy)


async def stop_all_servers(hub: HubContext, *, timeout_seconds: float = TIMEOUT_SECONDS) -> int:
    """Ask for all to stop and wait for it; returns how many still were not when time ran out."""
    active = or_(servers.c.observed != Observed.STOPPED, servers.c.desired == Desired.RUNNING)
    if hub.spawners.host_bound:
        active = and_(active, or_(servers.c.host.is_(None), servers.c.host == hub.host))
    async with hub.store.transaction() as tx:
        for row in [from_row(row) for row in await tx.execute(query(active))]:
            await stop_row(tx, row, actor="shutdown")
    deadline = hub.clock.monotonic() + timeout_seconds
    while True:
        async with hub.store.read() as connection:
            left = len((await connection.execute(query(active))).all())
        if not left or hub.clock.monotonic() > deadline:
            if left:
                log.warning("servers still running at shutdown", servers=left)
            return left
        await hub.clock.sleep(_CHECK_SECONDS)
