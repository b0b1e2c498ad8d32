"""API and OAuth tokens: random, stored as hashes, each with scopes fixed at issue and cut at use."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Literal

from perijove.domain.ids import ServerId, TokenId, UserId

if TYPE_CHECKING:
    from perijove.services.context import HubContext
    from perijove.services.identity import Identity
    from perijove.store.database import Transaction

MAX_TOKEN_LENGTH = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenRow:
    id: TokenId
    owner_kind: Literal["user", "service"]
    owner: str
    # As stored; `effective` is what they mean now.
    scopes: tuple[str, ...]
    effective: tuple[str, ...]
    note: str
    created: datetime
    last_activity: datetime | None
    expires_at: datetime | None
    browser_session: str
    client_id: str | None
    # "JupyterHub" for the hub's own, else the OAuth client's description.
    client_description: str
    server_id: ServerId | None


@dataclass(frozen=True, slots=True)
class NewToken:
    token: str  # shown once
    row: TokenRow


async def create_token(
    hub: "HubContext",
    user: str,
    *,
    note: str,
    actor: str,
    scopes: Sequence[str] | None = None,
    roles: Sequence[str] | None = None,
    expires_in_seconds: int | None = None,
    held_by: "Identity | None" = None,
) -> NewToken:
    """A token for `user`, `inherit` by default. Raises `Invalid` for unknown or not-held scopes, `NotFound`.

    `held_by`: the requester; recorded, and a token narrower than its owner cannot make a wider one.
    """
    raise NotImplementedError


async def list_tokens(hub: "HubContext", user: str) -> list[TokenRow]:
    """Live ones of a user, OAuth and server tokens included, by id. Raises `NotFound`."""
    raise NotImplementedError


async def get_token(hub: "HubContext", user: str, token_id: TokenId) -> TokenRow:
    """Raises `NotFound` for any mismatch."""
    raise NotImplementedError


async def revoke_token(hub: "HubContext", user: str, token_id: TokenId, *, actor: str) -> None:
    """Delete it; of an OAuth token, all tokens of that client for this user. Raises `NotFound`."""
    raise NotImplementedError


async def purge_expired(hub: "HubContext") -> int:
    """Chore: delete expired tokens, sessions and codes. Returns how many rows."""
    raise NotImplementedError


def new_token() -> str:
    """32 hexadecimal characters."""
    raise NotImplementedError


def hash_token(token: str) -> str:
    """As stored: `sha256:<hex>`."""
    raise NotImplementedError


async def issue_server_token(
    tx: "Transaction",
    *,
    token: str,
    user_id: UserId,
    user_name: str,
    server_id: ServerId,
    server_name: str,
    scopes: Sequence[str],
    url_path: str,
) -> TokenId:
    """Within the start's transaction: record `token` (plain) as the one this server authenticates with.

    Bare `!server`/`!user` filters are resolved, `users:activity!user` is added if missing, note `Server at <url_path>`.
    Replaces the server's earlier token.
    """
    raise NotImplementedError


async def revoke_server_tokens(tx: "Transaction", *, server_id: ServerId, user_name: str) -> None:
    """Within the stop's transaction (unless the spawner will resume): the server's own token."""
    raise NotImplementedError
