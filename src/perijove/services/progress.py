"""Watching a server: its progress as a stream, and waiting until it is settled. Any replica can do either."""

from collections.abc import AsyncIterator, Sequence
from functools import partial
from html import escape
from typing import Any

from sqlalchemy import select

from perijove.domain.errors import Invalid, NotFound
from perijove.domain.events import Event, Kind, Lagged
from perijove.domain.ids import ServerId
from perijove.services.context import HubContext
from perijove.services.server_rows import ServerRow, by_id, by_ids, find
from perijove.services.servers import CANCELLED
from perijove.store.gathering import Answer
from perijove.store.schema import server_events

# How long a watcher trusts hints before it looks at the rows anyway.
REREAD_SECONDS = 2.0
FIRST_LOOK_SECONDS = 0.5


async def wait_settled(hub: HubContext, server_id: ServerId, timeout_seconds: float) -> ServerRow | None:
    """The row once nothing is pending any more, or as it is at the timeout; None when it is deleted."""
    deadline = hub.clock.monotonic() + timeout_seconds
    # Whoever asks has just asked for something that takes a while, so the row is not read at once.
    wait = FIRST_LOOK_SECONDS
    with hub.bus.subscribe(Kind.SERVER, key=str(server_id)) as changes:
        while True:
            left = deadline - hub.clock.monotonic()
            told = await changes.take(min(left, wait)) if left > 0 else []
            if told and all(_still_pending(change) for change in told):
                continue
            row = await _read(hub, server_id)
            left = deadline - hub.clock.monotonic()
            if row is None or row.pending is None or left <= 0 or hub.bus.closed:
                return row
            wait = REREAD_SECONDS


def _still_pending(change: Event | Lagged) -> bool:
    return isinstance(change, Event) and change.data.get("pending") is not None


async def _read(hub: HubContext, server_id: ServerId) -> ServerRow | None:
    """One row, read together with those that others wait for: in a storm they settle by the dozen."""
    return await hub.settled.add(server_id, partial(_read_all, hub))


async def _read_all(hub: HubContext, ids: Sequence[ServerId], answer: Answer[ServerRow | None]) -> None:
    async with hub.store.read() as connection:
        rows = await by_ids(connection, ids)
    answer([rows.get(server_id) for server_id in ids])


async def progress(hub: HubContext, user: str, name: str) -> AsyncIterator[dict[str, Any]]:
    """Events of the current start from its beginning until `ready` or `failed`.

    A ready server yields one ready event; a server that failed yields that failure.

    Raises:
        NotFound: no such server.
        Invalid: it is neither starting, ready nor failed.
    """
    async with hub.store.read() as connection:
        row = await find(connection, user, name)
    if row is None:
        raise NotFound(f"{user} has no server {name!r}." if name else f"{user} has no server.")
    if row.ready:
        return _once(ready_event(hub, row))
    if row.pending != "spawn":
        if row.failure is None:
            raise Invalid(f"{row.full_name} is not starting")
        return _once(failed_event(row))
    return _follow(hub, row.id)


async def events_so_far(hub: HubContext, row: ServerRow) -> list[dict[str, Any]]:
    """What the current start has told until now, for pages that work without a stream."""
    statement = (
        select(server_events.c.event)
        .where(server_events.c.server_id == row.id, server_events.c.generation == row.generation)
        .order_by(server_events.c.id)
    )
    async with hub.store.read() as connection:
        return list((await connection.execute(statement)).scalars())


async def _once(event: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
    yield event


async def _follow(hub: HubContext, server_id: ServerId) -> AsyncIterator[dict[str, Any]]:
    last = 0
    with hub.bus.subscribe(Kind.SERVER, Kind.PROGRESS, key=str(server_id)) as changes:
        while True:
            async with hub.store.read() as connection:
                row = await by_id(connection, server_id)
                found = (
                    await connection.execute(
                        select(server_events.c.id, server_events.c.event)
                        .where(server_events.c.server_id == server_id, server_events.c.id > last)
                        .order_by(server_events.c.id)
                    )
                ).all()
            for event_id, event in found:
                last = event_id
                yield event
                if event.get("ready") or event.get("failed"):
                    return
            # The settling transaction writes the last event together with the state, so a settled row
            # without a last event means that the events were trimmed by a later start.
            if row is None or row.pending != "spawn":
                yield ready_event(hub, row) if row is not None and row.ready else failed_event(row)
                return
            await changes.take(REREAD_SECONDS)
            if hub.bus.closed:
                return


def ready_event(hub: HubContext, row: ServerRow) -> dict[str, Any]:
    """The last event of a good start, as JupyterHub words it."""
    url = hub.addresses.server_url(row.user_name, row.name)
    shown = escape(url)
    return {
        "progress": 100,
        "ready": True,
        "message": f"Server ready at {url}",
        "html_message": f'Server ready at <a href="{shown}">{shown}</a>',
        "url": url,
    }


def failed_event(row: ServerRow | None) -> dict[str, Any]:
    """The last event of a start that came to nothing."""
    failure = row.failure if row is not None else None
    if failure is None:
        return dict(CANCELLED)
    event: dict[str, Any] = {
        "progress": 100,
        "failed": True,
        "message": f"Spawn failed: {failure.get('message', '')}",
    }
    if failure.get("html_message"):
        event["html_message"] = failure["html_message"]
    return event
