"""Roles: read, make, change, delete, and give to users, groups and services. JupyterHub has no such endpoints."""

from typing import Any

import msgspec
from starlette.responses import Response

from perijove.domain.errors import Invalid
from perijove.services import role_editing
from perijove.services.role_editing import HolderKind, RoleRow
from perijove.web.api.endpoint import Call, Endpoint, Operation
from perijove.web.api.pagination import read_page, with_pagination
from perijove.web.requests import read_json


class NewRole(msgspec.Struct, forbid_unknown_fields=True):
    scopes: list[str]
    description: str = ""


class RoleChange(msgspec.Struct, forbid_unknown_fields=True):
    scopes: list[str] | None = None
    description: str | None = None


class Holders(msgspec.Struct, forbid_unknown_fields=True):
    users: list[str] = []
    groups: list[str] = []
    services: list[str] = []


def role_model(role: RoleRow) -> dict[str, Any]:
    return {
        "kind": "role",
        "name": role.name,
        "description": role.description,
        "scopes": role.scopes,
        "source": role.source,
        "editable": role.editable,
        "user_count": role.users,
        "groups": role.groups,
        "services": role.services,
    }


async def list_roles(call: Call) -> Response:
    return call.json([role_model(role) for role in await role_editing.list_roles(call.hub)])


async def read_role(call: Call) -> Response:
    return call.json(role_model(await role_editing.get_role(call.hub, call.path["role"])))


async def list_role_users(call: Call) -> Response:
    page = read_page(call)
    names, total = await role_editing.list_users(call.hub, call.path["role"], offset=page.offset, limit=page.limit)
    return call.json(with_pagination(call, page, names, total))


async def create_role(call: Call) -> Response:
    return await _write_role(call, role_editing.create_role, await read_json(call.request, NewRole), 201)


async def change_role(call: Call) -> Response:
    wanted = await read_json(call.request, RoleChange)
    if wanted.scopes is None and wanted.description is None:
        raise Invalid("Nothing to change: need scopes or description")
    return await _write_role(call, role_editing.change_role, wanted, 200)


async def _write_role(call: Call, write: Any, wanted: NewRole | RoleChange, status: int) -> Response:
    role = await write(
        call.hub,
        call.path["role"],
        description=wanted.description,
        scopes=wanted.scopes,
        by=call.identity,
        actor=call.actor,
    )
    return call.json(role_model(role), status)


async def delete_role(call: Call) -> Response:
    await role_editing.delete_role(call.hub, call.path["role"], actor=call.actor)
    return call.empty(204)


async def assign_role(call: Call) -> Response:
    return await _edit_holders(call, role_editing.assign)


async def unassign_role(call: Call) -> Response:
    return await _edit_holders(call, role_editing.unassign)


async def _edit_holders(call: Call, edit: Any) -> Response:
    """One kind at a time: each is written at once or not at all."""
    wanted = await read_json(call.request, Holders)
    kinds: dict[HolderKind, list[str]] = {"user": wanted.users, "group": wanted.groups, "service": wanted.services}
    given = [(kind, names) for kind, names in kinds.items() if names]
    if len(given) != 1:
        raise Invalid("Give names under exactly one of users, groups and services")
    kind, names = given[0]
    role = await edit(call.hub, call.path["role"], kind, names, by=call.identity, actor=call.actor)
    return call.json(role_model(role))


ENDPOINTS = [
    Endpoint("/roles", GET=Operation(list_roles, "read:roles")),
    Endpoint(
        "/roles/{role}",
        GET=Operation(read_role, "read:roles"),
        POST=Operation(create_role, "admin:roles"),
        PATCH=Operation(change_role, "admin:roles"),
        DELETE=Operation(delete_role, "admin:roles"),
    ),
    Endpoint("/roles/{role}/users", GET=Operation(list_role_users, "read:roles")),
    Endpoint(
        "/roles/{role}/holders",
        POST=Operation(assign_role, "admin:roles"),
        DELETE=Operation(unassign_role, "admin:roles"),
    ),
]
