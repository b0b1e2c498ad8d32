"""The admin page: one page of users with their servers, searched, sorted and filtered by the database."""

from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Literal, cast
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import Response

from perijove.domain.errors import Conflict, Forbidden, HubError, Invalid, LimitReached
from perijove.services import servers
from perijove.services.identity import Identity, require
from perijove.services.removal import remove_user
from perijove.services.server_rows import list_servers, of_users
from perijove.services.users import UserQuery, UserRow, create_users, list_users, set_admin
from perijove.web.pages.administration import administrator, sections
from perijove.web.pages.home import back_to
from perijove.web.pages.server_view import ServerView, server_view, view_of
from perijove.web.pages.storage import storage_url
from perijove.web.pages.view import Pages, names_in, text
from perijove.web.requests import remote_ip

State = Literal["", "active", "ready", "inactive"]
PAGE = 50
MAX_BULK = 200
MAX_ADDED = 500
_SORTS = frozenset({"name", "-name", "last_activity", "-last_activity", "id", "-id"})
_STATES = frozenset({"", "active", "ready", "inactive"})


@dataclass(frozen=True, slots=True)
class Filter:
    """What the address of the page asks for; nonsense in it counts as nothing."""

    name_filter: str = ""
    state: str = ""
    sort: str = "name"
    offset: int = 0
    limit: int = PAGE

    @classmethod
    def of(cls, query: Mapping[str, str]) -> "Filter":
        offset = query.get("offset", "")
        return cls(
            name_filter=query.get("name_filter", "").strip()[:255],
            state=query.get("state", "") if query.get("state", "") in _STATES else "",
            sort=query.get("sort", "name") if query.get("sort", "name") in _SORTS else "name",
            offset=int(offset) if offset.isascii() and offset.isdigit() and len(offset) < len("1000000000") else 0,
        )

    def url(self, page: str, **changes: Any) -> str:
        values = {
            "name_filter": self.name_filter,
            "state": self.state,
            "sort": self.sort,
            "offset": self.offset,
        } | changes
        defaults = {"name_filter": "", "state": "", "sort": "name", "offset": 0}
        query = {key: value for key, value in values.items() if value != defaults[key]}
        return f"{page}?{urlencode(query)}" if query else page


@dataclass(frozen=True, slots=True)
class UserView:
    name: str
    admin: bool
    groups: tuple[str, ...]
    last_activity: Any
    servers: list[ServerView]
    # "" where the spawner has no volumes.
    storage_url: str


async def show(pages: Pages, request: Request) -> Response:
    await administrator(pages, request)
    # A swap of htmx wants the list alone; going back through history wants the page.
    partial = (
        request.headers.get("hx-request") == "true" and request.headers.get("hx-history-restore-request") != "true"
    )
    return await _page(pages, request, template="_admin_results.html" if partial else "admin.html")


async def _page(
    pages: Pages, request: Request, *, template: str = "admin.html", status: int = HTTPStatus.OK, **more: Any
) -> Response:
    chosen = Filter.of(request.query_params)
    identity = await pages.user(request)
    listed = identity.scopes.grant("list:users")
    if listed is None:
        raise Forbidden("Listing users needs the scope list:users.")
    found = await list_users(
        pages.hub,
        UserQuery(
            offset=chosen.offset,
            limit=chosen.limit,
            state=cast("State", chosen.state),
            name_filter=chosen.name_filter,
            sort=chosen.sort,
            users=None if listed.everything else listed.user,
            groups=None if listed.everything else listed.group,
        ),
    )
    async with pages.hub.store.read() as connection:
        rows = await of_users(connection, [user.id for user in found.items], stopped=True)
    views = [_user_view(pages, user, rows.get(user.id, [])) for user in found.items]
    return await pages.render(
        request,
        template,
        status=status,
        headers={"Vary": "HX-Request"},
        here="admin",
        sections=sections(pages, identity, "admin"),
        users=views,
        total=found.total,
        any_pending=any(server.pending for view in views for server in view.servers),
        query=chosen,
        page_url=lambda **changes: chosen.url(f"{pages.prefix}admin", **changes),
        **more,
    )


