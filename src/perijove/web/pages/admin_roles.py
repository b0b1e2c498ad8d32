"""Roles in the admin pages: what each allows and who has it; making, changing and giving those made here.

Which roles may be edited, and who may grant what, is decided in `services/role_editing`; the pages say why not.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final, get_args

from starlette.datastructures import FormData
from starlette.requests import Request
from starlette.responses import Response

from perijove.domain.errors import Conflict, Forbidden, Invalid
from perijove.domain.names import escape
from perijove.services import role_editing
from perijove.services.granting import not_held
from perijove.services.identity import Identity
from perijove.services.role_editing import HolderKind, RoleRow
from perijove.web.pages.administration import administrator, sections
from perijove.web.pages.pager import pager, read_offset, with_offset
from perijove.web.pages.view import Pages, chosen, names_in, text

PAGE = 50
_READ, _CHANGE = "read:roles", "admin:roles"
_KINDS: Final[tuple[HolderKind, ...]] = get_args(HolderKind)

# Why a role is not edited here, by where it comes from.
_READ_ONLY = {
    "default": "A default role of the hub. What it allows is changed in the configuration (hub.loadRoles).",
    "config": "From the configuration (hub.loadRoles), and changed there.",
    "authenticator": "Managed by the authenticator, which says who has it, too.",
}


@dataclass(frozen=True, slots=True)
class ScopeView:
    """A line of the scope reference."""

    name: str
    description: str
    contains: tuple[str, ...]
    held: bool


def role_url(pages: Pages, name: str) -> str:
    return f"{pages.prefix}admin/roles/{escape(name)}"


async def show(pages: Pages, request: Request) -> Response:
    identity = await administrator(pages, request, _READ)
    return await pages.render(
        request,
        "admin_roles.html",
        here="admin",
        sections=sections(pages, identity, "admin/roles"),
        roles=await role_editing.list_roles(pages.hub),
        role_url=lambda name: role_url(pages, name),
        may_change=_CHANGE in identity.scopes,
    )


async def new(pages: Pages, request: Request) -> Response:
    return await _form(pages, request, await administrator(pages, request, _CHANGE))


async def create(pages: Pages, request: Request) -> Response:
    identity = await administrator(pages, request, _CHANGE)
    form = await pages.form(request)
    name = text(form, "name").strip()
    try:
        await role_editing.create_role(
            pages.hub,
            name,
            description=text(form, "description").strip(),
            scopes=_words(form, "scopes"),
            by=identity,
            actor=identity.name,
        )
    except (Invalid, Conflict, Forbidden) as error:
        typed = {f"typed_{field}": text(form, field) for field in ("name", "description", "scopes")}
        return await _form(pages, request, identity, status=HTTPStatus.BAD_REQUEST, problem=error.message, **typed)
    return pages.redirect(role_url(pages, name), status=HTTPStatus.SEE_OTHER)


async def show_one(pages: Pages, request: Request) -> Response:
    identity = await administrator(pages, request, _READ)
    return await _role_page(pages, request, identity, await _role(pages, request))


async def change(pages: Pages, request: Request) -> Response:
    """POST to a role's page: one of `_ACTIONS`."""
    identity = await administrator(pages, request, _CHANGE)
    form = await pages.form(request)
    role = await _role(pages, request)
    action = chosen(_ACTIONS, form)
    try:
        await action(pages, identity, role, form)
    except (Invalid, Conflict, Forbidden) as error:
        typed = {f"typed_{name}": text(form, name) for name in ("description", "scopes", "names", "kind")}
        return await _role_page(
            pages, request, identity, role, status=HTTPStatus.BAD_REQUEST, problem=error.message, **typed
        )
    gone = action is _delete
    return pages.redirect(
        f"{pages.prefix}admin/roles" if gone else role_url(pages, role.name), status=HTTPStatus.SEE_OTHER
    )


# -- actions on one role


async def _edit(pages: Pages, identity: Identity, role: RoleRow, form: FormData) -> None:
    await role_editing.change_role(
        pages.hub,
        role.name,
        description=text(form, "description").strip(),
        scopes=_words(form, "scopes"),
        by=identity,
        actor=identity.name,
    )


async def _delete(pages: Pages, identity: Identity, role: RoleRow, _form: FormData) -> None:
    await role_editing.delete_role(pages.hub, role.name, actor=identity.name)


async def _assign(pages: Pages, identity: Identity, role: RoleRow, form: FormData) -> None:
    kind, names = _holders(form)
    await role_editing.assign(pages.hub, role.name, kind, names, by=identity, actor=identity.name)


async def _unassign(pages: Pages, identity: Identity, role: RoleRow, form: FormData) -> None:
    kind, names = _holders(form)
    if role.name == "admin" and kind == "user" and identity.name in names:
        raise Invalid("You cannot take the admin role from yourself: ask another admin.", field="names")
    await role_editing.unassign(pages.hub, role.name, kind, names, by=identity, actor=identity.name)


_Action = Callable[[Pages, Identity, RoleRow, FormData], Awaitable[None]]
_ACTIONS: dict[str, _Action] = {"edit": _edit, "delete": _delete, "assign": _assign, "unassign": _unassign}


def _words(form: FormData, name: str) -> list[str]:
    return list(dict.fromkeys(text(form, name).replace(",", " ").split()))


def _holders(form: FormData) -> tuple[HolderKind, list[str]]:
    kind, names = text(form, "kind"), names_in(form, "names")
    for known in _KINDS:
        if kind == known and names:
            return known, names
    raise Invalid("Name at least one user, group or service.", field="names")


# -- pages


async def _role(pages: Pages, request: Request) -> RoleRow:
    return await role_editing.get_role(pages.hub, request.path_params["role"])


async def _form(
    pages: Pages, request: Request, identity: Identity, *, status: int = HTTPStatus.OK, **more: Any
) -> Response:
    return await pages.render(
        request,
        "admin_role_new.html",
        status=status,
        here="admin",
        sections=sections(pages, identity, "admin/roles"),
        reference=await _reference(pages, identity),
        **more,
    )


async def _role_page(
    pages: Pages, request: Request, identity: Identity, role: RoleRow, *, status: int = HTTPStatus.OK, **more: Any
) -> Response:
    offset, page = read_offset(request.query_params), role_url(pages, role.name)
    users, total = await role_editing.list_users(pages.hub, role.name, offset=offset, limit=PAGE)
    may_change = _CHANGE in identity.scopes
    editable = may_change and role.editable
    return await pages.render(
        request,
        "admin_role.html",
        status=status,
        here="admin",
        sections=sections(pages, identity, "admin/roles"),
        page_url=page,
        role=role,
        may_change=may_change,
        editable=editable,
        read_only=_READ_ONLY.get(role.source, ""),
        users=users,
        users_pager=pager(len(users), total, offset=offset, limit=PAGE, url=with_offset(page)),
        reference=await _reference(pages, identity) if editable else [],
        **more,
    )


async def _reference(pages: Pages, identity: Identity) -> list[ScopeView]:
    """Every scope there is, and whether this person may grant it unfiltered."""
    definitions = pages.hub.identities.catalogue.definitions
    lacking = set(await not_held(pages.hub, identity, definitions))
    return [
        ScopeView(name, definition.description, definition.children, name not in lacking)
        for name, definition in sorted(definitions.items())
    ]
