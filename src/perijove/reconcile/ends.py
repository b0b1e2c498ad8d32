"""Servers that ended by themselves are looked at now, not when it is their turn to be polled.

A hint, as those of the bus are: what it says is checked by the poll it brings forward, and what it misses is
found by the poll that comes anyway.
"""

from collections.abc import Callable, Collection, Iterator

from sqlalchemy import ColumnElement, and_, or_, select, update

from perijove.domain.errors import SpawnFailed
from perijove.domain.ids import ServerId
from perijove.domain.ports import ServerName
from perijove.domain.states import Observed
from perijove.lib.log import get_logger
from perijove.services.context import HubContext
from perijove.store.schema import servers, users

log = get_logger(__name__)

LOOK_SECONDS = 1.0
BLIND_SECONDS = 10.0
# Parameters of one statement; a node that is lost takes hundreds of servers with it.
BATCH = 500


async def notice_ends(hub: HubContext, due: Callable[[], None]) -> None:
    """Until cancelled. `due` is called when polls were brought forward."""
    while True:
        wait = LOOK_SECONDS
        try:
            ended = await hub.spawners.ended()
        except SpawnFailed as error:
            log.warning("servers cannot be watched", error=error.message, details=error.details)
            ended, wait = (), BLIND_SECONDS
        for chosen in _chosen(ended):
            async with hub.store.transaction() as tx:
                running = and_(servers.c.observed == Observed.RUNNING, servers.c.next_poll > tx.now)
                await tx.execute(update(servers).where(and_(chosen, running)).values(next_poll=tx.now))
            due()
        await hub.clock.sleep(wait)


def _chosen(ended: Collection[ServerId | ServerName]) -> Iterator[ColumnElement[bool]]:
    """Conditions for their rows, none too long. Sorted, so that replicas do not wait for each other crosswise."""
    ids = sorted(one for one in ended if not isinstance(one, tuple))
    for first in range(0, len(ids), BATCH):
        yield servers.c.id.in_(ids[first : first + BATCH])
    names = sorted(one for one in ended if isinstance(one, tuple))
    for first in range(0, len(names), BATCH // 2):
        yield or_(*(_is(user, name) for user, name in names[first : first + BATCH // 2]))


def _is(user: str, name: str) -> ColumnElement[bool]:
    return and_(servers.c.name == name, servers.c.user_id.in_(select(users.c.id).where(users.c.name == user)))
