"""The Tornado application that handlers find around them: settings under JupyterHub's keys."""

import logging
from collections.abc import Mapping
from typing import Any

from jupyterhub.handlers.login import LoginHandler
from tornado.httputil import HTTPServerRequest
from tornado.routing import URLSpec
from tornado.web import Application
from traitlets.config import Config

from perijove.plugins import facades
from perijove.plugins.exchange import Exchange, scope_of, tornado_request
from perijove.plugins.facts import HubFacts
from perijove.plugins.handlers import spliced


class Users(dict[Any, Any]):
    """`handler.users`: the hub keeps no users in memory, so nobody is in it."""

    def delete(self, _key: Any) -> None:
        """Nothing kept, nothing to forget."""


class App:
    """What `get_handlers(app)` and `handler.app` find of JupyterHub's application object."""

    def __init__(self, facts: HubFacts, hub: Any, plugin: Any, config: Config) -> None:
        self.hub = hub
        self.authenticator = plugin
        self.config = config
        self.base_url = facts.base_url
        self.hub_prefix = facts.hub_prefix
        self.log = logging.getLogger("perijove.plugins.app")
        self.users = Users()
        self.template_paths: list[str] = []
        self.tornado_settings: dict[str, Any] = {}


def settings_for(
    facts: HubFacts,
    plugin: Any,
    config: Config,
    *,
    hosted: Any = None,
    environment: Any = None,
    db: Any = None,
    live_spawners: Mapping[tuple[str, str], Any] | None = None,
) -> dict[str, Any]:
    """`plugin` is the authenticator object; `hosted` its adapter, needed to complete logins."""
    hub = facades.hub_facade(facts)
    users = facades.user_settings(facts, hub, plugin)
    app = App(facts, hub, plugin, config)
    settings: dict[str, Any] = {
        **users,
        "app": app,
        "config": config,
        "log": logging.getLogger("perijove.plugins.handlers"),
        "db": facades.NoDatabase() if db is None else db,
        "users": app.users,
        "services": {},
        "proxy": None,
        "oauth_provider": None,
        "eventlog": None,
        "public_url": users.get("public_url"),
        "cookie_secret": facts.cookie_secret,
        "cookie_max_age_days": facts.cookie_max_age_days,
        "login_url": f"{facts.hub_prefix}login",
        "logout_url": plugin.logout_url(facts.hub_prefix),
        "default_url": facts.default_url,
        "redirect_to_server": facts.redirect_to_server,
        # The hub's own log_out does that.
        "shutdown_on_logout": False,
        "template_vars": dict(facts.template_vars),
        "jinja2_env": environment,
        "jinja2_env_sync": environment,
        "xsrf_cookies": True,
        "static_url_prefix": f"{facts.hub_prefix}static/",
        "version_hash": "",
        "perijove_authenticator": hosted,
        "perijove_user_settings": users,
        "perijove_live_spawners": {} if live_spawners is None else live_spawners,
    }
    app.tornado_settings = settings
    return {**settings, **facts.tornado_settings}


class LoginRequests:
    """Makes the `handler` argument of `Authenticator.authenticate()` for logins through our own form."""

    def __init__(self, facts: HubFacts, plugin: Any, config: Config) -> None:
        self._application = Application([], **settings_for(facts, plugin, config))
        self._handler = spliced(LoginHandler)

    def __call__(self, request: Mapping[str, Any], form: Mapping[str, str]) -> Any:
        tornado = self._request(request)
        tornado.body_arguments = {name: [value.encode()] for name, value in form.items()}
        tornado.arguments = {**tornado.arguments, **tornado.body_arguments}
        handler = self._handler(self._application, tornado)
        # Nobody is logged in: that is what this is about.
        handler._jupyterhub_user = None  # noqa: SLF001 - what JupyterHub's handlers keep the current user in
        return handler

    @staticmethod
    def _request(request: Mapping[str, Any]) -> HTTPServerRequest:
        return tornado_request(Exchange(scope_of(request), None))


def url_specs(prefix: str, handlers: Any) -> list[URLSpec]:
    """`(path, Handler[, kwargs])` below the hub's prefix, with our base spliced into the handlers."""
    specs = []
    for path, handler, *rest in handlers:
        pattern = f"{prefix.rstrip('/')}/{str(path).lstrip('/')}"
        specs.append(URLSpec(pattern, spliced(handler), *rest[:1]))
    return specs
