"""The OAuth 2 provider, for people's servers and for services: `/api/oauth2/authorize`, `/api/oauth2/token`."""

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from perijove.services.context import HubContext
from perijove.web.oauth.authorize import Authorize, Render
from perijove.web.oauth.token import exchange

__all__ = ["Render", "routes"]


def routes(hub: HubContext, render: Render) -> list[BaseRoute]:
    """Paths relative to `<base_url>hub`. `render(request, template, **namespace)` draws the confirmation page."""
    authorize = Authorize(hub, render)

    async def token(request: Request) -> Response:
        return await exchange(hub, request)

    return [
        Route("/api/oauth2/authorize", authorize.show, methods=["GET"]),
        Route("/api/oauth2/authorize", authorize.confirm, methods=["POST"]),
        Route("/api/oauth2/token", token, methods=["POST"]),
    ]
