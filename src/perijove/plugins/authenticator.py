"""Adapts a JupyterHub `Authenticator` object to `ports.Authenticator`.

One instance serves the process. It holds no users: JupyterHub fills `allowed_users` with every name in its
database at start-up, here the hub is asked about the one name that is logging in.
"""

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from jupyterhub.auth import Authenticator as JupyterHubAuthenticator

from perijove.domain.errors import HubError, Unavailable
from perijove.domain.ports import AuthModel, UserFacts
from perijove.plugins import facades
from perijove.plugins.calls import call, settle
from perijove.plugins.errors import login_failure
from perijove.plugins.facts import HubFacts
from perijove.plugins.host import class_version

log = logging.getLogger(__name__)

UserExists = Callable[[str], Awaitable[bool]]
# Builds the `handler` argument of `authenticate()` from facts of a request.
MakeHandler = Callable[[Mapping[str, Any], Mapping[str, str]], Any]


class HostedAuthenticator:
    def __init__(
        self,
        plugin: Any,
        facts: HubFacts,
        *,
        user_exists: UserExists | None = None,
        make_handler: MakeHandler | None = None,
        database: Any = None,
    ) -> None:
        self.plugin = plugin
        # Session for plug-ins with tables of their own, for their handlers too.
        self.database = database
        self._make_handler = make_handler
        self._hub = facades.hub_facade(facts)
        self._settings = facades.user_settings(facts, self._hub, plugin)
        cls = type(plugin)
        self.class_path = f"{cls.__module__}.{cls.__qualname__}"
        self.version = class_version(cls)
        self.login_service = str(plugin.login_service or "")
        self.auto_login = bool(plugin.auto_login)
        self.auto_login_oauth2_authorize = bool(plugin.auto_login_oauth2_authorize)
        self.request_otp = bool(plugin.request_otp)
        self.otp_prompt = str(plugin.otp_prompt)
        self.custom_html = str(plugin.get_custom_html(facts.hub_prefix) or "")
        self.enable_auth_state = bool(plugin.enable_auth_state)
        self.reconciles_auth_state = self.enable_auth_state and plugin.reconcile_auth_state_hook is not None
        self.manage_groups = bool(plugin.manage_groups)
        self.manage_roles = bool(plugin.manage_roles)
        self.reset_managed_roles = bool(getattr(plugin, "reset_managed_roles_on_startup", False))
        self.refresh_pre_spawn = bool(plugin.refresh_pre_spawn)
        self.refresh_pre_stop = bool(getattr(plugin, "refresh_pre_stop", False))
        self.auth_refresh_age_seconds = float(plugin.auth_refresh_age)
        self.auth_refresh_strict = bool(getattr(plugin, "auth_refresh_strict", False))
        self.nobody_allowed = not _allows_somebody(plugin)
        # Nothing says who may enter: the login page and the log warn of it.
        self.nobody_allowed = not plugin.any_allow_config
        _normalise_names(plugin)
        if user_exists is not None:
            self.ask_for_existing(user_exists)
        plugin.check_allow_config()

    def ask_for_existing(self, user_exists: UserExists) -> None:
        """Put the one name that matters into `allowed_users`, or take it out, right before it is looked up.

        Wrapped on the instance, not in a derived class: JupyterHub looks for the class that defines
        `check_allowed` (or its old name) and must find the plug-in's.
        """
        if not self.plugin.allow_existing_users:
            return
        plugin, check_allowed = self.plugin, self.plugin.check_allowed
        configured = frozenset(plugin.allowed_users)

        async def check(username: str, authentication: Any = None) -> bool:
            if username not in configured:
                (plugin.allowed_users.add if await user_exists(username) else plugin.allowed_users.discard)(username)
            return bool(await settle(check_allowed(username, authentication)))

        plugin.check_allowed = check

    # -- names

    def normalize(self, name: str) -> str:
        return str(self.plugin.normalize_username(name))

    def validate(self, name: str) -> bool:
        return bool(self.plugin.validate_username(name))

    def is_admin_by_config(self, name: str) -> bool:
        return name in self.plugin.admin_users

    @property
    def admin_names(self) -> frozenset[str]:
        return frozenset(self.plugin.admin_users)

    @property
    def allowed_names(self) -> frozenset[str]:
        return frozenset(self.plugin.allowed_users)

    @property
    def blocked_names(self) -> frozenset[str]:
        return frozenset(self.plugin.blocked_users)

    # -- pages

    def login_url(self, base_url: str) -> str:
        return str(self.plugin.login_url(base_url))

    def logout_url(self, base_url: str) -> str:
        return str(self.plugin.logout_url(base_url))

    # -- logging in

    async def authenticate(self, form: Mapping[str, str], request: Mapping[str, Any]) -> AuthModel | None:
        # Plug-ins index these two without looking; a form without them is a wrong password, not a crash.
        data = {"username": "", "password": "", **form}
        handler = self._make_handler(request, data) if self._make_handler else None
        return await self.authenticate_with(handler, data)

    async def authenticate_with(self, handler: Any, data: Any) -> AuthModel | None:
        """The whole pipeline with a handler at hand: `data` is None for logins by redirect."""
        try:
            answer = await call("Authenticator.authenticate()", self.plugin.get_authenticated_user, handler, data)
            return None if not answer else await self.model(answer)
        except (Exception, SystemExit) as exc:
            if isinstance(exc, TypeError) and "non-ASCII" in str(exc):
                # `secrets.compare_digest` of the shared passwords takes no other text, so it cannot be one.
                return None
            raise self._failed(exc, "authenticating") from exc

    async def model(self, answer: Mapping[str, Any] | str) -> AuthModel:
        """A plug-in's authentication dictionary, checked."""
        fields: dict[str, Any] = {"name": answer} if isinstance(answer, str) else dict(answer)
        if self.manage_groups and "groups" not in fields:
            raise Unavailable(f"{self.class_path} did not say which groups the user is in, though manage_groups is on.")
        groups, roles = fields.get("groups"), fields.get("roles")
        return AuthModel(
            name=fields["name"],
            admin=fields.get("admin"),
            groups=tuple(groups) if self.manage_groups and groups is not None else None,
            roles=tuple(roles) if self.manage_roles and roles is not None else None,
            auth_state=fields.get("auth_state") if self.enable_auth_state else None,
            user_info=fields.get("user_info"),
        )

    async def refresh(self, user: UserFacts) -> AuthModel | bool:
        try:
            answer = await call("Authenticator.refresh_user()", self.plugin.refresh_user, self.user(user))
            if not answer or answer is True:
                return bool(answer)
            return await self.model({**answer, "name": user.name})
        except (Exception, SystemExit) as exc:
            raise self._failed(exc, "refreshing the login") from exc

    async def reconcile_auth_state(
        self, model: AuthModel, existing: Mapping[str, Any] | None
    ) -> Mapping[str, Any] | None:
        hook = self.plugin.reconcile_auth_state_hook
        if not self.reconciles_auth_state:
            return model.auth_state
        answer = {
            "name": model.name,
            "admin": model.admin,
            "groups": None if model.groups is None else list(model.groups),
            "auth_state": model.auth_state,
        }
        try:
            state: Mapping[str, Any] | None = await call(
                "reconcile_auth_state_hook", hook, self.plugin, answer, existing
            )
        except (Exception, SystemExit) as exc:
            raise self._failed(exc, "running reconcile_auth_state_hook") from exc
        return state

    async def managed_roles(self) -> Sequence[Mapping[str, Any]]:
        """Roles the authenticator wants to exist; empty unless `manage_roles`."""
        if not self.manage_roles:
            return ()
        try:
            return tuple(await call("load_managed_roles", self.plugin.load_managed_roles))
        except (Exception, SystemExit) as exc:
            raise self._failed(exc, "loading managed roles") from exc

    # -- users

    async def user_added(self, user: UserFacts) -> None:
        try:
            await call("Authenticator.add_user()", self.plugin.add_user, self.user(user))
        except (Exception, SystemExit) as exc:
            raise self._failed(exc, "adding the user") from exc

    def close(self) -> None:
        """Close the plug-in's own database, if it ever opened one."""
        if self.database is not None:
            self.database.close()

    async def user_deleted(self, user: UserFacts) -> None:
        try:
            await call("Authenticator.delete_user()", self.plugin.delete_user, self.user(user))
        except (Exception, SystemExit) as exc:
            raise self._failed(exc, "deleting the user") from exc

    def user(self, user: UserFacts) -> facades.HostedUser:
        return facades.user_facade(user, self._settings)

    def _failed(self, exc: BaseException, doing: str) -> HubError:
        failure = login_failure(exc, doing=doing)
        if isinstance(failure, Unavailable):
            log.error("%s failed while %s", self.class_path, doing, exc_info=exc)
        return failure


def _normalise_names(plugin: Any) -> None:
    """As JupyterHub does at start-up: names in lists are compared with normalised names."""
    # Evaluated before the set grows: its default is "was anybody listed?".
    plugin.allow_existing_users = plugin.allow_existing_users
    plugin.admin_users = {plugin.normalize_username(name) for name in plugin.admin_users}
    plugin.allowed_users = {plugin.normalize_username(name) for name in plugin.allowed_users}
    for name in plugin.admin_users | plugin.allowed_users:
        if not plugin.validate_username(name):
            raise ValueError(f"admin_users or allowed_users lists {name!r}, which is not a valid user name")
    if plugin.allowed_users:
        plugin.allowed_users |= plugin.admin_users


def _allows_somebody(plugin: Any) -> bool:
    """Whether any rule could let a person in. Without one every login is refused, which the login page explains."""
    own_rule = type(plugin).check_allowed is not JupyterHubAuthenticator.check_allowed
    return bool(own_rule or plugin.any_allow_config or plugin.admin_users)
