"""Who may start one more server, counted inside the transaction that starts it.

Counting in the writing transaction makes the limits exact across replicas: the database lets one
writer at a time see and take the last place. Each count is one look into an index.
"""

from datetime import timedelta
from inspect import isawaitable
from types import SimpleNamespace
from typing import Any

import msgspec
from sqlalchemy import delete, func, insert, select, update

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


async def check(hub: HubContext, tx: Transaction, *, user_name: str, user_id: int, name: str, exists: bool) -> None:
    """Raises `Invalid` or `LimitReached` when the start must not be."""
    if name and not exists:
        await check_name(hub, tx, user_name=user_name, user_id=user_id, name=name)
    elif name and not hub.options.allow_named_servers:
        raise Invalid("Named servers are not enabled.", field="name")
    limits = hub.options
    if limits.consecutive_failure_limit:
        await _check_failures(tx, limits.consecutive_failure_limit)
    if limits.concurrent_spawn_limit:
        # One that still stops starts as soon as it has.
        on_the_way = (Observed.STOPPED, Observed.STARTING, Observed.STOPPING)
        pending = await _count(tx, on_the_way, desired=Desired.RUNNING)
        if pending >= limits.concurrent_spawn_limit:
            metrics.spawn_refused("throttled")
            # Spread those who come back; the id is as good as a random number and repeatable.
            raise LimitReached(
                "Too many users are starting servers right now. Try again shortly.",
                retry_after_seconds=30 + user_id % 31,
            )
    if limits.active_server_limit:
        wanted = await _count(tx, (Observed.STOPPED,), desired=Desired.RUNNING)
        there = await _count(tx, (Observed.STARTING, Observed.RUNNING, Observed.STOPPING))
        if wanted + there >= limits.active_server_limit:
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


async def _count(tx: Transaction, observed: tuple[Observed, ...], *, desired: Desired | None = None) -> int:
    statement = select(func.count()).where(servers.c.observed.in_(observed))
    # Naming every value keeps the search inside the (desired, observed) index.
    statement = (
        statement.where(servers.c.desired == desired)
        if desired
        else statement.where(servers.c.desired.in_(list(Desired)))
    )
    return int((await tx.execute(statement)).scalar_one())


async def _check_failures(tx: Transaction, limit: int) -> None:
    record = await _failures(tx)
    if record["count"] >= limit:
        left = record["at"] + FAILURE_PAUSE.total_seconds() - tx.now.timestamp()
        if left > 0:
            raise LimitReached(
                f"The last {record['count']} server starts failed, so starts pause for a moment. "
                "Tell your administrator if this goes on.",
                retry_after_seconds=int(left) + 1,
            )


async def note_outcome(tx: Transaction, *, limit: int, failed: bool) -> None:
    """Count failures in a row; a good start ends the row. Nothing is written when no limit is set."""
    if not limit:
        return
    record = await _failures(tx)
    if not failed:
        if record["count"]:
            await tx.execute(delete(meta).where(meta.c.key == _FAILURES))
        return
    value = msgspec.json.encode({"count": record["count"] + 1, "at": tx.now.timestamp()}).decode()
    if record["count"]:
        await tx.execute(update(meta).where(meta.c.key == _FAILURES).values(value=value))
    else:
        await tx.execute(insert(meta), {"key": _FAILURES, "value": value})


async def _failures(tx: Transaction) -> dict[str, Any]:
    value = (await tx.execute(select(meta.c.value).where(meta.c.key == _FAILURES))).scalar()
    return msgspec.json.decode(value) if value else {"count": 0, "at": 0.0}
