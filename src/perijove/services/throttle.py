"""Slowing down password guessing, without locking a class behind one address out.

Counts failures per account and address together, and per account alone with a higher limit; an address
alone is never throttled: a whole school may come from one. In memory of one process: an attacker who
meets several replicas gets as many times the guesses, which the waits make irrelevant.
"""

from dataclasses import dataclass

FREE_FAILURES = 10
FREE_FAILURES_PER_ACCOUNT = 50
FIRST_WAIT_SECONDS = 5.0
MAX_WAIT_SECONDS = 300.0
# Failures are forgotten after this without another.
FORGET_SECONDS = 900.0
MAX_REMEMBERED = 20_000


@dataclass(slots=True)
class _Failures:
    count: int
    last: float


class LoginThrottle:
    def __init__(self) -> None:
        self._failures: dict[tuple[str, str], _Failures] = {}

    def wait_seconds(self, account: str, address: str, now: float) -> float:
        """How long this attempt must wait; 0: go on."""
        return max(
            self._wait((account, address), FREE_FAILURES, now),
            self._wait((account, "*"), FREE_FAILURES_PER_ACCOUNT, now),
        )

    def _wait(self, key: tuple[str, str], free: int, now: float) -> float:
        failures = self._failures.get(key)
        if failures is None or failures.count < free or now - failures.last > FORGET_SECONDS:
            return 0.0
        wait = min(FIRST_WAIT_SECONDS * 2.0 ** min(failures.count - free, 10), MAX_WAIT_SECONDS)
        return max(0.0, failures.last + wait - now)

    def failed(self, account: str, address: str, now: float) -> None:
        for key in ((account, address), (account, "*")):
            # Moved to the end: the oldest are at the front, and are the first to be forgotten.
            before = self._failures.pop(key, None)
            fresh = before is None or now - before.last > FORGET_SECONDS
            self._failures[key] = _Failures(1 if fresh or before is None else before.count + 1, now)
        while len(self._failures) > MAX_REMEMBERED:
            del self._failures[next(iter(self._failures))]

    def succeeded(self, account: str, address: str) -> None:
        """Only for this address: an attacker elsewhere gains nothing from the owner's login."""
        self._failures.pop((account, address), None)
