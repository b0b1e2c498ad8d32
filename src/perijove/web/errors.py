"""HubError -> HTTP. The only place that knows statuses.

`handlers(hub, render_error)` is Starlette's exception table. Requests under `<hub>api` get JSON
`{"status", "message"}`; others get `await render_error(request, status, message, headers)` (pages owner).
What nobody expected is a 500 whose text says nothing about the inside; the log has the rest.
"""

from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import Any

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from perijove.domain.errors import (
    Conflict,
    DatabaseAway,
    Forbidden,
    HubError,
    Invalid,
    LimitReached,
    NotFound,
    SpawnFailed,
    Unauthenticated,
    Unavailable,
)
from perijove.services.context import HubContext

RenderError = Callable[[Request, int, str, dict[str, str]], Awaitable[Response]]
Handler = Callable[[Request, Any], Awaitable[Response]]

_STATUS: dict[type[HubError], int] = {
    NotFound: 404,
    Conflict: 409,
    Unauthenticated: 403,
    Forbidden: 403,
    Invalid: 400,
    LimitReached: 429,
    Unavailable: 503,
}


def status_of(error: HubError) -> int:
    """The HTTP status of a condition, by its most specific known base."""
    if isinstance(error, SpawnFailed):
        return error.status
    for base in type(error).__mro__:
        if base in _STATUS:
            return _STATUS[base]
    return 500


def headers_of(error: HubError) -> dict[str, str]:
    seconds = getattr(error, "retry_after_seconds", None)
    found = {} if seconds is None else {"Retry-After": str(int(seconds))}
    if isinstance(error, DatabaseAway):
        # To the proxy, which keeps it to itself and asks another hub.
        found["X-Perijove-Away"] = "1"
    return found


def api_headers(hub: HubContext) -> dict[str, str]:
    """On every answer of the API, errors included."""
    return {
        "Access-Control-Allow-Headers": "accept, content-type, authorization",
        "Content-Security-Policy": (
            f"frame-ancestors 'none'; report-uri {hub.hub_prefix}security/csp-report; default-src 'none'"
        ),
        "X-Content-Type-Options": "nosniff",
    }


def json_error(hub: HubContext, status: int, message: str, headers: Mapping[str, str] | None = None) -> Response:
    body = msgspec.json.encode({"status": status, "message": message or phrase(status)})
    return Response(body, status, {**api_headers(hub), **(headers or {})}, media_type="application/json")


def phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Error"


def handlers(hub: HubContext, render_error: RenderError) -> Mapping[Any, Handler]:
    """Starlette's exception table."""
    api = f"{hub.hub_prefix}api"
    # These are pages although they live below the API: people meet them in their browser.
    pages = {f"{api}/oauth2/authorize"}

    async def answer(request: Request, status: int, message: str, headers: dict[str, str]) -> Response:
        path = request.url.path
        if (path == api or path.startswith(f"{api}/")) and path not in pages:
            return json_error(hub, status, message, headers)
        return await render_error(request, status, message, headers)

    async def hub_error(request: Request, error: HubError) -> Response:
        return await answer(request, status_of(error), error.message, headers_of(error))

    async def http_exception(request: Request, error: HTTPException) -> Response:
        message = "" if error.detail == phrase(error.status_code) else error.detail
        return await answer(request, error.status_code, message, dict(error.headers or {}))

    async def disconnected(_request: Request, _error: ClientDisconnect) -> Response:
        return Response(status_code=400)  # nobody reads it

    async def unexpected(request: Request, _error: Exception) -> Response:
        return await answer(request, 500, "", {})

    return {
        HubError: hub_error,
        HTTPException: http_exception,
        ClientDisconnect: disconnected,
        Exception: unexpected,
    }
