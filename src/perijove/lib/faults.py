"""Fault points: places where a crash test ends or freezes the process at once.

A point is a name in the code, `hit("start.spawned")`. Armed with that name (see `arm`), the process
gets SIGKILL there, as a lost machine would give it: no finally block, no flush. With SIGSTOP it freezes
instead, as a paused virtual machine does, and goes on when somebody sends SIGCONT, whatever has become of
its leases meanwhile. Unarmed a point costs one comparison. The names are the steps of a start, a stop and
a removal, and the crash suite walks all of `POINTS`.
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
    "remove.deleted",
)

_armed = ""
_signal = signal.SIGKILL


def arm(point: str, number: signal.Signals = signal.SIGKILL) -> None:
    """Send this process `number` at `point`, once; "" disarms.

    Unknown names are an error: a typo would test nothing.
    """
    global _armed, _signal
    if point and point not in POINTS:
        raise ValueError(f"no fault point {point!r}; there are {', '.join(POINTS)}")
    _armed, _signal = point, number


def hit(point: str) -> None:
    global _armed  # noqa: PLW0603 - as above
    if _armed == point:
        _armed = ""
        os.kill(os.getpid(), _signal)
