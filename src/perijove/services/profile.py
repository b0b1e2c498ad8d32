"""What an authenticator says about a user, written into rows: at login and at every refresh.

`None` in the model leaves what is stored. Groups and roles are taken only from authenticators that
declare to manage them; then the model's list is the whole truth about that user.
"""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from sqlalchemy import Row, delete, insert, select, update

from perijove.domain import roles as role_rules
from perijove.domain import scopes as scope_rules
from perijove.domain.events import Event, Kind
from perijove.domain.ports import AuthModel
from perijove.lib.log import get_logger
from perijove.services.identity_cache import EVERYONE
from perijove.store import schema

if TYPE_CHECKING:
    from perijove.services.context import HubContext
    from perijove.store.database import Transaction

log = get_logger(__name__)


async def seal(hub: "HubContext", model: AuthModel) -> bytes | None:
    """The model's auth state, encrypted: before the transaction, because it may take a while."""
    if model.auth_state is None or not hub.authenticator.enable_auth_state:
        return None
    return await hub.crypt.encrypt(model.auth_state)


def differs(hub: "HubContext", row: Row[Any], model: AuthModel) -> bool:
    """Whether `apply` would have anything to write, times aside. True when finding out takes more rows."""
    authenticator = hub.authenticator
    return (
        bool(row.auth_stale)
        or (model.admin is not None and model.admin != row.admin)
        or (model.user_info is not None and model.user_info != row.user_info)
        or (model.auth_state is not None and authenticator.enable_auth_state)
        or (row.encrypted_auth_state is not None and not authenticator.enable_auth_state)
        or (authenticator.manage_groups and model.groups is not None)
        or (authenticator.manage_roles and model.roles is not None)
    )


async def apply(hub: "HubContext", tx: "Transaction", row: Row[Any], model: AuthModel, sealed: bytes | None) -> None:
    """Bring the user `row` to what `model` says. Emits if anything changed that others remember."""
    values: dict[str, Any] = {"auth_refreshed": tx.now}
    changed = bool(row.auth_stale)
    if changed:
        values["auth_stale"] = False
    if model.admin is not None and model.admin != row.admin:
        values["admin"] = model.admin
        changed = True
    if model.user_info is not None and model.user_info != row.user_info:
        values["user_info"] = dict(model.user_info)
        changed = True
    if sealed is not None:
        values["encrypted_auth_state"] = sealed
    elif row.encrypted_auth_state is not None and not hub.authenticator.enable_auth_state:
        values["encrypted_auth_state"] = None
    await tx.execute(update(schema.users).where(schema.users.c.id == row.id).values(values))
    if hub.authenticator.manage_groups and model.groups is not None:
        changed |= await _set_groups(tx, row.id, model.groups)
    if hub.authenticator.manage_roles and model.roles is not None:
        changed |= await _set_roles(hub, tx, row, model.roles)
    if changed:
        tx.emit(Event(Kind.IDENTITY, row.name))


async def _set_groups(tx: "Transaction", user_id: int, names: Iterable[str]) -> bool:
    members = schema.user_groups
    wanted = set((await group_ids(tx, names)).values())
    have = set((await tx.execute(select(members.c.group_id).where(members.c.user_id == user_id))).scalars())
    if gone := have - wanted:
        await tx.execute(delete(members).where(members.c.user_id == user_id, members.c.group_id.in_(gone)))
    if new := wanted - have:
        await tx.execute(insert(members), [{"user_id": user_id, "group_id": group_id} for group_id in new])
    return have != wanted


async def group_ids(tx: "Transaction", names: Iterable[str]) -> dict[str, int]:
    """Ids of groups by name, the missing ones made."""
    wanted = list(dict.fromkeys(names))
    if not wanted:
        return {}
    found = await _find_groups(tx, wanted)
    if missing := [name for name in wanted if name not in found]:
        await tx.execute(insert(schema.groups), [{"name": name, "properties": {}} for name in missing])
        found |= await _find_groups(tx, missing)
    return found


async def _find_groups(tx: "Transaction", names: list[str]) -> dict[str, int]:
    groups = schema.groups.c
    rows = await tx.execute(select(groups.name, groups.id).where(groups.name.in_(names)))
    return {row.name: row.id for row in rows}


async def _set_roles(
    hub: "HubContext", tx: "Transaction", row: Row[Any], described: Iterable[Mapping[str, Any]]
) -> bool:
    """Roles the authenticator describes: made or changed, assigned; those no longer named are taken away.

    The role `admin` is the admin flag; its assignment is kept beside, so that it is known who gave the flag.
    """
    assigned, users = schema.user_roles, schema.users
    ids = {role["name"]: await put_role(hub, tx, role) for role in described if role.get("name") != role_rules.USER}
    wanted = set(ids.values())
    mine = select(assigned.c.role_id).where(assigned.c.user_id == row.id)
    have = set((await tx.execute(mine)).scalars())
    managed = set((await tx.execute(mine.where(assigned.c.managed_by_auth))).scalars())
    gone, new = managed - wanted, wanted - have
    if gone:
        await tx.execute(delete(assigned).where(assigned.c.user_id == row.id, assigned.c.role_id.in_(gone)))
    if new:
        rows = [{"user_id": row.id, "role_id": role_id, "managed_by_auth": True} for role_id in new]
        await tx.execute(insert(assigned), rows)
    admin = (await tx.execute(select(schema.roles.c.id).where(schema.roles.c.name == role_rules.ADMIN))).scalar()
    if admin in gone | new:
        flag = admin in new or hub.authenticator.is_admin_by_config(row.name)
        await tx.execute(update(users).where(users.c.id == row.id).values(admin=flag))
    return bool(gone or new)


async def put_role(hub: "HubContext", tx: "Transaction", described: Mapping[str, Any]) -> int:
    """The id of the role, made or changed as described; scopes that do not exist are left out. Raises `Invalid`."""
    roles = schema.roles
    name = str(described.get("name", ""))
    row = (await tx.execute(select(roles).where(roles.c.name == name))).first()
    values: dict[str, Any] = {}
    if described.get("scopes") is not None and name not in role_rules.DEFAULT_ROLES:
        values["scopes"] = _existing(hub, name, described["scopes"])
    if described.get("description"):
        values["description"] = str(described["description"])
    if row is None:
        role_rules.check_role_name(name)
        made = await tx.execute(insert(roles).values(name=name, managed_by_auth=True, **values))
        tx.emit(Event(Kind.IDENTITY, EVERYONE))
        assert made.inserted_primary_key is not None
        return int(made.inserted_primary_key[0])
    stale = {key: value for key, value in values.items() if getattr(row, key) != value}
    if stale and row.managed_by_auth:
        await tx.execute(update(roles).where(roles.c.id == row.id).values(stale))
        tx.emit(Event(Kind.IDENTITY, EVERYONE))
    return int(row.id)


def _existing(hub: "HubContext", role: str, scopes: Iterable[str]) -> list[str]:
    scopes = list(scopes)
    known = scope_rules.known_only(hub.identities.catalogue, scopes)
    if len(known) != len(scopes):
        log.warning("unknown_scopes_ignored", role=role, scopes=sorted(set(scopes) - set(known)))
    return known
