"""Deadlines: no pending state outlives its own, even if nobody is left who could work on it.

A row whose deadline has passed and which nobody holds is ended here: a start as failed, a stop by asking the
spawner once more through the normal path. A start that a living replica works on has its own timeouts.
"""

from datetime import timedelta

from sqlalchemy import and_, or_, update

from perijove.domain.errors import SpawnFailed
from perijove.domain.states import Desired, Observed, Phase
from perijove.lib.log import get_logger
from perijove.reconcile.presence import living_hosts
from perijove.reconcile.starting import failure_of
from perijove.services.context import HubContext
from perijove.services.server_rows import from_row, query
from perijove.services.server_steps import forget_credentials
from perijove.services.servers import append_event, changed
from perijove.store.schema import servers

log = get_logger(__name__)

LIMIT = 100
GRACE = timedelta(seconds=5)


async def end_overdue(hub: HubContext) -> int:
    """Settle pending rows past their deadline that no lease protects; returns how many."""
    living = await living_hosts(hub)
    async with hub.store.transaction() as tx:
        unheld = or_(servers.c.lease_expires.is_(None), servers.c.lease_expires < tx.now)
        starting = and_(
            servers.c.desired == Desired.RUNNING,
            servers.c.observed.in_([Observed.STOPPED, Observed.STARTING]),
        )
        # The machine of a host-bound server is gone for good: nobody can stop it, and nothing of it runs.
        lost = and_(servers.c.observed != Observed.STOPPED, servers.c.host.is_not(None), servers.c.host.not_in(living))
        due = and_(servers.c.deadline < tx.now - GRACE, unheld, or_(starting, lost))
        rows = [from_row(row) for row in await tx.execute(query(due).limit(LIMIT))]
        for row in rows:
            error = SpawnFailed(
                "The server did not start in time, and no hub was there to say why.",
                reason="deadline",
                details=f"{row.desired=!s} {row.observed=!s} {row.phase=!s} {row.host=!s}",
            )
            ended = {
                "desired": Desired.STOPPED if row.desired is Desired.RUNNING else row.desired,
                "observed": Observed.STOPPED,
                "phase": Phase.NONE,
                "url": "",
                "deadline": None,
                "next_poll": None,
                # A holder that sleeps past its lease must not settle over this.
                "lease_epoch": row.lease_epoch + 1,
                "failure": failure_of(error, row, tx.now.isoformat()),
            }
            await tx.execute(update(servers).where(servers.c.id == row.id).values(ended))
            append_event(tx, row, {"progress": 100, "failed": True, "message": f"Spawn failed: {error.message}"})
            tx.emit(changed(row.with_(ended)))
        if rows:
            await forget_credentials(tx, rows)
    for row in rows:
        log.warning("server ended at its deadline", user=row.user_name, server=row.name, was=row.observed)
    return len(rows)
