"""Roles that an authenticator describes at start (`load_managed_roles`), with whom it gives them to.

What it says of somebody at login is written by `profile`. Its assignments are marked, so that it can take them back
and nobody else does.
"""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from sqlalchemy import Table, delete, insert, select

from perijove.domain.errors import Invalid
from perijove.domain.roles import ADMIN, USER
from perijove.lib.log import get_logger
from perijove.services import groups, profile, registry, users
from perijove.store import schema

if TYPE_CHECKING:
    from perijove.services.context import HubContext
    from perijove.store.database import Transaction

log = get_logger(__name__)

_TABLES: tuple[tuple[Table, str], ...] = (
    (schema.user_roles, "user_id"),
    (schema.group_roles, "group_id"),
    (schema.service_roles, "service_id"),
)


async def load(hub: "HubContext", tx: "Transaction", described: Iterable[Mapping[str, Any]]) -> None:
    """Within the reconciliation of a start: the roles, and their members added. Raises `Invalid` for bad names.

    With `reset_managed_roles_on_startup` what the authenticator ever gave is taken back first; who is still to have
    it gets it at the next login.
    """
    if hub.authenticator.reset_managed_roles:
        for table, _ in _TABLES:
            await tx.execute(delete(table).where(table.c.managed_by_auth))
    for role in described:
        if not role.get("name"):
            raise Invalid("load_managed_roles: a role has no name", field="load_managed_roles")
        if role["name"] == USER:
            continue
        role_id = await profile.put_role(hub, tx, role)
        if role["name"] == ADMIN:
            log.warning("managed_admins_ignored", why="the role admin is given at login, with the admin flag")
            continue
        for (table, column), ids in zip(_TABLES, await _members(hub, tx, role), strict=True):
            await _add(tx, table, column, role_id, ids)


async def _members(hub: "HubContext", tx: "Transaction", role: Mapping[str, Any]) -> list[Iterable[int]]:
    names = [users.normalise(hub, name) for name in role.get("users") or ()]
    there = await users.existing(tx, names)
    if missing := [name for name in names if name not in there]:
        log.warning("managed_role_of_unknown_users", role=role["name"], users=missing)
    return [
        (await groups.user_ids(tx, [name for name in names if name in there])).values(),
        (await profile.group_ids(tx, role.get("groups") or ())).values(),
        await registry.service_ids(tx, role.get("services") or ()),
    ]


async def _add(tx: "Transaction", table: Table, column: str, role_id: int, ids: Iterable[int]) -> None:
    have = set((await tx.execute(select(table.c[column]).where(table.c.role_id == role_id))).scalars())
    if new := set(ids) - have:
        rows = [{column: value, "role_id": role_id, "managed_by_auth": True} for value in new]
        await tx.execute(insert(table), rows)
