"""Keeping the table equal to the hub's: list once, then watch; list again when told that we are too far behind.

Any hub serves any revision, so a broken watch goes on at another replica where it stopped. With every hub down the
last table stays: running notebooks do not need a hub. A hub's response may name the revision its reader needs
(`X-Perijove-Revision`); `when_reached` is how such a response waits.
"""

import asyncio
from collections.abc import Callable
from functools import partial
from http import HTTPStatus
from secrets import SystemRandom
from typing import TYPE_CHECKING

import aiohttp
import msgspec

from perijove.lib.log import get_logger
from perijove.proxy import saved
from perijove.proxy.hubs import CLIENT_ERRORS, HubRefused, Hubs
from perijove.proxy.saved import SavedRoute, SavedTable
from perijove.proxy.table import RouteTable

if TYPE_CHECKING:
    from perijove.proxy.plane import DataPlane

log = get_logger(__name__)

# A hub says something at least every five seconds.
_SILENCE_SECONDS = 15.0
_LIST_TIMEOUT = aiohttp.ClientTimeout(total=60, connect=5)
_WATCH_TIMEOUT = aiohttp.ClientTimeout(total=None, connect=5, sock_read=_SILENCE_SECONDS)
_REPORT_TIMEOUT = aiohttp.ClientTimeout(total=15, connect=5)
_FIRST_BACKOFF = 0.1
_LAST_BACKOFF = 5.0
# Routes put into a new table before requests get a turn again.
_BUILD_SLICE = 2000
_SAVE_PAUSE = 1.0


class Change(msgspec.Struct):
    """One line of a watch; without put and delete it only says that the hub lives."""

    revision: int
    put: list[SavedRoute] = []
    delete: list[str] = []


class TooFarBehind(Exception):
    """The hub no longer has the changes since our revision (410)."""


