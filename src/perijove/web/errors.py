"""HubError -> HTTP. The only place that knows statuses.

`handlers(hub, render_error)` is Starlette's exception table. Requests under `<hub>api` get JSON
`{"status", "message"}`; others get `await render_error(request, status, message, headers)` (pages owner).
"""

from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import Response

RenderError = Callable[[Request, int, str, dict[str, str]], Awaitable[Response]]
