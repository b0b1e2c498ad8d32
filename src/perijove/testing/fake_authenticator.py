"""An authenticator that says what a test wants. Passwords are "right" or wrong."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from perijove.domain.ports import AuthModel, UserFacts


@dataclass
class FakeAuthenticator:
    """`domain.ports.Authenticator`; set fields at any time."""

    class_path: str = "perijove.testing.FakeAuthenticator"
    version: str = "1"
    login_service: str = ""
    auto_login: bool = False
    auto_login_oauth2_authorize: bool = False
    request_otp: bool = False
    otp_prompt: str = "OTP:"
    custom_html: str = ""
    nobody_allowed: bool = False
    enable_auth_state: bool = False
    reconciles_auth_state: bool = False
    manage_groups: bool = False
    manage_roles: bool = False
    reset_managed_roles: bool = False
    refresh_pre_spawn: bool = False
    refresh_pre_stop: bool = False
    auth_refresh_age_seconds: float = 300.0
    admin_names: frozenset[str] = frozenset()
    allowed_names: frozenset[str] = frozenset()
    blocked_names: frozenset[str] = frozenset()
    # What `refresh` answers, or raises.
    refreshed: AuthModel | bool | Exception = True
    # What `user_added` raises.
    refuse_new: Exception | None = None
    # What `managed_roles` answers.
    described_roles: Sequence[Mapping[str, Any]] = ()
    refresh_calls: list[str] = field(default_factory=list)
    added: list[str] = field(default_factory=list)
    deleted: list[str] = field(default_factory=list)

    def login_url(self, base_url: str) -> str:
        return f"{base_url}login"

    def logout_url(self, base_url: str) -> str:
        return f"{base_url}logout"

    def normalize(self, name: str) -> str:
        return name.lower()

    def validate(self, name: str) -> bool:
        return "!" not in name

    def is_admin_by_config(self, name: str) -> bool:
        return name in self.admin_names

    async def authenticate(self, form: Mapping[str, str], _request: Mapping[str, Any]) -> AuthModel | None:
        if form.get("password") != "right":
            return None
        return AuthModel(name=self.normalize(form["username"]))

    async def reconcile_auth_state(
        self, model: AuthModel, existing: Mapping[str, Any] | None
    ) -> Mapping[str, Any] | None:
        """The new over the old."""
        return None if model.auth_state is None else {**(existing or {}), **model.auth_state}

    async def refresh(self, user: UserFacts) -> AuthModel | bool:
        self.refresh_calls.append(user.name)
        if isinstance(self.refreshed, Exception):
            raise self.refreshed
        return self.refreshed

    async def managed_roles(self) -> Sequence[Mapping[str, Any]]:
        return self.described_roles

    async def user_added(self, user: UserFacts) -> None:
        if self.refuse_new is not None:
            raise self.refuse_new
        self.added.append(user.name)

    async def user_deleted(self, user: UserFacts) -> None:
        self.deleted.append(user.name)
