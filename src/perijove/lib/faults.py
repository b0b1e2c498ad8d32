"""Fault points: places where a crash test ends the process at once.

A point is a name in the code, `hit("start.spawned")`. Armed with that name (see `arm`), the process
gets SIGKILL there, as a lost machine would give it: no finally block, no flush. Unarmed it costs one
comparison. The names are the steps of a start and a stop, and the crash suite walks all of `POINTS`.
"""

import os
import signal

POINTS = (
    "start.requested",
    "start.claimed",
    "start.prepared",
    "start.spawned",
    "start.recorded",
    "start.ready",
    "start.settled",
    "stop.requested",
    "stop.claimed",
    "stop.marked",
    "stop.stopped",
    "stop.settled",
)

_armed = ""


def arm(point: str) -> None:
    """Kill this process at `point`; "" disarms. Unknown names are an error: a typo would test nothing."""
    global _armed  # noqa: PLW0603 - one process, one armed point
    if point and point not in POINTS:
        raise ValueError(f"no fault point {point!r}; there are {', '.join(POINTS)}")
    _armed = point


def hit(point: str) -> None:
    if _armed == point:
        os.kill(os.getpid(), signal.SIGKILL)
