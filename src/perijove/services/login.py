"""Logging in and out. The one way a session comes to be, whichever authenticator said yes.

`complete_login` is shared by the form, by the Tornado bridge (OAuth callbacks) and by anything else
that ends in an `AuthModel`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from perijove.domain.ids import SessionId, UserId
from perijove.domain.ports import AuthModel

if TYPE_CHECKING:
    from perijove.services.context import HubContext
    from perijove.services.identity import Identity


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestFacts:
    """What authenticators and the audit trail may know of a browser's request."""

    method: str = "POST"
    path: str = ""
    query: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    remote_ip: str = ""
    scheme: str = "http"


@dataclass(frozen=True, slots=True)
class LoggedIn:
    """A new session. `secret` goes into the login cookie (see `web/cookies.py`) and nowhere else."""

    user_id: UserId
    user_name: str
    session_id: SessionId
    secret: str
    browser_session: str


async def login(
    hub: "HubContext", form: Mapping[str, str], facts: RequestFacts, *, browser_session: str = ""
) -> LoggedIn:
    """Ask the authenticator. Raises `Forbidden` (message to show) when refused, `LimitReached` when throttled."""
    raise NotImplementedError


async def authenticate(hub: "HubContext", form: Mapping[str, str], facts: RequestFacts) -> AuthModel:
    """The authenticator's yes, throttled, without a session (`auth` of the token API). Raises as `login`."""
    raise NotImplementedError


async def complete_login(
    hub: "HubContext", model: AuthModel, facts: RequestFacts, *, browser_session: str = ""
) -> LoggedIn:
    """Make the user if new; apply admin flag, groups, roles, auth state; make the session.

    `browser_session`: the value of `jupyterhub-session-id` if the browser has one already (it is kept,
    unless a session of another user carries it).
    """
    raise NotImplementedError


async def logout(hub: "HubContext", identity: "Identity", facts: RequestFacts) -> None:
    """End the session and delete every token issued to this browser session. Cookies are the caller's to clear.

    With `shutdown_on_logout` the caller also stops the user's servers (`services.servers`).
    """
    raise NotImplementedError


def login_url(hub: "HubContext", *, next_url: str = "") -> str:
    """Where a person logs in: `<hub>login?next=…`, or the authenticator's own URL with `auto_login`."""
    raise NotImplementedError


async def get_auth_state(hub: "HubContext", user: str) -> dict[str, Any] | None:
    """Decrypted; None if there is none or `enable_auth_state` is off."""
    raise NotImplementedError


async def refresh_user(hub: "HubContext", user: str, *, force: bool = False) -> bool:
    """Ask the authenticator if its last yes is older than `auth_refresh_age` (or `force`: before a spawn).

    False: the person must log in again. Times are in the row, so replicas share them; one call at a time
    per user. An authenticator that fails to answer is tolerated for a while, then `Unavailable`.
    """
    raise NotImplementedError
