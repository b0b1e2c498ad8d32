"""Roles: the four default ones, those of the configuration, and who has which.

Every user has `user` and every admin (user or service) has `admin`; neither is stored as an
assignment, so flag and role cannot disagree and no start-up walks over all users.
"""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from sqlalchemy import Table, delete, insert, or_, select, update

from perijove.config.options import RoleOptions
from perijove.domain import roles as role_rules
from perijove.domain.errors import HubError, Invalid
from perijove.domain.events import Event, Kind
from perijove.domain.ids import UserId
from perijove.domain.roles import ADMIN, DEFAULT_ROLES, USER
from perijove.domain.scope_table import ADDED
from perijove.lib.log import get_logger
from perijove.services import groups, managed_roles, profile, registry, users
from perijove.services.identity_cache import EVERYONE
from perijove.services.user_facts import user_facts
from perijove.store import schema

if TYPE_CHECKING:
    from perijove.services.context import HubContext
    from perijove.store.database import Transaction

log = get_logger(__name__)


async def reconcile(hub: "HubContext") -> None:
    """At start into rows: default roles, `load_roles`, `load_groups`, the authenticator's roles, services, tokens.

    Idempotent and O(what is configured). Raises `Invalid` for unknown scopes or services, double names, bad
    names of users.
    """
    configured = _checked(hub)
    managed = await hub.authenticator.managed_roles()
    async with hub.store.transaction() as tx:
        made = await _make_users(hub, tx, _users_mentioned(hub))
        await _make_admins(tx, hub.authenticator.admin_names)
        await registry.put_services(hub, tx, admins=_admin_services(configured))
        ids = await _put_roles(hub, tx, configured)
        for role in configured.values():
            await _assign(hub, tx, role, ids[role.name])
        await _load_groups(hub, tx)
        await managed_roles.load(hub, tx, managed)
        await registry.put_tokens(hub, tx)
        tx.emit(Event(Kind.IDENTITY, EVERYONE))
    for user_id in made:
        await _announce(hub, user_id)


async def _announce(hub: "HubContext", user_id: UserId) -> None:
    """A listed name that the authenticator does not know (no system account) must not keep the hub from starting."""
    user = await user_facts(hub, user_id)
    try:
        await hub.authenticator.user_added(user)
    except HubError as error:
        log.warning("configured_user_refused", user=user.name, error=error.message)


def _checked(hub: "HubContext") -> dict[str, RoleOptions]:
    configured: dict[str, RoleOptions] = {}
    for role in hub.options.load_roles:
        if role.name in configured:
            raise Invalid(f"load_roles: role {role.name!r} is listed twice", field="load_roles")
        if role.name not in DEFAULT_ROLES:
            role_rules.check_role_name(role.name)
        # A configuration of JupyterHub's may repeat its own list.
        if role.name == ADMIN and role.scopes is not None and {*role.scopes, *ADDED} != {*DEFAULT_ROLES[ADMIN].scopes}:
            raise Invalid("load_roles: the scopes of role 'admin' cannot be changed", field="load_roles")
        if hub.authenticator.manage_roles and (role.users or role.groups):
            raise Invalid(
                f"load_roles: the authenticator manages roles, so {role.name!r} cannot list users or groups",
                field="load_roles",
            )
        for scope in role.scopes or ():
            hub.identities.catalogue.check(scope)
        if role.scopes is not None and not role.scopes:
            log.warning("role_without_scopes", role=role.name)
        configured[role.name] = role
    for scope in hub.options.extra_user_scopes:
        hub.identities.catalogue.check(scope)
    return configured


def _users_mentioned(hub: "HubContext") -> list[str]:
    # The order in which JupyterHub makes them: unsorted lists of users follow it.
    names = sorted(hub.authenticator.admin_names)
    names += sorted(hub.authenticator.allowed_names)
    for group in hub.options.load_groups:
        names += group.users
    names += hub.options.api_tokens.values()
    for role in hub.options.load_roles:
        names += role.users or ()
    return list(dict.fromkeys(users.normalise(hub, name) for name in names))


def _admin_services(configured: dict[str, RoleOptions]) -> frozenset[str]:
    admin = configured.get(ADMIN)
    return frozenset(admin.services or ()) if admin else frozenset()


async def _make_users(hub: "HubContext", tx: "Transaction", names: Sequence[str]) -> list[UserId]:
    """Users that the configuration names and that do not exist yet."""
    existing = await users.existing(tx, names)
    made = []
    for name in names:
        if name not in existing:
            row = {"name": name, "admin": hub.authenticator.is_admin_by_config(name), "created": tx.now}
            result = await tx.execute(insert(schema.users).values(auth_stale=False, **row))
            assert result.inserted_primary_key is not None
            made.append(UserId(result.inserted_primary_key[0]))
    return made


async def _make_admins(tx: "Transaction", names: Iterable[str]) -> None:
    """Who is listed as an admin is one, without having to log in again. Nobody stops being one here."""
    u = schema.users.c
    await tx.execute(update(schema.users).where(u.name.in_(sorted(names)), u.admin.is_(False)).values(admin=True))


