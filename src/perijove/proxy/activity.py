"""Last activity per route, told to the hub in batches.

Noting it is one dict assignment; a batch that could not be delivered is merged with what came since. What a crash
of the proxy loses is the activity of the last half minute.
"""

import time
from datetime import UTC, datetime

from perijove.proxy.table import HUB, Route

BATCH = 1000


class Activity:
    """Prefixes touched since the last report."""

    def __init__(self) -> None:
        self._touched: dict[str, float] = {}

    def touch(self, route: Route) -> None:
        if route.target is not HUB:
            self._touched[route.prefix] = time.time()

    def take(self) -> list[dict[str, str]]:
        """Everything noted, in batches for the wire."""
        touched, self._touched = self._touched, {}
        items = [(prefix, datetime.fromtimestamp(at, UTC).isoformat()) for prefix, at in touched.items()]
        return [dict(items[start : start + BATCH]) for start in range(0, len(items), BATCH)]

    def put_back(self, batch: dict[str, str]) -> None:
        """Not delivered. Newer notes win."""
        for prefix, at in batch.items():
            self._touched.setdefault(prefix, datetime.fromisoformat(at).timestamp())

    def __len__(self) -> int:
        return len(self._touched)
