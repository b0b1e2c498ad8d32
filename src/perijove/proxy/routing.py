"""The table in use, how new it is, and who waits for it to be newer.

Who fills it is another matter: a hub that is followed (`follow`), the REST API (`chp_api`) or the supervisor of
several workers (`worker`). A hub's response may name the revision its reader needs (`X-Perijove-Revision`);
`when_reached` is how such a response waits.
"""

import asyncio
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import msgspec

from perijove.lib.log import get_logger
from perijove.proxy.table import Route, RouteTable, starting_table

log = get_logger(__name__)

# Routes put into a new table before requests get a turn again.
_BUILD_SLICE = 2000


class WireRoute(msgspec.Struct):
    """A route as hubs send it, and as it is saved."""

    prefix: str
    target: str
    data: dict[str, Any] = {}

    def route(self) -> Route:
        return Route(self.prefix, self.target, self.data)


class WireTable(msgspec.Struct):
    """The body of a list."""

    epoch: str
    revision: int
    routes: list[WireRoute]


class Change(msgspec.Struct, omit_defaults=True):
    """One line of a watch; without put and delete it only says that the hub lives."""

    revision: int
    put: list[WireRoute] = []
    delete: list[str] = []


class Routing:
    """One in every process that routes or tells others how to."""

    def __init__(self, *, base_url: str = "/", pinned: Iterable[Route] = (), hold_seconds: float = 5) -> None:
        self._base_url = base_url
        self._pinned = tuple(pinned)
        self._hold_seconds = hold_seconds
        self._waiting: dict[Callable[[], None], tuple[int, asyncio.TimerHandle]] = {}
        self.epoch = ""
        self.revision = -1
        self.connected = False
        """Whether whoever fills the table has been heard of lately."""
        self.changed = asyncio.Event()
        """Set at every change; whoever saves the table clears it."""
        self.on_table: list[Callable[[], object]] = []
        """Called when there is a new table as a whole."""
        self.on_change: list[Callable[[Change], object]] = []
        self.table = starting_table(base_url)
        self._pin(self.table)

    # -- filling

    def empty(self) -> RouteTable:
        """To be filled and handed to `replace`."""
        table = RouteTable(base_url=self._base_url)
        self._pin(table)
        return table

    def _pin(self, table: RouteTable) -> None:
        for route in self._pinned:
            table.put(route, pinned=True)

    async def build(self, items: Iterable[WireRoute]) -> RouteTable:
        """Beside the table in use, in slices: a hundred thousand routes must not stop the traffic."""
        table = self.empty()
        for number, item in enumerate(items):
            put(table, item)
            if number % _BUILD_SLICE == _BUILD_SLICE - 1:
                await asyncio.sleep(0)
        return table

    def replace(self, table: RouteTable, *, epoch: str, revision: int) -> None:
        self.table = table
        self.epoch = epoch
        self.changed.set()
        self._advance(revision)
        for callback in self.on_table:
            callback()

    def apply(self, change: Change) -> None:
        table = self.table
        for prefix in change.delete:
            table.delete(prefix)
        for item in change.put:
            put(table, item)
        if change.put or change.delete:
            self.changed.set()
        if change.revision != self.revision:
            self._advance(change.revision)
        for callback in self.on_change:
            callback(change)

    # -- responses that wait for a revision

    def reached(self, revision: int) -> bool:
        return self.revision >= revision

    def when_reached(self, revision: int, callback: Callable[[], None]) -> None:
        """Call back once the table has `revision`, or after `hold_seconds`: late is better than never."""
        timer = asyncio.get_running_loop().call_later(self._hold_seconds, partial(self._wake, callback))
        self._waiting[callback] = (revision, timer)

    def _wake(self, callback: Callable[[], None]) -> None:
        self._waiting.pop(callback)[1].cancel()
        callback()

    def _advance(self, revision: int) -> None:
        self.revision = revision
        for callback, (wanted, _) in list(self._waiting.items()):
            if wanted <= revision:
                self._wake(callback)


def put(table: RouteTable, item: WireRoute) -> None:
    """A route that cannot be used harms no other."""
    try:
        table.put(item.route())
    except ValueError as error:
        log.warning("a route cannot be used", prefix=item.prefix, problem=str(error))
