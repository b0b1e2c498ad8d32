"""The REST API of JupyterHub, below `<base_url>hub/api`. Each module lists its endpoints with their scopes."""

from typing import Any

from starlette.responses import Response
from starlette.routing import BaseRoute

from perijove.services.context import HubContext
from perijove.web.api import (
    activity,
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
from perijove.web.api.activity import OwnActivity
from perijove.web.api.endpoint import Call, Endpoint, Operation
from perijove.web.api.fast import FastPath
from perijove.web.api.me import Me
from perijove.web.api.openapi.document import document

__all__ = ["ENDPOINTS", "FastPaths", "described", "routes"]

ENDPOINTS = [
    *general.ENDPOINTS,
    *users.ENDPOINTS,
    *activity.ENDPOINTS,
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


class FastPaths:
    """What is hit before routing."""

    def __init__(self, hub: HubContext) -> None:
        prefix = f"{hub.hub_prefix}api"
        self._me_path, self._me = f"{prefix}/user", Me(hub)
        self._activity = OwnActivity(hub, prefix)

    def find(self, method: str, path: str) -> FastPath | None:
        if method == "GET":
            return self._me if path == self._me_path else None
        return self._activity if method == "POST" and self._activity.is_at(path) else None
