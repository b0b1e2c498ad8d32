"""Request -> Identity: API token, or login cookie with the XSRF rule.

    identity = await identify(hub, request)            # None: anonymous
    identity = await require(hub, request, "read:hub") # raises

The result is kept in `request.scope`, so asking twice costs nothing.
"""

from starlette.requests import Request

from perijove.domain.errors import Forbidden
from perijove.services import identity as identities
from perijove.services.context import HubContext
from perijove.services.identity import Identity
from perijove.web import cookies, xsrf

KEY = xsrf.IDENTITY_KEY


async def identify(hub: HubContext, request: Request, *, page: bool = False) -> Identity | None:
    """Who is calling, or None.

    API (default): `Authorization: token|bearer` or the login cookie; a cookie without the XSRF proof that
    the request needs raises `Forbidden`. `page=True`: the login cookie first (check forms with `xsrf.check`),
    token accepted too; raises `Forbidden` for a script that reads a page without proof.
    """
    if KEY not in request.scope:
        request.scope[KEY] = await (_for_page(hub, request) if page else _for_api(hub, request))
        _note_activity(hub, request)
    identity: Identity | None = request.scope[KEY]
    return identity


async def require(hub: HubContext, request: Request, *scopes: str, page: bool = False) -> Identity:
    """`identify`, then `services.identity.require`: any one of `scopes` suffices; none = any credential."""
    return await identities.require(hub, await identify(hub, request, page=page), *scopes)


def bearer_token(request: Request) -> str | None:
    """The token of the `Authorization` header; None: there is none of our kind."""
    name, _, token = request.headers.get("authorization", "").partition(" ")
    return token.strip() if name.lower() in {"token", "bearer"} else None


async def _for_api(hub: HubContext, request: Request) -> Identity | None:
    token = bearer_token(request)
    if token is not None:
        return await identities.identify_token(hub, token)
    secret = cookies.login_secret(hub, request)
    if secret is None:
        return None
    identity = await identities.identify_session(hub, secret)
    if identity is None or not _may_use_cookie(request):
        return None
    if xsrf.needs_proof(request):
        xsrf.check(hub, request, request.query_params.get("_xsrf"))
    return identity


def _may_use_cookie(request: Request) -> bool:
    """A form of another site can POST, but not as JSON."""
    if request.method != "POST":
        return True
    return request.headers.get("content-type", "").partition(";")[0].strip().lower() in {"", "application/json"}


async def _for_page(hub: HubContext, request: Request) -> Identity | None:
    secret = cookies.login_secret(hub, request)
    if secret is not None and (identity := await identities.identify_session(hub, secret)) is not None:
        if _is_read_by_script(hub, request):
            try:
                xsrf.check(hub, request, None)
            except Forbidden:
                # The page that says so is for nobody: it must not have the proof in it.
                request.scope[KEY] = None
                raise
        return identity
    token = bearer_token(request)
    return await identities.identify_token(hub, token) if token is not None else None


def _is_read_by_script(hub: HubContext, request: Request) -> bool:
    """Pages are full of proofs, and servers of users may be of the hub's own origin: their scripts read none.

    What is below the prefixes of users was meant for a server, whose clients know nothing of our proofs.
    """
    path, prefix = request.url.path, hub.hub_prefix
    own = path.startswith(prefix) and not path.startswith(f"{prefix}user/")
    return own and request.method in {"GET", "HEAD"} and xsrf.needs_proof(request)


def _note_activity(hub: HubContext, request: Request) -> None:
    identity: Identity | None = request.scope[KEY]
    # What reaches /hub/user/ was meant for a server that is not there: an open tab, not a person.
    if identity is not None and not request.url.path.startswith(f"{hub.hub_prefix}user/"):
        hub.activity.saw_identity(identity, hub.store.now())
