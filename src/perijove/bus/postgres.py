"""LISTEN: a PostgreSQL server says at once that another replica committed.

The fast half only. A notification that is lost, with its connection or because nobody listened yet, is made up
for by whoever is woken here also looking at regular times; so a lost connection is opened again without haste.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final

from perijove.lib.log import get_logger

log = get_logger(__name__)

CHANNEL: Final = "perijove"
_AGAIN_SECONDS: Final = 2.0


async def listen_forever(connect: Callable[[], Awaitable[Any]], heard: Callable[[], None]) -> None:
    """Call `heard` for each notification, and after each connection made, until cancelled.

    `connect` opens an asyncpg connection for this alone.
    """
    while True:
        try:
            await _listen(await connect(), heard)
        except Exception as error:  # noqa: BLE001 - whatever the driver or the network say, looking goes on
            log.debug("nothing is heard from the database; looking goes on", error=str(error))
        await asyncio.sleep(_AGAIN_SECONDS)


async def _listen(connection: Any, heard: Callable[[], None]) -> None:
    ended = asyncio.Event()
    connection.add_termination_listener(lambda _: ended.set())
    try:
        await connection.add_listener(CHANNEL, lambda *_: heard())
        # What was committed before the first LISTEN was not told.
        heard()
        await ended.wait()
    finally:
        connection.terminate()
