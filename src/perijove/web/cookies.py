"""Cookies of the hub: names, paths, flags; set and cleared here only."""

from starlette.requests import Request
from starlette.responses import Response

from perijove.services.context import HubContext
from perijove.services.login import LoggedIn


def set_login(hub: HubContext, request: Request, response: Response, session: LoggedIn) -> None:
    """Login cookie, `jupyterhub-session-id` and the session's `_xsrf` on the response to a login."""
    raise NotImplementedError


def login_headers(hub: HubContext, session: LoggedIn, *, secure: bool) -> list[str]:
    """The same as `Set-Cookie` values, for the Tornado bridge."""
    raise NotImplementedError


def clear_login(hub: HubContext, request: Request, response: Response) -> None:
    """All cookies of the hub, at logout."""
    raise NotImplementedError


def browser_session(hub: HubContext, request: Request) -> str:
    """The value of `jupyterhub-session-id`, or ""."""
    raise NotImplementedError


def ensure_browser_session(hub: HubContext, request: Request, response: Response) -> str:
    """The same, made and set when missing."""
    raise NotImplementedError
