"""`/accept-share?code=…`: says what is shared and by whom, then lets the visitor accept."""

from http import HTTPStatus
from types import SimpleNamespace

from starlette.requests import Request
from starlette.responses import Response

from perijove.domain import names
from perijove.domain.errors import Invalid, NotFound
from perijove.domain.ids import UserId
from perijove.services.shares import accept_offer, find_offer
from perijove.web.pages.view import Pages, text
from perijove.web.requests import safe_next


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
