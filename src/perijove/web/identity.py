"""Request -> Identity: API token, or login cookie with the XSRF rule.

    identity = await identify(hub, request)            # None: anonymous
    identity = await require(hub, request, "read:hub") # raises

The result is kept in `request.scope`, so asking twice costs nothing.
"""

from starlette.requests import Request

from perijove.services.context import HubContext
from perijove.services.identity import Identity


async def identify(hub: HubContext, request: Request, *, page: bool = False) -> Identity | None:
    """Who is calling, or None.

    API (default): `Authorization: token|bearer` or the login cookie; a cookie without the XSRF proof that
    the request needs raises `Forbidden`. `page=True`: the login cookie first, never raises for XSRF (check
    forms with `xsrf.check`), token accepted too.
    """
    raise NotImplementedError


async def require(hub: HubContext, request: Request, *scopes: str, page: bool = False) -> Identity:
    """`identify`, then `services.identity.require`: any one of `scopes` suffices; none = any credential."""
    raise NotImplementedError
