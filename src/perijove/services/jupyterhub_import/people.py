"""Who there is, and what they may: users, groups, roles and services, by name.

What is here already stays and is completed.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from sqlalchemy import select, update

from perijove.domain import roles as role_rules
from perijove.domain.errors import Invalid
from perijove.domain.events import Event, Kind
from perijove.domain.names import check_user_name
from perijove.services.jupyterhub_import import mapping
from perijove.services.jupyterhub_import.rows import ids_by_name, insert_all, insert_pairs, number_from_here
from perijove.services.jupyterhub_import.source import SourceRow
from perijove.store import schema

if TYPE_CHECKING:
    from perijove.services.jupyterhub_import.rows import Import
    from perijove.store.database import Transaction


async def take_users(import_: "Import", tx: "Transaction") -> None:
    u = schema.users.c
    admins = _holders(import_, "user", role_rules.ADMIN)
    have = {row.name: row for row in await tx.execute(select(u.id, u.name, u.admin, u.encrypted_auth_state))}
    taken_ids = {row.id for row in have.values()}
    keeping: list[dict[str, Any]] = []
    renumbered: list[dict[str, Any]] = []
    wanted: list[SourceRow] = []
    for row in import_.source.rows("users"):
        try:
            check_user_name(row["name"] or "")
        except Invalid as error:
            import_.report.leave("users", row["name"] or "", error.message)
            continue
        wanted.append(row)
        values = mapping.user_values(row, admin=bool(row["admin"]) or row["id"] in admins, now=tx.now)
        import_.report.take("auth states", int(values["encrypted_auth_state"] is not None))
        if (there := have.get(row["name"])) is not None:
            await _complete_user(tx, there, values)
        elif row["id"] in taken_ids:
            renumbered.append(values)
        else:
            # Volumes and user ids of operating systems may be named after it.
            keeping.append({"id": row["id"], **values})
    await insert_all(tx, schema.users, keeping)
    await number_from_here(import_.hub, tx, schema.users)
    await insert_all(tx, schema.users, renumbered)
    ids = {row.name: row.id for row in await tx.execute(select(u.id, u.name))}
    import_.users = {row["id"]: ids[row["name"]] for row in wanted}
    import_.names = {row["id"]: row["name"] for row in wanted}
    import_.report.take("users", len(wanted))


async def _complete_user(tx: "Transaction", there: Any, values: Mapping[str, Any]) -> None:
    changed: dict[str, Any] = {"created": values["created"], "admin": there.admin or values["admin"]}
    if there.encrypted_auth_state is None:
        changed |= {key: values[key] for key in ("encrypted_auth_state", "user_info")}
    await tx.execute(update(schema.users).where(schema.users.c.id == there.id).values(changed))


async def take_groups(import_: "Import", tx: "Transaction") -> None:
    rows = import_.source.rows("groups")
    have = await ids_by_name(tx, schema.groups)
    new = [
        {"name": row["name"], "properties": mapping.from_json(row["properties"], {})}
        for row in rows
        if row["name"] not in have
    ]
    await insert_all(tx, schema.groups, new)
    ids = await ids_by_name(tx, schema.groups)
    import_.groups = {row["id"]: ids[row["name"]] for row in rows}
    import_.report.take("groups", len(rows))
    pairs = [
        {"user_id": import_.users[row["user_id"]], "group_id": import_.groups[row["group_id"]]}
        for row in import_.source.rows("user_group_map")
        if row["user_id"] in import_.users and row["group_id"] in import_.groups
    ]
    await insert_pairs(tx, schema.user_groups, pairs, ("user_id", "group_id"))
    import_.report.take("memberships", len(pairs))


async def take_roles(import_: "Import", tx: "Transaction") -> None:
    configured = {role.name for role in import_.hub.options.load_roles}
    have = await ids_by_name(tx, schema.roles)
    new = []
    for row in import_.source.rows("roles"):
        if row["name"] in role_rules.DEFAULT_ROLES or row["name"] in configured:
            continue
        import_.report.take("roles")
        if row["name"] in have:
            continue
        managed = bool(row["managed_by_auth"])
        new.append(
            {
                "name": row["name"],
                "description": row["description"] or "",
                "scopes": mapping.from_json(row["scopes"], []),
                "managed_by_auth": managed,
                # Of no configuration of ours: without this a hub would remove it at its next start.
                "from_api": not managed,
            }
        )
    # JupyterHub's default roles are ours; configured ones are written by a hub's start, and named here.
    missing = (configured | role_rules.DEFAULT_ROLES.keys()) - have.keys()
    for name in sorted(missing & {row["name"] for row in import_.source.rows("roles")}):
        default = role_rules.DEFAULT_ROLES.get(name)
        scopes = list(default.scopes) if default else []
        description = default.description if default else ""
        new.append(
            {
                "name": name,
                "description": description,
                "scopes": scopes,
                "managed_by_auth": False,
                "from_api": False,
            }
        )
    await insert_all(tx, schema.roles, new)
    ids = await ids_by_name(tx, schema.roles)
    import_.roles = {row["id"]: ids[row["name"]] for row in import_.source.rows("roles") if row["name"] in ids}


async def take_assignments(import_: "Import", tx: "Transaction", kind: str, ids: Mapping[int, int]) -> None:
    """Of `admin` and `user` there are none: the one is a flag, the other everybody's."""
    flags = {role_rules.ADMIN, role_rules.USER} if kind != "group" else set()
    names = {row["id"]: row["name"] for row in import_.source.rows("roles")}
    configured = {role.name for role in import_.hub.options.load_roles}
    pairs = []
    for row in import_.source.rows(f"{kind}_role_map"):
        name = names.get(row["role_id"], "")
        if row[f"{kind}_id"] not in ids or row["role_id"] not in import_.roles or name in flags:
            continue
        managed = bool(row["managed_by_auth"])
        pairs.append(
            {
                f"{kind}_id": ids[row[f"{kind}_id"]],
                "role_id": import_.roles[row["role_id"]],
                "managed_by_auth": managed,
                # Who has a configured role is for the configuration to say.
                "from_api": not managed and name not in configured,
            }
        )
    table = schema.metadata.tables[f"{kind}_roles"]
    await insert_pairs(tx, table, pairs, (f"{kind}_id", "role_id"))
    import_.report.take("role assignments", len(pairs))


