"""The REST API of JupyterHub, below `<base_url>hub/api`. Each module lists its endpoints with their scopes."""

from typing import Any

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

__all__ = ["ENDPOINTS", "described", "fast_paths", "routes"]

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


def described(hub: HubContext) -> dict[str, Any]:
    """The OpenAPI document: the same for everybody, since it says what there is, not what is on this hub."""
    return document(ENDPOINTS, hub.options.base_url)


async def describe(call: Call) -> Response:
    return call.json(described(call.hub))


def routes(hub: HubContext) -> list[BaseRoute]:
    """Paths relative to `<base_url>hub`."""
    own = Endpoint("/openapi.json", GET=Operation(describe, public=True))
    return [endpoint.route(hub) for endpoint in (*ENDPOINTS, own)]
