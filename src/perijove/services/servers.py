"""Asking for servers: start, stop, cancel, create, change, remove. Each writes intent in one transaction.

The reconciler acts on it, on this replica or another. Everything that refuses a start (limits, names,
failures in a row) refuses here, inside the transaction that would have written the intent: two requests
on two replicas cannot both take the last place.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from functools import cache, partial
from typing import Any

from sqlalchemy import Select, bindparam, delete, insert, select, update

from perijove.domain import names
from perijove.domain.errors import Conflict, Forbidden, Invalid, NotFound
from perijove.domain.events import Event, Kind
from perijove.domain.ids import ServerId, UserId
from perijove.domain.states import Desired, Observed
from perijove.lib import faults
from perijove.services import spawn_limits
from perijove.services.audit import record
from perijove.services.context import HubContext
from perijove.services.refresh import refresh_user
from perijove.services.server_rows import COLUMNS, ServerRow, find, fresh_row, from_row
from perijove.services.share_visitors import forget_visitors
from perijove.store.database import Transaction
from perijove.store.schema import server_events, servers, shares, users

# A pending row that no replica has claimed by then is ended as failed, by anyone.
CLAIM_GRACE = timedelta(seconds=120)
STOP_GRACE = timedelta(seconds=180)
# The last progress event of a start that somebody did not want any more.
CANCELLED: Mapping[str, Any] = {"progress": 100, "failed": True, "message": "Spawn cancelled"}


class StartOutcome(StrEnum):
    STARTED = "started"
    ALREADY_PENDING = "already_pending"
    ALREADY_RUNNING = "already_running"


class StopOutcome(StrEnum):
    STOPPING = "stopping"
    ALREADY_STOPPED = "already_stopped"


async def request_start(
    hub: HubContext,
    *,
    user: str,
    name: str = "",
    options: Mapping[str, Any] | None = None,
    display_name: str | None = None,
    actor: str,
    address: str = "",
) -> tuple[StartOutcome, ServerRow]:
    """Want this server running. `options` None: those of the last start.

    A server that is stopping is started again after its stop: the intent waits in the row.

    Raises:
        NotFound: no such user.
        Invalid: the name, or named servers are off, or one too many.
        LimitReached: spawn limits, with Retry-After.
        Forbidden: `refresh_pre_spawn` is on and the authenticator wants a new login first.
    """
    if hub.authenticator.refresh_pre_spawn:
        await _refresh(hub, user)
    wanted = _Wanted(user, name, options, display_name, actor, address)
    outcome, row = await hub.store.together(partial(_want_running, hub, wanted))
    if outcome is StartOutcome.STARTED:
        faults.hit("start.requested")
    return outcome, row


@dataclass(frozen=True, slots=True)
class _Wanted:
    """A start that is asked for."""

    user: str
    name: str
    options: Mapping[str, Any] | None
    display_name: str | None
    actor: str
    address: str


async def _want_running(hub: HubContext, wanted: _Wanted, tx: Transaction) -> tuple[StartOutcome, ServerRow]:
    user, name = wanted.user, wanted.name
    limits = spawn_limits.limits_of(hub)
    found = (await tx.execute(_start(limits), {"user": user, "server": name})).first()
    if found is None:
        raise NotFound(f"No such user: {user!r}.")
    row = None if found.id is None else from_row(found)
    if row is not None and row.desired is Desired.RUNNING:
        running = row.observed is Observed.RUNNING
        return (StartOutcome.ALREADY_RUNNING if running else StartOutcome.ALREADY_PENDING), row
    if row is not None and row.desired is Desired.DELETED:
        raise Conflict(f"Server {row.full_name!r} is being deleted.")
    if name and row is None:
        await spawn_limits.check_name(hub, tx, user_name=user, user_id=found.owner_id, name=name)
    elif name and not hub.options.allow_named_servers:
        raise Invalid("Named servers are not enabled.", field="name")
    spawn_limits.check(limits, found, tx.now)
    values: dict[str, Any] = {
        "desired": Desired.RUNNING,
        "generation": row.generation + 1 if row else 1,
        "requested_by": wanted.actor,
        "requested_at": tx.now,
        "deadline": tx.now + CLAIM_GRACE,
        "failure": None,
        "next_attempt": None,
        "attempts": 0,
    }
    if wanted.options is not None:
        values["user_options"] = dict(wanted.options)
    if wanted.display_name:
        values["display_name"] = names.clean_display_name(wanted.display_name)
    if row is None:
        row = await _create(tx, found.owner_id, user, name, **values)
    else:
        await tx.execute(update(servers).where(servers.c.id == row.id).values(values))
        await tx.execute(delete(server_events).where(server_events.c.server_id == row.id))
        row = row.with_(values)
    append_event(tx, row, {"progress": 0, "message": "Server requested"})
    await record(tx, "server.start", actor=wanted.actor, subject=row.full_name, address=wanted.address)
    tx.emit(changed(row))
    return StartOutcome.STARTED, row


@cache
def _start(limits: spawn_limits.Limits) -> Select[Any]:
    """All that a request for a start depends on, in one look: a storm of them waits for the one writer."""
    owner = users.c.id.label("owner_id")
    joined = users.outerjoin(servers, (servers.c.user_id == users.c.id) & (servers.c.name == bindparam("server")))
    asked = select(owner, *COLUMNS, *spawn_limits.counts(limits)).select_from(joined)
    return asked.where(users.c.name == bindparam("user"))


async def request_stop(
    hub: HubContext,
    *,
    user: str,
    name: str = "",
    actor: str,
    remove: bool = False,
    reason: str = "",
    address: str = "",
) -> tuple[StopOutcome, ServerRow]:
    """Want this server stopped; a pending start is cancelled. `remove` deletes a named server, storage hook included.

    Raises:
        NotFound: no such server.
        Invalid: `remove` of the default server.
        Forbidden: `refresh_pre_stop` is on and the authenticator wants a new login first.
    """
    if hub.authenticator.refresh_pre_stop:
        await _refresh(hub, user)
    if remove and not name:
        raise Invalid("The default server cannot be removed, only stopped.", field="remove")

    async def unwant(tx: Transaction) -> tuple[StopOutcome, ServerRow]:
        row = await find(tx.connection, user, name)
        if row is None:
            raise NotFound(f"{user} has no server {name!r}." if name else f"{user} has no server.")
        return await stop_row(tx, row, actor=actor, remove=remove, reason=reason, address=address)

    outcome, fresh = await hub.store.together(unwant)
    faults.hit("stop.requested")
    return outcome, fresh


async def stop_row(
    tx: Transaction, row: ServerRow, *, actor: str, remove: bool = False, reason: str = "", address: str = ""
) -> tuple[StopOutcome, ServerRow]:
    """The write of `request_stop`, for callers that stop servers as part of something larger."""
    settled = row.observed is Observed.STOPPED and row.desired is Desired.STOPPED
    if (settled and not remove) or row.desired is Desired.DELETED:
        return (StopOutcome.ALREADY_STOPPED if settled else StopOutcome.STOPPING), row
    wanted = Desired.DELETED if remove else Desired.STOPPED
    values: dict[str, Any] = {
        "desired": wanted,
        "deadline": tx.now + STOP_GRACE,
        "next_attempt": None,
        "attempts": 0,
    }
    # Nothing was ever called for a start that nobody has claimed: there is nothing to stop. Whoever has
    # claimed it, and writes next, finds it unwanted and says so itself.
    if row.observed is Observed.STOPPED and not remove and not await _claimed(tx, row):
        values |= {"deadline": None}
        append_event(tx, row, CANCELLED)
    await tx.execute(update(servers).where(servers.c.id == row.id).values(values))
    await record(
        tx,
        "server.remove" if remove else "server.stop",
        actor=actor,
        subject=row.full_name,
        address=address,
        **({"reason": reason} if reason else {}),
    )
    row = row.with_(values)
    tx.emit(changed(row))
    return (StopOutcome.ALREADY_STOPPED if settled and not remove else StopOutcome.STOPPING), row


async def _claimed(tx: Transaction, row: ServerRow) -> bool:
    expires = (await tx.execute(select(servers.c.lease_expires).where(servers.c.id == row.id))).scalar()
    return expires is not None and expires > tx.now


async def create_server(
    hub: HubContext,
    *,
    user: str,
    name: str,
    actor: str,
    display_name: str | None = None,
    options: Mapping[str, Any] | None = None,
) -> ServerRow:
    """A named server that is not started yet. Raises `Conflict` when it exists, `Invalid`, `NotFound`."""
    async with hub.store.transaction() as tx:
        if not name or await find(tx.connection, user, name):
            raise Conflict(f"{user} already has a server named {name!r}.")
        user_id = await _user_id(tx, user)
        await spawn_limits.check_name(hub, tx, user_name=user, user_id=user_id, name=name)
        shown = {"display_name": names.clean_display_name(display_name)} if display_name else {}
        row = await _create(tx, user_id, user, name, user_options=dict(options or {}), **shown)
        await record(tx, "server.create", actor=actor, subject=row.full_name)
        tx.emit(changed(row))
        return row


async def ensure_default(tx: Transaction, user: str) -> ServerRow:
    """A user's default server, its row made if nobody has started it yet. Raises `NotFound`."""
    row = await find(tx.connection, user, "")
    return row or await _create(tx, await _user_id(tx, user), user, "")


