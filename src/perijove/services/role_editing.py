"""Roles made, changed, deleted and assigned while the hub runs: for the REST API and the admin page.

Three kinds of roles are not to be edited here: the default ones, those of the configuration, and those an
authenticator manages. Each has its own source of truth, which would overwrite the edit. They can be assigned all the
same, unless the configuration lists who has them.

Nobody grants what they do not hold (`granting`); the role `admin` is the admin flag, and only admins give or take it.
Every change is in the audit trail with what was before and after.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from sqlalchemy import ColumnElement, Row, Table, delete, func, insert, select, update

from perijove.domain import roles as role_rules
from perijove.domain.errors import Conflict, Forbidden, Invalid, NotFound
from perijove.domain.events import Event, Kind
from perijove.domain.roles import ADMIN, DEFAULT_ROLES
from perijove.services.audit import record
from perijove.services.granting import is_full_admin, not_held
from perijove.services.identity_cache import EVERYONE
from perijove.store import schema

if TYPE_CHECKING:
    from perijove.services.context import HubContext
    from perijove.services.identity import Identity
    from perijove.store.database import Transaction

HolderKind = Literal["user", "group", "service"]
Source = Literal["default", "config", "authenticator", "api"]
MAX_DESCRIPTION = 1000
MAX_SCOPES = 1000
MAX_BATCH = 1000

_WHERE: dict[Source, str] = {
    "default": "is a default role: what it allows is changed in the configuration (load_roles)",
    "config": "comes from the configuration (load_roles), and is changed there",
    "authenticator": "is managed by the authenticator",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class RoleRow:
    id: int
    name: str
    description: str
    scopes: tuple[str, ...]
    # Who says what it is.
    source: Source
    # How many have it; the default ones that everybody has count none.
    users: int = 0
    groups: tuple[str, ...] = ()
    services: tuple[str, ...] = ()

    @property
    def editable(self) -> bool:
        return self.source == "api"


@dataclass(frozen=True, slots=True)
class _Holders:
    """Where assignments of one kind are kept, and under which key their holders are remembered."""

    table: Table
    owners: Table
    column: str


_HOLDERS: dict[HolderKind, _Holders] = {
    "user": _Holders(schema.user_roles, schema.users, "user_id"),
    "group": _Holders(schema.group_roles, schema.groups, "group_id"),
    "service": _Holders(schema.service_roles, schema.services, "service_id"),
}


# -- reading


async def list_roles(hub: "HubContext") -> list[RoleRow]:
    """All, by name; they are few."""
    return await _read_roles(hub)


async def _read_roles(hub: "HubContext", *which: ColumnElement[bool]) -> list[RoleRow]:
    r = schema.roles
    async with hub.store.read() as connection:
        rows = (await connection.execute(select(r).where(*which).order_by(r.c.name))).all()
        ids = [row.id for row in rows]
        assigned = schema.user_roles.c
        of_these = assigned.role_id.in_(ids)
        counted = select(assigned.role_id, func.count().label("users")).where(of_these).group_by(assigned.role_id)
        users: dict[int, int] = {row.role_id: row.users for row in await connection.execute(counted)}
        if admin := next((row.id for row in rows if row.name == ADMIN), None):
            flagged = select(func.count()).select_from(schema.users).where(schema.users.c.admin)
            users[admin] = int((await connection.execute(flagged)).scalar_one())
        groups = _by_role((await connection.execute(_names("group", ids))).all())
        services = _by_role((await connection.execute(_names("service", ids))).all())
    return [
        RoleRow(
            id=row.id,
            name=row.name,
            description=row.description,
            scopes=tuple(row.scopes),
            source=source(hub, row),
            users=users.get(row.id, 0),
            groups=groups.get(row.id, ()),
            services=services.get(row.id, ()),
        )
        for row in rows
    ]


def _names(kind: HolderKind, roles: Sequence[int]) -> Any:
    holders = _HOLDERS[kind]
    owner = holders.owners.c
    assigned = holders.table.c
    return (
        select(assigned.role_id, owner.name)
        .join_from(holders.table, holders.owners, owner.id == assigned[holders.column])
        .where(assigned.role_id.in_(roles))
        .order_by(owner.name)
    )


def _by_role(rows: Sequence[Row[Any]]) -> dict[int, tuple[str, ...]]:
    found: dict[int, list[str]] = {}
    for row in rows:
        found.setdefault(row.role_id, []).append(row.name)
    return {role_id: tuple(names) for role_id, names in found.items()}


async def get_role(hub: "HubContext", name: str) -> RoleRow:
    """Raises `NotFound`."""
    found = await _read_roles(hub, schema.roles.c.name == name)
    if not found:
        raise NotFound(f"No such role: {name}")
    return found[0]


async def list_users(hub: "HubContext", name: str, *, offset: int = 0, limit: int = 50) -> tuple[list[str], int]:
    """Names of users who were given this role, by id. Nobody was given the role `user`: everybody has it."""
    users, assigned, roles = schema.users, schema.user_roles.c, schema.roles.c
    where: ColumnElement[bool] = users.c.admin
    if name != ADMIN:
        role = select(roles.id).where(roles.name == name).scalar_subquery()
        where = users.c.id.in_(select(assigned.user_id).where(assigned.role_id == role))
    async with hub.store.read() as connection:
        if (await connection.execute(select(roles.id).where(roles.name == name))).first() is None:
            raise NotFound(f"No such role: {name}")
        total = (await connection.execute(select(func.count()).select_from(users).where(where))).scalar_one()
        page = select(users.c.name).where(where).order_by(users.c.id).offset(offset).limit(limit)
        return list((await connection.execute(page)).scalars()), int(total)


def source(hub: "HubContext", row: Row[Any]) -> Source:
    if row.name in DEFAULT_ROLES:
        return "default"
    if row.managed_by_auth:
        return "authenticator"
    if any(role.name == row.name for role in hub.options.load_roles):
        return "config"
    return "api" if row.from_api else "config"


# -- editing


async def create_role(
    hub: "HubContext", name: str, *, description: str = "", scopes: Sequence[str], by: "Identity", actor: str
) -> RoleRow:
    """Raises `Invalid`, `Conflict` (exists), `Forbidden` (scopes that the caller does not hold)."""
    role_rules.check_role_name(name)
    wanted = await _checked(hub, scopes, by)
    async with hub.store.transaction() as tx:
        if (await tx.execute(select(schema.roles.c.id).where(schema.roles.c.name == name))).first():
            raise Conflict(f"Role {name} already exists")
        values = {"name": name, "description": _described(description), "scopes": wanted}
        await tx.execute(insert(schema.roles).values(managed_by_auth=False, from_api=True, **values))
        await record(tx, "role.create", actor=actor, subject=name, scopes=wanted)
        tx.emit(Event(Kind.IDENTITY, EVERYONE))
    return await get_role(hub, name)


async def change_role(
    hub: "HubContext",
    name: str,
    *,
    description: str | None = None,
    scopes: Sequence[str] | None = None,
    by: "Identity",
    actor: str,
) -> RoleRow:
    """Raises `NotFound`, `Conflict` (not editable here), `Invalid`, `Forbidden`."""
    wanted = await _checked(hub, scopes, by) if scopes is not None else None
    async with hub.store.transaction() as tx:
        row = await _editable(hub, tx, name)
        values: dict[str, Any] = {}
        if description is not None:
            values["description"] = _described(description)
        if wanted is not None:
            values["scopes"] = wanted
        if values:
            await tx.execute(update(schema.roles).where(schema.roles.c.id == row.id).values(values))
            before = {key: getattr(row, key) for key in values}
            await record(tx, "role.change", actor=actor, subject=name, before=before, after=values)
            tx.emit(Event(Kind.IDENTITY, EVERYONE))
    return await get_role(hub, name)


async def delete_role(hub: "HubContext", name: str, *, actor: str) -> None:
    """With all its assignments. Raises `NotFound`, `Conflict` (not editable here)."""
    async with hub.store.transaction() as tx:
        row = await _editable(hub, tx, name)
        await tx.execute(delete(schema.roles).where(schema.roles.c.id == row.id))
        await record(tx, "role.delete", actor=actor, subject=name, scopes=row.scopes)
        tx.emit(Event(Kind.IDENTITY, EVERYONE))


async def _checked(hub: "HubContext", scopes: Sequence[str], by: "Identity") -> list[str]:
    if len(scopes) > MAX_SCOPES:
        raise Invalid(f"A role has at most {MAX_SCOPES} scopes.", field="scopes")
    for scope in scopes:
        hub.identities.catalogue.check(scope)
    await _require_held(hub, by, scopes)
    return list(dict.fromkeys(scopes))


async def _require_held(hub: "HubContext", by: "Identity", scopes: Sequence[str]) -> None:
    if missing := await not_held(hub, by, scopes):
        raise Forbidden(f"Scopes {', '.join(missing)} are not yours to grant")


def _described(text: str) -> str:
    if len(text) > MAX_DESCRIPTION:
        raise Invalid(f"A description has at most {MAX_DESCRIPTION} characters.", field="description")
    return text


async def _find(tx: "Transaction", name: str) -> Row[Any]:
    row = (await tx.execute(select(schema.roles).where(schema.roles.c.name == name))).first()
    if row is None:
        raise NotFound(f"No such role: {name}")
    return row


async def _editable(hub: "HubContext", tx: "Transaction", name: str) -> Row[Any]:
    row = await _find(tx, name)
    if (whose := source(hub, row)) != "api":
        raise Conflict(f"Role {name} {_WHERE[whose]}")
    return row


# -- assigning


async def assign(
    hub: "HubContext", name: str, kind: HolderKind, holders: Sequence[str], *, by: "Identity", actor: str
) -> RoleRow:
    """Give the role to these; who has it already keeps it.

    Raises `NotFound` (role), `Invalid` (holder), `Conflict` (the configuration says who has it), `Forbidden`.
    """
    return await _assign(hub, name, kind, holders, by=by, actor=actor, give=True)


async def unassign(
    hub: "HubContext", name: str, kind: HolderKind, holders: Sequence[str], *, by: "Identity", actor: str
) -> RoleRow:
    """Take the role from these; who does not have it is ignored. Raises as `assign`."""
    return await _assign(hub, name, kind, holders, by=by, actor=actor, give=False)


async def _assign(
    hub: "HubContext",
    name: str,
    kind: HolderKind,
    holders: Sequence[str],
    *,
    by: "Identity",
    actor: str,
    give: bool,
) -> RoleRow:
    if len(holders) > MAX_BATCH:
        raise Invalid(f"At most {MAX_BATCH} at a time.", field=f"{kind}s")
    role = await get_role(hub, name)
    _check_assignable(hub, role, kind, by)
    if give and name != ADMIN:
        await _require_held(hub, by, role.scopes)
    write: Callable[..., Any] = _write_flag if name == ADMIN and kind != "group" else _write_assignments
    async with hub.store.transaction() as tx:
        ids = await _ids(tx, kind, holders)
        await write(tx, kind, role.id, ids, give=give)
        action = "role.assign" if give else "role.unassign"
        await record(tx, action, actor=actor, subject=name, kind=kind, holders=list(ids))
        await _tell(tx, kind, ids)
    return await get_role(hub, name)


def _check_assignable(hub: "HubContext", role: RoleRow, kind: HolderKind, by: "Identity") -> None:
    if role.name in DEFAULT_ROLES and role.name != ADMIN:
        raise Conflict(f"Role {role.name} is a default role, which is not given to anybody in particular")
    if role.name == ADMIN and not is_full_admin(by):
        raise Forbidden("Only admins may make admins")
    if role.source == "authenticator":
        raise Conflict(f"Role {role.name} {_WHERE['authenticator']}, which says who has it")
    listed = next((r for r in hub.options.load_roles if r.name == role.name), None)
    if listed is not None and getattr(listed, f"{kind}s") is not None:
        raise Conflict(f"The configuration (load_roles) lists the {kind}s that have role {role.name}")


async def _ids(tx: "Transaction", kind: HolderKind, names: Sequence[str]) -> dict[str, int]:
    owner = _HOLDERS[kind].owners.c
    wanted = list(dict.fromkeys(names))
    rows = await tx.execute(select(owner.name, owner.id).where(owner.name.in_(wanted)))
    found = {row.name: row.id for row in rows}
    if unknown := [name for name in wanted if name not in found]:
        raise Invalid(f"No such {kind}: {', '.join(unknown)}", field=f"{kind}s")
    return found


async def _write_flag(tx: "Transaction", kind: HolderKind, _role: int, ids: dict[str, int], *, give: bool) -> None:
    owners = _HOLDERS[kind].owners
    await tx.execute(update(owners).where(owners.c.id.in_(ids.values())).values(admin=give))


async def _write_assignments(
    tx: "Transaction", kind: HolderKind, role: int, ids: dict[str, int], *, give: bool
) -> None:
    holders = _HOLDERS[kind]
    table, column = holders.table, holders.table.c[holders.column]
    mine = (table.c.role_id == role, column.in_(ids.values()))
    if not give:
        await tx.execute(delete(table).where(*mine))
        return
    have = set((await tx.execute(select(column).where(*mine))).scalars())
    rows = [
        {holders.column: owner, "role_id": role, "managed_by_auth": False, "from_api": True}
        for owner in ids.values()
        if owner not in have
    ]
    if rows:
        await tx.execute(insert(table), rows)


async def _tell(tx: "Transaction", kind: HolderKind, ids: dict[str, int]) -> None:
    if kind == "user":
        tx.emit(*(Event(Kind.IDENTITY, name) for name in ids))
    elif kind == "service":
        tx.emit(*(Event(Kind.IDENTITY, f"service:{name}") for name in ids))
    else:
        users, members = schema.users.c, schema.user_groups.c
        names = select(users.name).join(schema.user_groups, members.user_id == users.id)
        found = await tx.execute(names.where(members.group_id.in_(ids.values())))
        tx.emit(*(Event(Kind.IDENTITY, name) for name in found.scalars()))
