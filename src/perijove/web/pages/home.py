"""The home page: a person's servers, and the buttons' targets: stop, delete, add a named one."""

import re
import unicodedata
from http import HTTPStatus
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from perijove.domain import names
from perijove.domain.errors import Conflict, Invalid
from perijove.services.identity import Identity
from perijove.services.server_rows import list_servers
from perijove.services.servers import create_server, request_stop
from perijove.web.pages import share
from perijove.web.pages.hooks import named_server_limit
from perijove.web.pages.server_view import server_view, view_of
from perijove.web.pages.sharing import may_share, share_url
from perijove.web.pages.view import Pages, text
from perijove.web.requests import remote_ip


async def show(pages: Pages, request: Request) -> Response:
    return await _page(pages, request, await pages.user(request))


async def servers_part(pages: Pages, request: Request) -> Response:
    """The list alone, for htmx; opened as a page it leads to the page."""
    identity = await pages.user(request)
    if request.headers.get("hx-request") != "true":
        return pages.redirect(f"{pages.prefix}home")
    return await pages.render(request, "_home_servers.html", **await _servers(pages, identity))


async def add_server(pages: Pages, request: Request) -> Response:
    """POST of "Add a named server": make it, then its options."""
    identity = await pages.user(request)
    form = await pages.form(request)
    typed = text(form, "server_name").strip()
    try:
        display_name = names.clean_display_name(re.sub(r"\s+", " ", typed))
        name = await _free_name(pages, identity, display_name)
        row = await create_server(
            pages.hub, user=identity.name, name=name, display_name=display_name, actor=identity.name
        )
    except (Invalid, Conflict) as error:
        return await _page(
            pages, request, identity, status=HTTPStatus.BAD_REQUEST, name_error=error.message, typed_name=typed
        )
    return pages.redirect(server_view(pages.hub, identity.name, row.name).spawn_url, status=HTTPStatus.SEE_OTHER)


async def stop(pages: Pages, request: Request) -> Response:
    """POST `/stop/{user}[/{server}]`: stops a running server, cancels a start."""
    return await _end(pages, request, remove=False)


async def delete(pages: Pages, request: Request) -> Response:
    """POST `/delete/{user}/{server}`."""
    return await _end(pages, request, remove=True)


async def _end(pages: Pages, request: Request, *, remove: bool) -> Response:
    identity = await pages.user(request)
    user, name = request.path_params["user"], request.path_params.get("server", "")
    form = await pages.form(request)
    await pages.require_server(identity, "delete:servers", user, name)
    await request_stop(
        pages.hub, user=user, name=name, actor=identity.name, remove=remove, address=remote_ip(pages.hub, request)
    )
    return pages.redirect(back_to(pages, text(form, "back")), status=HTTPStatus.SEE_OTHER)


def back_to(pages: Pages, path: str) -> str:
    """Where a form says it came from: the admin page with its filters, or home."""
    admin = f"{pages.prefix}admin"
    return path if path == admin or path.startswith(f"{admin}?") else f"{pages.prefix}home"


async def _page(
    pages: Pages, request: Request, identity: Identity, *, status: int = HTTPStatus.OK, **more: Any
) -> Response:
    return await pages.render(
        request,
        "home.html",
        status=status,
        here="home",
        named_server_limit_per_user=await named_server_limit(pages, identity),
        **await _servers(pages, identity),
        **await share.shared_with(pages, request, identity),
        **more,
    )


async def _servers(pages: Pages, identity: Identity) -> dict[str, Any]:
    rows = await list_servers(pages.hub, identity.name)
    views = {row.name: view_of(pages.hub, identity.name, row) for row in rows}
    default = views.pop("", None) or server_view(pages.hub, identity.name, "")
    named = list(views.values())
    return {
        "default_server": default,
        "named_servers": named,
        "any_pending": any(view.pending for view in (default, *named)),
        # Servers from the time when they were allowed stay visible: they can be stopped and deleted.
        "allow_named_servers": pages.hub.options.allow_named_servers,
        "share_urls": await _share_urls(pages, identity, [default.name, *views]),
        "url": default.url,
    }


async def _share_urls(pages: Pages, identity: Identity, servers: list[str]) -> dict[str, str]:
    """Of those servers that this person may share."""
    return {
        name: share_url(pages, identity.name, name)
        for name in servers
        if await may_share(pages, identity, identity.name, name)
    }


async def _free_name(pages: Pages, identity: Identity, display_name: str) -> str:
    """A name for URLs out of what was typed: "Thesis data" becomes `thesis-data`, the second one `thesis-data-2`."""
    plain = unicodedata.normalize("NFKD", display_name).encode("ascii", "ignore").decode().lower()
    stem = re.sub(r"[^a-z0-9]+", "-", plain).strip("-")
    if not stem or not stem[0].isalpha():
        stem = f"server-{stem}".strip("-")
    longest = names.MAX_SERVER_NAME
    stem = stem[:longest].rstrip("-")
    taken = {row.name for row in await list_servers(pages.hub, identity.name)}
    if stem in taken and display_name == stem:
        raise Conflict(f"You already have a server named “{stem}”.")
    number = 1
    name = stem
    while name in taken:
        number += 1
        name = f"{stem[: longest - len(str(number)) - 1].rstrip('-')}-{number}"
    return name
