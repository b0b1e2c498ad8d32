"""What a user or service holds: roles, roles of groups, shares; read from rows and remembered.

Every user has the role `user` and whoever has the admin flag has `admin`; neither is stored as an
assignment. A group's role is expanded per member: `!user` in it means the member.
"""

import random
from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal

from sqlalchemy import CompoundSelect, Row, Select, literal, or_, select, union_all
from sqlalchemy.ext.asyncio import AsyncConnection

from perijove.domain import roles as role_rules
from perijove.domain import scopes as scope_rules
from perijove.domain.errors import NotFound
from perijove.domain.names import full_name
from perijove.domain.scopes import Owner, ScopeSet
from perijove.services.identity_cache import Identity, OwnerEntry
from perijove.store import schema

if TYPE_CHECKING:
    from datetime import datetime

    from perijove.services.context import HubContext

OwnerKind = Literal["user", "service"]
RoleTable = Mapping[int, tuple[str, tuple[str, ...]]]

# Owners are read again after this even without an event (activity of other replicas moves times).
TTL_SECONDS = 300.0


async def owner_entry(hub: "HubContext", kind: OwnerKind, name: str) -> OwnerEntry:
    """An owner with all it holds. Raises `NotFound`."""
    key = name if kind == "user" else f"service:{name}"
    if (entry := hub.identities.owner(key, hub.clock.monotonic())) is not None:
        return entry
    with hub.identities.reading() as reading:
        async with hub.store.read() as connection:
            table = schema.users if kind == "user" else schema.services
            row = (await connection.execute(select(table).where(table.c.name == name))).first()
            if row is None:
                raise NotFound(f"No such {kind}: {name}")
            entry = await _load(hub, connection, kind, row)
        hub.identities.put_owner(entry, reading)
    return entry


async def _load(hub: "HubContext", connection: AsyncConnection, kind: OwnerKind, row: Row[Any]) -> OwnerEntry:
    catalogue = hub.identities.catalogue
    owner = Owner(kind=kind, name=row.name)
    groups = await _groups(connection, row.id) if kind == "user" else {}
    own, through_groups = await _roles(hub, connection, kind, row)
    texts: set[str] = set()
    for scopes in (*own.values(), *through_groups.values()):
        texts |= catalogue.expand(scope_rules.known_only(catalogue, scopes), owner)
    if kind == "user":
        texts |= await _shared(hub, connection, row.id, groups)
    held = ScopeSet(texts)
    identity = Identity(
        kind=kind,
        id=row.id,
        name=row.name,
        admin=row.admin,
        groups=tuple(groups.values()),
        roles=tuple(sorted(own)),
        scopes=held.union(ScopeSet(scope_rules.identify_scopes(owner))),
        listed_scopes=held.texts(),
        created=row.created if kind == "user" else None,
        last_activity=row.last_activity if kind == "user" else None,
        user_info=row.user_info if kind == "user" else None,
    )
    return OwnerEntry(
        key=row.name if kind == "user" else f"service:{row.name}",
        identity=identity,
        held=held,
        refresh_at=refresh_due(hub, row) if kind == "user" else None,
        stale_after=hub.clock.monotonic() + TTL_SECONDS * random.uniform(0.8, 1.2),  # noqa: S311 - spreads reads
    )


def refresh_due(hub: "HubContext", row: Row[Any]) -> "datetime | None":
    """When the authenticator is to be asked again; None: never."""
    age = hub.authenticator.auth_refresh_age_seconds
    if age <= 0 and not row.auth_stale:
        return None
    if row.auth_stale or row.auth_refreshed is None:
        return hub.store.now()
    refreshed: datetime = row.auth_refreshed
    return refreshed + timedelta(seconds=age)


