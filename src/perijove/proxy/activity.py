"""Last activity per route: noted as it happens, told to the hub in batches.

Noting it puts a route into a set, which is all that a request or a websocket's message pays for it; once a second
the set gets its time. A batch that could not be delivered is merged with what came since. What a crash of the proxy
loses is the activity of the last half minute.
"""

import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime

from perijove.proxy.table import HUB, Route

BATCH = 1000


class Activity:
    """Prefixes touched since the last report."""

    def __init__(self) -> None:
        self._touched: dict[str, float] = {}
        self._used: set[Route] = set()
        self.touch: Callable[[Route], None] = self._used.add

    def stamp(self) -> None:
        """What was touched since the last time was used now."""
        if self._used:
            now = time.time()
            for route in self._used:
                if route.target is not HUB:
                    self._touched[route.prefix] = route.last_activity = now
            self._used.clear()

    def merge(self, touched: Mapping[str, float]) -> None:
        """What another process has noted. Newer notes win."""
        for prefix, at in touched.items():
            if at > self._touched.get(prefix, 0.0):
                self._touched[prefix] = at

    def take_raw(self) -> dict[str, float]:
        self.stamp()
        touched, self._touched = self._touched, {}
        return touched

    def take(self) -> list[dict[str, str]]:
        """Everything noted, in batches for the wire."""
        items = [(prefix, datetime.fromtimestamp(at, UTC).isoformat()) for prefix, at in self.take_raw().items()]
        return [dict(items[start : start + BATCH]) for start in range(0, len(items), BATCH)]

    def put_back(self, batch: dict[str, str]) -> None:
        """Not delivered."""
        self.merge({prefix: datetime.fromisoformat(at).timestamp() for prefix, at in batch.items()})

    def __len__(self) -> int:
        self.stamp()
        return len(self._touched)
