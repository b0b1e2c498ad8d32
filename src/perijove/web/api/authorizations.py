"""Questions that services asked of JupyterHub before 2.0, and that some still do: whose token, whose cookie."""

from starlette.responses import Response

from perijove.domain.errors import Forbidden, NotFound
from perijove.services import identity as identities
from perijove.services import registry, users
from perijove.services.identity import Identity
from perijove.web import cookies
from perijove.web.api.endpoint import Call, Endpoint, Operation
from perijove.web.models import UserModels, service_model


async def whose_token(call: Call) -> Response:
    """The owner, as far as the caller may see them."""
    return await _owner(call, await identities.identify_token(call.hub, call.path["token"]))


async def whose_cookie(call: Call) -> Response:
    secret = None
    if call.path["name"] == cookies.login_cookie_name(call.hub):
        secret = call.hub.signer.unsign(cookies.LOGIN_PURPOSE, call.path["value"].strip('"'))
    return await _owner(call, await identities.identify_session(call.hub, secret) if secret is not None else None)


async def _owner(call: Call, owner: Identity | None) -> Response:
    if owner is None:
        raise NotFound("No such token or cookie")
    if owner.kind == "service":
        return call.json(service_model(call.hub, call.identity, await registry.get_service(call.hub, owner.name)))
    return call.json(UserModels(call.hub, call.identity)(await users.get_user(call.hub, owner.name)))


async def no_longer_made(call: Call) -> Response:
    raise NotFound(
        f"Deprecated endpoint {call.hub.hub_prefix}api/authorizations/token is removed in JupyterHub 2.0. "
        f"Use {call.hub.hub_prefix}api/users/:user/tokens instead."
    )


async def admin_access(_call: Call) -> Response:
    """Who may open others' servers opens them: that is a scope, `access:servers`, since JupyterHub 2.0."""
    raise Forbidden("admin access to user servers disabled")


ENDPOINTS = [
    Endpoint("/authorizations/token", POST=Operation(no_longer_made, public=True)),
    Endpoint(
        "/authorizations/token/{token}",
        GET=Operation(whose_token),
        POST=Operation(no_longer_made, public=True),
    ),
    Endpoint("/authorizations/cookie/{name}/{value:path}", GET=Operation(whose_cookie)),
    Endpoint("/users/{user}/admin-access", POST=Operation(admin_access)),
]
