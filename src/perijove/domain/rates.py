"""How many expensive requests a minute one user or service may make, and whether one more is too many.

An allowance that fills evenly: a minute's worth may be spent at once, and who spent it gets more as time goes by.
One number per caller is all that is kept.
"""

from collections.abc import Mapping
from math import ceil
from typing import Final

from perijove.domain.errors import LimitReached

# Per minute. A culler that reads a hundred thousand users in small pages, as fast as it is answered, stays below.
DEFAULT_LIMITS: Final[Mapping[str, int]] = {
    "list": 12000,  # pages of listings
    "export": 30,  # whole audit trails
    "token": 600,  # new tokens of one owner, on all replicas together
}
WINDOW_SECONDS: Final = 60.0
# Callers remembered at most, before those who have their whole allowance are forgotten.
_REMEMBERED: Final = 10_000


class Rates:
    """The allowances of one process."""

    def __init__(self, limits: Mapping[str, int] | None = None) -> None:
        self.limits = {**DEFAULT_LIMITS, **(limits or {})}
        # When each caller's allowance is whole again.
        self._whole: dict[tuple[str, str, int], float] = {}

    def spend(self, kind: str, owner_kind: str, owner_id: int, *, now: float) -> None:
        """Raises `LimitReached`."""
        limit = self.limits[kind]
        if not limit:
            return
        key = (kind, owner_kind, owner_id)
        whole = max(self._whole.get(key, now), now) + WINDOW_SECONDS / limit
        if whole - now > WINDOW_SECONDS:
            raise too_many(limit, whole - now - WINDOW_SECONDS)
        if len(self._whole) >= _REMEMBERED:
            self._whole = {other: at for other, at in self._whole.items() if at > now}
        self._whole[key] = whole


def too_many(limit: int, wait_seconds: float) -> LimitReached:
    return LimitReached(
        f"Too many requests of this kind: {limit} a minute are allowed. Try again shortly.",
        retry_after_seconds=max(1, ceil(wait_seconds)),
    )
