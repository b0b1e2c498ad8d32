"""Tails the outbox: how this process hears of commits that others made on the same database.

Other replicas, and the operator's commands, write rows that this process may remember differently. The
tail reads what is newer than it knows at least twice a second and publishes it; PostgreSQL wakes it at once
besides. When it cannot read, nobody may trust memory: `broken` is called once, `mended` when it reads again,
and between them caches are off.
"""

import asyncio
import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, nullcontext, suppress
from typing import Any

from sqlalchemy import select

from perijove.bus.postgres import listen_forever
from perijove.domain.errors import Unavailable
from perijove.domain.events import Event, Kind
from perijove.lib.log import get_logger
from perijove.store.database import Store
from perijove.store.glance import Glance
from perijove.store.schema import outbox

log = get_logger(__name__)

# With `PATIENCE_SECONDS` less than the second within which a revocation must hold everywhere.
INTERVAL_SECONDS = 0.4
# A database that answers later than this may as well be gone.
PATIENCE_SECONDS = 0.5
LIMIT = 1000


async def tail_forever(
    store: Store,
    *,
    since: int,
    broken: Callable[[], None],
    mended: Callable[[], None],
    looked: Callable[[float], None] = lambda _: None,
) -> None:
    """Publish events of other writers after revision `since`, until cancelled.

    `looked` is told when, by the monotonic clock, all that was committed by then is published.
    """
    woken = asyncio.Event()
    async with AsyncExitStack() as stack:
        glance = stack.enter_context(Glance(store.file)) if store.file else None
        if store.dialect == "postgresql":
            listener = asyncio.create_task(listen_forever(store.listener, woken.set))
            stack.push_async_callback(_end, listener)
        last = since
        whole = True
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(INTERVAL_SECONDS):
                    await woken.wait()
            woken.clear()
            began = time.monotonic()
            try:
                async with _patience(store):
                    # Who could not read is told by the ordinary way that reading works again.
                    newest = glance.revision() if glance is not None and whole else None
                    if newest is None:
                        newest = await store.revision()
                    if newest > last:
                        last = await _publish(store, last, newest)
                if last >= newest:
                    looked(began)
                if not whole:
                    whole = True
                    store.heard(answering=True)
                    store.bus.lag()
                    mended()
            except (Unavailable, TimeoutError) as error:
                if whole:
                    log.warning("the feed of changes is broken; nothing is answered from memory", error=str(error))
                    whole = False
                    store.heard(answering=False)
                    broken()


async def _end(task: "asyncio.Task[None]") -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def _patience(store: Store) -> AbstractAsyncContextManager[Any]:
    return asyncio.timeout(PATIENCE_SECONDS) if store.remote else nullcontext()


async def _publish(store: Store, last: int, newest: int) -> int:
    """Publish what others committed; returns the revision read up to."""
    # One of ours may have been read here before its commit was over for us, or before this tail began: what is not
    # newer than `last` must not be counted, or as many of somebody else's would be passed over.
    own = {number for number in store.forget_own(newest) if number > last}
    if len(own) == newest - last:
        return newest
    statement = select(outbox).where(outbox.c.revision > last).order_by(outbox.c.revision).limit(LIMIT)
    async with store.read_aside() as connection:
        rows = (await connection.execute(statement)).all()
    if not rows or rows[0].revision != last + 1:
        # Trimmed before we looked (a long pause): what happened cannot be told, only that something did.
        store.bus.lag()
        return newest
    store.bus.publish(Event(Kind(row.kind), row.key, row.data, row.revision) for row in rows if row.revision not in own)
    return int(rows[-1].revision)
