"""Users: find, list, make, change, delete. Lists are indexed queries of one page; nothing is O(all users)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

from perijove.domain.ids import ServerId, UserId

if TYPE_CHECKING:
    from perijove.services.context import HubContext


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerFacts:
    """A server as user models show it; for acting on one see `services.servers`."""

    id: ServerId
    name: str
    display_name: str
    desired: str
    observed: str
    started: datetime | None
    last_activity: datetime | None
    user_options: Mapping[str, Any]
    # Filled only when asked for (`with_state`).
    state: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class UserRow:
    id: UserId
    name: str
    admin: bool
    created: datetime
    last_activity: datetime | None
    user_info: Mapping[str, Any] | None
    groups: tuple[str, ...] = ()
    roles: tuple[str, ...] = ()
    # All rows, stopped ones too, by name.
    servers: Mapping[str, ServerFacts] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class UserQuery:
    """One page. `users`/`groups`: only these (ORed); both None = everyone."""

    offset: int = 0
    limit: int = 50
    state: Literal["", "active", "ready", "inactive"] = ""
    name_filter: str = ""
    # id, name, last_activity; "-" before it for descending.
    sort: str = "id"
    users: frozenset[str] | None = None
    groups: frozenset[str] | None = None
    with_state: bool = False
    # Count all matches (one more query).
    with_total: bool = True


@dataclass(frozen=True, slots=True)
class UserPage:
    items: Sequence[UserRow]
    total: int


async def get_user(hub: "HubContext", name: str, *, with_state: bool = False) -> UserRow:
    """Raises `NotFound`."""
    raise NotImplementedError


async def list_users(hub: "HubContext", query: UserQuery) -> UserPage:
    raise NotImplementedError


async def create_users(
    hub: "HubContext", names: Sequence[str], *, admin: bool = False, actor: str
) -> list[UserRow]:
    """Normalise, validate all, make those missing; returns the new ones. Raises `Invalid` (nothing made), `Conflict` (all exist)."""
    raise NotImplementedError


async def set_admin(hub: "HubContext", name: str, admin: bool, *, actor: str) -> None:
    raise NotImplementedError


async def rename_user(hub: "HubContext", name: str, new_name: str, *, actor: str) -> str:
    """Returns the normalised new name. Raises `Invalid` (rule, or taken), `Conflict` while a server is active."""
    raise NotImplementedError


async def set_auth_state(
    hub: "HubContext", name: str, auth_state: Mapping[str, Any] | None, *, actor: str
) -> None:
    raise NotImplementedError


async def delete_user(hub: "HubContext", name: str, *, actor: str) -> None:
    """Remove a user whose servers are all stopped (see `services.servers`); raises `Conflict` otherwise."""
    raise NotImplementedError
