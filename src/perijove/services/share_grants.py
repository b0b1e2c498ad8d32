"""Shares: an owner's server opened to a user or to a group. Made, listed, cut down and ended here.

A stored scope names its base; the filter that it is shown and held with is the server as it is called now,
so renaming a server or its owner changes no row. Whoever loses or gains something is named in an event: a
share with a group speaks of each of its members.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

from sqlalchemy import ColumnElement, Row, Select, delete, func, insert, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from perijove.domain import scopes as scope_rules
from perijove.domain.errors import Forbidden, Invalid, NotFound
from perijove.domain.events import Event, Kind
from perijove.domain.names import full_name
from perijove.domain.scope_table import META
from perijove.domain.states import Desired, Observed, ready
from perijove.services import identity as identities
from perijove.services.audit import record
from perijove.services.server_rows import ServerRow, find
from perijove.services.servers import ensure_default
from perijove.services.share_visitors import forget_visitors
from perijove.store import schema

if TYPE_CHECKING:
    from perijove.services.context import HubContext
    from perijove.services.identity import Identity
    from perijove.store.database import Transaction

ACCESS = "access:servers"
TargetKind = Literal["user", "group"]
# Who may be named holds this for the name.
NAMING: dict[TargetKind, str] = {"user": "read:users:name", "group": "read:groups:name"}


@dataclass(frozen=True, slots=True)
class Target:
    """Whom a server is shared with."""

    kind: TargetKind
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedServer:
    owner: str
    name: str
    ready: bool

    @property
    def full_name(self) -> str:
        return full_name(self.owner, self.name)


@dataclass(frozen=True, slots=True, kw_only=True)
class ShareRow:
    id: int
    server: SharedServer
    target: Target
    scopes: tuple[str, ...]
    created: datetime


# -- scopes


def scopes_for(hub: "HubContext", owner: str, server: str, asked: Sequence[str] | None) -> list[str]:
    """Scopes of a share, each with the filter of this server. Raises `Invalid` for another filter or no such scope."""
    whole = full_name(owner, server)
    scopes = []
    for text in asked or (ACCESS,):
        scope = hub.identities.catalogue.check(text)
        if scope.base in META:
            raise Invalid(f"Scope '{text}' cannot be shared", field="scopes")
        if scope.kind and (scope.kind, scope.value) != ("server", whole):
            raise Invalid(f"Scope '{text}' has a filter other than !server={whole}", field="scopes")
        scopes.append(f"{scope.base}!server={whole}")
    return sorted(set(scopes))


async def require_held(hub: "HubContext", identity: "Identity", scopes: Iterable[str]) -> None:
    """Nobody shares what they may not do themselves. Raises `Forbidden`."""
    for scope in scopes:
        if not await identities.allows(hub, identity, scope):
            raise Forbidden(f"Do not have permission to grant share with scope {scope}")


async def require_nameable(hub: "HubContext", identity: "Identity", target: Target) -> None:
    """Sharing by name tells whether the name exists. Raises `Forbidden`."""
    base = NAMING[target.kind]
    if not await identities.allows(hub, identity, f"{base}!{target.kind}={target.name}"):
        raise Forbidden(f"Need scope '{base}' to share with {target.kind}s by name")


def as_called_now(scopes: Iterable[str], server: SharedServer) -> tuple[str, ...]:
    return tuple(sorted({f"{scope_rules.parse(text).base}!server={server.full_name}" for text in scopes}))


# -- reading


async def list_of_owner(
    hub: "HubContext", owner: str, server: str | None = None, *, offset: int = 0, limit: int = 50
) -> tuple[list[ShareRow], int]:
    """Shares of one of a user's servers, or of all. Raises `NotFound`."""
    async with hub.store.read() as connection:
        where = await of_owner(connection, owner, server, schema.shares.c.server_id)
        return await _page(connection, where, offset, limit)


async def list_for(
    hub: "HubContext", target: Target, *, offset: int = 0, limit: int = 50
) -> tuple[list[ShareRow], int]:
    """What is shared with a user (through their groups too), or with a group. Raises `NotFound`."""
    async with hub.store.read() as connection:
        target_id = await _target_id(connection, target)
        if target_id is None:
            raise NotFound(f"No such {target.kind}: {target.name}")
        where = _with(target, target_id)
        if target.kind == "user":
            members = schema.user_groups.c
            groups = select(members.group_id).where(members.user_id == target_id)
            where = or_(where, schema.shares.c.group_id.in_(groups))
        return await _page(connection, where, offset, limit)


