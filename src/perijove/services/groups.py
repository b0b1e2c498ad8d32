"""Groups: names, members, properties. Edits are allowed while the authenticator manages groups; its next
word about a user replaces that user's memberships."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import ColumnElement, delete, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from perijove.domain.errors import Conflict, Invalid, NotFound
from perijove.domain.events import Event, Kind
from perijove.domain.ids import GroupId
from perijove.services.audit import record
from perijove.store import schema

if TYPE_CHECKING:
    from perijove.services.context import HubContext
    from perijove.store.database import Transaction

MAX_NAME = 255


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupRow:
    id: GroupId
    name: str
    properties: Mapping[str, Any]
    users: tuple[str, ...]
    roles: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupFacts:
    """A group without the names of its members, who may be thousands."""

    name: str
    properties: Mapping[str, Any]
    size: int
    roles: tuple[str, ...]


async def list_group_sizes(
    hub: "HubContext", *, offset: int = 0, limit: int = 50, names: frozenset[str] | None = None
) -> tuple[list[GroupFacts], int]:
    """One page by name, and how many there are. `names`: only these."""
    groups = schema.groups
    conditions: list[ColumnElement[bool]] = [] if names is None else [groups.c.name.in_(names)]
    members, assigned, roles = schema.user_groups.c, schema.group_roles.c, schema.roles.c
    async with hub.store.read() as connection:
        page = select(groups).where(*conditions).order_by(groups.c.name).offset(offset).limit(limit)
        rows = (await connection.execute(page)).all()
        ids = [row.id for row in rows]
        count = select(func.count()).select_from(groups).where(*conditions)
        total = int((await connection.execute(count)).scalar_one())
        counted = select(members.group_id, func.count()).where(members.group_id.in_(ids)).group_by(members.group_id)
        sizes: dict[int, int] = {row[0]: row[1] for row in (await connection.execute(counted)).all()}
        role_query = (
            select(assigned.group_id, roles.name)
            .join_from(schema.group_roles, schema.roles, roles.id == assigned.role_id)
            .where(assigned.group_id.in_(ids))
            .order_by(roles.name)
        )
        held: dict[int, list[str]] = {}
        for group_id, name in (await connection.execute(role_query)).all():
            held.setdefault(group_id, []).append(name)
    return [
        GroupFacts(
            name=row.name, properties=row.properties, size=sizes.get(row.id, 0), roles=tuple(held.get(row.id, ()))
        )
        for row in rows
    ], total


async def get_group_facts(hub: "HubContext", name: str) -> GroupFacts:
    """Raises `NotFound`."""
    found, _ = await list_group_sizes(hub, names=frozenset({name}))
    if not found:
        raise NotFound(f"No such group: {name}")
    return found[0]


async def list_groups(
    hub: "HubContext", *, offset: int = 0, limit: int = 50, names: frozenset[str] | None = None
) -> tuple[list[GroupRow], int]:
    """One page by id, and how many there are. `names`: only these."""
    groups = schema.groups
    conditions: list[ColumnElement[bool]] = [] if names is None else [groups.c.name.in_(names)]
    async with hub.store.read() as connection:
        page = select(groups).where(*conditions).order_by(groups.c.id).offset(offset).limit(limit)
        rows = (await connection.execute(page)).all()
        count = select(func.count()).select_from(groups).where(*conditions)
        total = int((await connection.execute(count)).scalar_one())
        return await _complete(connection, rows), total


async def get_group(hub: "HubContext", name: str) -> GroupRow:
    """Raises `NotFound`."""
    async with hub.store.read() as connection:
        return await _get(connection, name)


async def _get(connection: AsyncConnection, name: str) -> GroupRow:
    rows = (await connection.execute(select(schema.groups).where(schema.groups.c.name == name))).all()
    if not rows:
        raise NotFound(f"No such group: {name}")
    return (await _complete(connection, rows))[0]


async def _complete(connection: AsyncConnection, rows: Sequence[Any]) -> list[GroupRow]:
    """Members and roles of these groups: one query each."""
    if not rows:
        return []
    ids = [row.id for row in rows]
    members, users = schema.user_groups.c, schema.users.c
    member_query = (
        select(members.group_id, users.name)
        .join_from(schema.user_groups, schema.users, users.id == members.user_id)
        .where(members.group_id.in_(ids))
        .order_by(users.id)
    )
    assigned, roles = schema.group_roles.c, schema.roles.c
    role_query = (
        select(assigned.group_id, roles.name)
        .join_from(schema.group_roles, schema.roles, roles.id == assigned.role_id)
        .where(assigned.group_id.in_(ids))
        .order_by(roles.name)
    )
    found: list[dict[int, list[str]]] = []
    for statement in (member_query, role_query):
        by_group: dict[int, list[str]] = {}
        for group_id, name in (await connection.execute(statement)).all():
            by_group.setdefault(group_id, []).append(name)
        found.append(by_group)
    return [
        GroupRow(
            id=row.id,
            name=row.name,
            properties=row.properties,
            users=tuple(found[0].get(row.id, ())),
            roles=tuple(found[1].get(row.id, ())),
        )
        for row in rows
    ]


def check_group_name(name: str) -> None:
    """Raises `Invalid`. Providers name groups as they like; only what breaks URLs and logs is refused."""
    if not name or len(name) > MAX_NAME or not name.isprintable():
        raise Invalid(f"A group name has 1 to {MAX_NAME} printable characters.", field="name")


async def create_group(hub: "HubContext", name: str, *, users: Sequence[str] = (), actor: str) -> GroupRow:
    """Raises `Conflict` if it exists, `Invalid` for an unknown user."""
    check_group_name(name)
    async with hub.store.transaction() as tx:
        if (await tx.execute(select(schema.groups.c.id).where(schema.groups.c.name == name))).first():
            raise Conflict(f"Group {name} already exists")
        made = await tx.execute(insert(schema.groups).values(name=name, properties={}))
        assert made.inserted_primary_key is not None
        await _add(tx, GroupId(made.inserted_primary_key[0]), await user_ids(tx, users))
        await record(tx, "group.create", actor=actor, subject=name, users=list(users))
        return await _get(tx.connection, name)


async def delete_group(hub: "HubContext", name: str, *, actor: str) -> None:
    """Raises `NotFound`."""
    async with hub.store.transaction() as tx:
        group = await _get(tx.connection, name)
        await tx.execute(delete(schema.groups).where(schema.groups.c.id == group.id))
        await record(tx, "group.delete", actor=actor, subject=name)
        tx.emit(*(Event(Kind.IDENTITY, user) for user in group.users))


async def add_members(hub: "HubContext", name: str, users: Sequence[str], *, actor: str) -> GroupRow:
    """Who is a member already stays one. Raises `NotFound`, `Invalid` for an unknown user."""
    async with hub.store.transaction() as tx:
        group = await _get(tx.connection, name)
        await _add(tx, group.id, await user_ids(tx, [user for user in users if user not in group.users]))
        await record(tx, "group.add", actor=actor, subject=name, users=list(users))
        return await _get(tx.connection, name)


async def remove_members(hub: "HubContext", name: str, users: Sequence[str], *, actor: str) -> GroupRow:
    """Who is no member is ignored. Raises `NotFound`, `Invalid` for an unknown user."""
    async with hub.store.transaction() as tx:
        group = await _get(tx.connection, name)
        ids = await user_ids(tx, users)
        members = schema.user_groups.c
        gone = delete(schema.user_groups).where(members.group_id == group.id, members.user_id.in_(ids.values()))
        await tx.execute(gone)
        await record(tx, "group.remove", actor=actor, subject=name, users=list(users))
        tx.emit(*(Event(Kind.IDENTITY, user) for user in ids))
        return await _get(tx.connection, name)


async def set_properties(hub: "HubContext", name: str, properties: Mapping[str, Any], *, actor: str) -> GroupRow:
    """Raises `NotFound`."""
    async with hub.store.transaction() as tx:
        groups = schema.groups
        changed = await tx.execute(update(groups).where(groups.c.name == name).values(properties=dict(properties)))
        if not changed.rowcount:
            raise NotFound(f"No such group: {name}")
        await record(tx, "group.properties", actor=actor, subject=name)
        return await _get(tx.connection, name)


async def user_ids(tx: "Transaction", names: Sequence[str]) -> dict[str, int]:
    """Ids by name. Raises `Invalid` when one is unknown."""
    wanted = list(dict.fromkeys(names))
    found: dict[str, int] = {}
    users = schema.users.c
    for first in range(0, len(wanted), 500):
        rows = await tx.execute(select(users.name, users.id).where(users.name.in_(wanted[first : first + 500])))
        found |= {row.name: row.id for row in rows}
    if unknown := [name for name in wanted if name not in found]:
        raise Invalid(f"No such user: {', '.join(unknown)}", field="users")
    return found


async def _add(tx: "Transaction", group_id: GroupId, users: Mapping[str, int]) -> None:
    if not users:
        return
    rows = [{"user_id": user_id, "group_id": group_id} for user_id in users.values()]
    await tx.execute(insert(schema.user_groups), rows)
    tx.emit(*(Event(Kind.IDENTITY, user) for user in users))
