"""Counters and latency histograms, per class of route, in Prometheus' text format.

Counting is on the hot path, so it is a list increment; the page is written by hand, because a client library would
be a tenth of the process's memory for forty lines. The names that configurable-http-proxy's dashboards know are
kept beside ours. Counters of several workers are added up by their supervisor: `take` and `add`.
"""

import resource
import time
from bisect import bisect_left
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_BOUNDS = (*map(str, BUCKETS), "+Inf")
_DURATION = "perijove_proxy_request_duration_seconds"
_STARTED = time.time()
_PAGE_BYTES = resource.getpagesize()

Gauges = dict[str, float]
"""By the names below, without the prefix."""

GAUGES = {
    "routes": "Routes in the table",
    "route_revision": "Revision of the table",
    "hub_connected": "1 while a hub's routes are followed",
    "workers": "Worker processes that serve",
    "client_connections": "Open connections of clients, without upgraded ones",
    "upgraded_connections": "Open upgraded connections",
    "upstream_connections": "Open connections to targets, upgraded ones among them",
}
_PROCESS = {
    "process_resident_memory_bytes": "Resident memory",
    "process_cpu_seconds_total": "User and system time",
    "process_open_fds": "Open file descriptors",
    "process_max_fds": "How many there may be",
    "process_start_time_seconds": "Since the epoch",
}
_API = ("api_route_get", "api_route_add", "api_route_delete", "api_route_replace")


class Counts(msgspec.Struct):
    """What has been counted since the start of a process, or since the last time it was sent on."""

    durations: dict[str, list[float]] = {}
    """Class of route -> one for each bucket, one above, then the sum."""
    statuses: dict[int, int] = {}
    refused: dict[int, int] = {}
    limited: dict[str, int] = {}
    upgrades: int = 0


class Metrics:
    """What this process has done. `gauges` are asked for when the page is read."""

    def __init__(self, gauges: Callable[[], Gauges]) -> None:
        self._gauges = gauges
        self.counts = Counts()
        self.api: dict[str, int] = {}
        """Calls of the REST API by configurable-http-proxy's names."""
        self.api_statuses: dict[int, int] = {}

    # -- counting

    def observe(self, kind: str, status: int, seconds: float) -> None:
        durations = self.counts.durations
        counts = durations.get(kind)
        if counts is None:
            counts = durations[kind] = [0.0] * (len(BUCKETS) + 2)
        counts[bisect_left(BUCKETS, seconds)] += 1
        counts[-1] += seconds
        statuses = self.counts.statuses
        statuses[status] = statuses.get(status, 0) + 1

    def upgraded(self) -> None:
        self.counts.upgrades += 1
        self.counts.statuses[101] = self.counts.statuses.get(101, 0) + 1

    def refused(self, status: int) -> None:
        self.counts.refused[status] = self.counts.refused.get(status, 0) + 1

    def limited(self, limit: str) -> None:
        self.counts.limited[limit] = self.counts.limited.get(limit, 0) + 1

    def api_call(self, name: str, status: int) -> None:
        if name:
            self.api[name] = self.api.get(name, 0) + 1
        self.api_statuses[status] = self.api_statuses.get(status, 0) + 1

    # -- from process to process

    def take(self) -> Counts:
        """Everything since the last time."""
        taken, self.counts = self.counts, Counts()
        return taken

    def add(self, other: Counts) -> None:
        mine = self.counts
        for kind, counts in other.durations.items():
            before = mine.durations.get(kind)
            mine.durations[kind] = counts if before is None else [a + b for a, b in zip(before, counts, strict=True)]
        for ours, theirs in ((mine.statuses, other.statuses), (mine.refused, other.refused)):
            for status, count in theirs.items():
                ours[status] = ours.get(status, 0) + count
        for limit, count in other.limited.items():
            mine.limited[limit] = mine.limited.get(limit, 0) + count
        mine.upgrades += other.upgrades

    # -- the page

    def described(self) -> list[tuple[str, str, str]]:
        """Name, kind and meaning of every metric, for the reference."""
        meanings: dict[str, str] = {}
        described = []
        for line in self._lines():
            if line.startswith("# HELP "):
                _, _, name, meaning = line.split(" ", 3)
                meanings[name] = meaning
            elif line.startswith("# TYPE "):
                _, _, name, kind = line.split(" ", 3)
                described.append((name, kind, meanings[name]))
        return described

    def text(self) -> bytes:
        return "\n".join((*self._lines(), "")).encode()

    def _lines(self) -> Iterator[str]:
        counts = self.counts
        yield from _heading(_DURATION, "From the end of a request's head to the end of its response", "histogram")
        total = 0
        for kind, values in counts.durations.items():
            cumulative = 0
            for bound, count in zip(_BOUNDS, values, strict=False):
                cumulative += int(count)
                yield f'{_DURATION}_bucket{{route="{kind}",le="{bound}"}} {cumulative}'
            total += cumulative
            yield f'{_DURATION}_count{{route="{kind}"}} {cumulative}'
            yield f'{_DURATION}_sum{{route="{kind}"}} {values[-1]}'
        yield from _counters("requests_proxy", "Responses by status", "status", counts.statuses)
        yield from _counters(
            "perijove_proxy_refused_total", "Connections refused for what they sent", "status", counts.refused
        )
        yield from _counters("perijove_proxy_limited_total", "Turned away by a limit", "limit", counts.limited)
        yield from _counters("requests_api", "Calls of the REST API by status", "status", self.api_statuses)
        calls = {name: self.api.get(name, 0) for name in _API}
        for name, count in {"requests_web": total, "requests_ws": counts.upgrades, **calls}.items():
            yield from _heading(name, "As configurable-http-proxy counts", "counter")
            yield f"{name} {count}"
        gauges = self._gauges()
        for name, text in GAUGES.items():
            yield from _heading(f"perijove_proxy_{name}", text, "gauge")
            yield f"perijove_proxy_{name} {gauges.get(name, 0):.10g}"
        for (name, text), value in zip(_PROCESS.items(), _process(), strict=True):
            yield from _heading(name, text, "counter" if name.endswith("_total") else "gauge")
            yield f"{name} {value:.10g}"


def _heading(name: str, text: str, kind: str) -> Iterator[str]:
    yield f"# HELP {name} {text}"
    yield f"# TYPE {name} {kind}"


def _counters(name: str, text: str, label: str, values: dict[int, int] | dict[str, int]) -> Iterator[str]:
    yield from _heading(name, text, "counter")
    for key, count in values.items():
        yield f'{name}{{{label}="{key}"}} {count}'


def _process() -> tuple[float, ...]:
    """In the order of `_PROCESS`."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return _resident(), usage.ru_utime + usage.ru_stime, _open_files(), most, _STARTED


def _resident() -> float:
    try:
        return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * _PAGE_BYTES
    except OSError:
        return 0.0


def _open_files() -> float:
    try:
        return sum(1 for _ in Path("/proc/self/fd").iterdir())
    except OSError:
        return 0.0
