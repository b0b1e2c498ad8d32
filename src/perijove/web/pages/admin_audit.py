"""The audit trail in the admin pages: filtered, paged by cursor, and all that matches as a file."""

from collections.abc import Mapping
from http import HTTPStatus
from urllib.parse import urlencode

import msgspec
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from perijove.domain.errors import Invalid
from perijove.services import audit_trail
from perijove.services.audit_trail import AuditQuery
from perijove.web import audit_lines
from perijove.web.pages.administration import administrator, sections
from perijove.web.pages.view import Pages

PAGE = 50
_SCOPE = "read:audit"
_FIELDS = ("actor", "action", "subject", "address", "result", "since", "until")


async def show(pages: Pages, request: Request) -> Response:
    identity = await administrator(pages, request, _SCOPE)
    typed = {name: request.query_params.get(name, "").strip()[:255] for name in _FIELDS}
    problem, query = "", AuditQuery()
    try:
        query = audit_lines.read_query(typed)
        before = _cursor(request.query_params)
    except Invalid as error:
        problem, before = error.message, None
    found, following = (
        ([], None) if problem else await audit_trail.read_page(pages.hub, query, before=before, limit=PAGE)
    )
    page = f"{pages.prefix}admin/audit"
    return await pages.render(
        request,
        "admin_audit.html",
        status=HTTPStatus.BAD_REQUEST if problem else HTTPStatus.OK,
        here="admin",
        sections=sections(pages, identity, "admin/audit"),
        page_url=page,
        typed=typed,
        filtered=any(typed.values()),
        problem=problem,
        lines=[(line, _data(line.data)) for line in found],
        newest_url=_url(page, typed) if before is not None else "",
        older_url=_url(page, typed, before=str(following)) if following is not None else "",
        export_url=lambda kind: _url(f"{page}/export", typed, format=kind),
        filter_url=lambda **one: _url(page, typed, **one),
    )


async def export(pages: Pages, request: Request) -> Response:
    await administrator(pages, request, _SCOPE)
    kind = audit_lines.read_format(request.query_params.get("format", ""))
    lines = audit_trail.stream(pages.hub, audit_lines.read_query(request.query_params))
    headers = {**pages.headers(), "Content-Disposition": f'attachment; filename="audit.{kind}"'}
    return StreamingResponse(audit_lines.encode(lines, kind), headers=headers, media_type=audit_lines.MEDIA_TYPES[kind])


def _cursor(query: Mapping[str, str]) -> int | None:
    """Raises `Invalid`."""
    typed = query.get("before", "")
    if not typed:
        return None
    if not typed.isascii() or not typed.isdigit() or len(typed) > len(str(audit_lines.MAX_CURSOR)):
        raise Invalid("before is the cursor of a page", field="before")
    return min(int(typed), audit_lines.MAX_CURSOR)


def _url(page: str, typed: Mapping[str, str], **changes: str) -> str:
    query = {name: value for name, value in {**typed, **changes}.items() if value}
    return f"{page}?{urlencode(query)}" if query else page


def _data(data: Mapping[str, object]) -> str:
    """What else is known of it, for reading; empty when nothing is."""
    known = {name: value for name, value in data.items() if value not in ("", None, [], {})}
    return msgspec.json.format(msgspec.json.encode(known), indent=2).decode() if known else ""
