"""Asks hubs whether they live: those that keep somebody waiting, and those in doubt until they answer.

So that no user's request has to find out, and nobody waits for a hub that will never answer. A probe costs a hub next
to nothing, and there is one at a time for each hub and process, with pauses that grow: a hub that is dead for long,
or comes back under load, is not asked more because many proxies ask.

A probe without an answer is worth two things. After a second, what only reads is asked of another hub, if one is
good: the loop of that hub stands still, and leaving it hardly doubles work, which leaving one that is slow would.
After four, the hub is given up: whatever waits for it is answered. Why reads are not simply asked of two hubs after a
while, without a probe, is told in docs/explanation/proxy.md.
"""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from http import HTTPStatus
from math import inf
from secrets import SystemRandom
from typing import TYPE_CHECKING

from perijove.proxy.fetch import Patience, fetch
from perijove.proxy.forward import Exchange
from perijove.proxy.table import HUB
from perijove.proxy.upstream import Pool

if TYPE_CHECKING:
    from perijove.proxy.plane import DataPlane

_LOOK_SECONDS = 0.25
# A hub is probed that has said nothing for so long to a request; to a response under way, which may have pauses.
_UNANSWERED_SECONDS = 0.5
_SILENT_SECONDS = 2.0
# A probe without an answer for so long: the hub is in doubt; it is given up.
_LATE_SECONDS = 1.0
_GONE_SECONDS = 4.0
# And is waited for: a hub that is frozen answers the moment that it wakes.
_PROBE_SECONDS = 10.0
# Between two probes of a hub that answers; between those of one that does not, doubled each time.
_PAUSE_SECONDS = 1.0
_FIRST_PAUSE_SECONDS = 0.25
_LAST_PAUSE_SECONDS = 5.0
_MOST_DOUBLINGS = 8
# A hub that is in doubt again so soon after it was good is one that answers probes alone: pauses go on growing.
_STEADY_SECONDS = 10.0


@dataclass(slots=True)
class _Watched:
    """What is known of a hub."""

    asked: float | None = None
    """Since when a probe is under way."""
    not_before: float = -inf
    failures: int = 0
    trusted: float | None = -inf
    """Since when it is good; None while it is in doubt."""


class HubWatch:
    """One in every process that forwards requests to hubs."""

    def __init__(self, plane: "DataPlane") -> None:
        self._plane = plane
        self._hubs = plane.upstreams.hubs
        # Where routes come by the REST API no request goes to a hub.
        self._watched = {} if plane.options.api else {pool: _Watched() for pool in self._hubs}
        self._path = f"{plane.options.base_url}hub/health"
        self._random = SystemRandom()

    async def run(self) -> None:
        """Never returns."""
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            self.look(self._plane.time())

    def look(self, now: float) -> None:
        """Probe what is to be probed, and draw the conclusions from probes that have no answer."""
        owing = self._owing(now)
        for pool, watched in self._watched.items():
            doubted = self._hubs.doubts(pool)
            if doubted and watched.trusted is not None:
                self._note_doubt(watched, now, trusted=watched.trusted)
            elif not doubted and watched.trusted is None:
                watched.trusted = now
            if watched.asked is not None:
                self._conclude(pool, now, waited=now - watched.asked)
            elif now >= watched.not_before and (doubted or pool in owing):
                watched.asked = now
                self._plane.spawn(self._probe(pool, watched, now))

    # -- probes

    async def _probe(self, pool: Pool, watched: _Watched, asked: float) -> None:
        problem = ""
        try:
            async with fetch(pool, "GET", self._path, patience=Patience(total=_PROBE_SECONDS)) as answer:
                if answer.status != HTTPStatus.OK:
                    problem = f"its health is {answer.status}"
                elif answer.field(b"x-perijove-away") is not None:
                    problem = "its database is away"
            gone = False
        except OSError as error:
            problem = str(error) or type(error).__name__
            gone = True
        watched.asked = None
        now = self._plane.time()
        if problem:
            self._hubs.doubt(pool, problem)
            self._put_off(watched, now)
            if gone:
                self._conclude(pool, now, waited=inf)
        elif now - asked < _LATE_SECONDS:
            if self._hubs.doubts(pool):
                self._hubs.trust(pool)
                # Now: it may be in doubt again before the next look.
                watched.trusted = now
            elif watched.trusted is not None and now - watched.trusted >= _STEADY_SECONDS:
                watched.failures = 0
            watched.not_before = now + _PAUSE_SECONDS
        # Else it has woken, or is slow: the next look asks it again.

    def _note_doubt(self, watched: _Watched, now: float, *, trusted: float) -> None:
        """It was good until a moment ago."""
        watched.trusted = None
        if now - trusted < _STEADY_SECONDS:
            self._put_off(watched, now)
        else:
            watched.failures = 0
            watched.not_before = now

    def _put_off(self, watched: _Watched, now: float) -> None:
        pause = min(_LAST_PAUSE_SECONDS, _FIRST_PAUSE_SECONDS * 2 ** min(watched.failures, _MOST_DOUBLINGS))
        watched.failures += 1
        # Proxies that lost a hub at the same moment do not come back to it at the same moment.
        watched.not_before = now + pause * self._random.uniform(0.5, 1.0)

    # -- who waits

    def _conclude(self, pool: Pool, now: float, *, waited: float) -> None:
        """A probe of this hub has been without an answer for so long."""
        if waited < _LATE_SECONDS:
            return
        self._hubs.doubt(pool, "no answer to a probe")
        for exchange, since in list(self._waiting()):
            if _pool_of(exchange) is not pool:
                continue
            if now - since >= _UNANSWERED_SECONDS and self._hubs.others_are_good(pool):
                exchange.hub_is_late()
            if waited >= _GONE_SECONDS and now - since >= _SILENT_SECONDS and _pool_of(exchange) is pool:
                exchange.hub_is_gone()

    def _owing(self, now: float) -> set[Pool | None]:
        """Hubs that keep somebody waiting for longer than they usually do."""
        return {
            _pool_of(exchange)
            for exchange, since in self._waiting()
            if now - since >= (_SILENT_SECONDS if exchange.status else _UNANSWERED_SECONDS)
        }

    def _waiting(self) -> Iterator[tuple[Exchange, float]]:
        """With the time of the hub's last word. Nothing to look through while no hub is asked anything."""
        if not any(pool.busy for pool in self._hubs):
            return
        for client in self._plane.clients:
            exchange = client.exchange
            if exchange is None or exchange.route is None or exchange.route.target is not HUB or not client.writable:
                continue
            if (since := exchange.silent_since()) is not None:
                yield exchange, since


def _pool_of(exchange: Exchange) -> Pool | None:
    return exchange.upstream.pool if exchange.upstream is not None else None
