"""Who may start one more server, counted inside the transaction that starts it.

Counting in the writing transaction makes the limits exact across replicas: the database lets one
writer at a time see and take the last place. Each count is one look into an index.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from functools import cache
from inspect import isawaitable
from types import SimpleNamespace
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import ColumnElement, Row, delete, func, insert, literal, null, select, update

from perijove.domain import names
from perijove.domain.errors import Invalid, LimitReached
from perijove.domain.states import Desired, Observed
from perijove.lib import metrics
from perijove.services.context import HubContext
from perijove.services.hook_user import GroupName, HookUser
from perijove.store.database import Transaction
from perijove.store.schema import groups, meta, servers, user_groups, users

# How long starts pause after `consecutive_failure_limit` failures in a row. Then they are let through
# again: the first good one ends the count, a bad one renews the pause. The hub itself never stops for it.
FAILURE_PAUSE = timedelta(seconds=60)
_FAILURES = "consecutive_failures"


class Limits(NamedTuple):
    """0: no limit."""

    failures: int
    spawning: int
    active: int


def limits_of(hub: HubContext) -> Limits:
    options = hub.options
    return Limits(
        options.consecutive_failure_limit or 0, options.concurrent_spawn_limit or 0, options.active_server_limit or 0
    )


@cache
def counts(limits: Limits) -> tuple[ColumnElement[Any], ...]:
    """What `check` looks at, to be read in the query that finds the server: each but one look into an index."""
    # One that still stops starts as soon as it has.
    on_the_way = (Observed.STOPPED, Observed.STARTING, Observed.STOPPING)
    there = (Observed.STARTING, Observed.RUNNING, Observed.STOPPING)
    failures = select(meta.c.value).where(meta.c.key == _FAILURES).scalar_subquery()
    pending = _count(on_the_way, (Desired.RUNNING,))
    # Naming every value keeps the search inside the (desired, observed) index.
    active = _count((Observed.STOPPED,), (Desired.RUNNING,)) + _count(there, tuple(Desired))
    return (
        (failures if limits.failures else null()).label("limit_failures"),
        (pending if limits.spawning else literal(0)).label("limit_pending"),
        (active if limits.active else literal(0)).label("limit_active"),
    )


def _count(observed: tuple[Observed, ...], desired: tuple[Desired, ...]) -> ColumnElement[int]:
    counted = servers.alias()
    statement = select(func.count()).where(counted.c.observed.in_(observed), counted.c.desired.in_(desired))
    return statement.scalar_subquery()


def check(limits: Limits, found: Row[Any], now: datetime) -> None:
    """Raises `LimitReached` when nobody may start one more server; `found` has `counts`."""
    if limits.failures:
        _check_failures(limits.failures, _decoded(found.limit_failures), now)
    if limits.spawning and found.limit_pending >= limits.spawning:
        metrics.spawn_refused("throttled")
        # Spread those who come back; the id is as good as a random number and repeatable.
        raise LimitReached(
            "Too many users are starting servers right now. Try again shortly.",
            retry_after_seconds=30 + found.owner_id % 31,
        )
    if limits.active and found.limit_active >= limits.active:
        metrics.spawn_refused("too-many-users")
        raise LimitReached(
            "The number of active servers has reached this hub's limit. Try again in a few minutes.",
            retry_after_seconds=300,
        )


async def check_name(hub: HubContext, tx: Transaction, *, user_name: str, user_id: int, name: str) -> None:
    """Whether this user may have one more named server, called so."""
    if not hub.options.allow_named_servers:
        raise Invalid("Named servers are not enabled.", field="name")
    names.check_server_name(name)
    limit: Any = hub.options.named_server_limit_per_user
    if callable(limit):
        limit = limit(SimpleNamespace(current_user=await _hook_user(tx, user_id)))
        if isawaitable(limit):
            limit = await limit
    if limit:
        have = (
            await tx.execute(select(func.count()).where(servers.c.user_id == user_id, servers.c.name != ""))
        ).scalar_one()
        if have >= limit:
            raise Invalid(
                f"User {user_name} already has the maximum of {limit} named servers. Delete one first.",
                field="name",
            )


async def _hook_user(tx: Transaction, user_id: int) -> HookUser:
    """Whose servers are counted; the documented example asks whether that is an admin."""
    user = (await tx.execute(select(users.c.name, users.c.admin).where(users.c.id == user_id))).one()
    member = select(groups.c.name).join_from(user_groups, groups).where(user_groups.c.user_id == user_id)
    return HookUser(user.name, user.admin, tuple(GroupName(name) for name in (await tx.execute(member)).scalars()))


def _check_failures(limit: int, record: Mapping[str, Any], now: datetime) -> None:
    if record["count"] >= limit:
        left = record["at"] + FAILURE_PAUSE.total_seconds() - now.timestamp()
        if left > 0:
            raise LimitReached(
                f"The last {record['count']} server starts failed, so starts pause for a moment. "
                "Tell your administrator if this goes on.",
                retry_after_seconds=int(left) + 1,
            )


async def note_outcomes(tx: Transaction, *, limit: int, failed: Sequence[bool]) -> None:
    """Count failures in a row; a good start ends the row. Nothing is written when no limit is set."""
    if not limit or not failed:
        return
    before = _decoded((await tx.execute(_READ_FAILURES)).scalar())["count"]
    count = before
    for bad in failed:
        count = count + 1 if bad else 0
    value = msgspec.json.encode({"count": count, "at": tx.now.timestamp()}).decode()
    if before and not count:
        await tx.execute(delete(meta).where(meta.c.key == _FAILURES))
    elif before and any(failed):
        await tx.execute(update(meta).where(meta.c.key == _FAILURES).values(value=value))
    elif count:
        await tx.execute(insert(meta), {"key": _FAILURES, "value": value})


_READ_FAILURES = select(meta.c.value).where(meta.c.key == _FAILURES)


def _decoded(value: str | None) -> Mapping[str, Any]:
    return msgspec.json.decode(value) if value else {"count": 0, "at": 0.0}
