"""The REST API of JupyterHub, below `<base_url>hub/api`. Each module lists its endpoints with their scopes."""

from starlette.responses import Response
from starlette.routing import BaseRoute

from perijove.services.context import HubContext
from perijove.web.api import (
    audit,
    authorizations,
    general,
    groups,
    proxy,
    roles,
    servers,
    services,
    shares,
    storage,
    tokens,
    users,
)
from perijove.web.api.endpoint import Call, Endpoint, Operation
from perijove.web.api.me import fast_paths
from perijove.web.api.openapi.document import document

__all__ = ["ENDPOINTS", "fast_paths", "routes"]

ENDPOINTS = [
    *general.ENDPOINTS,
    *users.ENDPOINTS,
    *servers.ENDPOINTS,
    *tokens.ENDPOINTS,
    *groups.ENDPOINTS,
    *storage.ENDPOINTS,
    *shares.ENDPOINTS,
    *roles.ENDPOINTS,
    *services.ENDPOINTS,
    *proxy.ENDPOINTS,
    *authorizations.ENDPOINTS,
    *audit.ENDPOINTS,
]


async def describe(call: Call) -> Response:
    """The document is the same for everybody: it says what there is, not what is on this hub."""
    return call.json(document(ENDPOINTS, call.hub.options.base_url))


def routes(hub: HubContext) -> list[BaseRoute]:
    """Paths relative to `<base_url>hub`."""
    described = Endpoint("/openapi.json", GET=Operation(describe, public=True))
    return [endpoint.route(hub) for endpoint in (*ENDPOINTS, described)]