async def update_server(
    hub: HubContext,
    *,
    user: str,
    name: str,
    actor: str,
    new_name: str | None = None,
    display_name: str | None = None,
    options: Mapping[str, Any] | None = None,
) -> ServerRow:
    """Change a stopped server. Raises `NotFound`, `Invalid` (active, or the name), `Conflict` (name taken)."""
    async with hub.store.transaction() as tx:
        row = await find(tx.connection, user, name) if name else await ensure_default(tx, user)
        if row is None:
            raise NotFound(f"{user} has no server {name!r}.")
        if row.active:
            raise Invalid(f"{row.full_name} is active; stop it first.")
        values: dict[str, Any] = {}
        if new_name is not None and new_name != name:
            if not name:
                raise Invalid("The default server cannot be renamed.", field="name")
            names.check_server_name(new_name)
            if await find(tx.connection, user, new_name):
                raise Conflict(f"{user} already has a server named {new_name!r}.")
            values["name"] = new_name
            await forget_visitors(tx, shares.c.server_id == row.id)
        if display_name is not None:
            values["display_name"] = names.clean_display_name(display_name)
        if options is not None:
            values["user_options"] = dict(options)
        if values:
            await tx.execute(update(servers).where(servers.c.id == row.id).values(values))
            await record(tx, "server.update", actor=actor, subject=row.full_name, changed=sorted(values))
            row = row.with_(values)
            tx.emit(changed(row))
        return row


