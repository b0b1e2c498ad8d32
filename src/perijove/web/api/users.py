"""Users: list, create, read, change, delete."""

from typing import Any

import msgspec
from starlette.responses import Response

from perijove.domain.errors import Conflict, Forbidden, Invalid
from perijove.services import login, removal, users
from perijove.services.granting import is_full_admin
from perijove.services.user_list import UserQuery
from perijove.web.api.endpoint import Call, Endpoint, Operation
from perijove.web.api.pagination import paged, read_page
from perijove.web.models import UserModels
from perijove.web.requests import read_json, read_optional_json


class NewUsers(msgspec.Struct, forbid_unknown_fields=True):
    usernames: list[str]
    admin: bool = False


class NewUser(msgspec.Struct, forbid_unknown_fields=True):
    admin: bool = False


class UserChange(msgspec.Struct, forbid_unknown_fields=True):
    name: str | msgspec.UnsetType = msgspec.UNSET
    admin: bool | msgspec.UnsetType = msgspec.UNSET
    auth_state: dict[str, Any] | msgspec.UnsetType | None = msgspec.UNSET
    groups: list[str] | msgspec.UnsetType = msgspec.UNSET
    roles: list[str] | msgspec.UnsetType = msgspec.UNSET


async def list_users(call: Call) -> Response:
    grant = call.identity.scopes.grant("list:users")
    assert grant is not None
    if not grant.everything and not grant.user and not grant.group:
        raise Forbidden("list:users with this filter lists nobody")
    page = read_page(call)
    state: Any = call.query("state")
    models = UserModels(call.hub, call.identity, stopped=call.flag("include_stopped_servers"))
    found = await users.list_users(
        call.hub,
        UserQuery(
            offset=page.offset,
            limit=page.limit,
            state=state,
            name_filter=call.query("name_filter"),
            sort=call.query("sort", "id"),
            users=None if grant.everything else grant.user,
            groups=None if grant.everything else grant.group,
            with_state=models.with_state,
            with_stopped=models.stopped,
            with_total=page.wrapped,
        ),
    )
    return call.json(paged(call, page, [models(user) for user in found.items], found.total))


async def create_users(call: Call) -> Response:
    wanted = await read_json(call.request, NewUsers)
    _may_grant_admin(call, wanted.admin)
    made = await users.create_users(call.hub, wanted.usernames, admin=wanted.admin, actor=call.actor)
    models = UserModels(call.hub, call.identity)
    return call.json([models(user) for user in made], 201)


async def create_user(call: Call) -> Response:
    wanted = await read_optional_json(call.request, NewUser, NewUser())
    _may_grant_admin(call, wanted.admin)
    name = call.path["user"]
    try:
        (made,) = await users.create_users(call.hub, [name], admin=wanted.admin, actor=call.actor)
    except Conflict as error:
        raise Conflict(f"User {name} already exists") from error
    return call.json(UserModels(call.hub, call.identity)(made), 201)


async def read_user(call: Call) -> Response:
    models = UserModels(call.hub, call.identity, stopped=call.flag("include_stopped_servers"))
    user = await users.get_user(call.hub, call.path["user"], with_state=models.with_state)
    model = models(user)
    if "auth_state" in model:
        model["auth_state"] = await login.get_auth_state(call.hub, user.name)
    return call.json(model)


async def change_user(call: Call) -> Response:
    change = await read_json(call.request, UserChange)
    name = call.path["user"]
    user = await users.get_user(call.hub, name)
    if change.groups is not msgspec.UNSET or change.roles is not msgspec.UNSET:
        raise Invalid("groups and roles of a user are not changed here: see /groups")
    if user.admin and not call.identity.admin:
        raise Forbidden("Only admins may change admins")
    if change.admin is not msgspec.UNSET and change.admin != user.admin:
        _may_grant_admin(call, change.admin)
    # The name last: what comes before still knows the user by the old one.
    if change.admin is not msgspec.UNSET:
        await users.set_admin(call.hub, name, change.admin, actor=call.actor)
    if change.auth_state is not msgspec.UNSET:
        await users.set_auth_state(call.hub, name, change.auth_state, actor=call.actor)
    if change.name is not msgspec.UNSET:
        name = await users.rename_user(call.hub, name, change.name, actor=call.actor)
    models = UserModels(call.hub, call.identity)
    model = models(await users.get_user(call.hub, name, with_state=models.with_state))
    if "auth_state" in model:
        model["auth_state"] = await login.get_auth_state(call.hub, name)
    return call.json(model)


def _may_grant_admin(call: Call, admin: bool) -> None:
    """By the caller's own flag, not by scope: else `admin:users` would be a way to everything. Nor does the flag
    suffice to a token that was cut to less: whoever is let have that one is not to become an admin with it."""
    if admin and not is_full_admin(call.identity):
        raise Forbidden("Only admins may make admins")


async def delete_user(call: Call) -> Response:
    name, identity = call.path["user"], call.identity
    if identity.kind == "user" and identity.name == name:
        raise Invalid("Cannot delete yourself!")
    await removal.remove_user(call.hub, name, actor=call.actor)
    return call.empty(204)


_READ = (
    "read:users!user",
    "read:users:name!user",
    "read:servers!user",
    "read:users:groups!user",
    "read:users:activity!user",
    "read:roles:users!user",
)

ENDPOINTS = [
    Endpoint(
        "/users",
        GET=Operation(list_users, "list:users", listing=True),
        POST=Operation(create_users, "admin:users"),
    ),
    Endpoint(
        "/users/{user}",
        GET=Operation(read_user, *_READ),
        POST=Operation(create_user, "admin:users!user"),
        PATCH=Operation(change_user, "admin:users!user"),
        DELETE=Operation(delete_user, "delete:users!user"),
    ),
]