class Follower:
    """Follows one hub after the other for as long as the process lives."""

    def __init__(self, plane: "DataPlane", hubs: Hubs) -> None:
        self._plane = plane
        self._hubs = hubs
        self._epoch: str | None = None
        self._revision = -1
        self._waiting: dict[Callable[[], None], tuple[int, asyncio.TimerHandle]] = {}
        self._changed = asyncio.Event()
        self._random = SystemRandom()
        self._tried = 0
        self.after_list: Callable[[], object] = lambda: None
        """Called when a new table has been built."""
        self.connected = False
        """Whether a hub has been heard of in this attempt."""

    @property
    def revision(self) -> int:
        return self._revision

    # -- responses that wait for a revision

    def reached(self, revision: int) -> bool:
        return self._revision >= revision

    def when_reached(self, revision: int, callback: Callable[[], None]) -> None:
        """Call back once the table has `revision`, or after `hold_seconds`: late is better than never."""
        seconds = self._plane.options.timeouts.hold_seconds
        timer = asyncio.get_running_loop().call_later(seconds, partial(self._wake, callback))
        self._waiting[callback] = (revision, timer)

    def _wake(self, callback: Callable[[], None]) -> None:
        self._waiting.pop(callback)[1].cancel()
        callback()

    def _advance(self, revision: int) -> None:
        self._revision = revision
        for callback, (wanted, _) in list(self._waiting.items()):
            if wanted <= revision:
                self._wake(callback)

    # -- following

    async def run(self) -> None:
        """Never returns."""
        failures = 0
        while True:
            try:
                await self._follow()
            except TooFarBehind:
                self._epoch = None
                failures = 0
                continue
            except (*CLIENT_ERRORS, HubRefused, msgspec.MsgspecError) as error:
                if self.connected:
                    failures = 0
                self._note_failure(error, failures)
            failures += 1
            self._hubs.pass_over()
            if failures >= len(self._hubs) and not self._plane.table.loaded:
                self._use_saved()
            delay = min(_LAST_BACKOFF, _FIRST_BACKOFF * 2 ** min(failures // len(self._hubs), 10))
            await asyncio.sleep(delay * self._random.uniform(0.5, 1.0))

    def relist(self) -> None:
        """Read everything again at the next opportunity (on SIGHUP)."""
        self._epoch = None

    def _note_failure(self, error: Exception, failures: int) -> None:
        self.connected = False
        # The first of a row is news, the rest is noise.
        note = log.warning if failures == 0 or failures % 20 == 0 else log.debug
        note(
            "cannot follow the hub's routes; serving the last table"
            if self._plane.table.loaded
            else "cannot read the hub's routes yet",
            hub=self._hubs.current,
            problem=str(error) or type(error).__name__,
        )

    async def _follow(self) -> None:
        if self._epoch is None:
            await self._list()
        watch = f"hub/internal/routes/watch?epoch={self._epoch}&since={self._revision}"
        async with self._hubs.request("GET", watch, within=_WATCH_TIMEOUT) as response:
            if response.status == HTTPStatus.GONE:
                raise TooFarBehind
            if response.status != HTTPStatus.OK:
                raise HubRefused(self._hubs.current, response.status)
            self._heard()
            partial_line = b""
            async for data in response.content.iter_any():
                *lines, partial_line = (partial_line + data).split(b"\n")
                for line in lines:
                    if line.strip():
                        self._apply(msgspec.json.decode(line, type=Change))
                if self._epoch is None:
                    raise TooFarBehind
        raise aiohttp.ClientPayloadError("the hub ended the watch")

    async def _list(self) -> None:
        async with self._hubs.request("GET", "hub/internal/routes", within=_LIST_TIMEOUT) as response:
            if response.status != HTTPStatus.OK:
                raise HubRefused(self._hubs.current, response.status)
            listed = msgspec.json.decode(await response.read(), type=SavedTable)
        table = RouteTable(base_url=self._plane.options.base_url)
        for number, item in enumerate(listed.routes):
            self._put(table, item)
            if number % _BUILD_SLICE == _BUILD_SLICE - 1:
                await asyncio.sleep(0)
        self._plane.table = table
        self._epoch = listed.epoch
        self._advance(listed.revision)
        self._changed.set()
        self.after_list()
        log.info("routes read", routes=len(table), revision=listed.revision, hub=self._hubs.current)

    def _heard(self) -> None:
        if not self.connected:
            self.connected = True
            log.info("following the hub's routes", hub=self._hubs.current, revision=self._revision)

    def _apply(self, change: Change) -> None:
        table = self._plane.table
        for prefix in change.delete:
            table.delete(prefix)
        for item in change.put:
            self._put(table, item)
        if change.put or change.delete:
            self._changed.set()
        if change.revision != self._revision:
            self._advance(change.revision)

    def _put(self, table: RouteTable, item: SavedRoute) -> None:
        try:
            table.put(item.route())
        except ValueError as error:
            log.warning("a route of the hub cannot be used", prefix=item.prefix, problem=str(error))

    # -- the saved table

    def _use_saved(self) -> None:
        path = self._plane.options.table_path
        if path is None:
            return
        try:
            table = saved.load(path, self._plane.options.base_url)
        except (OSError, ValueError) as error:
            log.warning("the saved routes cannot be read", path=str(path), problem=str(error))
            return
        if table is not None:
            self._plane.table = table
            log.warning("no hub answers: serving the saved routes", routes=len(table), path=str(path))

    async def keep_saved(self) -> None:
        """Write the table some time after it changed. Never returns."""
        path = self._plane.options.table_path
        if path is None:
            return
        while True:
            await self._changed.wait()
            await asyncio.sleep(_SAVE_PAUSE)
            await self.save_now()

    async def save_now(self) -> None:
        path = self._plane.options.table_path
        if path is None or not self._changed.is_set():
            return
        self._changed.clear()
        routes = list(self._plane.table.routes.values())
        write = partial(saved.save, path, epoch=self._epoch or "", revision=self._revision, routes=routes)
        try:
            await asyncio.to_thread(write)
        except OSError as error:
            log.warning("the routes cannot be saved; the last saved ones stay", path=str(path), problem=str(error))

    # -- activity

    async def report_activity(self) -> None:
        """Tell the hub what was used. Never returns."""
        while True:
            await asyncio.sleep(self._plane.options.activity_seconds)
            await self.report_now()

    async def report_now(self) -> None:
        """What cannot be delivered is delivered next time."""
        for batch in self._plane.activity.take():
            try:
                await self._report(batch)
            except (*CLIENT_ERRORS, HubRefused) as error:
                self._plane.activity.put_back(batch)
                log.info("activity is reported later", problem=str(error) or type(error).__name__)

    async def _report(self, batch: dict[str, str]) -> None:
        async with self._hubs.request("POST", "hub/internal/activity", within=_REPORT_TIMEOUT, json=batch) as response:
            if response.status >= HTTPStatus.MULTIPLE_CHOICES:
                raise HubRefused(self._hubs.current, response.status)
