"""What POST /hub/login means, without its HTML.

outcome = await submit(hub, request)
if isinstance(outcome, Response): return outcome        # logged in (cookies set), or already was
return render("login.html", username=outcome.username, error=outcome.message, status=outcome.status)
"""

from dataclasses import dataclass
from time import perf_counter
from urllib.parse import parse_qsl, urlencode

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from perijove.domain.errors import Forbidden, HubError, Invalid, LimitReached, Unavailable
from perijove.lib import metrics
from perijove.services import login as logins
from perijove.services.context import HubContext
from perijove.web import cookies, xsrf
from perijove.web.identity import identify
from perijove.web.requests import MAX_FORM_BYTES, facts, read_body, safe_next

STALE = "This form was open too long, or belongs to an earlier visit. Please log in again."
_SECRET_FIELDS = ("password", "otp", "secret", "token", "_xsrf")
MAX_FIELDS = 200


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
    form = await read_login_form(request)
    shown = {name: value for name, value in form.items() if not any(word in name.lower() for word in _SECRET_FIELDS)}
    already = await identify(hub, request, page=True)
    try:
        xsrf.check(hub, request, form.get("_xsrf") or request.query_params.get("_xsrf"))
    except Forbidden:
        if already is not None and already.session_id is not None:
            return _redirect(hub, request)
        return LoginRefused(STALE, 403, shown)
    data = {name: value for name, value in form.items() if name != "_xsrf"}
    try:
        session = await logins.login(
            hub, data, facts(hub, request), browser_session=cookies.browser_session(hub, request)
        )
    except LimitReached as error:
        return LoginRefused(error.message, 429, shown, error.retry_after_seconds)
    except Unavailable as error:
        return LoginRefused(error.message, 503, shown, error.retry_after_seconds)
    except HubError as error:
        return LoginRefused(error.message, 403, shown)
    response = _redirect(hub, request)
    cookies.set_login(hub, request, response, session)
    return response


async def read_login_form(request: Request) -> dict[str, str]:
    """The last value of each field. Raises `Invalid`; only url-encoded forms log in."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind not in {"", "application/x-www-form-urlencoded"}:
        raise Invalid("The login form is sent as application/x-www-form-urlencoded.")
    body = await read_body(request, MAX_FORM_BYTES)
    try:
        return dict(parse_qsl(body.decode("utf-8"), keep_blank_values=True, errors="strict", max_num_fields=MAX_FIELDS))
    except ValueError as error:  # not UTF-8, or too many fields
        raise Invalid("The login form could not be read.") from error


def _redirect(hub: HubContext, request: Request) -> Response:
    return RedirectResponse(
        hub.addresses.located(destination(hub, request)), 302, headers={"Cache-Control": "no-store"}
    )


def destination(hub: HubContext, request: Request) -> str:
    """Where a login leads: `next`, or the hub's start with the rest of the query carried over."""
    if url := next_url(hub, request):
        return url
    kept = [(key, value) for key, value in request.query_params.multi_items() if key not in {"next", "_xsrf"}]
    return hub.hub_prefix + (f"?{urlencode(kept)}" if kept else "")


def next_url(hub: HubContext, request: Request, *, default: str = "") -> str:
    """The validated `next` argument (see wire rules: own host or path only), else `default`, else ""."""
    return safe_next(hub, request, request.query_params.get("next", "")) or default


async def log_out(hub: HubContext, request: Request) -> None:
    """GET /hub/logout: end the session and its tokens; clear cookies with `cookies.clear_login`."""
    began = perf_counter()
    identity = await identify(hub, request, page=True)
    if identity is not None and identity.kind == "user":
        await logins.logout(hub, identity, facts(hub, request))
    metrics.logout_duration.observe(perf_counter() - began)
