"""Idle culling, built in: what `jupyterhub-idle-culler` does as a service, by indexed queries in the hub.

The policy is z2jh's `cull.*`. Times are what servers reported (a kernel's work counts, an open tab alone
does not) and what the proxies saw.
"""

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, and_, exists, func, or_, select

from perijove.domain.errors import Conflict, Invalid, NotFound
from perijove.domain.states import Desired, Observed
from perijove.lib.log import get_logger
from perijove.services.context import HubContext
from perijove.services.removal import remove_user
from perijove.services.server_rows import from_row, query
from perijove.services.servers import stop_row
from perijove.store.schema import servers, users

log = get_logger(__name__)

BATCH = 100
ACTOR = "culler"


async def cull(hub: HubContext) -> int:
    """Stop idle and over-aged servers, and delete idle users if asked; returns how many."""
    culled = await _cull_servers(hub)
    if hub.options.cull.users:
        culled += await _cull_users(hub)
    return culled


async def _cull_servers(hub: HubContext) -> int:
    policy = hub.options.cull
    count = 0
    while True:
        async with hub.store.transaction() as tx:
            condition = _idle(tx.now, policy.timeout_seconds, policy.max_age_seconds)
            running = and_(servers.c.observed == Observed.RUNNING, servers.c.desired == Desired.RUNNING, condition)
            if not policy.admin_users:
                running = and_(running, users.c.admin.is_(False))
            rows = [from_row(row) for row in await tx.execute(query(running).limit(policy.concurrency))]
            for row in rows:
                remove = bool(row.name) and policy.remove_named_servers
                await stop_row(tx, row, actor=ACTOR, remove=remove, reason="idle")
        for row in rows:
            log.info(
                "culled idle server",
                user=row.user_name,
                server=row.name,
                last_activity=str(row.last_activity),
            )
        count += len(rows)
        if len(rows) < policy.concurrency:
            return count


def _idle(now: datetime, timeout_seconds: float, max_age_seconds: float) -> ColumnElement[bool]:
    seen = func.coalesce(servers.c.last_activity, servers.c.started)
    idle: ColumnElement[bool] = seen < now - timedelta(seconds=timeout_seconds)
    if max_age_seconds:
        return or_(idle, servers.c.started < now - timedelta(seconds=max_age_seconds))
    return idle


async def _cull_users(hub: HubContext) -> int:
    policy = hub.options.cull
    now = hub.store.now()
    seen: Any = func.coalesce(users.c.last_activity, users.c.created)
    idle = seen < now - timedelta(seconds=policy.timeout_seconds)
    if policy.max_age_seconds:
        idle = or_(idle, users.c.created < now - timedelta(seconds=policy.max_age_seconds))
    active = exists().where(
        servers.c.user_id == users.c.id,
        or_(servers.c.observed != Observed.STOPPED, servers.c.desired == Desired.RUNNING),
    )
    condition = and_(idle, ~active)
    if not policy.admin_users:
        condition = and_(condition, users.c.admin.is_(False))
    async with hub.store.read() as connection:
        found = (await connection.execute(select(users.c.name).where(condition).limit(BATCH))).scalars().all()
    for name in found:
        try:
            await remove_user(hub, name, actor=ACTOR)
        except (NotFound, Conflict, Invalid) as error:  # gone, or active again meanwhile
            log.info("user not culled", user=name, why=str(error))
    return len(found)
