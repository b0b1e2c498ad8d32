"""Warnings about targets, once in a while for each: a browser that polls a dead server must not fill the log."""

from collections.abc import Callable
from typing import Any

from perijove.lib.log import get_logger

log = get_logger(__name__)

_QUIET_SECONDS = 10.0


class Complaints:
    """The first of a kind about a target is logged at once, the next after a pause, with how many were left out."""

    def __init__(self, time: Callable[[], float]) -> None:
        self._time = time
        self._last: dict[tuple[str, str], tuple[float, int]] = {}

    def note(self, event: str, *, target: str, problem: str, request_id: bytes) -> None:
        key = (event, target)
        now = self._time()
        at, left_out = self._last.get(key, (-_QUIET_SECONDS, 0))
        if now - at < _QUIET_SECONDS:
            self._last[key] = (at, left_out + 1)
            return
        self._last[key] = (now, 0)
        more: dict[str, Any] = {"left_out": left_out} if left_out else {}
        log.warning(event, target=target, problem=problem, request_id=request_id.decode(), **more)

    def forget_old(self) -> None:
        """Targets that have not been complained about for a while."""
        oldest = self._time() - _QUIET_SECONDS
        for key in [key for key, (at, _) in self._last.items() if at < oldest]:
            del self._last[key]
