"""Reading users with what their models show: groups, roles, servers. One page, a fixed number of queries.

Pages are by offset, as clients ask for them; the order is always completed by the id, so that a page
neither repeats nor skips somebody because two times are equal.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

from sqlalchemy import BindParameter, ColumnElement, bindparam, exists, func, literal, or_, select, union_all
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.sql.base import Executable

from perijove.domain import roles as role_rules
from perijove.domain import states
from perijove.domain.errors import Invalid, NotFound
from perijove.domain.ids import ServerId, UserId
from perijove.domain.states import Desired, Observed
from perijove.store import schema

if TYPE_CHECKING:
    from perijove.services.context import HubContext


@dataclass(slots=True)
class ServerFacts:
    """A server as user models show it; for acting on one see `services.servers`."""

    id: ServerId
    user_id: int
    name: str
    display_name: str
    desired: str
    observed: str
    started: datetime | None
    last_activity: datetime | None
    user_options: Mapping[str, Any]
    # Filled only when asked for (`with_state`).
    state: Mapping[str, Any] | None = None

    @property
    def pending(self) -> str | None:
        return _WORDS[self.desired, self.observed][0]

    @property
    def ready(self) -> bool:
        return _WORDS[self.desired, self.observed][1]

    @property
    def active(self) -> bool:
        return _WORDS[self.desired, self.observed][2]


def never_started(user_id: int) -> ServerFacts:
    """The default server of a user who has not started it yet: it is there, stopped, without a row."""
    return ServerFacts(
        id=ServerId(0),
        user_id=user_id,
        name="",
        display_name="",
        desired=Desired.STOPPED,
        observed=Observed.STOPPED,
        started=None,
        last_activity=None,
        user_options={},
    )


# All pairs there are: a page asks for these words a thousand times.
_WORDS: dict[tuple[str, str], tuple[str | None, bool, bool]] = {
    (desired, observed): (
        states.pending(desired, observed),
        states.ready(desired, observed),
        states.active(desired, observed),
    )
    for desired in Desired
    for observed in Observed
}


@dataclass(slots=True, kw_only=True)
class UserRow:
    id: UserId
    name: str
    admin: bool
    created: datetime
    last_activity: datetime | None
    user_info: Mapping[str, Any] | None
    groups: Sequence[str] = ()
    roles: Sequence[str] = ()
    # By name; stopped ones too, unless the query said otherwise.
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
    # Servers that are not active too.
    with_stopped: bool = True
    # Count all matches (one more query).
    with_total: bool = True


@dataclass(frozen=True, slots=True)
class UserPage:
    items: Sequence[UserRow]
    total: int


_COLUMNS = (
    schema.users.c.id,
    schema.users.c.name,
    schema.users.c.admin,
    schema.users.c.created,
    schema.users.c.last_activity,
    schema.users.c.user_info,
)
_SORTS = {"id": schema.users.c.id, "name": schema.users.c.name, "last_activity": schema.users.c.last_activity}
_ACTIVE = (schema.servers.c.observed != Observed.STOPPED) | (schema.servers.c.desired == Desired.RUNNING)
_READY = (schema.servers.c.observed == Observed.RUNNING) & (schema.servers.c.desired == Desired.RUNNING)
# In this many names an IN list is well below every driver's limit of parameters.
CHUNK = 500


async def get_user(hub: "HubContext", name: str, *, with_state: bool = False) -> UserRow:
    """With all servers. Raises `NotFound`."""
    async with hub.store.read() as connection:
        found = await connection.execute(select(*_COLUMNS).where(schema.users.c.name == name))
        rows = await _complete(hub, connection, found.all(), with_state=with_state, with_stopped=True)
    if not rows:
        raise NotFound(f"No such user: {name}")
    return rows[0]


async def users_named(hub: "HubContext", names: Sequence[str]) -> list[UserRow]:
    """Those of `names` that exist, in the order given."""
    found: dict[str, UserRow] = {}
    async with hub.store.read() as connection:
        for first in range(0, len(names), CHUNK):
            wanted = schema.users.c.name.in_(names[first : first + CHUNK])
            rows = (await connection.execute(select(*_COLUMNS).where(wanted))).all()
            users = await _complete(hub, connection, rows, with_state=False, with_stopped=True)
            found |= {user.name: user for user in users}
    return [found[name] for name in names if name in found]


async def list_users(hub: "HubContext", query: UserQuery) -> UserPage:
    """One page of users. Raises `Invalid` for an unknown order or state."""
    conditions = _conditions(query)
    order = _order(query.sort)
    # Counted off by id: whole rows of everybody before the page would be sorted on disk.
    chosen = select(schema.users.c.id).where(*conditions).order_by(*order).offset(query.offset).limit(query.limit)
    ids = chosen.subquery("chosen")
    page = select(*_COLUMNS).join(ids, ids.c.id == schema.users.c.id).order_by(*order)
    async with hub.store.read() as connection:
        rows = (await connection.execute(page)).all()
        total = query.offset + len(rows)
        if query.with_total and (len(rows) == query.limit or (query.offset and not rows)):
            count = select(func.count()).select_from(schema.users).where(*conditions)
            total = int((await connection.execute(count)).scalar_one())
        users = await _complete(hub, connection, rows, with_state=query.with_state, with_stopped=query.with_stopped)
    return UserPage(users, total)


def _conditions(query: UserQuery) -> list[ColumnElement[bool]]:
    users = schema.users.c
    conditions: list[ColumnElement[bool]] = []
    if query.users is not None or query.groups is not None:
        visible: list[ColumnElement[bool]] = [users.name.in_(query.users or ())]
        if query.groups:
            members = select(schema.user_groups.c.user_id).join(schema.groups)
            visible.append(users.id.in_(members.where(schema.groups.c.name.in_(query.groups))))
        conditions.append(or_(*visible))
    if query.name_filter:
        conditions.append(users.name.icontains(query.name_filter, autoescape=True))
    # By subquery: active servers are few and indexed, so their users are found first.
    with_server = select(schema.servers.c.user_id)
    if query.state == "active":
        conditions.append(users.id.in_(with_server.where(_ACTIVE)))
    elif query.state == "ready":
        conditions.append(users.id.in_(with_server.where(_READY)))
    elif query.state == "inactive":
        conditions.append(~exists().where(schema.servers.c.user_id == users.id, _ACTIVE))
    elif query.state:
        raise Invalid(
            f"Unrecognized state filter: {query.state}, expecting one of: active, inactive, ready", field="state"
        )
    return conditions


def _order(sort: str) -> list[ColumnElement[Any]]:
    column = _SORTS.get(sort.removeprefix("-"))
    if column is None:
        raise Invalid(f"sort must be one of {', '.join(_SORTS)}, each with or without '-'", field="sort")
    descending = sort.startswith("-")
    order: list[ColumnElement[Any]] = []
    if column is schema.users.c.last_activity:
        # Never active: first ascending, last descending, on every database.
        order.append(column.is_not(None) if not descending else column.is_(None))
    order.append(column.desc() if descending else column.asc())
    if column is not schema.users.c.id:
        order.append(schema.users.c.id.asc())
    return order


async def _complete(
    hub: "HubContext", connection: AsyncConnection, rows: Sequence[Any], *, with_state: bool, with_stopped: bool
) -> list[UserRow]:
    """Groups, roles and servers of these users: two queries."""
    if not rows:
        return []
    queries, which = _choose([row.id for row in rows])
    groups: dict[int, list[str]] = {}
    roles: dict[int, list[str]] = {}
    for user_id, kind, name in (await connection.execute(queries.memberships, which)).all():
        (roles if kind else groups).setdefault(user_id, []).append(name)
    servers: dict[int, dict[str, ServerFacts]] = {}
    for row in (await connection.execute(queries.servers[with_state, with_stopped], which)).all():
        servers.setdefault(row[1], {})[row[2]] = ServerFacts(*row)
    latest = hub.activity.last_user
    users = []
    for row in rows:
        user_id, name, admin, created, last_activity, user_info = row
        seen = latest(user_id)
        own = [role_rules.USER, *([role_rules.ADMIN] if admin else ()), *roles.get(user_id, ())]
        users.append(
            UserRow(
                id=user_id,
                name=name,
                admin=admin,
                created=created,
                last_activity=seen if seen and (last_activity is None or seen > last_activity) else last_activity,
                user_info=user_info,
                groups=sorted(groups.get(user_id, ())),
                roles=sorted(set(own)) if len(own) > 1 else own,
                servers=servers.get(user_id, {}),
            )
        )
    return users


@dataclass(frozen=True, slots=True)
class _Queries:
    """What is read along with a page of users, built once. Keys of `servers`: with state, with stopped ones."""

    memberships: Executable
    servers: Mapping[tuple[bool, bool], Executable]


def _queries(of_users: Callable[[ColumnElement[int]], ColumnElement[bool]]) -> _Queries:
    members, assigned, servers = schema.user_groups.c, schema.user_roles.c, schema.servers.c
    # Names of groups and of stored roles in one go: a query costs more than the rows it returns.
    memberships = union_all(
        select(members.user_id, literal(0), schema.groups.c.name)
        .join_from(schema.user_groups, schema.groups, schema.groups.c.id == members.group_id)
        .where(of_users(members.user_id)),
        select(assigned.user_id, literal(1), schema.roles.c.name)
        .join_from(schema.user_roles, schema.roles, schema.roles.c.id == assigned.role_id)
        .where(of_users(assigned.user_id)),
    )
    some = select(
        servers.id,
        servers.user_id,
        servers.name,
        servers.display_name,
        servers.desired,
        servers.observed,
        servers.started,
        servers.last_activity,
        servers.user_options,
    )
    some = some.where(of_users(servers.user_id)).order_by(servers.user_id, servers.name)
    return _Queries(
        memberships,
        {
            (False, True): some,
            (True, True): some.add_columns(servers.state),
            (False, False): some.where(_ACTIVE),
            (True, False): some.add_columns(servers.state).where(_ACTIVE),
        },
    )


_IDS: BindParameter[Any] = bindparam("ids", expanding=True)
_SPARSE = _queries(lambda column: column.in_(_IDS))
# A page in order of ids is a range: two parameters in place of two hundred.
_DENSE = _queries(lambda column: column.between(bindparam("low"), bindparam("high")))
# So much of a range may be of users who are not on the page.
_DENSE_ENOUGH = 4


def _choose(ids: Sequence[int]) -> tuple[_Queries, dict[str, Any]]:
    low, high = min(ids), max(ids)
    if high - low < _DENSE_ENOUGH * len(ids):
        return _DENSE, {"low": low, "high": high}
    return _SPARSE, {"ids": ids}
