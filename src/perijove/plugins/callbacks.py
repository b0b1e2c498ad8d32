"""What the Tornado handlers of plug-ins ask of the hub: who is calling, log in, log out, forms, pages.

The web layer implements this over the services. `scope` is the ASGI scope of the request being served.
"""

from collections.abc import Mapping, MutableMapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Protocol

from jinja2 import Environment

from perijove.domain.ports import AuthModel, UserFacts

Scope = MutableMapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who makes a request: a user, or a service by its name."""

    user: UserFacts | None = None
    service: str = ""
    scopes: frozenset[str] = frozenset()
    by_token: bool = False
    # Names of the user's servers that run or are on their way up or down.
    active_servers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """A completed login. `set_cookies`: values of `Set-Cookie` headers."""

    user: UserFacts
    set_cookies: Sequence[str] = ()
    active_servers: tuple[str, ...] = ()


class LoginCallbacks(Protocol):
    # The environment of the hub's own templates: plug-ins add loaders to it.
    environment: Environment

    async def current_user(self, scope: Scope, *, cookie: bool, token: bool) -> Caller | None:
        """`cookie`, `token`: which credentials the handler accepts."""
        ...

    def attempt(self, scope: Scope, account: str) -> AbstractAsyncContextManager[None]:
        """A login in the block: refused with `LimitReached` when it has to wait, counted when it fails."""
        ...

    async def complete_login(self, scope: Scope, model: AuthModel) -> Session:
        """Make the user if new, store what the authenticator said, make a session."""
        ...

    async def log_out(self, scope: Scope) -> Sequence[str]:
        """End the caller's session and its tokens, with `shutdown_on_logout` also the servers; `Set-Cookie` values."""
        ...

    def xsrf_token(self, scope: Scope) -> tuple[str, Sequence[str]]:
        """The token for forms, and `Set-Cookie` values if the browser needs any for it."""
        ...

    def check_xsrf(self, scope: Scope, argument: str | None) -> None:
        """Raises `Forbidden` unless `argument` or a header carries the token."""
        ...

    def render(self, scope: Scope, name: str, namespace: Mapping[str, Any]) -> str:
        """A template of `environment` with what all pages get and `namespace`. Raises jinja's `TemplateNotFound`."""
        ...

    async def auth_state(self, user: str) -> Mapping[str, Any] | None: ...
