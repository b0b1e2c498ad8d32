"""Asking the authenticator again whether a person is still welcome (`auth_refresh_age`).

When it was last asked is in the row, so replicas share it. One question at a time per user and process.
An authenticator that does not answer (its provider is down) is tolerated for a while: throwing a class
out of running notebooks because a provider blinks helps nobody.
"""

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

from sqlalchemy import Row, select, update

from perijove.domain.errors import Unavailable
from perijove.domain.events import Event, Kind
from perijove.domain.ids import UserId
from perijove.domain.ports import AuthModel
from perijove.lib.log import get_logger
from perijove.services import profile
from perijove.services.audit import record
from perijove.services.owners import refresh_due
from perijove.services.user_facts import user_facts
from perijove.store import schema

if TYPE_CHECKING:
    from perijove.services.context import HubContext

log = get_logger(__name__)

# How many refresh ages an authenticator may fail to answer before its users are told "unavailable".
GRACE_AGES = 12

# Locks live while somebody waits on them. Users of different hubs in one process (tests) share names, so
# the key has the database's mark.
_asking: WeakValueDictionary[tuple[str, str], asyncio.Lock] = WeakValueDictionary()


async def refresh_user(hub: "HubContext", user: str, *, force: bool = False) -> bool:
    """Ask if the last yes is older than `auth_refresh_age` (or `force`: before a spawn).

    False: the person must log in again. Raises `Unavailable` when nobody could say for too long.
    """
    lock = _asking.setdefault((hub.store.epoch, user), asyncio.Lock())
    async with lock:
        async with hub.store.read() as connection:
            row = (await connection.execute(select(schema.users).where(schema.users.c.name == user))).first()
        if row is None or row.auth_stale:
            return False
        due = refresh_due(hub, row)
        asked = hub.activity.last_refresh(row.id)
        if asked is not None and due is not None:
            due = max(due, asked + timedelta(seconds=hub.authenticator.auth_refresh_age_seconds))
        if not force and (due is None or due > hub.store.now()):
            return True
        return await _ask(hub, row)


async def _ask(hub: "HubContext", row: Row[Any]) -> bool:
    facts = await user_facts(hub, UserId(row.id), with_auth_state=True)
    try:
        answer = await hub.authenticator.refresh(facts)
    except Exception as error:
        log.warning("auth_refresh_failed", user=row.name, error=repr(error))
        age = hub.authenticator.auth_refresh_age_seconds
        known = (row.created, row.auth_refreshed, hub.activity.last_refresh(row.id))
        last = max(time for time in known if time is not None)
        if hub.store.now() - last <= timedelta(seconds=max(age, 60) * GRACE_AGES):
            return True
        raise Unavailable("The identity provider does not answer.", retry_after_seconds=30) from error
    if answer is True:
        hub.activity.saw_refresh(row.id, hub.store.now())
        return True
    if isinstance(answer, AuthModel):
        sealed = await profile.seal(hub, answer)
        async with hub.store.transaction() as tx:
            await profile.apply(hub, tx, row, answer, sealed)
        return True
    async with hub.store.transaction() as tx:
        await tx.execute(update(schema.users).where(schema.users.c.id == row.id).values(auth_stale=True))
        await record(tx, "auth.stale", actor="authenticator", subject=row.name)
        tx.emit(Event(Kind.IDENTITY, row.name))
    return False
