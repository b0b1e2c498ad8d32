"""Cookies of the hub: names, paths, flags; set and cleared here only.

`jupyterhub-hub-login` is the credential: a random secret, signed, for `<hub>` only, so that no single-user
server ever sees it. `jupyterhub-session-id` names the browser session to servers and services; it opens nothing,
and where users have hosts of their own it is the one cookie that goes to all of them.
`_xsrf` stays below `<hub>`: servers set their own below their prefix.
"""

from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from perijove.services.context import HubContext
from perijove.services.login import LoggedIn
from perijove.services.secrets import hash_session, new_browser_session
from perijove.web.requests import is_secure

LOGIN = "jupyterhub-hub-login"
SESSION_ID = "jupyterhub-session-id"
XSRF = "_xsrf"
SERVICES = "jupyterhub-services"  # of JupyterHub before 1.0; only ever cleared

LOGIN_PURPOSE = "login"
_SESSION_KEY = "perijove.browser_session"


# -- reading


def values(hub: HubContext, request: Request, name: str) -> list[str]:
    """Every value the browser sent for this cookie: paths overlap, so there may be several."""
    wanted = _name(hub, name)
    found = []
    for header in request.headers.getlist("cookie"):
        for part in header.split(";"):
            key, _, value = part.partition("=")
            if key.strip() == wanted:
                found.append(value.strip().strip('"'))
    return found


def login_cookie_name(hub: HubContext) -> str:
    """As browsers know it."""
    return _name(hub, LOGIN)


def login_secret(hub: HubContext, request: Request) -> str | None:
    """The secret of the login cookie, if one with our signature was sent."""
    for value in values(hub, request, LOGIN):
        if (secret := hub.signer.unsign(LOGIN_PURPOSE, value)) is not None:
            return secret
    return None


def browser_session(hub: HubContext, request: Request) -> str:
    """The value of `jupyterhub-session-id`, or ""."""
    known: str | None = request.scope.get(_SESSION_KEY)
    if known is not None:
        return known
    sent = values(hub, request, SESSION_ID)
    return sent[0] if sent else ""


# -- setting


def ensure_browser_session(hub: HubContext, request: Request, response: Response) -> str:
    """The value of `jupyterhub-session-id`, made and set when missing."""
    if known := browser_session(hub, request):
        return known
    made = new_browser_session()
    request.scope[_SESSION_KEY] = made
    add(response, _cookie(hub, SESSION_ID, made, path=hub.options.base_url, secure=is_secure(hub, request)))
    return made


def set_login(hub: HubContext, request: Request, response: Response, session: LoggedIn) -> None:
    """Login cookie, `jupyterhub-session-id` and the session's `_xsrf` on the response to a login."""
    for header in login_headers(hub, session, secure=is_secure(hub, request)):
        add(response, header)


def login_headers(hub: HubContext, session: LoggedIn, *, secure: bool) -> list[str]:
    """The same as `Set-Cookie` values, for the Tornado bridge."""
    seconds = int(hub.options.cookie_max_age.total_seconds())
    signed = hub.signer.sign(LOGIN_PURPOSE, session.secret)
    return [
        _cookie(hub, LOGIN, signed, path=hub.hub_prefix, secure=secure, max_age=seconds),
        _cookie(hub, SESSION_ID, session.browser_session, path=hub.options.base_url, secure=secure),
        xsrf_header(hub, xsrf_of_session(hub, session.secret), secure=secure),
    ]


def xsrf_of_session(hub: HubContext, secret: str) -> str:
    """The XSRF token of a login session: the same on every replica, worthless for any other session."""
    return hub.signer.sign("xsrf", f"s-{hash_session(secret)[:32]}")


def xsrf_header(hub: HubContext, token: str, *, secure: bool) -> str:
    """`Set-Cookie` for `_xsrf`; readable by scripts, which send it back in a header."""
    return _cookie(hub, XSRF, token, path=hub.hub_prefix, secure=secure, http_only=False)


def clear_login(hub: HubContext, request: Request, response: Response) -> None:
    """All cookies of the hub, at logout."""
    base, secure = hub.options.base_url, is_secure(hub, request)
    for name, path in (
        (LOGIN, hub.hub_prefix),
        (SESSION_ID, base),
        (XSRF, hub.hub_prefix),
        (SERVICES, f"{base}services"),
    ):
        add(response, _cookie(hub, name, "", path=path, secure=secure, max_age=0))


def add(response: Response, header: str) -> None:
    response.headers.append("set-cookie", header)


def _name(hub: HubContext, name: str) -> str:
    return f"__Host-{name}" if _is_bound(hub, name) else name


def _is_bound(hub: HubContext, name: str) -> bool:
    """Whether browsers keep it to this host. Servers read the session's name, so it stays what they know it by."""
    return hub.options.cookie_host_prefix_enabled and name != SESSION_ID


def _cookie(
    hub: HubContext,
    name: str,
    value: str,
    *,
    path: str,
    secure: bool,
    max_age: int | None = None,
    http_only: bool = True,
) -> str:
    """One `Set-Cookie` value. `cookie_options` of the configuration win over our flags."""
    flags: dict[str, Any] = {
        "path": path,
        "httponly": http_only,
        "secure": secure,
        "samesite": "Lax",
        "max-age": max_age,
    }
    for key, option in hub.options.cookie_options.items():
        if key.lower() != "httponly" or http_only:  # `_xsrf` is for scripts, whatever is configured
            flags[key.lower().replace("_", "-")] = option
    if name == SESSION_ID and hub.addresses.domain:
        flags["domain"] = hub.addresses.domain
    if _is_bound(hub, name):
        # What the prefix promises: this host only, every path, never in the clear.
        flags |= {"path": "/", "secure": True, "domain": None}
    parts = [f"{_name(hub, name)}={value}"]
    for key, label in (("max-age", "Max-Age"), ("path", "Path"), ("domain", "Domain"), ("samesite", "SameSite")):
        if flags.get(key) not in (None, ""):
            parts.append(f"{label}={flags[key]}")
    parts += [label for key, label in (("httponly", "HttpOnly"), ("secure", "Secure")) if flags.get(key)]
    return "; ".join(parts)
