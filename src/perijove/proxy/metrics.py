"""Counters and latency histograms, per class of route, in Prometheus' text format.

Counting is on the hot path, so it is a list increment; prometheus_client only writes the page. The names that
configurable-http-proxy's dashboards know (`requests_web`, `requests_ws`, `requests_proxy`) are kept beside ours.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterable

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class Metrics(Collector):
    """What this process has done. `gauges` are asked for when the page is read."""

    def __init__(self, gauges: Callable[[], dict[str, tuple[str, float]]]) -> None:
        self._gauges = gauges
        self._durations: dict[str, list[float]] = {}
        self._statuses: dict[int, int] = {}
        self._refused: dict[int, int] = {}
        self._upgrades = 0

    def observe(self, kind: str, status: int, seconds: float) -> None:
        counts = self._durations.get(kind)
        if counts is None:
            # One for each bucket, one above, then the sum.
            counts = self._durations[kind] = [0.0] * (len(BUCKETS) + 2)
        counts[bisect_left(BUCKETS, seconds)] += 1
        counts[-1] += seconds
        self._statuses[status] = self._statuses.get(status, 0) + 1

    def upgraded(self) -> None:
        self._upgrades += 1
        self._statuses[101] = self._statuses.get(101, 0) + 1

    def refused(self, status: int) -> None:
        self._refused[status] = self._refused.get(status, 0) + 1

    def text(self) -> bytes:
        registry = CollectorRegistry()
        registry.register(self)
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        GCCollector(registry=registry)
        return generate_latest(registry)

    def collect(self) -> Iterable[Metric]:
        durations = HistogramMetricFamily(
            "perijove_proxy_request_duration_seconds",
            "From the end of a request's head to the end of its response",
            labels=["route"],
        )
        total = 0
        for kind, counts in self._durations.items():
            cumulative = 0.0
            buckets: list[tuple[str, float]] = []
            for bound, count in zip((*map(str, BUCKETS), "+Inf"), counts, strict=False):
                cumulative += count
                buckets.append((bound, cumulative))
            total += int(cumulative)
            durations.add_metric([kind], buckets, counts[-1])
        yield durations
        statuses = CounterMetricFamily("requests_proxy", "Responses by status", labels=["status"])
        for status, count in self._statuses.items():
            statuses.add_metric([str(status)], count)
        yield statuses
        refused = CounterMetricFamily(
            "perijove_proxy_refused", "Connections refused because of what they sent", labels=["status"]
        )
        for status, count in self._refused.items():
            refused.add_metric([str(status)], count)
        yield refused
        yield CounterMetricFamily("requests_web", "Requests that were not upgrades", total)
        yield CounterMetricFamily("requests_ws", "Upgraded connections", self._upgrades)
        for name, (text, value) in self._gauges().items():
            yield GaugeMetricFamily(f"perijove_proxy_{name}", text, value)
