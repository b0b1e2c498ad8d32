"""Groups in the admin pages: how many there are in each, who, and changing that."""

from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Any

from starlette.datastructures import FormData
from starlette.requests import Request
from starlette.responses import Response

from perijove.domain.errors import Conflict, Forbidden, HubError, Invalid
from perijove.domain.names import escape
from perijove.services import groups
from perijove.services.identity import Identity, require
from perijove.services.users import UserQuery, list_users
from perijove.web.pages.administration import administrator, sections
from perijove.web.pages.pager import pager, read_offset, with_offset
from perijove.web.pages.view import Pages, chosen, names_in, text

PAGE = 50


def group_url(pages: Pages, name: str) -> str:
    return f"{pages.prefix}admin/groups/{escape(name)}"


async def show(pages: Pages, request: Request) -> Response:
    return await _list_page(pages, request, await administrator(pages, request))


async def create(pages: Pages, request: Request) -> Response:
    identity = await administrator(pages, request)
    form = await pages.form(request)
    name = text(form, "name").strip()
    await require(pages.hub, identity, f"admin:groups!group={name}" if name else "admin:groups")
    try:
        await groups.create_group(pages.hub, name, actor=identity.name)
    except (Invalid, Conflict) as error:
        return await _list_page(
            pages, request, identity, status=HTTPStatus.BAD_REQUEST, problem=error.message, typed_name=name
        )
    return pages.redirect(group_url(pages, name), status=HTTPStatus.SEE_OTHER)


async def show_one(pages: Pages, request: Request) -> Response:
    identity = await administrator(pages, request, f"read:groups!group={request.path_params['group']}")
    return await _group_page(pages, request, identity)


async def change(pages: Pages, request: Request) -> Response:
    """POST to a group's page: one of `_ACTIONS`, which answer with where to go."""
    name = request.path_params["group"]
    identity = await administrator(pages, request, f"read:groups!group={name}")
    form = await pages.form(request)
    action = chosen(_ACTIONS, form)
    try:
        target = await action(pages, identity, name, form)
    except (Invalid, Conflict, Forbidden) as error:
        return await _group_page(
            pages, request, identity, status=_status(error), problem=error.message, typed_names=text(form, "names")
        )
    return pages.redirect(target, status=HTTPStatus.SEE_OTHER)


def _status(error: HubError) -> int:
    return HTTPStatus.FORBIDDEN if isinstance(error, Forbidden) else HTTPStatus.BAD_REQUEST


async def _add(pages: Pages, identity: Identity, name: str, form: FormData) -> str:
    await require(pages.hub, identity, f"groups!group={name}")
    await groups.add_members(pages.hub, name, _names(form), actor=identity.name)
    return group_url(pages, name)


async def _remove(pages: Pages, identity: Identity, name: str, form: FormData) -> str:
    await require(pages.hub, identity, f"groups!group={name}")
    await groups.remove_members(pages.hub, name, _names(form), actor=identity.name)
    return group_url(pages, name)


async def _delete(pages: Pages, identity: Identity, name: str, _form: FormData) -> str:
    await require(pages.hub, identity, f"delete:groups!group={name}")
    await groups.delete_group(pages.hub, name, actor=identity.name)
    return f"{pages.prefix}admin/groups"


_Action = Callable[[Pages, Identity, str, FormData], Awaitable[str]]
_ACTIONS: dict[str, _Action] = {"add": _add, "remove": _remove, "delete": _delete}


def _names(form: FormData) -> list[str]:
    if names := names_in(form, "names"):
        return names
    raise Invalid("Name at least one user.", field="names")


async def _list_page(
    pages: Pages, request: Request, identity: Identity, *, status: int = HTTPStatus.OK, **more: Any
) -> Response:
    listed = identity.scopes.grant("list:groups")
    if listed is None:
        raise Forbidden("Listing groups needs the scope list:groups.")
    offset = read_offset(request.query_params)
    found, total = await groups.list_group_sizes(
        pages.hub, offset=offset, limit=PAGE, names=None if listed.everything else listed.group
    )
    page = f"{pages.prefix}admin/groups"
    return await pages.render(
        request,
        "admin_groups.html",
        status=status,
        here="admin",
        sections=sections(pages, identity, "admin/groups"),
        groups=found,
        groups_pager=pager(len(found), total, offset=offset, limit=PAGE, url=with_offset(page)),
        group_url=lambda name: group_url(pages, name),
        may_create=identity.scopes.grant("admin:groups") is not None,
        **more,
    )


async def _group_page(
    pages: Pages, request: Request, identity: Identity, *, status: int = HTTPStatus.OK, **more: Any
) -> Response:
    name = request.path_params["group"]
    facts = await groups.get_group_facts(pages.hub, name)
    offset, page = read_offset(request.query_params), group_url(pages, name)
    members = await list_users(pages.hub, UserQuery(groups=frozenset({name}), offset=offset, limit=PAGE, sort="name"))
    return await pages.render(
        request,
        "admin_group.html",
        status=status,
        here="admin",
        sections=sections(pages, identity, "admin/groups"),
        page_url=page,
        group=facts,
        members=[user.name for user in members.items],
        members_pager=pager(len(members.items), members.total, offset=offset, limit=PAGE, url=with_offset(page)),
        may_change=await pages.may(identity, f"groups!group={name}"),
        may_delete=await pages.may(identity, f"delete:groups!group={name}"),
        **more,
    )