def _holders(import_: "Import", kind: str, role: str) -> set[int]:
    wanted = {row["id"] for row in import_.source.rows("roles") if row["name"] == role}
    return {row[f"{kind}_id"] for row in import_.source.rows(f"{kind}_role_map") if row["role_id"] in wanted}


async def take_services(import_: "Import", tx: "Transaction") -> None:
    configured = {service.name for service in import_.hub.options.services}
    admins = _holders(import_, "service", role_rules.ADMIN)
    have = await ids_by_name(tx, schema.services)
    new, wanted = [], []
    for row in import_.source.rows("services"):
        # Releases before 5 have configured ones only.
        from_config = row["from_config"] is not False
        if from_config and row["name"] not in configured:
            reason = "of JupyterHub's configuration and not in this one; configure them before importing"
            import_.report.leave("services", row["name"], reason)
            continue
        wanted.append(row)
        if row["name"] in have:
            continue
        new.append(
            {
                "name": row["name"],
                "admin": bool(row["admin"]) or row["id"] in admins,
                "url": row["url"] or None,
                "info": mapping.from_json(row["info"], {}),
                "display": row["display"] is not False,
                "oauth_no_confirm": bool(row["oauth_no_confirm"]),
                "oauth_client_id": row["oauth_client_id"],
                "from_config": from_config,
            }
        )
    await insert_all(tx, schema.services, new)
    ids = await ids_by_name(tx, schema.services)
    import_.services = {row["id"]: ids[row["name"]] for row in wanted}
    import_.report.take("services", len(wanted))
    tx.emit(*(Event(Kind.ROUTE, row["name"]) for row in new if row["url"]))
