"""Which hub a request goes to: each in turn, and those in doubt only when no other is left.

Any hub answers for all, so there is nothing to remember of a client. A hub that dies, freezes or loses its database
costs the requests that are on their way to it one more attempt, and those that follow nothing: it stays in doubt
until it has answered the proxy itself (`hub_watch`). A doubt that lapsed with time would have a user's request find
out, again and again for as long as the hub is frozen.
"""

from collections.abc import Iterator, Sequence

from perijove.lib.log import get_logger
from perijove.proxy.upstream import Pool

log = get_logger(__name__)


class HubPools:
    """One in every process that forwards requests."""

    def __init__(self, pools: Sequence[Pool]) -> None:
        self._pools = tuple(pools)
        self._turn = 0
        self._doubted: set[Pool] = set()
        self.all_doubted = False
        """Requests are the probes then: whichever hub answers one is good (`trust`)."""

    def __iter__(self) -> Iterator[Pool]:
        return iter(self._pools)

    def __len__(self) -> int:
        return len(self._pools)

    def in_turn(self) -> tuple[Pool, ...]:
        """All of them, in the order in which to ask for the next request."""
        if len(self._pools) == 1:
            return self._pools
        self._turn = (self._turn + 1) % len(self._pools)
        order = self._pools[self._turn :] + self._pools[: self._turn]
        if not self._doubted or self.all_doubted:
            return order
        return tuple(sorted(order, key=self._doubted.__contains__))

    def doubts(self, pool: Pool) -> bool:
        return pool in self._doubted

    def others_are_good(self, pool: Pool) -> bool:
        """Whether a hub is left that what waits for this one may be asked of."""
        return not self._doubted.issuperset(other for other in self._pools if other is not pool)

    def doubt(self, pool: Pool, problem: str) -> None:
        """It did not answer, or could not. An only hub is asked whatever is thought of it."""
        if len(self._pools) == 1 or pool in self._doubted:
            return
        self._doubted.add(pool)
        self.all_doubted = len(self._doubted) == len(self._pools)
        log.warning("a hub is in doubt; requests go to another", hub=pool.target.authority.decode(), problem=problem)

    def trust(self, pool: Pool) -> None:
        """It has answered."""
        if pool in self._doubted:
            self._doubted.discard(pool)
            self.all_doubted = False
            log.info("a hub that was in doubt answers", hub=pool.target.authority.decode())
