"""The front door `/hub/`, and the small addresses that belong to no page."""

from http import HTTPStatus

from starlette.requests import Request
from starlette.responses import Response

from perijove.lib import metrics
from perijove.lib.log import get_logger
from perijove.services.server_rows import find
from perijove.web.pages import hooks
from perijove.web.pages.server_view import server_view
from perijove.web.pages.view import Pages

log = get_logger(__name__)

MAX_REPORT_BYTES = 8192


async def hub_root(pages: Pages, request: Request) -> Response:
    """`/hub/`: where a person goes who asked for nothing in particular."""
    identity = await pages.user(request)
    hub = pages.hub
    if asked := pages.next(request):
        return pages.redirect(asked)
    if chosen := await hooks.default_url(pages, request, identity):
        return pages.redirect(chosen)
    if not hub.options.redirect_to_server:
        return pages.redirect(f"{pages.prefix}home")
    view = server_view(hub, identity.name, hub.options.default_server_name)
    async with hub.store.read() as connection:
        row = await find(connection, identity.name, hub.options.default_server_name)
    if row is not None and row.ready:
        return pages.redirect(view.url)
    # After a failure they come home and see why, instead of trying again with every login.
    return pages.redirect(f"{pages.prefix}home" if row is not None and row.failure else f"{pages.prefix}spawn")


async def csp_report(pages: Pages, request: Request) -> Response:
    """Browsers report what the content security policy stopped: a custom template's mistake, or an attack."""
    del pages
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_REPORT_BYTES:
            return Response(status_code=HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
    metrics.csp_reports.inc()
    log.warning("content security policy violated", report=body.decode("utf-8", "replace"))
    return Response(status_code=HTTPStatus.NO_CONTENT)
