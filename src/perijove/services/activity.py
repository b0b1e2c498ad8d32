"""Last activity: the one write-behind buffer of the hub.

Times are kept in memory and written in one batch every few seconds. A crash of the process loses what
was not yet written (at most `FLUSH_SECONDS`): a server may then look idle for that much longer, which
the next report corrects, and an authenticator is asked again a little early. Nothing else may use this
buffer. Times never move back: neither here nor in the rows (the UPDATE compares).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING
from urllib.parse import unquote

from sqlalchemy import Table, bindparam, or_, select, update

from perijove.domain.errors import HubError, Invalid, NotFound
from perijove.lib.log import get_logger
from perijove.store import schema

if TYPE_CHECKING:
    from perijove.services.context import HubContext
    from perijove.services.identity_cache import Identity

log = get_logger(__name__)

FLUSH_SECONDS = 5.0
# A request does not move a time for less than this: they come in bursts. What servers and proxies report is
# taken exactly: they report seldom, and the last report before a pause is what idleness is counted from.
RESOLUTION = timedelta(seconds=30)
# A report may be this far ahead of our clock.
MAX_AHEAD = timedelta(minutes=59)
# What was seen lately is kept to answer from and to skip small moves; dropped whole when it grows past this.
MAX_REMEMBERED = 200_000
# Names looked up in one query.
CHUNK = 500

_COLUMNS: dict[str, tuple[Table, str]] = {
    "user": (schema.users, "last_activity"),
    "server": (schema.servers, "last_activity"),
    "token": (schema.tokens, "last_activity"),
    "session": (schema.sessions, "last_seen"),
    "refresh": (schema.users, "auth_refreshed"),
}
# A user, once for each server and once without any. Built once: building costs more than asking.
_REPORTER = (
    select(schema.users.c.id, schema.servers.c.id, schema.servers.c.name)
    .outerjoin(schema.servers, schema.servers.c.user_id == schema.users.c.id)
    .where(schema.users.c.name == bindparam("name"))
)


class ActivityBuffer:
    """What was seen and not yet written."""

    def __init__(self) -> None:
        self._seen: dict[str, dict[int, datetime]] = {kind: {} for kind in _COLUMNS}
        self._unwritten: dict[str, dict[int, datetime]] = {kind: {} for kind in _COLUMNS}

    def saw_user(self, user_id: int, at: datetime) -> None:
        self._saw("user", user_id, at)

    def saw_server(self, server_id: int, at: datetime) -> None:
        self._saw("server", server_id, at)

    def saw_token(self, token_id: int, at: datetime) -> None:
        self._saw("token", token_id, at)

    def saw_session(self, session_id: int, at: datetime) -> None:
        self._saw("session", session_id, at)

    def saw_refresh(self, user_id: int, at: datetime) -> None:
        """The authenticator said yes again."""
        self._saw("refresh", user_id, at)

    def saw_identity(self, identity: "Identity", at: datetime) -> None:
        """A request was made with this credential."""
        if identity.token_id is not None:
            self._saw("token", identity.token_id, at, RESOLUTION)
        elif identity.session_id is not None:
            self._saw("session", identity.session_id, at, RESOLUTION)
        if identity.kind == "user" and identity.counts_as_activity:
            self._saw("user", identity.id, at, RESOLUTION)

    def last_user(self, user_id: int) -> datetime | None:
        """The latest time seen by this process, which the row may not have yet."""
        return self._seen["user"].get(user_id)

    def last_server(self, server_id: int) -> datetime | None:
        return self._seen["server"].get(server_id)

    def last_refresh(self, user_id: int) -> datetime | None:
        return self._seen["refresh"].get(user_id)

    def _saw(self, kind: str, key: int, at: datetime, resolution: timedelta = timedelta()) -> None:
        seen = self._seen[kind]
        last = seen.get(key)
        if last is not None and (at <= last or at < last + resolution):
            return
        if len(seen) >= MAX_REMEMBERED:
            seen.clear()
        seen[key] = at
        self._unwritten[kind][key] = at

    def take(self) -> dict[str, dict[int, datetime]]:
        """Everything unwritten, which is then the caller's to write or to give back."""
        taken, self._unwritten = self._unwritten, {kind: {} for kind in _COLUMNS}
        return taken

    def give_back(self, taken: Mapping[str, Mapping[int, datetime]]) -> None:
        """A flush failed; newer times seen meanwhile win."""
        for kind, times in taken.items():
            self._unwritten[kind] = {**times, **self._unwritten[kind]}


