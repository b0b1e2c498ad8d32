"""JupyterHub's handler base, over our services instead of its database.

`HubHandler` is spliced into the inheritance of a plug-in's handler directly before `BaseHandler`: behind
everything the plug-in and JupyterHub's own `LoginHandler`, `LogoutHandler` and `APIHandler` override, so that
their `super()` calls end here. A mix-in at the front would silence overrides such as an LTI handler's
`check_xsrf_cookie`; patching `BaseHandler` itself would change it for everybody in the process.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any

from jupyterhub import orm, scopes
from jupyterhub.handlers.base import BaseHandler
from tornado.web import HTTPError

from perijove.domain.errors import (
    Conflict,
    Forbidden,
    HubError,
    Invalid,
    LimitReached,
    NotFound,
    Unauthenticated,
    Unavailable,
)
from perijove.domain.ids import UserId
from perijove.domain.ports import AuthModel, UserFacts
from perijove.plugins import facades
from perijove.plugins.callbacks import Caller, Session
from perijove.plugins.exchange import Exchange

_STATUSES: list[tuple[type[HubError], int]] = [
    (NotFound, 404),
    (Conflict, 409),
    (Unauthenticated, 403),
    (Forbidden, 403),
    (Invalid, 400),
    (LimitReached, 429),
    (Unavailable, 503),
]


def status_of(error: HubError) -> int:
    return next((status for kind, status in _STATUSES if isinstance(error, kind)), 500)


@contextmanager
def as_http() -> Iterator[None]:
    """Our errors, as Tornado's."""
    try:
        yield
    except HubError as exc:
        error = HTTPError(status_of(exc), exc.message)
        error.jupyterhub_message = exc.message  # type: ignore[attr-defined]  # where JupyterHub's error page looks
        raise error from exc


def _not_refused(authenticated: Any) -> Any:
    if not authenticated:
        raise Forbidden("Invalid username or password")
    return authenticated


class _NoTimer:
    """`self.statsd`: JupyterHub dropped it in version 6, handlers of older plug-ins still use it."""

    def __getattr__(self, _name: str) -> Any:
        return lambda *_, **__: self