async def require_server(hub: "HubContext", owner: str, server: str) -> None:
    """Raises `NotFound`."""
    async with hub.store.read() as connection:
        await of_owner(connection, owner, server, schema.shares.c.server_id)


async def get_share(hub: "HubContext", owner: str, server: str, target: Target) -> ShareRow:
    """Raises `NotFound`."""
    async with hub.store.read() as connection:
        return await _get(connection, owner, server, target)


async def of_owner(
    connection: AsyncConnection, owner: str, server: str | None, column: ColumnElement[Any]
) -> ColumnElement[bool]:
    """That `column` is one of these servers. Raises `NotFound`; a default server nobody started has no row."""
    owner_id = (await connection.execute(select(schema.users.c.id).where(schema.users.c.name == owner))).scalar()
    if owner_id is None:
        raise NotFound(f"No such user: {owner}")
    servers = schema.servers.c
    which = select(servers.id).where(servers.user_id == owner_id)
    if server is not None:
        which = which.where(servers.name == server)
        if server and (await connection.execute(which)).first() is None:
            raise NotFound(f"No such server: {owner}/{server}")
    return column.in_(which)


async def _page(
    connection: AsyncConnection, where: ColumnElement[bool], offset: int, limit: int
) -> tuple[list[ShareRow], int]:
    shares = schema.shares
    total = (await connection.execute(select(func.count()).select_from(shares).where(where))).scalar_one()
    rows = await connection.execute(_shares().where(where).order_by(shares.c.id).offset(offset).limit(limit))
    return [_row(row) for row in rows], int(total)


async def _get(connection: AsyncConnection, owner: str, server: str, target: Target) -> ShareRow:
    target_id = await _target_id(connection, target)
    if target_id is not None:
        named = (schema.users.c.name == owner) & (schema.servers.c.name == server)
        row = (await connection.execute(_shares().where(named, _with(target, target_id)))).first()
        if row is not None:
            return _row(row)
    raise NotFound(f"No such share for {target.kind} {target.name} on {owner}/{server}")


async def _target_id(connection: AsyncConnection, target: Target) -> int | None:
    table = schema.users if target.kind == "user" else schema.groups
    found: int | None = (await connection.execute(select(table.c.id).where(table.c.name == target.name))).scalar()
    return found


def _with(target: Target, target_id: int) -> ColumnElement[bool]:
    column = schema.shares.c.user_id if target.kind == "user" else schema.shares.c.group_id
    return column == target_id


_visitors = schema.users.alias("visitors")


def server_columns() -> list[ColumnElement[Any]]:
    """What `shared_server` reads from a row."""
    servers = schema.servers.c
    return [schema.users.c.name.label("owner"), servers.name.label("server"), servers.desired, servers.observed]


def shared_server(row: Row[Any]) -> SharedServer:
    running = ready(Desired(row.desired), Observed(row.observed))
    return SharedServer(owner=row.owner, name=row.server, ready=running)


def _shares() -> Select[Any]:
    shares, servers = schema.shares.c, schema.servers.c
    return (
        select(
            shares.id,
            shares.scopes,
            shares.created,
            _visitors.c.name.label("visitor"),
            schema.groups.c.name.label("group_name"),
            *server_columns(),
        )
        .join_from(schema.shares, schema.servers, servers.id == shares.server_id)
        .join(schema.users, schema.users.c.id == servers.user_id)
        .outerjoin(_visitors, _visitors.c.id == shares.user_id)
        .outerjoin(schema.groups, schema.groups.c.id == shares.group_id)
    )


def _row(row: Row[Any]) -> ShareRow:
    server = shared_server(row)
    return ShareRow(
        id=row.id,
        server=server,
        target=Target("user", row.visitor) if row.visitor is not None else Target("group", row.group_name),
        scopes=as_called_now(row.scopes, server),
        created=row.created,
    )


# -- writing


