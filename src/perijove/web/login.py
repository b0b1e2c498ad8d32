"""What POST /hub/login means, without its HTML.

outcome = await submit(hub, request)
if isinstance(outcome, Response): return outcome        # logged in (cookies set), or already was
return render("login.html", username=outcome.username, error=outcome.message, status=outcome.status)
"""

from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response

from perijove.services.context import HubContext


@dataclass(frozen=True, slots=True)
class LoginRefused:
    """Show the form again. `fields`: what was typed, without password and OTP."""

    message: str
    status: int
    fields: dict[str, str]
    retry_after_seconds: int | None = None

    @property
    def username(self) -> str:
        return self.fields.get("username", "")


async def submit(hub: HubContext, request: Request) -> Response | LoginRefused:
    """Check `_xsrf`, ask the authenticator, make the session, redirect to the validated `next`.

    A stale `_xsrf` with a session that is already valid (the other tab logged in) redirects to `next`;
    without one the form comes back with a message.
    """
    raise NotImplementedError


def next_url(hub: HubContext, request: Request, *, default: str = "") -> str:
    """The validated `next` argument (see wire rules: own host or path only), else `default`, else ""."""
    raise NotImplementedError


async def log_out(hub: HubContext, request: Request) -> None:
    """GET /hub/logout: end the session and its tokens; clear cookies with `cookies.clear_login`."""
    raise NotImplementedError
