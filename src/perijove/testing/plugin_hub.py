"""A hub just big enough for plug-in handlers: users and sessions in memory, the bridge on a real port.

For tests of authenticators without a database: what they do to the hub is in the attributes of `MemoryHub`.
"""

import asyncio
import contextlib
import secrets
import socket
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from http.cookies import SimpleCookie
from pathlib import Path
from typing import Any

import uvicorn
from jinja2 import DictLoader, Environment
from traitlets.config import Config

from perijove.domain.errors import Forbidden
from perijove.domain.ids import UserId
from perijove.domain.ports import AuthModel, UserFacts
from perijove.plugins.authenticator import HostedAuthenticator, UserExists
from perijove.plugins.bridge import TornadoBridge
from perijove.plugins.callbacks import Caller, Scope, Session
from perijove.plugins.load import HubFacts, load_authenticator

XSRF = "proof"
_TEMPLATES = {
    "page.html": "<title>hub</title>{% block main %}{% endblock %}",
    "login.html": "<form>{{ login_error }}<input name=_xsrf value='{{ xsrf }}'></form>",
    "logout.html": "bye",
    "error.html": "{{ status_code }}: {{ message }}",
}


class MemoryHub:
    """Implements `LoginCallbacks`."""

    def __init__(self) -> None:
        self.environment = Environment(loader=DictLoader(_TEMPLATES), autoescape=True)
        # What logins said, by user name.
        self.models: dict[str, AuthModel] = {}
        self.sessions: dict[str, UserFacts] = {}
        self.scopes: dict[str, frozenset[str]] = {}
        # API token -> user name.
        self.tokens: dict[str, str] = {}
        self.logged_out: list[str] = []
        # Non-empty: every login is refused with it.
        self.refuse = ""

    def session(self, name: str, *scopes: str) -> dict[str, str]:
        """Cookies of a person who is logged in already."""
        secret = secrets.token_hex(8)
        self.sessions[secret] = UserFacts(id=UserId(5), name=name)
        self.scopes[name] = frozenset(scopes)
        return {"login": secret}

    async def current_user(self, scope: Scope, *, cookie: bool, token: bool) -> Caller | None:
        authorization = _header(scope, b"authorization")
        if token and (name := self.tokens.get(authorization.removeprefix("token "))):
            user = UserFacts(id=UserId(5), name=name)
            return Caller(user=user, scopes=self.scopes.get(name, frozenset()), by_token=True)
        found = self._by_cookie(scope) if cookie else None
        return None if found is None else Caller(user=found, scopes=self.scopes.get(found.name, frozenset()))

    def attempt(self, _scope: Scope, _account: str) -> contextlib.AbstractAsyncContextManager[None]:
        return contextlib.nullcontext()

    async def complete_login(self, _scope: Scope, model: AuthModel) -> Session:
        if self.refuse:
            raise Forbidden(self.refuse)
        self.models[model.name] = model
        user = UserFacts(id=UserId(5), name=model.name, admin=bool(model.admin), groups=model.groups or ())
        secret = secrets.token_hex(8)
        self.sessions[secret] = user
        return Session(user=user, set_cookies=[f"login={secret}; Path=/; HttpOnly"])

    async def log_out(self, scope: Scope) -> Sequence[str]:
        user = self._by_cookie(scope)
        self.logged_out.append(user.name if user else "")
        return ["login=; Path=/; Max-Age=0"]

    def xsrf_token(self, _scope: Scope) -> tuple[str, Sequence[str]]:
        return XSRF, [f"_xsrf={XSRF}; Path=/hub/"]

    def check_xsrf(self, _scope: Scope, argument: str | None) -> None:
        if argument != XSRF:
            raise Forbidden("The form has expired.")

    def render(self, _scope: Scope, name: str, namespace: Mapping[str, Any]) -> str:
        template = self.environment.get_template(name)
        return template.render({"static_url": str, "base_url": "/hub/", **namespace})

    async def auth_state(self, user: str) -> Mapping[str, Any] | None:
        return self.models[user].auth_state if user in self.models else None

    def _by_cookie(self, scope: Scope) -> UserFacts | None:
        cookies = SimpleCookie(_header(scope, b"cookie"))
        return self.sessions.get(cookies["login"].value) if "login" in cookies else None


def _header(scope: Scope, name: bytes) -> str:
    value: bytes = dict(scope["headers"]).get(name, b"")
    return value.decode("latin-1")


@contextlib.asynccontextmanager
async def plugin_hub(
    authenticator_class: Any,
    traits: Config,
    data_dir: Path,
    *,
    listening: socket.socket | None = None,
    extra_handlers: Iterable[tuple[Any, ...]] = (),
    user_exists: UserExists | None = None,
    live_spawners: dict[tuple[str, str], Any] | None = None,
    **facts: Any,
) -> AsyncIterator[tuple[str, MemoryHub, HostedAuthenticator]]:
    """`(url, hub, authenticator)`; the bridge answers on `url`, everything else there is 404."""
    sock = listening or socket.create_server(("127.0.0.1", 0))
    with sock:
        url = f"http://127.0.0.1:{sock.getsockname()[1]}"
        known = HubFacts(
            hub_id="bridge", data_dir=data_dir, connect_url=url, cookie_secret=secrets.token_bytes(32), **facts
        )
        authenticator = load_authenticator(
            authenticator_class=authenticator_class, traits=traits, facts=known, user_exists=user_exists
        )
        hub = MemoryHub()
        bridge = TornadoBridge(
            authenticator, hub, known, traits, extra_handlers=extra_handlers, live_spawners=live_spawners
        )
        config = uvicorn.Config(_only(bridge), lifespan="off", log_config=None, ws="none", timeout_graceful_shutdown=2)
        server = uvicorn.Server(config)
        # Signals are the test run's.
        server.capture_signals = contextlib.nullcontext  # type: ignore[method-assign,assignment]
        serving = asyncio.create_task(server.serve(sockets=[sock]))
        try:
            yield url, hub, authenticator
        finally:
            server.should_exit = True
            await serving
            authenticator.close()


def _only(bridge: TornadoBridge) -> Any:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if bridge.handles(scope):
            await bridge(scope, receive, send)
            return
        await send({"type": "http.response.start", "status": 404, "headers": []})
        await send({"type": "http.response.body", "body": b"not the bridge's"})

    return app
