"""Groups: names, members, properties."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from perijove.domain.ids import GroupId

if TYPE_CHECKING:
    from perijove.services.context import HubContext


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupRow:
    id: GroupId
    name: str
    properties: Mapping[str, Any]
    users: tuple[str, ...]
    roles: tuple[str, ...]


async def list_groups(
    hub: "HubContext", *, offset: int = 0, limit: int = 50, names: frozenset[str] | None = None
) -> tuple[list[GroupRow], int]:
    """One page by id, and how many there are. `names`: only these."""
    raise NotImplementedError


async def get_group(hub: "HubContext", name: str) -> GroupRow:
    raise NotImplementedError


async def create_group(hub: "HubContext", name: str, *, users: Sequence[str] = (), actor: str) -> GroupRow:
    """Raises `Conflict` if it exists, `Invalid` for an unknown user."""
    raise NotImplementedError


async def delete_group(hub: "HubContext", name: str, *, actor: str) -> None:
    raise NotImplementedError


async def add_members(hub: "HubContext", name: str, users: Sequence[str], *, actor: str) -> GroupRow:
    raise NotImplementedError


async def remove_members(hub: "HubContext", name: str, users: Sequence[str], *, actor: str) -> GroupRow:
    raise NotImplementedError


async def set_properties(
    hub: "HubContext", name: str, properties: Mapping[str, Any], *, actor: str
) -> GroupRow:
    raise NotImplementedError
