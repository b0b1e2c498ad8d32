"""Logins that arrive together are written together.

When a class opens its notebooks at nine, each login is a few small writes, and a database with one
writer makes them wait for one another. Those that wait (`store.gathering`) are read and written at once, as many
as there are: one transaction, a constant number of statements.

Only the ordinary login goes this way: a user who exists and of whom the authenticator says nothing new.
Anything else is given back, to be written by itself (`login._write_login`).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from sqlalchemy import bindparam, insert, select

from perijove.domain.errors import Conflict
from perijove.domain.ids import UserId
from perijove.domain.ports import AuthModel
from perijove.lib.log import correlation_id
from perijove.services import profile
from perijove.services.secrets import hash_session
from perijove.store import schema
from perijove.store.gathering import Answer, Gathering

if TYPE_CHECKING:
    from perijove.services.context import HubContext
    from perijove.store.database import Transaction


@dataclass(slots=True)
class Entry:
    """A login to be written."""

    model: AuthModel
    secret: str
    browser_session: str
    # The browser came with that mark, so it may be somebody else's by now.
    offered: bool
    user_agent: str
    address: str
    correlation_id: str = field(default_factory=correlation_id.get)


class LoginQueue:
    """One per process, in `HubContext.logins`."""

    def __init__(self) -> None:
        self._gathering: Gathering[Entry, UserId | None] = Gathering()

    async def write(self, hub: "HubContext", entry: Entry) -> UserId | None:
        """Write the session; None: this is no ordinary login, nothing was written."""
        return await self._gathering.add(entry, partial(_write, hub))


async def _write(hub: "HubContext", entries: Sequence[Entry], answer: Answer[UserId | None]) -> None:
    """Ids of users whose sessions were written, None for the others. A conflict (a user was deleted
    meanwhile) gives all back."""
    written: list[UserId | None] = []
    sessions: list[dict[str, Any]] = []
    trail: list[dict[str, Any]] = []
    try:
        async with hub.store.transaction() as tx:
            names = list({entry.model.name for entry in entries})
            rows = {row.name: row for row in await tx.execute(_USERS, {"names": names})}
            taken = await _taken(tx, entries)
            until = tx.now + hub.options.cookie_max_age
            for entry in entries:
                row = rows.get(entry.model.name)
                mine = taken.get(entry.browser_session, set()) <= ({row.id} if row is not None else set())
                if row is None or not mine or profile.differs(hub, row, entry.model):
                    written.append(None)
                    continue
                written.append(UserId(row.id))
                hub.activity.saw_refresh(row.id, tx.now)
                sessions.append(
                    {
                        "hashed": hash_session(entry.secret),
                        "user_id": row.id,
                        "browser_session": entry.browser_session,
                        "created": tx.now,
                        "last_seen": tx.now,
                        "expires_at": until,
                        "user_agent": entry.user_agent[:255],
                        "address": entry.address[:64],
                    }
                )
                trail.append(
                    {
                        "at": tx.now,
                        "action": "login",
                        "actor": row.name,
                        "subject": row.name,
                        "address": entry.address[:64],
                        "correlation_id": entry.correlation_id[:64],
                        "data": {},
                    }
                )
            if sessions:
                await tx.execute(_ADD_SESSION, sessions)
                await tx.execute(_ADD_AUDIT, trail)
            tx.committed.append(partial(answer, written))
    except Conflict:
        answer([None] * len(entries))


_USERS = select(schema.users).where(schema.users.c.name.in_(bindparam("names", expanding=True)))
_MARKS = select(schema.sessions.c.browser_session, schema.sessions.c.user_id).where(
    schema.sessions.c.browser_session.in_(bindparam("marks", expanding=True))
)
_ADD_SESSION, _ADD_AUDIT = insert(schema.sessions), insert(schema.audit)


async def _taken(tx: "Transaction", entries: Sequence[Entry]) -> dict[str, set[int]]:
    """Users whose sessions carry the browser marks that these logins offer."""
    offered = list({entry.browser_session for entry in entries if entry.offered})
    found: dict[str, set[int]] = {}
    if offered:
        for row in await tx.execute(_MARKS, {"marks": offered}):
            found.setdefault(row.browser_session, set()).add(row.user_id)
    return found