def append_event(tx: Transaction, row: ServerRow, event: Mapping[str, Any]) -> None:
    """Add one progress event to the current start and wake its listeners."""
    told = {"server_id": row.id, "generation": row.generation, "at": tx.now, "event": dict(event)}
    tx.append(server_events, told)
    tx.emit(Event(Kind.PROGRESS, str(row.id)))


async def _refresh(hub: HubContext, user: str) -> None:
    if not await refresh_user(hub, user, force=True):
        raise Forbidden(f"The login of {user} has expired. Log in again, then repeat this.")


def changed(row: ServerRow) -> Event:
    """What wakes those who watch this server. `row` as it is written: it spares many of them to look."""
    said = {"user": row.user_name, "name": row.name, "pending": row.pending, "generation": row.generation}
    return Event(Kind.STARTING if row.pending == "spawn" else Kind.SERVER, str(row.id), said)


async def _user_id(tx: Transaction, user: str) -> UserId:
    found = (await tx.execute(select(users.c.id).where(users.c.name == user))).scalar()
    if found is None:
        raise NotFound(f"No such user: {user!r}.")
    return UserId(found)


async def _create(tx: Transaction, user_id: UserId, user: str, name: str, **wanted: Any) -> ServerRow:
    made: dict[str, Any] = {
        "user_id": user_id,
        "name": name,
        "display_name": name,
        "created": tx.now,
        "desired": Desired.STOPPED,
        "observed": Observed.STOPPED,
        "user_options": {},
        "state": {},
        **wanted,
    }
    result = await tx.execute(insert(servers), made)
    assert result.inserted_primary_key is not None
    return fresh_row(ServerId(result.inserted_primary_key[0]), user, made)
