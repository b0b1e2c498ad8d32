"""Which hub a request goes to: each in turn, and those that failed a moment ago only when no other is left.

Any hub answers for all, so there is nothing to remember of a client. A hub that dies, freezes or loses its database
costs the requests that are on their way to it one more attempt, and those that follow nothing.
"""

from collections.abc import Iterator, Sequence

from perijove.proxy.upstream import Pool

# A hub that failed is asked last for so long. Restarts take a second or two.
DOUBT_SECONDS = 5.0


class HubPools:
    """One in every process that forwards requests."""

    def __init__(self, pools: Sequence[Pool]) -> None:
        self._pools = tuple(pools)
        self._turn = 0
        self._doubted: dict[Pool, float] = {}

    def __iter__(self) -> Iterator[Pool]:
        return iter(self._pools)

    def __len__(self) -> int:
        return len(self._pools)

    def in_turn(self, now: float) -> tuple[Pool, ...]:
        """All of them, in the order in which to ask for the next request."""
        if len(self._pools) == 1:
            return self._pools
        self._turn = (self._turn + 1) % len(self._pools)
        order = self._pools[self._turn :] + self._pools[: self._turn]
        if not self._doubted:
            return order
        self._doubted = {pool: until for pool, until in self._doubted.items() if until > now}
        return tuple(sorted(order, key=self._doubted.__contains__))

    def doubt(self, pool: Pool, now: float) -> None:
        """It did not answer, or could not."""
        self._doubted[pool] = now + DOUBT_SECONDS
