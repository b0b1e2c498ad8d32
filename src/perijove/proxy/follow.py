"""Keeping the table equal to the hub's: list once, then watch; list again when told that we are too far behind.

Any hub serves any revision, so a broken watch goes on at another replica where it stopped. With every hub down the
last table stays: running notebooks do not need a hub.
"""

import asyncio
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from secrets import SystemRandom

import msgspec

from perijove.lib.log import get_logger
from perijove.proxy.activity import Activity
from perijove.proxy.fetch import FetchFailed, Patience
from perijove.proxy.hubs import HubRefused, Hubs
from perijove.proxy.routing import Change, Routing, WireTable

log = get_logger(__name__)

# A hub says something every two seconds. Less than what a response waits for its revision (`hold_seconds`), so that
# a hub that froze is left for another before users are sent where no route leads.
_WATCHING = Patience(silence=4)
_LISTING = Patience(total=60)
_REPORTING = Patience(total=15)
_FIRST_BACKOFF = 0.1
_LAST_BACKOFF = 5.0


class TooFarBehind(Exception):
    """The hub no longer has the changes since our revision (410)."""


class Follower:
    """Follows one hub after the other for as long as the process lives."""

    def __init__(
        self, routing: Routing, hubs: Hubs, activity: Activity, *, use_saved: Callable[[], Awaitable[None]] | None
    ) -> None:
        self._routing = routing
        self._hubs = hubs
        self._activity = activity
        self._use_saved = use_saved
        self._listed = False
        self._random = SystemRandom()

    async def run(self) -> None:
        """Never returns."""
        failures = 0
        while True:
            try:
                await self._follow()
            except TooFarBehind:
                self._listed = False
                failures = 0
                continue
            except (OSError, HubRefused, msgspec.MsgspecError) as error:
                if self._routing.connected:
                    failures = 0
                self._note_failure(error, failures)
            failures += 1
            self._hubs.pass_over()
            if failures >= len(self._hubs) and not self._routing.table.loaded and self._use_saved is not None:
                await self._use_saved()
            delay = min(_LAST_BACKOFF, _FIRST_BACKOFF * 2 ** min(failures // len(self._hubs), 10))
            await asyncio.sleep(delay * self._random.uniform(0.5, 1.0))

    def relist(self) -> None:
        """Read everything again at the next opportunity (on SIGHUP)."""
        self._listed = False

    def _note_failure(self, error: Exception, failures: int) -> None:
        self._routing.connected = False
        # The first of a row is news, the rest is noise.
        note = log.warning if failures == 0 or failures % 20 == 0 else log.debug
        note(
            "cannot follow the hub's routes; serving the last table"
            if self._routing.table.loaded
            else "cannot read the hub's routes yet",
            hub=self._hubs.current,
            problem=str(error) or type(error).__name__,
        )

    async def _follow(self) -> None:
        routing = self._routing
        if not self._listed:
            await self._list()
        watch = f"hub/internal/routes/watch?epoch={routing.epoch}&since={routing.revision}"
        async with self._hubs.request("GET", watch, patience=_WATCHING) as response:
            if response.status == HTTPStatus.GONE:
                raise TooFarBehind
            if response.status != HTTPStatus.OK:
                raise HubRefused(self._hubs.current, response.status)
            self._heard()
            partial_line = b""
            async for data in response.pieces():
                *lines, partial_line = (partial_line + data).split(b"\n")
                for line in lines:
                    if line.strip():
                        routing.apply(msgspec.json.decode(line, type=Change))
                if not self._listed:
                    raise TooFarBehind
        raise FetchFailed("the hub ended the watch")

    async def _list(self) -> None:
        async with self._hubs.request("GET", "hub/internal/routes", patience=_LISTING) as response:
            if response.status != HTTPStatus.OK:
                raise HubRefused(self._hubs.current, response.status)
            listed = msgspec.json.decode(await response.read(), type=WireTable)
        table = await self._routing.build(listed.routes)
        self._listed = True
        self._routing.replace(table, epoch=listed.epoch, revision=listed.revision)
        log.info("routes read", routes=len(table), revision=listed.revision, hub=self._hubs.current)

    def _heard(self) -> None:
        if not self._routing.connected:
            self._routing.connected = True
            log.info("following the hub's routes", hub=self._hubs.current, revision=self._routing.revision)

    # -- activity

    async def report_activity(self, every_seconds: float) -> None:
        """Tell the hub what was used. Never returns."""
        while True:
            await asyncio.sleep(every_seconds)
            await self.report_now()

    async def report_now(self) -> None:
        """What cannot be delivered is delivered next time."""
        for batch in self._activity.take():
            try:
                await self._report(batch)
            except (OSError, HubRefused) as error:
                self._activity.put_back(batch)
                log.info("activity is reported later", problem=str(error) or type(error).__name__)

    async def _report(self, batch: dict[str, str]) -> None:
        body = msgspec.json.encode(batch)
        async with self._hubs.request("POST", "hub/internal/activity", patience=_REPORTING, body=body) as response:
            if response.status >= HTTPStatus.MULTIPLE_CHOICES:
                raise HubRefused(self._hubs.current, response.status)
