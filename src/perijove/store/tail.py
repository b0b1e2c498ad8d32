"""Tails the outbox: how this process hears of commits that others made on the same database.

Other replicas, and the operator's commands, write rows that this process may remember differently. The
tail reads what is newer than it knows twice a second and publishes it. When it cannot read, nobody may
trust memory: `broken` is called once, `mended` when it reads again, and between them caches are off.
"""

import asyncio
from collections.abc import Callable

from sqlalchemy import select

from perijove.domain.errors import Unavailable
from perijove.domain.events import Event, Kind
from perijove.lib.log import get_logger
from perijove.store.database import Store
from perijove.store.schema import outbox

log = get_logger(__name__)

# Half of the second within which a revocation must hold everywhere.
INTERVAL_SECONDS = 0.4
LIMIT = 1000


async def tail_forever(store: Store, *, since: int, broken: Callable[[], None], mended: Callable[[], None]) -> None:
    """Publish events of other writers after revision `since`, until cancelled."""
    last = since
    whole = True
    while True:
        await asyncio.sleep(INTERVAL_SECONDS)
        try:
            newest = await store.revision()
            if newest > last:
                last = await _publish(store, last, newest)
            if not whole:
                whole = True
                store.bus.lag()
                mended()
        except Unavailable as error:
            if whole:
                log.warning("the feed of changes is broken; nothing is answered from memory", error=str(error))
                whole = False
                broken()


async def _publish(store: Store, last: int, newest: int) -> int:
    """Publish what others committed; returns the revision read up to."""
    own = store.forget_own(newest)
    if len(own) == newest - last:
        return newest
    statement = select(outbox).where(outbox.c.revision > last).order_by(outbox.c.revision).limit(LIMIT)
    async with store.read() as connection:
        rows = (await connection.execute(statement)).all()
    if not rows or rows[0].revision != last + 1:
        # Trimmed before we looked (a long pause): what happened cannot be told, only that something did.
        store.bus.lag()
        return newest
    store.bus.publish(Event(Kind(row.kind), row.key, row.data, row.revision) for row in rows if row.revision not in own)
    return int(rows[-1].revision)
