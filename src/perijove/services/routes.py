"""The route table: a projection of rows. Every replica computes the same from the same revision."""

from collections.abc import Iterable
from typing import Any

from sqlalchemy import func, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from perijove.domain.events import Event, Kind
from perijove.domain.states import Desired, Observed
from perijove.services.context import HubContext
from perijove.store.schema import outbox, revision, servers, services, users

Route = dict[str, Any]
# The proxy's own word for its list of hubs.
HUB_TARGET = "hub"


def _server_routes() -> Any:
    return (
        select(users.c.name.label("user"), servers.c.name.label("server"), servers.c.url)
        .join(users, users.c.id == servers.c.user_id)
        .where(servers.c.observed == Observed.RUNNING, servers.c.desired == Desired.RUNNING, servers.c.url != "")
    )


def _of_server(hub: HubContext, user: str, server: str, url: str) -> Route:
    return {
        "prefix": hub.addresses.server_route(user, server),
        "target": url,
        "data": {"user": user, "server_name": server},
    }


def _of_service(hub: HubContext, name: str, url: str) -> Route:
    return {"prefix": hub.addresses.service_route(name), "target": url.rstrip("/"), "data": {"service": name}}


def fixed_routes(hub: HubContext) -> list[Route]:
    """Those of the configuration: everything to the hub, and `extra_routes`."""
    extra = [
        {"prefix": prefix if prefix.endswith("/") else f"{prefix}/", "target": target, "data": {"extra": True}}
        for prefix, target in hub.options.extra_routes.items()
    ]
    return [{"prefix": "/", "target": HUB_TARGET, "data": {"hub": True}}, *extra]


async def all_routes(hub: HubContext) -> tuple[int, list[Route]]:
    """Revision and table. The revision is read first: what changes meanwhile is told again, which is harmless."""
    async with hub.store.read() as connection:
        number = (await connection.execute(select(revision.c.value))).scalar_one()
        found = [_of_server(hub, *row) for row in await connection.execute(_server_routes())]
        others = await _other_routes(hub, connection)
    return int(number), [*others, *found]


async def some_routes(hub: HubContext, *, offset: int, limit: int) -> tuple[list[Route], int]:
    """One page of the table, and how many there are."""
    listed = _server_routes().order_by(servers.c.id)
    async with hub.store.read() as connection:
        others = await _other_routes(hub, connection)
        count = select(func.count()).select_from(_server_routes().subquery())
        total = len(others) + int((await connection.execute(count)).scalar_one())
        found = others[offset : offset + limit]
        if len(found) < limit:
            listed = listed.offset(max(0, offset - len(others))).limit(limit - len(found))
            found += [_of_server(hub, *row) for row in await connection.execute(listed)]
    return found, total


async def _other_routes(hub: HubContext, connection: AsyncConnection) -> list[Route]:
    there = await connection.execute(select(services.c.name, services.c.url).where(services.c.url.is_not(None)))
    return [*fixed_routes(hub), *(_of_service(hub, row.name, row.url) for row in there)]


async def changes(hub: HubContext, events: Iterable[Event]) -> tuple[list[Route], list[str]]:
    """What the rows now say about the servers and services that `events` name: routes to put, prefixes to delete."""
    wanted = {(e.data["user"], e.data["name"]) for e in events if e.kind == Kind.SERVER and "user" in e.data}
    names = {event.key for event in events if event.kind == Kind.ROUTE}
    put: list[Route] = []
    async with hub.store.read() as connection:
        if wanted:
            # Several servers of one user are read together: one indexed query a batch.
            condition = or_(*((users.c.name == user) & (servers.c.name == name) for user, name in wanted))
            put += [_of_server(hub, *row) for row in await connection.execute(_server_routes().where(condition))]
        if names:
            put += await _service_routes(hub, connection, names)
    there = {route["prefix"] for route in put}
    named = {hub.addresses.server_route(user, name) for user, name in wanted} | {
        hub.addresses.service_route(name) for name in names
    }
    return put, sorted(named - there)


async def _service_routes(hub: HubContext, connection: AsyncConnection, names: set[str]) -> list[Route]:
    statement = select(services.c.name, services.c.url).where(services.c.name.in_(names), services.c.url.is_not(None))
    return [_of_service(hub, row.name, row.url) for row in await connection.execute(statement)]


async def latest_revision(hub: HubContext) -> int:
    """Of the last change to any route; 0 when it is too long ago to be remembered."""
    async with hub.store.read() as connection:
        return int((await connection.execute(_LATEST)).scalar() or 0)


_LATEST = (
    select(outbox.c.revision)
    .where(outbox.c.kind.in_([Kind.SERVER, Kind.ROUTE]))
    .order_by(outbox.c.revision.desc())
    .limit(1)
)


async def events_since(hub: HubContext, since: int) -> list[Event] | None:
    """Outbox rows after `since`, oldest first; None when some of them are gone already."""
    async with hub.store.read() as connection:
        rows = (
            await connection.execute(select(outbox).where(outbox.c.revision > since).order_by(outbox.c.revision))
        ).all()
        newest = (await connection.execute(select(revision.c.value))).scalar_one()
    if since > newest:
        return None
    complete = (rows[0].revision == since + 1) if rows else newest == since
    if not complete:
        return None
    return [Event(Kind(row.kind), row.key, row.data, row.revision) for row in rows]
