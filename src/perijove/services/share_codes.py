"""Share codes: secrets that an owner gives out, each good for access to one server until it expires.

Only a hash is stored, so a code is shown once; the visitor's side is `services/shares.py`.
"""

import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from sqlalchemy import ColumnElement, Row, Select, delete, func, insert, or_, select

from perijove.domain.errors import Invalid, NotFound
from perijove.domain.names import full_name
from perijove.services.audit import record
from perijove.services.secrets import hash_session
from perijove.services.share_grants import (
    SharedServer,
    as_called_now,
    of_owner,
    server_columns,
    server_to_share,
    shared_server,
)
from perijove.store import schema

if TYPE_CHECKING:
    from perijove.services.context import HubContext

SHORTEST_SECONDS, LONGEST_SECONDS, DEFAULT_SECONDS = 60, 365 * 86400, 86400
_ID = re.compile(r"sc_([0-9]{1,18})")


@dataclass(frozen=True, slots=True, kw_only=True)
class ShareCodeRow:
    id: int
    server: SharedServer
    scopes: tuple[str, ...]
    created: datetime
    expires_at: datetime | None
    exchange_count: int
    last_exchanged: datetime | None


@dataclass(frozen=True, slots=True)
class NewShareCode:
    code: str  # shown once
    row: ShareCodeRow


async def issue(
    hub: "HubContext",
    owner: str,
    server: str,
    scopes: Sequence[str],
    *,
    expires_in_seconds: int = DEFAULT_SECONDS,
    actor: str,
) -> NewShareCode:
    """Raises `NotFound`, `Invalid` (lifetime)."""
    if not SHORTEST_SECONDS <= expires_in_seconds <= LONGEST_SECONDS:
        raise Invalid(f"expires_in is {SHORTEST_SECONDS} to {LONGEST_SECONDS} seconds.", field="expires_in")
    code = secrets.token_urlsafe(32)
    async with hub.store.transaction() as tx:
        row = await server_to_share(tx, owner, server)
        values = {
            "hashed": hash_session(code),
            "server_id": row.id,
            "scopes": list(scopes),
            "created": tx.now,
            "expires_at": tx.now + timedelta(seconds=expires_in_seconds),
            "exchange_count": 0,
        }
        made = await tx.execute(insert(schema.share_codes).values(values))
        assert made.inserted_primary_key is not None
        code_id = made.inserted_primary_key[0]
        await record(tx, "share-code.issue", actor=actor, subject=row.full_name, code_id=code_id, scopes=scopes)
        found = (await tx.execute(_codes().where(schema.share_codes.c.id == code_id))).one()
    return NewShareCode(code, _row(found))


async def list_codes(
    hub: "HubContext", owner: str, server: str | None = None, *, offset: int = 0, limit: int = 50
) -> tuple[list[ShareCodeRow], int]:
    """Those that can still be used. Raises `NotFound`."""
    codes = schema.share_codes
    async with hub.store.read() as connection:
        where = await of_owner(connection, owner, server, codes.c.server_id)
        valid = or_(codes.c.expires_at.is_(None), codes.c.expires_at > hub.store.now())
        total = (await connection.execute(select(func.count()).select_from(codes).where(where, valid))).scalar_one()
        page = _codes().where(where, valid).order_by(codes.c.id).offset(offset).limit(limit)
        return [_row(row) for row in await connection.execute(page)], int(total)


async def revoke_codes(
    hub: "HubContext",
    owner: str,
    server: str,
    *,
    code: str = "",
    code_id: str = "",
    actor: str,
) -> int:
    """One code, by itself or by its id `sc_<n>`, or all of the server. Raises `NotFound` when the one is not there."""
    if code and code_id:
        raise Invalid("Give either code or id, not both.", field="code")
    codes = schema.share_codes
    async with hub.store.transaction() as tx:
        where = [await of_owner(tx.connection, owner, server, codes.c.server_id), *_one(code, code_id)]
        gone = (await tx.execute(delete(codes).where(*where))).rowcount
        if not gone and (code or code_id):
            raise NotFound("No matching code found")
        await record(tx, "share-code.revoke", actor=actor, subject=full_name(owner, server), codes=gone)
    return gone


def _one(code: str, code_id: str) -> list[ColumnElement[bool]]:
    if code:
        return [schema.share_codes.c.hashed == hash_session(code)]
    if not code_id:
        return []
    match = _ID.fullmatch(code_id)
    if match is None:
        raise NotFound("No matching code found")
    return [schema.share_codes.c.id == int(match[1])]


def _codes() -> Select[Any]:
    codes, servers = schema.share_codes.c, schema.servers.c
    return (
        select(
            codes.id,
            codes.scopes,
            codes.created,
            codes.expires_at,
            codes.exchange_count,
            codes.last_exchanged,
            *server_columns(),
        )
        .join_from(schema.share_codes, schema.servers, servers.id == codes.server_id)
        .join(schema.users, schema.users.c.id == servers.user_id)
    )


def _row(row: Row[Any]) -> ShareCodeRow:
    server = shared_server(row)
    return ShareCodeRow(
        id=row.id,
        server=server,
        scopes=as_called_now(row.scopes, server),
        created=row.created,
        expires_at=row.expires_at,
        exchange_count=row.exchange_count,
        last_exchanged=row.last_exchanged,
    )
