"""XSRF proof: a signed token bound to the login session; stateless, so any replica verifies it.

Pages: put `token_for(...)` into forms as the hidden field `_xsrf` and into `data-xsrf` for scripts, and call
`set_cookie` on the response. Scripts send it as header `X-XSRFToken` or argument `_xsrf`.

Somebody not logged in has a token of their own in the `_xsrf` cookie, which a form must repeat. It names no
address: people change networks between opening a form and sending it. Tabs share it, and it lasts as long
as the browser; whoever logs in gets the session's token, which makes forms of other tabs stale (`web/login.py`).
"""

import hmac
import secrets

from starlette.requests import Request
from starlette.responses import Response

from perijove.domain.errors import Forbidden
from perijove.services.context import HubContext
from perijove.services.identity import Identity
from perijove.web import cookies
from perijove.web.requests import is_secure

_PURPOSE = "xsrf"
_KEY = "perijove.xsrf"
IDENTITY_KEY = "perijove.identity"
_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


def token_for(hub: HubContext, request: Request) -> str:
    """The token for this browser: of its login session, else of its anonymous `_xsrf` cookie (made if missing)."""
    known: str | None = request.scope.get(_KEY)
    if known is None:
        secret = _live_secret(hub, request)
        known = cookies.xsrf_of_session(hub, secret) if secret else _anonymous(hub, request)
        request.scope[_KEY] = known
    return known


def set_cookie(hub: HubContext, request: Request, response: Response) -> None:
    """Send `_xsrf` with the token of `token_for`, unless the browser already has it."""
    token = token_for(hub, request)
    if token not in cookies.values(hub, request, cookies.XSRF):
        cookies.add(response, cookies.xsrf_header(hub, token, secure=is_secure(hub, request)))


def check(hub: HubContext, request: Request, argument: str | None) -> None:
    """Raises `Forbidden` unless `argument` (form field) or a header carries the right token."""
    given = argument or request.headers.get("x-xsrftoken") or request.headers.get("x-csrftoken")
    if not given:
        raise Forbidden(f"'_xsrf' argument missing from {request.method}")
    secret = _live_secret(hub, request)
    if secret is not None:
        good = _same(given, cookies.xsrf_of_session(hub, secret))
    else:
        sent = cookies.values(hub, request, cookies.XSRF)
        good = _is_anonymous(hub, given) and any(_same(given, value) for value in sent)
    if not good:
        raise Forbidden(f"XSRF cookie does not match {request.method} argument")


def needs_proof(request: Request) -> bool:
    """Whether a request that is authenticated by cookie needs the token.

    Browsers say how a request came about. A page that is opened or linked to may be read without proof; what
    a script of any site fetches may not, not even by GET.
    """
    if request.method not in _SAFE_METHODS:
        return True
    mode = request.headers.get("sec-fetch-mode", "")
    if mode in {"", "navigate"}:
        return False
    return not (mode == "no-cors" and request.headers.get("sec-fetch-site") == "same-origin")


def _live_secret(hub: HubContext, request: Request) -> str | None:
    """Of the login session; None when the request is known to come from nobody logged in."""
    identity: Identity | None = request.scope.get(IDENTITY_KEY)
    if IDENTITY_KEY in request.scope and (identity is None or identity.session_id is None):
        return None
    return cookies.login_secret(hub, request)


def _anonymous(hub: HubContext, request: Request) -> str:
    for value in cookies.values(hub, request, cookies.XSRF):
        if _is_anonymous(hub, value):
            return value
    return hub.signer.sign(_PURPOSE, f"a-{secrets.token_hex(16)}")


def _is_anonymous(hub: HubContext, token: str) -> bool:
    return (hub.signer.unsign(_PURPOSE, token) or "").startswith("a-")


def _same(a: str, b: str) -> bool:
    return hmac.compare_digest(a.encode("utf-8", "surrogatepass"), b.encode("utf-8", "surrogatepass"))
