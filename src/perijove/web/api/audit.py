"""The audit trail: pages of it, and all of it as NDJSON or CSV. JupyterHub has no such endpoint."""

from starlette.responses import Response, StreamingResponse

from perijove.services import audit_trail
from perijove.web import audit_lines
from perijove.web.api.endpoint import Call, Endpoint, Operation
from perijove.web.errors import api_headers
from perijove.web.requests import integer


async def list_lines(call: Call) -> Response:
    """Newest first; `next` is the cursor to ask with as `before`."""
    options = call.hub.options
    limit = abs(integer(call.query("limit", str(options.api_page_default_limit)), "limit"))
    before = call.query("before")
    found, following = await audit_trail.read_page(
        call.hub,
        audit_lines.read_query(call.request.query_params),
        before=min(abs(integer(before, "before")), audit_lines.MAX_CURSOR) if before else None,
        limit=max(1, min(limit, options.api_page_max_limit)),
    )
    return call.json({"items": [audit_lines.model(row) for row in found], "next": following})


async def export(call: Call) -> Response:
    """Everything that matches, as a stream: `?format=ndjson` (one JSON object a line) or `csv`."""
    kind = audit_lines.read_format(call.query("format"))
    lines = audit_trail.stream(call.hub, audit_lines.read_query(call.request.query_params))
    headers = {**api_headers(call.hub), "Content-Disposition": f'attachment; filename="audit.{kind}"'}
    return StreamingResponse(audit_lines.encode(lines, kind), headers=headers, media_type=audit_lines.MEDIA_TYPES[kind])


ENDPOINTS = [
    Endpoint("/audit", GET=Operation(list_lines, "read:audit", cost="list")),
    Endpoint("/audit/export", GET=Operation(export, "read:audit", cost="export")),
]
