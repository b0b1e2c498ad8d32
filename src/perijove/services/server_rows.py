"""Reading servers: the row joined with its owner's name, as requests, pages and the reconciler see it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Row, Select, bindparam, select
from sqlalchemy.ext.asyncio import AsyncConnection

from perijove.domain import names, states
from perijove.domain.errors import NotFound
from perijove.domain.ids import LeaseEpoch, ServerId, UserId
from perijove.domain.states import Desired, Observed, Phase
from perijove.services.context import HubContext
from perijove.store.schema import servers, users


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerRow:
    """A snapshot of one server. Compute from it, never write it back."""

    id: ServerId
    user_id: UserId
    user_name: str
    name: str
    display_name: str
    desired: Desired
    observed: Observed
    phase: Phase
    generation: int
    observed_generation: int
    user_options: Mapping[str, Any]
    state: Mapping[str, Any]
    url: str
    created: datetime
    started: datetime | None
    last_activity: datetime | None
    deadline: datetime | None
    failure: Mapping[str, Any] | None
    oauth_client_id: str | None
    host: str | None
    lease_epoch: LeaseEpoch
    attempts: int

    @property
    def pending(self) -> str | None:
        return states.pending(self.desired, self.observed)

    @property
    def ready(self) -> bool:
        return states.ready(self.desired, self.observed)

    @property
    def active(self) -> bool:
        return states.active(self.desired, self.observed)

    @property
    def full_name(self) -> str:
        return names.full_name(self.user_name, self.name)

    def with_(self, written: Mapping[str, Any]) -> "ServerRow":
        """As it is once these columns are written."""
        return replace(self, **{name: value for name, value in written.items() if name in _FIELDS})

    def prefix(self, base_url: str) -> str:
        return names.server_prefix(base_url, self.user_name, self.name)


# Everything of the row that a snapshot shows: not the lease's owner and times, which are the claims' own.
_FIELDS = frozenset(field.name for field in fields(ServerRow))
COLUMNS = (
    *(servers.c[field.name] for field in fields(ServerRow) if field.name != "user_name"),
    users.c.name.label("user_name"),
)


def query(*conditions: ColumnElement[bool]) -> Select[Any]:
    return select(*COLUMNS).join(users, users.c.id == servers.c.user_id).where(*conditions)


def from_row(row: Row[Any]) -> ServerRow:
    """`row` may have more than `COLUMNS`."""
    values = {name: row._mapping[name] for name in _FIELDS}  # noqa: SLF001 - SQLAlchemy's documented mapping view
    values["desired"], values["observed"] = Desired(values["desired"]), Observed(values["observed"])
    values["phase"] = Phase(values["phase"])
    return ServerRow(**values)


# Made once: to make a statement costs as much as to run it.
_BY_NAME = query(users.c.name == bindparam("user"), servers.c.name == bindparam("server"))
_BY_ID = query(servers.c.id == bindparam("number"))
_BY_IDS = query(servers.c.id.in_(bindparam("numbers", expanding=True)))


async def find(connection: AsyncConnection, user: str, name: str) -> ServerRow | None:
    row = (await connection.execute(_BY_NAME, {"user": user, "server": name})).first()
    return None if row is None else from_row(row)


async def by_id(connection: AsyncConnection, server_id: ServerId) -> ServerRow | None:
    row = (await connection.execute(_BY_ID, {"number": server_id})).first()
    return None if row is None else from_row(row)


async def by_ids(connection: AsyncConnection, ids: Iterable[ServerId]) -> dict[ServerId, ServerRow]:
    """Those that exist."""
    found = await connection.execute(_BY_IDS, {"numbers": list(ids)})
    return {row.id: row for row in map(from_row, found)}


async def of_users(
    connection: AsyncConnection, user_ids: Iterable[int], *, stopped: bool = False
) -> dict[int, list[ServerRow]]:
    """Servers by user id; only active ones unless `stopped`."""
    conditions: list[ColumnElement[bool]] = [servers.c.user_id.in_(list(user_ids))]
    if not stopped:
        conditions.append((servers.c.observed != Observed.STOPPED) | (servers.c.desired == Desired.RUNNING))
    found: dict[int, list[ServerRow]] = {}
    for row in await connection.execute(query(*conditions).order_by(servers.c.user_id, servers.c.name)):
        found.setdefault(row.user_id, []).append(from_row(row))
    return found


async def get_server(hub: HubContext, user: str, name: str) -> ServerRow:
    """Raises `NotFound`."""
    async with hub.store.read() as connection:
        row = await find(connection, user, name)
    if row is None:
        raise NotFound(f"User {user!r} has no server {name!r}." if name else f"User {user!r} has no server.")
    return row


async def get_or_default(hub: HubContext, user: str, name: str) -> ServerRow:
    """As `get_server`; a user's default server is there, stopped, before it was ever started. Raises `NotFound`."""
    async with hub.store.read() as connection:
        if (row := await find(connection, user, name)) is not None:
            return row
        owner = (await connection.execute(select(users).where(users.c.name == user))).first()
    if owner is None:
        raise NotFound(f"No such user: {user}")
    if name:
        raise NotFound(f"User {user!r} has no server {name!r}.")
    return fresh_row(ServerId(0), user, {"user_id": owner.id, "name": "", "created": owner.created})


def fresh_row(server_id: ServerId, user: str, made: Mapping[str, Any]) -> ServerRow:
    """One that was just made with these columns, or could be."""
    nothing = ServerRow(
        id=server_id,
        user_id=UserId(made["user_id"]),
        user_name=user,
        name=made["name"],
        display_name="",
        desired=Desired.STOPPED,
        observed=Observed.STOPPED,
        phase=Phase.NONE,
        generation=0,
        observed_generation=0,
        user_options={},
        state={},
        url="",
        created=made["created"],
        started=None,
        last_activity=None,
        deadline=None,
        failure=None,
        oauth_client_id=None,
        host=None,
        lease_epoch=LeaseEpoch(0),
        attempts=0,
    )
    return nothing.with_(made)


async def list_servers(hub: HubContext, user: str, *, stopped: bool = True) -> list[ServerRow]:
    """All servers of one user, the default one first."""
    async with hub.store.read() as connection:
        conditions: list[ColumnElement[bool]] = [users.c.name == user]
        if not stopped:
            conditions.append((servers.c.observed != Observed.STOPPED) | (servers.c.desired == Desired.RUNNING))
        result = await connection.execute(query(*conditions).order_by(servers.c.name))
        return [from_row(row) for row in result]
