"""`offset`, `limit` and the `Accept` type that asks for pages instead of bare lists."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from perijove.web.api.endpoint import Call
from perijove.web.requests import host, integer, scheme

ACCEPT = "application/jupyterhub-pagination+json"
# Beyond it no table of ours reaches, and no driver's integer ends.
MAX_OFFSET = 2**53


@dataclass(frozen=True, slots=True)
class Page:
    offset: int
    limit: int
    # The caller sent `ACCEPT` and gets {"items", "_pagination"}; others get the bare list.
    wrapped: bool


def read_page(call: Call) -> Page:
    """Raises `Invalid` for what are no integers; signs are ignored, the limit is cut to what is allowed."""
    options = call.hub.options
    wrapped = ACCEPT in [part.strip() for part in call.request.headers.get("accept", "").split(",")]
    default = options.api_page_default_limit if wrapped else options.api_page_max_limit
    limit = abs(integer(call.query("limit", str(default)), "limit"))
    offset = abs(integer(call.query("offset", "0"), "offset"))
    return Page(min(offset, MAX_OFFSET), max(1, min(limit, options.api_page_max_limit)), wrapped)


def paged(call: Call, page: Page, items: Any, total: int) -> Any:
    """The answer's model."""
    return with_pagination(call, page, items, total) if page.wrapped else items


def with_pagination(call: Call, page: Page, items: Sequence[Any] | dict[str, Any], total: int) -> dict[str, Any]:
    following = page.offset + page.limit
    more = None
    if following < total:
        more = {"offset": following, "limit": page.limit, "url": _url(call, following, page.limit)}
    return {
        "items": items,
        "_pagination": {"offset": page.offset, "limit": page.limit, "total": total, "next": more},
    }


def _url(call: Call, offset: int, limit: int) -> str:
    """The same request further on, through the same host: clients follow it from where they are."""
    kept = [(k, v) for k, v in call.request.query_params.multi_items() if k not in {"offset", "limit"}]
    query = urlencode([("offset", offset), ("limit", limit), *kept])
    path = call.request.scope.get("raw_path", call.request.url.path.encode()).decode("ascii", "replace")
    return f"{scheme(call.request)}://{host(call.request)}{path}?{query}"
