"""Writing what was read from JupyterHub into our database, in one transaction.

One, so that whatever kills an import leaves nothing of it, and the next one does it whole. It is done once for
a database: a second import would bring back tokens that were revoked since, and users that were deleted. What
is here already (users and services of the configuration, if a hub was started before) stays and is completed.

A trial run is the same transaction, rolled back: it tells exactly what would be taken.
"""

import json
from typing import TYPE_CHECKING

from sqlalchemy import insert, select

from perijove.domain.events import Event, Kind
from perijove.services.audit import record
from perijove.services.identity_cache import EVERYONE
from perijove.services.jupyterhub_import import credentials, people, running
from perijove.services.jupyterhub_import.beside import DONE
from perijove.services.jupyterhub_import.report import Report
from perijove.services.jupyterhub_import.rows import Import
from perijove.services.jupyterhub_import.source import Source
from perijove.store import schema

if TYPE_CHECKING:
    from perijove.services.context import HubContext
    from perijove.store.database import Transaction


class _Tried(Exception):
    """Rolls a trial run back."""


async def take(hub: "HubContext", source: Source, *, actor: str, dry_run: bool = False) -> Report:
    """Take `source` over, or say what that would be. Raises `Conflict` when another import does it now."""
    import_ = Import(hub, source)
    async with hub.store.read() as connection:
        done = (await connection.execute(select(schema.meta.c.value).where(schema.meta.c.key == DONE))).scalar()
    if done is not None:
        before = json.loads(done)
        import_.report.already = f"{before['at']} from {before['source']}"
        return import_.report
    await credentials.check_auth_states(import_)
    try:
        async with hub.store.transaction() as tx:
            await _run(import_, tx, actor=actor)
            if dry_run:
                _roll_back()
    except _Tried:
        pass
    return import_.report


def _roll_back() -> None:
    raise _Tried


async def _run(import_: Import, tx: "Transaction", *, actor: str) -> None:
    source, report = import_.source, import_.report
    report.source, report.release = source.url, source.release
    report.notes += source.notes
    done = {"source": source.url, "at": tx.now.isoformat(timespec="seconds")}
    # First, so that of two imports at once one waits here and then fails.
    await tx.execute(insert(schema.meta), {"key": DONE, "value": json.dumps(done)})
    await people.take_users(import_, tx)
    await people.take_groups(import_, tx)
    await people.take_roles(import_, tx)
    await people.take_services(import_, tx)
    for kind, ids in (("user", import_.users), ("group", import_.groups), ("service", import_.services)):
        await people.take_assignments(import_, tx, kind, ids)
    await running.take_servers(import_, tx)
    await running.take_clients(import_, tx)
    await credentials.take_tokens(import_, tx)
    await credentials.take_shares(import_, tx)
    await credentials.take_share_codes(import_, tx)
    if codes := len(source.rows("oauth_codes")):
        report.left["OAuth codes", "they are good for minutes; the login is repeated by itself"] = [""] * codes
    await record(tx, "database.import", actor=actor, **done, taken=dict(report.taken))
    tx.emit(Event(Kind.IDENTITY, EVERYONE))
