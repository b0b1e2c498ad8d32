"""The REST API of JupyterHub, below `<base_url>hub/api`. Each module lists its endpoints with their scopes."""

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
from perijove.web.api.me import fast_paths

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


def routes(hub: HubContext) -> list[BaseRoute]:
    """Paths relative to `<base_url>hub`."""
    return [endpoint.route(hub) for endpoint in ENDPOINTS]
