"""Fault points: places where a crash test ends or freezes the process at once.

A point is a name in the code, `hit("start.spawned")`. Armed with that name (see `arm`), the process
gets SIGKILL there, as a lost machine would give it: no finally block, no flush. With SIGSTOP it freezes
instead, as a paused virtual machine does, and goes on when somebody sends SIGCONT, whatever has become of
its leases meanwhile. Unarmed a point costs one comparison. The names are the steps of a start, a poll, a
stop and a removal, and the crash suite walks all of `POINTS`.

What is armed stands in a file, so that a test arms a process that runs: starting one takes longer than
most of what is tested. The file is gone before the signal comes, so that the next process survives.
"""

import os
import signal
from pathlib import Path

POINTS = (
    "start.requested",
    "start.claimed",
    "start.prepared",
    "start.spawned",
    "start.recorded",
    "start.ready",
    "start.settled",
    "poll.claimed",
    "poll.polled",
    "stop.requested",
    "stop.claimed",
    "stop.marked",
    "stop.stopped",
    "stop.settled",
    "remove.deleted",
)

_file: Path | None = None


def arm(file: Path, point: str, number: signal.Signals = signal.SIGKILL) -> None:
    """Processes that watch this file get the signal `number` at `point`: the first that comes there, once.

    Unknown names are an error: a typo would test nothing.
    """
    if point not in POINTS:
        raise ValueError(f"no fault point {point!r}; there are {', '.join(POINTS)}")
    # Whole or not at all: others look all the time.
    fresh = file.with_suffix(".new")
    fresh.write_text(f"{point} {number:d}", encoding="ascii")
    fresh.replace(file)


def watch(file: Path) -> None:
    """Let this process be armed by what others write into `file`."""
    global _file  # noqa: PLW0603 - one process, one file
    _file = file


def hit(point: str) -> None:
    if _file is not None and _file.exists():
        try:
            armed, number = _file.read_text(encoding="ascii").split()
            if armed != point:
                return
            _file.unlink()
        except FileNotFoundError:
            return  # another hub was there first
        os.kill(os.getpid(), int(number))
