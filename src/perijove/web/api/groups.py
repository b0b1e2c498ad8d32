"""Groups and their members."""

from typing import Any

import msgspec
from starlette.responses import Response

from perijove.domain.errors import Forbidden, Invalid
from perijove.services import groups
from perijove.web.api.endpoint import Call, Endpoint, Operation
from perijove.web.api.pagination import paged, read_page
from perijove.web.models import group_model
from perijove.web.requests import read_json, read_optional_json


class NewGroups(msgspec.Struct, forbid_unknown_fields=True):
    groups: list[str]
    users: list[str] = []


class Members(msgspec.Struct, forbid_unknown_fields=True):
    users: list[str]


class OptionalMembers(msgspec.Struct, forbid_unknown_fields=True):
    users: list[str] = []


async def list_groups(call: Call) -> Response:
    grant = call.identity.scopes.grant("list:groups")
    assert grant is not None
    if not grant.everything and not grant.group:
        raise Forbidden("list:groups with this filter lists nothing")
    page = read_page(call)
    found, total = await groups.list_groups(
        call.hub, offset=page.offset, limit=page.limit, names=None if grant.everything else grant.group
    )
    return call.json(paged(call, page, [group_model(call.identity, group) for group in found], total))


async def create_groups(call: Call) -> Response:
    wanted = await read_json(call.request, NewGroups)
    if not wanted.groups:
        raise Invalid("No groups were given", field="groups")
    made = [
        await groups.create_group(call.hub, name, users=wanted.users, actor=call.actor)
        for name in dict.fromkeys(wanted.groups)
    ]
    return call.json([group_model(call.identity, group) for group in made], 201)


async def read_group(call: Call) -> Response:
    return _group(call, await groups.get_group(call.hub, call.path["group"]))


async def create_group(call: Call) -> Response:
    wanted = await read_optional_json(call.request, OptionalMembers, OptionalMembers())
    made = await groups.create_group(call.hub, call.path["group"], users=wanted.users, actor=call.actor)
    return _group(call, made, 201)


async def delete_group(call: Call) -> Response:
    await groups.delete_group(call.hub, call.path["group"], actor=call.actor)
    return call.empty(204)


async def add_members(call: Call) -> Response:
    wanted = await read_json(call.request, Members)
    return _group(call, await groups.add_members(call.hub, call.path["group"], wanted.users, actor=call.actor))


async def remove_members(call: Call) -> Response:
    wanted = await read_json(call.request, Members)
    return _group(call, await groups.remove_members(call.hub, call.path["group"], wanted.users, actor=call.actor))


async def set_properties(call: Call) -> Response:
    properties = await read_json(call.request, dict[str, Any])
    return _group(call, await groups.set_properties(call.hub, call.path["group"], properties, actor=call.actor))


def _group(call: Call, group: groups.GroupRow, status: int = 200) -> Response:
    return call.json(group_model(call.identity, group), status)


ENDPOINTS = [
    Endpoint(
        "/groups",
        GET=Operation(list_groups, "list:groups", listing=True),
        POST=Operation(create_groups, "admin:groups"),
    ),
    Endpoint(
        "/groups/{group}",
        GET=Operation(read_group, "read:groups!group", "read:groups:name!group", "read:roles:groups!group"),
        POST=Operation(create_group, "admin:groups!group"),
        DELETE=Operation(delete_group, "delete:groups!group"),
    ),
    Endpoint(
        "/groups/{group}/users",
        POST=Operation(add_members, "groups!group"),
        DELETE=Operation(remove_members, "groups!group"),
    ),
    Endpoint("/groups/{group}/properties", PUT=Operation(set_properties, "groups!group")),
]
