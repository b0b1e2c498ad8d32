"""Logins that arrive together are written together.

When a class opens its notebooks at nine, each login is a few small writes, and a database with one
writer makes them wait for one another. While one transaction is being written the next logins gather; then
they are read and written at once, as many as there are: one transaction, a constant number of statements.

Only the ordinary login goes this way: a user who exists and of whom the authenticator says nothing new.
Anything else is given back, to be written by itself (`login._write_login`).
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sqlalchemy import bindparam, insert, select

from perijove.domain.errors import Conflict
from perijove.domain.ids import UserId
from perijove.domain.ports import AuthModel
from perijove.lib.log import correlation_id
from perijove.services import profile
from perijove.services.secrets import hash_session
from perijove.store import schema

if TYPE_CHECKING:
    from perijove.services.context import HubContext
    from perijove.store.database import Transaction

# Of one transaction, so that no batch holds the writer for long.
MAX_BATCH = 100


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
        self._waiting: list[tuple[Entry, asyncio.Future[UserId | None]]] = []
        self._writing: asyncio.Task[None] | None = None

    async def write(self, hub: "HubContext", entry: Entry) -> UserId | None:
        """Write the session; None: this is no ordinary login, nothing was written."""
        answer: asyncio.Future[UserId | None] = asyncio.get_running_loop().create_future()
        self._waiting.append((entry, answer))
        # A task of its own: whoever came first may hang up without leaving the others behind.
        if self._writing is None:
            self._writing = asyncio.create_task(self._write_all(hub))
        return await answer

    async def _write_all(self, hub: "HubContext") -> None:
        try:
            while self._waiting:
                batch, self._waiting = self._waiting[:MAX_BATCH], self._waiting[MAX_BATCH:]
                entries = [entry for entry, _ in batch]
                try:
                    written = await _write(hub, entries)
                except Exception as error:  # noqa: BLE001 - each of those who wait gets it
                    for _, answer in batch:
                        if not answer.done():
                            answer.set_exception(error)
                    continue
                for (_, answer), user_id in zip(batch, written, strict=True):
                    if not answer.done():
                        answer.set_result(user_id)
        finally:
            self._writing = None


async def _write(hub: "HubContext", entries: Sequence[Entry]) -> list[UserId | None]:
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
    except Conflict:
        return [None] * len(entries)
    return written


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