async def _groups(connection: AsyncConnection, user_id: int) -> dict[int, str]:
    members, groups = schema.user_groups, schema.groups
    statement = (
        select(groups.c.id, groups.c.name)
        .join(members, members.c.group_id == groups.c.id)
        .where(members.c.user_id == user_id)
        .order_by(groups.c.name)
    )
    return {row.id: row.name for row in await connection.execute(statement)}


Roles = dict[str, tuple[str, ...]]


async def _roles(hub: "HubContext", connection: AsyncConnection, kind: OwnerKind, row: Row[Any]) -> tuple[Roles, Roles]:
    """Own roles (name -> scopes), and those that come with groups."""
    table = await role_table(hub, connection)
    by_name = dict(table.values())
    own: Roles = {}
    if kind == "user":
        own[role_rules.USER] = by_name.get(role_rules.USER, role_rules.DEFAULT_ROLES[role_rules.USER].scopes)
    if row.admin:
        own[role_rules.ADMIN] = role_rules.DEFAULT_ROLES[role_rules.ADMIN].scopes
    through: Roles = {}
    for role_id, from_group in await connection.execute(_assigned(kind, row.id)):
        if (role := table.get(role_id)) is not None:
            (through if from_group else own)[role[0]] = role[1]
    return own, through


async def role_table(hub: "HubContext", connection: AsyncConnection) -> RoleTable:
    """All roles by id; few, so remembered whole."""
    if (known := hub.identities.roles) is not None:
        return known
    with hub.identities.reading() as reading:
        rows = await connection.execute(select(schema.roles.c.id, schema.roles.c.name, schema.roles.c.scopes))
        table = {role_id: (name, tuple(scopes)) for role_id, name, scopes in rows}
        if hub.identities.enabled and reading.valid_for():
            hub.identities.roles = table
    return table


def _assigned(kind: OwnerKind, owner_id: int) -> "Select[Any] | CompoundSelect[Any]":
    if kind == "service":
        assigned = schema.service_roles.c
        return select(assigned.role_id, literal(0)).where(assigned.service_id == owner_id)
    own, groups, members = schema.user_roles.c, schema.group_roles, schema.user_groups
    return union_all(
        select(own.role_id, literal(0)).where(own.user_id == owner_id),
        select(groups.c.role_id, literal(1))
        .join(members, members.c.group_id == groups.c.group_id)
        .where(members.c.user_id == owner_id),
    )


async def _shared(
    hub: "HubContext", connection: AsyncConnection, user_id: int, groups: Mapping[int, str]
) -> frozenset[str]:
    """Scopes of shares with this user and with their groups. The filter is the server as it is called now,
    whatever the stored scope says, so that a renamed server stays shared."""
    shares, servers, owners = schema.shares, schema.servers, schema.users
    with_whom = shares.c.user_id == user_id
    if groups:
        with_whom = or_(with_whom, shares.c.group_id.in_(list(groups)))
    statement = (
        select(shares.c.scopes, owners.c.name, servers.c.name)
        .join_from(shares, servers, servers.c.id == shares.c.server_id)
        .join(owners, owners.c.id == servers.c.user_id)
        .where(with_whom)
    )
    texts: set[str] = set()
    for scopes, owner, server in await connection.execute(statement):
        bases = {scope_rules.parse(text).base for text in scopes}
        texts |= {f"{base}!server={full_name(owner, server)}" for base in bases}
    catalogue = hub.identities.catalogue
    return catalogue.expand(scope_rules.known_only(catalogue, texts))


async def groups_of(connection: AsyncConnection, names: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Group names of these users, from rows."""
    users, groups, members = schema.users, schema.groups, schema.user_groups
    statement = (
        select(users.c.name, groups.c.name)
        .join_from(users, members, members.c.user_id == users.c.id)
        .join(groups, groups.c.id == members.c.group_id)
        .where(users.c.name.in_(list(names)))
    )
    found: dict[str, tuple[str, ...]] = {}
    for name, group in await connection.execute(statement):
        found[name] = (*found.get(name, ()), group)
    return found