async def flush(hub: "HubContext") -> int:
    """Write what is buffered; returns how many rows. Also called at shutdown."""
    taken = hub.activity.take()
    count = sum(map(len, taken.values()))
    if not count:
        return 0
    try:
        async with hub.store.transaction() as tx:
            for kind, times in taken.items():
                if times:
                    table, name = _COLUMNS[kind]
                    column = table.c[name]
                    # In order of ids: two replicas that flush the same rows cannot deadlock.
                    rows = [{"row_id": key, "at": times[key]} for key in sorted(times)]
                    at = bindparam("at", type_=column.type)
                    newer = or_(column.is_(None), column < at)
                    await tx.execute(
                        update(table).where(table.c.id == bindparam("row_id"), newer).values({column: at}),
                        rows,
                    )
    except BaseException:
        hub.activity.give_back(taken)
        raise
    return count


async def flush_forever(hub: "HubContext") -> None:
    """Background task: flush every few seconds; a failed flush keeps its times for the next."""
    while True:
        await hub.clock.sleep(FLUSH_SECONDS)
        try:
            await flush(hub)
        except HubError as error:
            log.warning("activity_not_written", error=str(error))


@dataclass(frozen=True, slots=True)
class Reporter:
    """A user and the servers they have: whom reports can be about."""

    user_id: int
    # Name -> id.
    servers: Mapping[str, int]


async def reporter(hub: "HubContext", user: str) -> Reporter:
    """Raises `NotFound`."""
    async with hub.store.read() as connection:
        rows = (await connection.execute(_REPORTER, {"name": user})).all()
    if not rows:
        raise NotFound(f"No such user: {user}")
    return Reporter(rows[0][0], {name: server_id for _, server_id, name in rows if server_id is not None})


async def report(
    hub: "HubContext", user: str, *, last_activity: datetime | None, servers: Mapping[str, datetime]
) -> None:
    """A server's activity report. Raises `NotFound`, `Invalid` (unknown server, more than 59 min ahead)."""
    _refuse_future(hub, last_activity, servers)
    note(hub, await reporter(hub, user), last_activity=last_activity, servers=servers)


def note(
    hub: "HubContext", whose: Reporter, *, last_activity: datetime | None, servers: Mapping[str, datetime]
) -> None:
    """A report about somebody known already: all of it or, raising `Invalid`, nothing."""
    _refuse_future(hub, last_activity, servers)
    if unknown := [name for name in servers if name not in whose.servers]:
        raise Invalid(f"No such server: {unknown[0]!r}", field="servers")
    if last_activity is not None:
        hub.activity.saw_user(whose.user_id, last_activity)
    for name, at in servers.items():
        hub.activity.saw_server(whose.servers[name], at)


def _refuse_future(hub: "HubContext", last_activity: datetime | None, servers: Mapping[str, datetime]) -> None:
    latest = hub.store.now() + MAX_AHEAD
    for at in (last_activity, *servers.values()):
        if at is not None and at > latest:
            raise Invalid(f"last_activity is in the future: {at.isoformat()}", field="last_activity")


async def report_routes(hub: "HubContext", times: Mapping[str, datetime]) -> None:
    """The proxies' report: route prefix (`/user/alice/`) to last activity. Unknown prefixes are ignored."""
    if not times:
        return
    wanted: dict[tuple[str, str], datetime] = {}
    latest = hub.store.now()
    start = f"{hub.options.base_url}user/"
    for route, at in times.items():
        # Maybe with the user's host before it; the path says all that there is to know.
        prefix = route[max(route.find("/"), 0) :]
        user, _, server = prefix.removeprefix(start).strip("/").partition("/")
        if prefix.startswith(start) and user:
            wanted[unquote(user), unquote(server)] = min(at, latest)
    u, s = schema.users.c, schema.servers.c
    statement = select(s.id, u.id, u.name, s.name).join(schema.users, u.id == s.user_id)
    names = sorted({user for user, _ in wanted})
    for first in range(0, len(names), CHUNK):
        async with hub.store.read() as connection:
            rows = await connection.execute(statement.where(u.name.in_(names[first : first + CHUNK])))
        for server_id, user_id, user, server in rows:
            if (seen := wanted.get((user, server))) is not None:
                hub.activity.saw_server(server_id, seen)
                hub.activity.saw_user(user_id, seen)
