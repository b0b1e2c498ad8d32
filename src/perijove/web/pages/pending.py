"""`/spawn-pending/…`: a start while it goes on, and what became of it."""

from datetime import datetime
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import Response

from perijove.domain import names
from perijove.domain.errors import NotFound
from perijove.domain.last_lines import split_last_lines
from perijove.domain.states import Desired
from perijove.lib.log import correlation_id
from perijove.services.progress import events_so_far
from perijove.services.server_rows import ServerRow
from perijove.web import xsrf
from perijove.web.pages.server_view import server_view, with_next
from perijove.web.pages.spawn import Target, target_of
from perijove.web.pages.view import Pages


async def show(pages: Pages, request: Request) -> Response:
    target = await target_of(pages, request, scope="read:servers")
    row = target.row
    if row is None:
        raise NotFound("No such server, or not yours to use.")
    view = server_view(pages.hub, target.user, target.name)
    if row.ready:
        return pages.redirect(pages.next(request, default=view.url))
    common: dict[str, Any] = {
        "own": target.own,
        "for_user": target.spec.user,
        "server_name": target.name,
        "server_title": row.display_name or row.name,
        "spawn_url": with_next(view.spawn_url, pages.next(request)),
    }
    if row.desired is Desired.RUNNING:
        return await _starting(pages, request, target, row, common)
    if row.active:
        return await pages.render(request, "stop_pending.html", **common)
    return await _ended(pages, request, target, row, common)


async def _starting(pages: Pages, request: Request, target: Target, row: ServerRow, common: dict[str, Any]) -> Response:
    events = await events_so_far(pages.hub, row)
    view = server_view(pages.hub, target.user, target.name)
    api = f"{pages.prefix}api/users/{names.escape(target.user)}"
    server = f"servers/{names.escape(target.name)}" if target.name else "server"
    token = quote(xsrf.token_for(pages.hub, request))
    return await pages.render(
        request,
        "spawn_pending.html",
        **common,
        events=events,
        message=events[-1].get("message", "") if events else "",
        percent=next((event["progress"] for event in reversed(events) if "progress" in event), 0),
        progress_url=f"{api}/{server}/progress?_xsrf={token}",
        cancel_url=view.stop_url,
    )


async def _ended(pages: Pages, request: Request, target: Target, row: ServerRow, common: dict[str, Any]) -> Response:
    events = await events_so_far(pages.hub, row)
    failure = row.failure
    if failure is None and not any(event.get("failed") for event in events):
        return await pages.render(request, "not_running.html", **common, may_start=True, next_path=pages.next(request))
    found = failure or {}
    # What the server wrote is its owner's to read; what hub and cluster say may be about others.
    details, written = split_last_lines(str(found.get("details", "")))
    return await pages.render(
        request,
        "spawn_failed.html",
        status=_status(found) if failure else HTTPStatus.OK,
        foreign=[str(found.get("html_message", ""))],
        **common,
        cancelled=failure is None,
        message=found.get("message", ""),
        message_html=found.get("html_message", ""),
        reason=found.get("reason", ""),
        failed_at=datetime.fromisoformat(found["at"]) if found.get("at") else None,
        log_lines=written,
        details=details if target.identity.admin else "",
        events=events,
        request_id=correlation_id.get(),
    )


def _status(failure: dict[str, Any] | Any) -> int:
    status = failure.get("status") or HTTPStatus.INTERNAL_SERVER_ERROR
    return int(status) if HTTPStatus.BAD_REQUEST <= int(status) <= 599 else HTTPStatus.INTERNAL_SERVER_ERROR  # noqa: PLR2004
