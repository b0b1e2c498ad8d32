"""The visitor's side of shares: accepting one (`/accept-share?code=…`), those one has, and leaving them."""

from dataclasses import dataclass
from http import HTTPStatus
from types import SimpleNamespace
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from perijove.domain import names
from perijove.domain.errors import Forbidden, Invalid, NotFound
from perijove.domain.ids import UserId
from perijove.services import share_grants
from perijove.services.identity import Identity
from perijove.services.share_grants import ShareRow, Target
from perijove.services.shares import accept_offer, find_offer
from perijove.web.pages.pager import pager, read_offset, with_offset
from perijove.web.pages.view import Pages, text
from perijove.web.requests import safe_next

PAGE = 50


async def show(pages: Pages, request: Request) -> Response:
    await pages.user(request)
    code = request.query_params.get("code", "")
    offer = await find_offer(pages.hub, code)
    return await pages.render(
        request,
        "accept-share.html",
        owner=SimpleNamespace(name=offer.owner),
        server_title=offer.server_title,
        server_ready=offer.ready,
        expires_at=offer.expires_at,
        code=code,
        next_url=pages.next(request),
    )


async def accept(pages: Pages, request: Request) -> Response:
    identity = await pages.user(request)
    form = await pages.form(request)
    try:
        offer = await accept_offer(pages.hub, text(form, "code"), user_id=UserId(identity.id), user=identity.name)
    except NotFound as error:
        raise Invalid(error.message, field="code") from error
    server = names.server_prefix(pages.hub.options.base_url, offer.owner, offer.server)
    asked = safe_next(pages.hub, request, text(form, "next"))
    # Only into the shared server: anything else would be a redirect for whoever made the link.
    return pages.redirect(asked if asked.startswith(server) else server, status=HTTPStatus.SEE_OTHER)


@dataclass(frozen=True, slots=True)
class SharedView:
    """A server of somebody else that the visitor may open."""

    owner: str
    server: str
    title: str
    url: str
    ready: bool
    # "" when it is shared with the visitor themselves, who can leave it then.
    group: str


async def shared_with(pages: Pages, request: Request, identity: Identity) -> dict[str, Any]:
    """Part of the home page."""
    if not await pages.may(identity, f"read:users:shares!user={identity.name}"):
        return {"shared_with_me": [], "may_leave": False}
    offset = read_offset(request.query_params, "shared")
    found, total = await share_grants.list_for(pages.hub, Target("user", identity.name), offset=offset, limit=PAGE)
    home = f"{pages.prefix}home"
    return {
        "shared_with_me": [_shared_view(pages, share) for share in found],
        "shared_pager": pager(len(found), total, offset=offset, limit=PAGE, url=with_offset(home, "shared")),
        "may_leave": await pages.may(identity, f"users:shares!user={identity.name}"),
    }


def _shared_view(pages: Pages, share: ShareRow) -> SharedView:
    server = share.server
    return SharedView(
        owner=server.owner,
        server=server.name,
        title=server.name or "Default server",
        url=pages.hub.addresses.server_url(server.owner, server.name),
        ready=server.ready,
        group=share.target.name if share.target.kind == "group" else "",
    )


async def leave(pages: Pages, request: Request) -> Response:
    """POST `/hub/leave-share`: give up access to a server that was shared with oneself."""
    identity = await pages.user(request)
    form = await pages.form(request)
    if not await pages.may(identity, f"users:shares!user={identity.name}"):
        raise Forbidden("Leaving shares needs the scope users:shares.")
    me = Target("user", identity.name)
    await share_grants.leave(pages.hub, text(form, "owner"), text(form, "server"), me, actor=identity.name)
    return pages.redirect(f"{pages.prefix}home", status=HTTPStatus.SEE_OTHER)