async def _put_roles(hub: "HubContext", tx: "Transaction", configured: dict[str, RoleOptions]) -> dict[str, int]:
    """Every role as it should be; ids by name. Roles nobody configures any more are removed."""
    roles = schema.roles
    rows = {row.name: row for row in (await tx.execute(select(roles))).all()}
    for name in dict.fromkeys([*DEFAULT_ROLES, *configured]):
        values = _role_values(hub, name, configured.get(name))
        if name not in rows:
            await tx.execute(insert(roles), {"name": name, "description": "", "scopes": [], **values})
        elif any(getattr(rows[name], key) != value for key, value in values.items()):
            await tx.execute(update(roles).where(roles.c.name == name).values(values))
    gone = [
        row.id
        for name, row in rows.items()
        if name not in DEFAULT_ROLES and name not in configured and not row.managed_by_auth and not row.from_api
    ]
    if gone:
        await tx.execute(delete(roles).where(roles.c.id.in_(gone)))
    return {row.name: row.id for row in (await tx.execute(select(roles.c.name, roles.c.id))).all()}


def _role_values(hub: "HubContext", name: str, role: RoleOptions | None) -> dict[str, Any]:
    default = DEFAULT_ROLES.get(name)
    values: dict[str, Any] = {"managed_by_auth": False, "from_api": False}
    if role is not None and role.description:
        values["description"] = role.description
    elif default is not None:
        values["description"] = default.description
    if role is not None and role.scopes is not None and name != ADMIN:
        values["scopes"] = list(role.scopes)
    elif default is not None:
        values["scopes"] = list(default.scopes)
    if name == USER:
        values["scopes"] = list(dict.fromkeys([*values["scopes"], *hub.options.extra_user_scopes]))
    return values


async def _assign(hub: "HubContext", tx: "Transaction", role: RoleOptions, role_id: int) -> None:
    """The lists given are the whole truth; a kind without a list keeps only what was assigned through the API."""
    if role.name == ADMIN:
        if role.users is not None:
            await _set_admins(hub, tx, [users.normalise(hub, name) for name in role.users])
    elif role.name != USER:
        names = [users.normalise(hub, name) for name in role.users or ()]
        ids = await groups.user_ids(tx, names)
        await _set_members(tx, schema.user_roles, "user_id", role_id, ids.values(), listed=role.users is not None)
        service_ids = await registry.service_ids(tx, role.services or ())
        listed = role.services is not None
        await _set_members(tx, schema.service_roles, "service_id", role_id, service_ids, listed=listed)
    group_ids = await profile.group_ids(tx, role.groups or ())
    listed = role.groups is not None
    await _set_members(tx, schema.group_roles, "group_id", role_id, group_ids.values(), listed=listed)


async def _set_admins(hub: "HubContext", tx: "Transaction", names: Iterable[str]) -> None:
    wanted = set(names)
    u = schema.users.c
    have = set((await tx.execute(select(u.name).where(u.admin))).scalars())
    lost = {name for name in have - wanted if not hub.authenticator.is_admin_by_config(name)}
    for changed, admin in ((wanted - have, True), (lost, False)):
        if changed:
            await tx.execute(update(schema.users).where(u.name.in_(changed)).values(admin=admin))


async def _set_members(
    tx: "Transaction", table: Table, column: str, role_id: int, wanted: Iterable[int], *, listed: bool
) -> None:
    """Assignments made by an authenticator are not the configuration's to take away; those made through the API are
    when it lists who has the role."""
    assigned = select(table.c[column]).where(table.c.role_id == role_id)
    have = set((await tx.execute(assigned)).scalars())
    kept = table.c.managed_by_auth if listed else or_(table.c.managed_by_auth, table.c.from_api)
    gone = have - set((await tx.execute(assigned.where(kept))).scalars()) - set(wanted)
    if gone:
        await tx.execute(delete(table).where(table.c.role_id == role_id, table.c[column].in_(gone)))
    if new := set(wanted) - have:
        await tx.execute(
            insert(table), [{column: value, "role_id": role_id, "managed_by_auth": False} for value in new]
        )


async def _load_groups(hub: "HubContext", tx: "Transaction") -> None:
    """Adds members, never removes; properties are replaced where given."""
    ids = await profile.group_ids(tx, [group.name for group in hub.options.load_groups])
    for group in hub.options.load_groups:
        group_id = ids[group.name]
        if group.properties:
            changed = update(schema.groups).where(schema.groups.c.id == group_id)
            await tx.execute(changed.values(properties=dict(group.properties)))
        wanted = await groups.user_ids(tx, [users.normalise(hub, name) for name in group.users])
        members = schema.user_groups.c
        have = set((await tx.execute(select(members.user_id).where(members.group_id == group_id))).scalars())
        if new := set(wanted.values()) - have:
            await tx.execute(insert(schema.user_groups), [{"user_id": u, "group_id": group_id} for u in new])
