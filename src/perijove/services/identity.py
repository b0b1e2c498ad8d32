"""Who is calling: a token or a login session becomes an `Identity`, from memory when it may.

The cache holds what the rows said and is dropped by events: `Kind.IDENTITY` with the owner's name,
`service:<name>` or `*`, delivered synchronously by this process's own commits and within a second
by other replicas'. `Lagged` drops everything; while the feed is broken nothing is cached.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

from perijove.domain.ids import SessionId, TokenId
from perijove.domain.scopes import ScopeSet

if TYPE_CHECKING:
    from perijove.services.context import HubContext


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """A user or service, and what this credential lets it do. A snapshot: ask again each request."""

    kind: Literal["user", "service"]
    id: int
    name: str
    admin: bool
    groups: tuple[str, ...] = ()
    roles: tuple[str, ...] = ()
    # Expanded and intersected with what the owner holds now; includes the identify scopes.
    scopes: ScopeSet
    created: datetime | None = None
    last_activity: datetime | None = None
    user_info: Mapping[str, Any] | None = None
    # One of the two is set.
    token_id: TokenId | None = None
    session_id: SessionId | None = None
    # `jupyterhub-session-id` of the browser: of the login session, or recorded on an OAuth token.
    browser_session: str = ""
    # OAuth client that a token was issued to; None: by the hub itself.
    client_id: str | None = None


async def identify_token(hub: "HubContext", token: str) -> Identity | None:
    """The owner of an API or OAuth token. None: unknown, expired, revoked or longer than 64 characters."""
    raise NotImplementedError


async def identify_session(hub: "HubContext", secret: str) -> Identity | None:
    """The user behind the (already unsigned) secret of a login cookie."""
    raise NotImplementedError


async def identify_user(hub: "HubContext", name: str) -> Identity:
    """What a user may do in full, whoever asks. Raises `NotFound`."""
    raise NotImplementedError


async def allows(hub: "HubContext", identity: Identity, scope: str) -> bool:
    """Whether `scope` (`base` or `base!filter=value`) is covered, resolving group filters from rows."""
    raise NotImplementedError


async def require(hub: "HubContext", identity: Identity | None, *scopes: str) -> Identity:
    """Return the identity if it holds any of `scopes`.

    Raises `Unauthenticated` without identity; `NotFound` when a filtered scope was asked for and the
    caller holds the base with another filter (hides existence); `Forbidden` otherwise.
    """
    raise NotImplementedError
