"""The audit trail on its way out: what a query string asks for, and its lines as JSON and CSV."""

import csv
import io
from collections.abc import AsyncIterator, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Literal

import msgspec

from perijove.domain.errors import Invalid
from perijove.services.audit_trail import AuditQuery, AuditRow

Format = Literal["ndjson", "csv"]
MEDIA_TYPES: dict[Format, str] = {"ndjson": "application/x-ndjson", "csv": "text/csv; charset=utf-8"}
FIELDS = ("id", "at", "action", "actor", "subject", "address", "result", "correlation_id", "data")
MAX_CURSOR = 2**53
# What spreadsheets take for the beginning of a formula.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def read_query(query: Mapping[str, str]) -> AuditQuery:
    """Raises `Invalid`."""
    return AuditQuery(
        actor=query.get("actor", ""),
        action=query.get("action", ""),
        subject=query.get("subject", ""),
        address=query.get("address", ""),
        result=query.get("result", ""),
        since=_time(query, "since"),
        until=_time(query, "until"),
    )


def _time(query: Mapping[str, str], name: str) -> datetime | None:
    text = query.get(name, "")
    if not text:
        return None
    try:
        at = datetime.fromisoformat(text)
        return at.astimezone(UTC) if at.tzinfo else at.replace(tzinfo=UTC)
    except (ValueError, OverflowError) as error:
        raise Invalid(f"Not a valid timestamp: {text[:60]!r}", field=name) from error


def read_format(text: str) -> Format:
    """Raises `Invalid`."""
    if text == "csv":
        return "csv"
    if text in {"", "ndjson"}:
        return "ndjson"
    raise Invalid("format is ndjson or csv", field="format")


def model(row: AuditRow) -> dict[str, Any]:
    return {name: getattr(row, name) for name in FIELDS}


async def encode(lines: AsyncIterator[AuditRow], kind: Format) -> AsyncIterator[bytes]:
    """One JSON object, or one row of a table with a heading, for each line."""
    if kind == "csv":
        yield _csv_line(FIELDS)
    async for row in lines:
        if kind == "csv":
            cells = model(row) | {"at": row.at.isoformat()}
            yield _csv_line(_cell(value) for value in cells.values())
        else:
            yield msgspec.json.encode(model(row)) + b"\n"


def _cell(value: Any) -> str:
    """What a person chose may begin like a formula: a spreadsheet would calculate it."""
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    return f"'{text}" if text.startswith(_FORMULA) else text


def _csv_line(cells: Iterable[str]) -> bytes:
    buffer = io.StringIO()
    csv.writer(buffer).writerow(cells)
    return buffer.getvalue().encode()
