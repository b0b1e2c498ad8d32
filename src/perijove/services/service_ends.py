"""What became of the services that the hub starts: which replica's they are, and how often they ended by themselves.

Ends are lines of the audit trail: an administrator wants to see them there too, and the pause between starts keeps
a service that always fails to one a minute.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from sqlalchemy import func, select

from perijove.services.audit import record
from perijove.store import schema

if TYPE_CHECKING:
    from perijove.services.context import HubContext

ACTION = "service.end"
ACTOR = "hub"


@dataclass(frozen=True, slots=True)
class Ends:
    count: int
    last: datetime
    # None: it could not be started.
    exit_code: int | None


def lease_name(service: str) -> str:
    """Who holds it runs the service."""
    return f"service {service}"[:64]


async def record_end(hub: "HubContext", service: str, exit_code: int | None) -> None:
    """`exit_code` None: it could not be started."""
    async with hub.store.transaction() as tx:
        await record(tx, ACTION, actor=ACTOR, subject=service, result="failed", exit_code=exit_code)


async def ends_since(hub: "HubContext", since: datetime) -> dict[str, Ends]:
    """By service; those that never ended are not in it."""
    audit = schema.audit.c
    mine = (audit.action == ACTION, audit.at >= since)
    newest = select(func.count().label("count"), func.max(audit.id).label("id")).where(*mine).group_by(audit.subject)
    found = newest.subquery()
    lines = select(audit.subject, audit.at, audit.data, found.c.count).join_from(
        schema.audit, found, found.c.id == audit.id
    )
    async with hub.store.read() as connection:
        rows = (await connection.execute(lines)).all()
    return {row.subject: Ends(row[3], row.at, row.data.get("exit_code")) for row in rows}


async def running_somewhere(hub: "HubContext", services: Sequence[str]) -> frozenset[str]:
    """Those that a replica takes care of now."""
    leases = schema.leases.c
    names = {lease_name(service): service for service in services}
    held = select(leases.name).where(leases.name.in_(names), leases.expires > hub.store.now())
    async with hub.store.read() as connection:
        return frozenset(names[name] for name in (await connection.execute(held)).scalars())
