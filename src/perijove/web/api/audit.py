"""The audit trail: pages of it, and all of it as NDJSON or CSV. JupyterHub has no such endpoint."""

import csv
import io
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import msgspec
from starlette.responses import Response, StreamingResponse

from perijove.domain.errors import Invalid
from perijove.services import audit_trail
from perijove.services.audit_trail import AuditQuery, AuditRow
from perijove.web.api.endpoint import Call, Endpoint, Operation
from perijove.web.errors import api_headers
from perijove.web.requests import integer

FIELDS = ("id", "at", "action", "actor", "subject", "address", "result", "correlation_id", "data")
MAX_CURSOR = 2**53
# What spreadsheets take for the beginning of a formula.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def read_query(call: Call) -> AuditQuery:
    """Raises `Invalid`."""
    return AuditQuery(
        actor=call.query("actor"),
        action=call.query("action"),
        subject=call.query("subject"),
        address=call.query("address"),
        result=call.query("result"),
        since=_time(call, "since"),
        until=_time(call, "until"),
    )


def _time(call: Call, name: str) -> datetime | None:
    text = call.query(name)
    if not text:
        return None
    try:
        at = datetime.fromisoformat(text)
        return at.astimezone(UTC) if at.tzinfo else at.replace(tzinfo=UTC)
    except (ValueError, OverflowError) as error:
        raise Invalid(f"Not a valid timestamp: {text[:60]!r}", field=name) from error


def audit_model(row: AuditRow) -> dict[str, Any]:
    return {name: getattr(row, name) for name in FIELDS}


async def list_lines(call: Call) -> Response:
    """Newest first; `next` is the cursor to ask with as `before`."""
    options = call.hub.options
    limit = abs(integer(call.query("limit", str(options.api_page_default_limit)), "limit"))
    before = call.query("before")
    found, following = await audit_trail.read_page(
        call.hub,
        read_query(call),
        before=min(abs(integer(before, "before")), MAX_CURSOR) if before else None,
        limit=max(1, min(limit, options.api_page_max_limit)),
    )
    return call.json({"items": [audit_model(row) for row in found], "next": following})


async def export(call: Call) -> Response:
    """Everything that matches, as a stream: `?format=ndjson` (one JSON object a line) or `csv`."""
    kind = call.query("format", "ndjson")
    if kind not in {"ndjson", "csv"}:
        raise Invalid("format is ndjson or csv", field="format")
    lines = audit_trail.stream(call.hub, read_query(call))
    headers = {**api_headers(call.hub), "Content-Disposition": f'attachment; filename="audit.{kind}"'}
    if kind == "csv":
        return StreamingResponse(_csv(lines), headers=headers, media_type="text/csv; charset=utf-8")
    return StreamingResponse(_ndjson(lines), headers=headers, media_type="application/x-ndjson")


async def _ndjson(lines: AsyncIterator[AuditRow]) -> AsyncIterator[bytes]:
    async for row in lines:
        yield msgspec.json.encode(audit_model(row)) + b"\n"


async def _csv(lines: AsyncIterator[AuditRow]) -> AsyncIterator[bytes]:
    yield _csv_line(FIELDS)
    async for row in lines:
        model = audit_model(row)
        yield _csv_line([_cell(value.isoformat() if name == "at" else value) for name, value in model.items()])


def _cell(value: Any) -> str:
    """What a person chose may begin like a formula: a spreadsheet would calculate it."""
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    return f"'{text}" if text.startswith(_FORMULA) else text


def _csv_line(cells: Any) -> bytes:
    buffer = io.StringIO()
    csv.writer(buffer).writerow(cells)
    return buffer.getvalue().encode()


ENDPOINTS = [
    Endpoint("/audit", GET=Operation(list_lines, "read:audit")),
    Endpoint("/audit/export", GET=Operation(export, "read:audit")),
]
