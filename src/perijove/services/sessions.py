"""Login sessions of browsers: one row each, found by the hash of the secret in the login cookie."""

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from perijove.domain.ids import SessionId

if TYPE_CHECKING:
    from perijove.services.context import HubContext


@dataclass(frozen=True, slots=True)
class SessionRow:
    """One line of a person's list of sessions."""

    id: SessionId
    created: datetime
    last_seen: datetime
    expires_at: datetime
    user_agent: str
    address: str


async def list_sessions(hub: "HubContext", user: str) -> list[SessionRow]:
    """Live ones, newest first."""
    raise NotImplementedError


async def revoke_session(hub: "HubContext", user: str, session_id: SessionId, *, actor: str) -> None:
    """End one session and delete the OAuth tokens of its browser. Raises `NotFound`."""
    raise NotImplementedError


async def revoke_all_sessions(hub: "HubContext", user: str, *, actor: str) -> int:
    """Log out everywhere: all sessions and all OAuth tokens issued to browsers. Returns how many sessions."""
    raise NotImplementedError