async def grant(
    hub: "HubContext",
    owner: str,
    server: str,
    target: Target,
    scopes: Sequence[str],
    *,
    actor: str,
) -> ShareRow:
    """Add `scopes` (of `scopes_for`) to what `target` has. Raises `NotFound` (server), `Invalid` (target)."""
    shares = schema.shares
    async with hub.store.transaction() as tx:
        row = await server_to_share(tx, owner, server)
        target_id = await _target_id(tx.connection, target)
        if target_id is None:
            raise Invalid(f"No such {target.kind}: {target.name}", field=target.kind)
        where = (shares.c.server_id == row.id, _with(target, target_id))
        there = (await tx.execute(select(shares.c.scopes).where(*where))).scalar()
        if there is None:
            values = {"server_id": row.id, f"{target.kind}_id": target_id, "scopes": list(scopes), "created": tx.now}
            await tx.execute(insert(shares).values(values))
        else:
            await tx.execute(update(shares).where(*where).values(scopes=sorted({*there, *scopes})))
        await record(tx, "share.grant", actor=actor, subject=row.full_name, **_facts(target, scopes))
        await _tell(tx, target, target_id)
        return await _get(tx.connection, owner, server, target)


async def revoke(
    hub: "HubContext",
    owner: str,
    server: str,
    target: Target,
    scopes: Collection[str] | None,
    *,
    actor: str,
) -> ShareRow | None:
    """Take `scopes` away, None: all. What is left, or None. Revoking what nobody has is no error."""
    shares = schema.shares
    async with hub.store.transaction() as tx:
        await of_owner(tx.connection, owner, server, shares.c.server_id)
        try:
            share = await _get(tx.connection, owner, server, target)
        except NotFound:
            return None
        left = [] if scopes is None else [scope for scope in share.scopes if scope not in scopes]
        if left:
            await tx.execute(update(shares).where(shares.c.id == share.id).values(scopes=left))
        else:
            await tx.execute(delete(shares).where(shares.c.id == share.id))
        target_id = await _target_id(tx.connection, target)
        assert target_id is not None
        gone = sorted(set(share.scopes) - set(left))
        await record(tx, "share.revoke", actor=actor, subject=share.server.full_name, **_facts(target, gone))
        await _tell(tx, target, target_id)
        return await _get(tx.connection, owner, server, target) if left else None


async def leave(hub: "HubContext", owner: str, server: str, target: Target, *, actor: str) -> None:
    """The visitor's side of `revoke`. Raises `NotFound`."""
    async with hub.store.transaction() as tx:
        share = await _get(tx.connection, owner, server, target)
        target_id = await _target_id(tx.connection, target)
        assert target_id is not None
        await tx.execute(delete(schema.shares).where(schema.shares.c.id == share.id))
        await record(tx, "share.leave", actor=actor, subject=share.server.full_name, **_facts(target, share.scopes))
        await _tell(tx, target, target_id)


async def revoke_all(hub: "HubContext", owner: str, server: str, *, actor: str) -> int:
    """End every share of a server; how many there were. Raises `NotFound`."""
    async with hub.store.transaction() as tx:
        where = await of_owner(tx.connection, owner, server, schema.shares.c.server_id)
        await forget_visitors(tx, where)
        gone = (await tx.execute(delete(schema.shares).where(where))).rowcount
        await record(tx, "share.revoke-all", actor=actor, subject=full_name(owner, server), shares=gone)
    return gone


async def server_to_share(tx: "Transaction", owner: str, server: str) -> ServerRow:
    """Raises `NotFound`. A user always has a default server, though its row may not be made yet."""
    if not server:
        return await ensure_default(tx, owner)
    row = await find(tx.connection, owner, server)
    if row is None:
        raise NotFound(f"No such server: {owner}/{server}")
    return row


async def _tell(tx: "Transaction", target: Target, target_id: int) -> None:
    """Whoever this share was with holds more or less from now on."""
    if target.kind == "user":
        tx.emit(Event(Kind.IDENTITY, target.name))
        return
    users, members = schema.users.c, schema.user_groups.c
    names = select(users.name).join(schema.user_groups, members.user_id == users.id)
    found = await tx.execute(names.where(members.group_id == target_id))
    tx.emit(*(Event(Kind.IDENTITY, name) for name in found.scalars()))


def _facts(target: Target, scopes: Iterable[str]) -> dict[str, Any]:
    """Of the audit trail."""
    return {target.kind: target.name, "scopes": list(scopes)}
