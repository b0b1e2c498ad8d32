"""The hub's side of hosted Tornado handlers: what they ask is answered by the same services as our own pages.

An authenticator's `/hub/oauth_callback` ends in `complete_login` here, exactly as our login form does.
"""

from collections.abc import Mapping, MutableMapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any

from jinja2 import Environment
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Match
from starlette.types import Receive, Scope, Send
from traitlets.config import Config

from perijove.domain.ids import UserId
from perijove.domain.ports import AuthModel
from perijove.plugins.authenticator import HostedAuthenticator
from perijove.plugins.bridge import TornadoBridge
from perijove.plugins.callbacks import Caller, Session
from perijove.plugins.facts import HubFacts
from perijove.plugins.host import ClassHost
from perijove.services import login as logins
from perijove.services import throttle
from perijove.services.context import HubContext
from perijove.services.server_rows import list_servers
from perijove.services.user_facts import user_facts
from perijove.web import cookies, xsrf
from perijove.web.identity import identify
from perijove.web.login import log_out
from perijove.web.pages.view import Pages
from perijove.web.requests import facts, is_secure, remote_ip


class HubCallbacks:
    """`plugins.callbacks.LoginCallbacks` over a running hub."""

    def __init__(self, pages: Pages) -> None:
        self._pages = pages
        self._hub = pages.hub
        self.environment: Environment = pages.templates.environment

    async def current_user(self, scope: MutableMapping[str, Any], *, cookie: bool, token: bool) -> Caller | None:
        identity = await identify(self._hub, Request(scope), page=True)
        if identity is None:
            return None
        by_token = identity.token_id is not None
        if not (token if by_token else cookie):
            return None
        scopes = frozenset(identity.scopes.texts())
        if identity.kind == "service":
            return Caller(service=identity.name, scopes=scopes, by_token=by_token)
        known = await user_facts(self._hub, UserId(identity.id))
        active = await self._active(identity.name)
        return Caller(user=known, scopes=scopes, by_token=by_token, active_servers=active)

    def attempt(self, scope: MutableMapping[str, Any], account: str) -> AbstractAsyncContextManager[None]:
        return throttle.attempt(self._hub, account, remote_ip(self._hub, Request(scope)))

    async def complete_login(self, scope: MutableMapping[str, Any], model: AuthModel) -> Session:
        request = Request(scope)
        browser = cookies.browser_session(self._hub, request)
        session = await logins.complete_login(self._hub, model, facts(self._hub, request), browser_session=browser)
        return Session(
            user=await user_facts(self._hub, session.user_id),
            set_cookies=cookies.login_headers(self._hub, session, secure=is_secure(self._hub, request)),
            active_servers=await self._active(session.user_name),
        )

    async def log_out(self, scope: MutableMapping[str, Any]) -> Sequence[str]:
        request = Request(scope)
        await log_out(self._hub, request)
        carrier = Response()
        cookies.clear_login(self._hub, request, carrier)
        return carrier.headers.getlist("set-cookie")

    def xsrf_token(self, scope: MutableMapping[str, Any]) -> tuple[str, Sequence[str]]:
        request, carrier = Request(scope), Response()
        xsrf.set_cookie(self._hub, request, carrier)
        return xsrf.token_for(self._hub, request), carrier.headers.getlist("set-cookie")

    def check_xsrf(self, scope: MutableMapping[str, Any], argument: str | None) -> None:
        xsrf.check(self._hub, Request(scope), argument)

    def render(self, scope: MutableMapping[str, Any], name: str, namespace: Mapping[str, Any]) -> str:
        # Written for JupyterHub's pages, these templates may use the scripts that those load.
        common = {"xsrf": xsrf.token_for(self._hub, Request(scope)), "compat": True}
        return self._pages.templates.render(name, common | dict(namespace))

    async def auth_state(self, user: str) -> Mapping[str, Any] | None:
        return await logins.get_auth_state(self._hub, user)

    async def _active(self, user: str) -> tuple[str, ...]:
        return tuple(row.name for row in await list_servers(self._hub, user, stopped=False))


class BridgeRoute(BaseRoute):
    """Matches what the hosted handlers match, by their own regular expressions."""

    def __init__(self, bridge: TornadoBridge) -> None:
        self._bridge = bridge
        self.path = "plug-in"  # label of metrics

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        if scope["type"] == "http" and self._bridge.handles(scope):
            return Match.FULL, {"route": self}
        return Match.NONE, {}

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._bridge(scope, receive, send)


def plugin_routes(pages: Pages, traits: Config, hub_facts: HubFacts) -> list[BaseRoute]:
    """Handlers of the authenticator, of `extra_handlers`, and of packages that add to JupyterHub's API."""
    hub: HubContext = pages.hub
    if not isinstance(hub.authenticator, HostedAuthenticator):
        return []
    bridge = TornadoBridge(
        hub.authenticator,
        HubCallbacks(pages),
        hub_facts,
        traits,
        extra_handlers=hub.options.extra_handlers,
        live_spawners=hub.spawners.live if isinstance(hub.spawners, ClassHost) else None,
    )
    return [BridgeRoute(bridge)] if bridge.patterns else []
