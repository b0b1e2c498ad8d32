"""Reading the audit trail: one page after another, newest first, or all of it as a stream.

Pages go by id, not by offset: lines are appended while somebody reads, and an offset would show some twice.
"""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from sqlalchemy import ColumnElement, Row, delete, select

from perijove.store import schema

if TYPE_CHECKING:
    from perijove.services.context import HubContext

STREAM_PAGE = 1000
# Of one transaction, so that the chore never holds the writer for long.
TRIM_PAGE = 5000


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditRow:
    id: int
    at: datetime
    action: str
    actor: str
    subject: str
    address: str
    correlation_id: str
    result: str
    data: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditQuery:
    """Empty fields do not filter. `action` and `subject` that end in `*` are beginnings of names."""

    actor: str = ""
    action: str = ""
    subject: str = ""
    address: str = ""
    result: str = ""
    since: datetime | None = None
    until: datetime | None = None


async def read_page(
    hub: "HubContext", query: AuditQuery, *, before: int | None = None, limit: int = 50
) -> tuple[list[AuditRow], int | None]:
    """Lines older than the cursor `before`, newest first, and the cursor of the next page (None: there is none)."""
    async with hub.store.read() as connection:
        a = schema.audit
        older = [] if before is None else [a.c.id < before]
        statement = select(a).where(*_conditions(query), *older).order_by(a.c.id.desc()).limit(limit + 1)
        rows = (await connection.execute(statement)).all()
    found = [_row(row) for row in rows[:limit]]
    return found, found[-1].id if len(rows) > limit else None


async def stream(hub: "HubContext", query: AuditQuery) -> AsyncIterator[AuditRow]:
    """All lines that match, newest first; reads a page at a time and holds no connection between."""
    before: int | None = None
    while True:
        found, before = await read_page(hub, query, before=before, limit=STREAM_PAGE)
        for row in found:
            yield row
        if before is None:
            return


async def trim(hub: "HubContext") -> int:
    """Chore: forget what is older than `audit_keep`; how many lines."""
    keep = hub.options.audit_keep
    if not keep:
        return 0
    total = 0
    while True:
        total += (deleted := await _trim_once(hub, keep))
        if deleted < TRIM_PAGE:
            return total


async def _trim_once(hub: "HubContext", keep: timedelta) -> int:
    """By id: it grows with time, and not every database deletes with a limit."""
    a = schema.audit
    old = select(a.c.id).where(a.c.at < hub.store.now() - keep).order_by(a.c.id).limit(TRIM_PAGE)
    async with hub.store.read() as connection:
        ids = list((await connection.execute(old)).scalars())
    if ids:
        async with hub.store.transaction() as tx:
            await tx.execute(delete(a).where(a.c.id.in_(ids)))
    return len(ids)


def _conditions(query: AuditQuery) -> list[ColumnElement[bool]]:
    a = schema.audit.c
    named = [
        _matches(getattr(a, name), value)
        for name in ("actor", "action", "subject", "address", "result")
        if (value := getattr(query, name))
    ]
    if query.since is not None:
        named.append(a.at >= query.since)
    if query.until is not None:
        named.append(a.at < query.until)
    return named


def _matches(column: ColumnElement[Any], value: str) -> ColumnElement[bool]:
    if not value.endswith("*"):
        return column == value
    return column.startswith(value[:-1], autoescape=True)


def _row(row: Row[Any]) -> AuditRow:
    return AuditRow(
        id=row.id,
        at=row.at,
        action=row.action,
        actor=row.actor,
        subject=row.subject,
        address=row.address,
        correlation_id=row.correlation_id,
        result=row.result,
        data=row.data,
    )
