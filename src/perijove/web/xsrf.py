"""XSRF proof: a signed token bound to the login session; stateless, so any replica verifies it.

Pages: put `token_for(...)` into forms as the hidden field `_xsrf` and into `data-xsrf` for scripts, and call
`set_cookie` on the response. Scripts send it as header `X-XSRFToken` or argument `_xsrf`.
"""

from starlette.requests import Request
from starlette.responses import Response

from perijove.services.context import HubContext


def token_for(hub: HubContext, request: Request) -> str:
    """The token for this browser: of its login session, else of its anonymous `_xsrf` cookie (made if missing)."""
    raise NotImplementedError


def set_cookie(hub: HubContext, request: Request, response: Response) -> None:
    """Send `_xsrf` with the token of `token_for`, unless the browser already has it."""
    raise NotImplementedError


def check(hub: HubContext, request: Request, argument: str | None) -> None:
    """Raises `Forbidden` unless `argument` (form field) or a header carries the right token."""
    raise NotImplementedError
