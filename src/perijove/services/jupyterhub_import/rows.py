"""What the steps of an import share: which rows became which, and writing many at once."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sqlalchemy import Table, insert, select, text

from perijove.services.jupyterhub_import.report import Report
from perijove.services.jupyterhub_import.source import Source

if TYPE_CHECKING:
    from perijove.services.context import HubContext
    from perijove.store.database import Transaction

CHUNK = 1000


@dataclass(slots=True)
class Import:
    """One import: from where, to where, and what has become of the rows that were taken so far."""

    hub: "HubContext"
    source: Source
    report: Report = field(default_factory=Report)
    # JupyterHub's ids to ours.
    users: dict[int, int] = field(default_factory=dict)
    groups: dict[int, int] = field(default_factory=dict)
    services: dict[int, int] = field(default_factory=dict)
    roles: dict[int, int] = field(default_factory=dict)
    servers: dict[int, int] = field(default_factory=dict)
    # Their ids in JupyterHub.
    running: set[int] = field(default_factory=set)
    clients: set[str] = field(default_factory=set)
    names: dict[int, str] = field(default_factory=dict)


async def insert_all(tx: "Transaction", table: Table, rows: Sequence[Mapping[str, Any]]) -> None:
    for first in range(0, len(rows), CHUNK):
        await tx.execute(insert(table), list(rows[first : first + CHUNK]))


async def insert_pairs(
    tx: "Transaction", table: Table, rows: Iterable[Mapping[str, Any]], key: tuple[str, str]
) -> None:
    have = {tuple(row) for row in await tx.execute(select(table.c[key[0]], table.c[key[1]]))}
    await insert_all(tx, table, [row for row in rows if (row[key[0]], row[key[1]]) not in have])


async def ids_by_name(tx: "Transaction", table: Table) -> dict[str, int]:
    return {row.name: row.id for row in await tx.execute(select(table.c.name, table.c.id))}


async def number_from_here(hub: "HubContext", tx: "Transaction", table: Table) -> None:
    """PostgreSQL's sequences do not see ids that were given."""
    if hub.store.dialect == "postgresql":
        name = table.name
        await tx.execute(
            text(f"SELECT setval(pg_get_serial_sequence('{name}', 'id'), greatest((SELECT max(id) FROM {name}), 1))")  # noqa: S608 - a constant of ours
        )