def _user_view(pages: Pages, user: UserRow, rows: list[Any]) -> UserView:
    views = [view_of(pages.hub, user.name, row) for row in rows]
    if not any(view.name == "" for view in views):
        views.insert(0, server_view(pages.hub, user.name, ""))
    url = storage_url(pages, user.name) if pages.hub.spawners.storage is not None else ""
    return UserView(user.name, user.admin, tuple(user.groups), user.last_activity, views, url)


async def add_users(pages: Pages, request: Request) -> Response:
    identity = await administrator(pages, request, "admin:users")
    form = await pages.form(request)
    typed = text(form, "usernames")
    wanted = names_in(form, "usernames")
    admin = text(form, "admin") == "1"
    try:
        _check_additions(wanted, admin=admin, by=identity)
        made = await create_users(pages.hub, wanted, admin=admin, actor=identity.name)
    except (Invalid, Conflict, Forbidden) as error:
        return await _page(
            pages, request, status=HTTPStatus.BAD_REQUEST, add_error=error.message, typed_usernames=typed
        )
    known = len(wanted) - len(made)
    notice = f"Added {len(made)} {'user' if len(made) == 1 else 'users'}." + (
        f" {known} existed already." if known else ""
    )
    return await _page(pages, request, status=HTTPStatus.CREATED, notice=notice)


def _check_additions(wanted: list[str], *, admin: bool, by: Identity) -> None:
    if not wanted:
        raise Invalid("Name at least one user.", field="usernames")
    if len(wanted) > MAX_ADDED:
        raise Invalid(f"At most {MAX_ADDED} users at once.", field="usernames")
    if admin and not by.admin:
        raise Forbidden("Only admins can make admins.")


async def edit_user(pages: Pages, request: Request) -> Response:
    """POST: make or unmake an admin."""
    identity = await administrator(pages, request, "admin:users")
    form = await pages.form(request)
    if not identity.admin:
        raise Forbidden("Only admins can make admins.")
    name, admin = text(form, "user"), text(form, "admin") == "1"
    if name == identity.name and not admin:
        raise Invalid("You cannot take the admin role from yourself: ask another admin.", field="admin")
    await set_admin(pages.hub, name, admin, actor=identity.name)
    return pages.redirect(back_to(pages, text(form, "back")), status=HTTPStatus.SEE_OTHER)


async def bulk(pages: Pages, request: Request) -> Response:
    """POST: start, stop or delete the selected users. What cannot be done is said, the rest is done."""
    identity = await administrator(pages, request)
    form = await pages.form(request)
    chosen = [name for name in form.getlist("users") if isinstance(name, str)]
    if not chosen:
        raise Invalid("Select at least one user first.", field="users")
    if len(chosen) > MAX_BULK:
        raise Invalid(f"At most {MAX_BULK} users at once.", field="users")
    problems = []
    for name in chosen:
        try:
            await _act(pages, request, identity, text(form, "action"), name)
        except LimitReached as error:
            problems.append(f"{name}: {error.message}")
            break  # the others would meet the same limit
        except HubError as error:
            problems.append(f"{name}: {error.message}")
    if problems:
        return await _page(
            pages,
            request,
            status=HTTPStatus.CONFLICT,
            notice="Not all of it was done. " + " ".join(problems),
            notice_kind="warning",
        )
    return pages.redirect(back_to(pages, text(form, "back")), status=HTTPStatus.SEE_OTHER)


async def _act(pages: Pages, request: Request, identity: Identity, action: str, name: str) -> None:
    hub, address = pages.hub, remote_ip(pages.hub, request)
    if action == "start":
        await require(hub, identity, f"start:servers!server={name}/")
        await servers.request_start(hub, user=name, actor=identity.name, address=address)
    elif action == "stop":
        for row in await list_servers(hub, name, stopped=False):
            await require(hub, identity, f"delete:servers!server={row.full_name}")
            await servers.request_stop(hub, user=name, name=row.name, actor=identity.name, address=address)
    elif action == "delete":
        await require(hub, identity, f"delete:users!user={name}")
        if name == identity.name:
            raise Invalid("You cannot delete yourself.", field="users")
        await remove_user(hub, name, actor=identity.name)
    else:
        raise Invalid("Unknown action.", field="action")