class HubHandler:
    """See the module. Everything not overridden here is JupyterHub's own."""

    request: Any
    settings: Any
    statsd = _NoTimer()
    _caller: Caller | None = None

    @property
    def exchange(self) -> Exchange:
        exchange: Exchange = self.request.connection
        return exchange

    # -- who is calling

    async def prepare(self) -> None:
        # BaseHandler's own call takes an error for "nobody"; unsure must not become "log in again".
        with as_http():
            await self.get_current_user()
        await super().prepare()  # type: ignore[misc]  # BaseHandler follows in the method resolution order

    async def get_current_user(self) -> Any:
        if not hasattr(self, "_jupyterhub_user"):
            callbacks, user = self.exchange.callbacks, None
            if callbacks is not None:
                self._caller = await callbacks.current_user(
                    self.exchange.scope,
                    cookie=getattr(self, "_accept_cookie_auth", True),
                    token=getattr(self, "_accept_token_auth", False),
                )
            if self._caller is not None:
                user = self._facade(self._caller)
                self._token_authenticated = self._caller.by_token
            self._jupyterhub_user = user
        return self._jupyterhub_user

    def _facade(self, known: Caller | Session) -> Any:
        if known.user is None:
            assert isinstance(known, Caller)
            return orm.Service(name=known.service)
        return self._user_facade(known.user, known.active_servers)

    def _user_facade(self, facts: UserFacts, active_servers: Sequence[str] = ()) -> Any:
        callbacks = self.exchange.callbacks

        async def load_auth_state() -> Mapping[str, Any] | None:
            return facts.auth_state if callbacks is None else await callbacks.auth_state(facts.name)

        user = facades.user_facade(facts, self.settings["perijove_user_settings"], load_auth_state=load_auth_state)
        live = self.settings["perijove_live_spawners"]
        for name in {"", *active_servers}:
            spawner = live.get((facts.name, name)) or facades.Sibling(user, name)
            if isinstance(spawner, facades.Sibling):
                spawner.active = spawner.ready = name in active_servers
            user.spawners[name] = spawner
        return user

    def get_current_user_cookie(self) -> Any:
        known = self._caller is not None and not self._caller.by_token
        return getattr(self, "_jupyterhub_user", None) if known else None

    def get_current_user_token(self) -> Any:
        known = self._caller is not None and self._caller.by_token
        return getattr(self, "_jupyterhub_user", None) if known else None

    def get_token(self) -> None:
        """The token's row is the hub's; its scopes are in `expanded_scopes`."""

    async def refresh_auth(self, user: Any, force: bool = False) -> Any:  # noqa: ARG002 - JupyterHub's signature
        """Done by the hub before it says who is calling."""
        return user

    def _resolve_roles_and_scopes(self) -> None:
        self.expanded_scopes = set(self._caller.scopes) if self._caller is not None else set()
        self.parsed_scopes = scopes.parse_scopes(self.expanded_scopes)

    # -- logging in and out

    async def authenticate(self, data: Any) -> Any:
        """Forms of plug-ins guess no faster than ours. Without a name there is nothing to guess: OAuth callbacks."""
        callbacks, account = self.exchange.callbacks, data.get("username") if isinstance(data, dict) else None
        if callbacks is None or not account:
            return await super().authenticate(data)  # type: ignore[misc]  # BaseHandler's
        with as_http():
            try:
                async with callbacks.attempt(self.exchange.scope, str(account)):
                    authenticated = _not_refused(await super().authenticate(data))  # type: ignore[misc]  # BaseHandler's
            except Forbidden:
                # The handler shows its own form again.
                return None
        return authenticated

    async def auth_to_user(self, authenticated: Any, user: Any = None) -> Any:
        if user is not None:
            return user
        with as_http():
            model = await self.settings["perijove_authenticator"].model(authenticated)
            return self._facade(await self._log_in(model))

    async def _log_in(self, model: AuthModel) -> Session:
        exchange = self.exchange
        if exchange.callbacks is None:
            raise Unavailable("Nobody can log in with this handler.")
        exchange.session = await exchange.callbacks.complete_login(exchange.scope, model)
        return exchange.session

    def set_login_cookie(self, user: Any) -> None:
        """After `login_user` its session is known. A handler that skips `login_user` (remote-user headers) names
        a user who may not exist yet: then the login is completed before the response's headers are sent."""
        session = self.exchange.session
        already = getattr(self, "_jupyterhub_user", None)
        if session is not None and session.user.name == user.name:
            for value in session.set_cookies:
                self.add_header("Set-Cookie", value)  # type: ignore[attr-defined]  # RequestHandler's
        elif already is None or already.name != user.name:
            self.exchange.before_headers.append(lambda: self._log_in_late(user.name))
        self._jupyterhub_user = user

    set_hub_cookie = set_login_cookie

    async def _log_in_late(self, name: str) -> Sequence[str]:
        return (await self._log_in(AuthModel(name=name))).set_cookies

    def clear_login_cookie(self, name: Any = None) -> None:  # noqa: ARG002 - JupyterHub's signature
        callbacks, scope = self.exchange.callbacks, self.exchange.scope
        if callbacks is not None:
            self.exchange.before_headers.append(lambda: callbacks.log_out(scope))

    def user_from_username(self, username: str) -> Any:
        return self._user_facade(UserFacts(id=UserId(0), name=username))

    def find_user(self, name: str) -> Any:
        current = getattr(self, "_jupyterhub_user", None)
        if current is not None and current.name == name:
            return current
        raise HTTPError(501, "Handlers cannot look up other users here; use the REST API")

    async def spawn_single_user(self, *_: Any, **__: Any) -> None:
        raise HTTPError(501, "Handlers cannot start servers here; use the REST API")

    async def stop_single_user(self, *_: Any, **__: Any) -> None:
        raise HTTPError(501, "Handlers cannot stop servers here; use the REST API")

    # -- forms and pages

    @property
    def xsrf_token(self) -> bytes:
        if not hasattr(self, "_xsrf_token"):
            callbacks = self.exchange.callbacks
            token, cookies = ("", ()) if callbacks is None else callbacks.xsrf_token(self.exchange.scope)
            for value in cookies:
                self.add_header("Set-Cookie", value)  # type: ignore[attr-defined]  # RequestHandler's
            self._xsrf_token = token.encode()
        return self._xsrf_token

    def check_xsrf_cookie(self) -> None:
        # Tornado calls this once before `prepare`, when nobody knows yet how the request authenticates.
        callbacks = self.exchange.callbacks
        if not hasattr(self, "_jupyterhub_user") or callbacks is None or getattr(self, "_token_authenticated", False):
            return
        with as_http():
            callbacks.check_xsrf(self.exchange.scope, self.get_argument("_xsrf", None))  # type: ignore[attr-defined]  # RequestHandler's

    def get_template(self, name: str, sync: bool = False) -> Any:  # noqa: ARG002 - JupyterHub's signature
        return self.settings["jinja2_env"].get_template(name)

    def render_template(self, name: str, sync: bool = False, **namespace: Any) -> Any:
        callbacks = self.exchange.callbacks
        assert callbacks is not None
        full = {**self.template_namespace, **namespace}
        html = callbacks.render(self.exchange.scope, name, full)
        return html if sync else _ready(html)

    @property
    def template_namespace(self) -> dict[str, Any]:
        token = self.xsrf_token.decode()
        return {
            "user": getattr(self, "_jupyterhub_user", None),
            "parsed_scopes": getattr(self, "parsed_scopes", {}),
            "expanded_scopes": getattr(self, "expanded_scopes", set()),
            "login_service": self.settings["authenticator"].login_service,
            "login_url": self.settings["login_url"],
            "logout_url": self.settings["logout_url"],
            "xsrf": token,
            "xsrf_token": token,
        }


async def _ready(html: str) -> str:
    return html


class _Spliced(type):
    """Puts `HubHandler` directly before `BaseHandler` in the method resolution order."""

    def mro(cls) -> list[type]:
        order = list(super().mro())
        if BaseHandler in order:
            order.insert(order.index(BaseHandler), HubHandler)
        return order


@cache
def spliced(handler: type) -> type:
    """`handler` over our services; one that does not derive from JupyterHub's base is left as it is."""
    if not issubclass(handler, BaseHandler):
        return handler
    return _Spliced(handler.__name__, (handler,), {"__module__": handler.__module__, "__doc__": handler.__doc__})
