"""Login sessions of browsers: one row each, found by the hash of the secret in the login cookie."""

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from sqlalchemy import delete, insert, select

from perijove.domain.errors import NotFound
from perijove.domain.events import Event, Kind
from perijove.domain.ids import SessionId
from perijove.services.audit import record
from perijove.services.secrets import hash_session
from perijove.store import schema

if TYPE_CHECKING:
    from perijove.services.context import HubContext
    from perijove.store.database import Transaction


@dataclass(frozen=True, slots=True)
class SessionRow:
    """One line of a person's list of sessions."""

    id: SessionId
    created: datetime
    last_seen: datetime
    expires_at: datetime
    user_agent: str
    address: str


async def create(
    hub: "HubContext",
    tx: "Transaction",
    *,
    user_id: int,
    secret: str,
    browser_session: str,
    user_agent: str,
    address: str,
) -> None:
    """A session within the login's transaction; `secret` goes into the cookie."""
    await tx.execute(
        insert(schema.sessions),
        {
            "hashed": hash_session(secret),
            "user_id": user_id,
            "browser_session": browser_session,
            "created": tx.now,
            "last_seen": tx.now,
            "expires_at": tx.now + hub.options.cookie_max_age,
            "user_agent": user_agent[:255],
            "address": address[:64],
        },
    )


async def list_sessions(hub: "HubContext", user: str) -> list[SessionRow]:
    """Live ones, newest first."""
    sessions, users = schema.sessions.c, schema.users.c
    statement = (
        select(
            sessions.id,
            sessions.created,
            sessions.last_seen,
            sessions.expires_at,
            sessions.user_agent,
            sessions.address,
        )
        .join(schema.users, users.id == sessions.user_id)
        .where(users.name == user, sessions.expires_at > hub.store.now())
        .order_by(sessions.last_seen.desc(), sessions.id.desc())
    )
    async with hub.store.read() as connection:
        return [SessionRow(*row) for row in await connection.execute(statement)]


async def revoke_session(hub: "HubContext", user: str, session_id: SessionId, *, actor: str) -> None:
    """End one session and delete the OAuth tokens of its browser. Raises `NotFound`."""
    sessions, users = schema.sessions.c, schema.users.c
    async with hub.store.transaction() as tx:
        found = (
            await tx.execute(
                select(sessions.user_id, sessions.browser_session)
                .join(schema.users, users.id == sessions.user_id)
                .where(users.name == user, sessions.id == session_id)
            )
        ).first()
        if found is None:
            raise NotFound("No such session.")
        await tx.execute(delete(schema.sessions).where(sessions.id == session_id))
        await delete_browser_tokens(tx, found.user_id, found.browser_session)
        await record(tx, "session.revoke", actor=actor, subject=user)
        tx.emit(Event(Kind.IDENTITY, user))


async def revoke_all_sessions(hub: "HubContext", user: str, *, actor: str) -> int:
    """Log out everywhere: all sessions and all OAuth tokens issued to browsers. Returns how many sessions."""
    async with hub.store.transaction() as tx:
        user_id = (await tx.execute(select(schema.users.c.id).where(schema.users.c.name == user))).scalar()
        if user_id is None:
            raise NotFound(f"No such user: {user}")
        ended = await tx.execute(delete(schema.sessions).where(schema.sessions.c.user_id == user_id))
        tokens = schema.tokens.c
        await tx.execute(delete(schema.tokens).where(tokens.user_id == user_id, tokens.client_id.is_not(None)))
        await tx.execute(delete(schema.oauth_codes).where(schema.oauth_codes.c.user_id == user_id))
        await record(tx, "session.revoke_all", actor=actor, subject=user, sessions=ended.rowcount)
        tx.emit(Event(Kind.IDENTITY, user))
        return int(ended.rowcount)


async def delete_browser_tokens(tx: "Transaction", user_id: int, browser_session: str) -> None:
    """What was issued to this user's browser session: tokens, and codes not yet exchanged."""
    if not browser_session:
        return
    for table in (schema.tokens, schema.oauth_codes):
        await tx.execute(delete(table).where(table.c.user_id == user_id, table.c.browser_session == browser_session))
