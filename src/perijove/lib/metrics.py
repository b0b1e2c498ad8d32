"""Prometheus metrics under JupyterHub's names, so that existing dashboards work.

Gauges that count rows are read from the database when they are scraped, not kept: a replica that counted
only its own events would be wrong.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter, process_time
from typing import Any

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)

# Not the library's global registry: JupyterHub registers the same names there as soon as a plug-in imports it.
REGISTRY = CollectorRegistry()
ProcessCollector(registry=REGISTRY)
PlatformCollector(registry=REGISTRY)
GCCollector(registry=REGISTRY)

SPAWN_BUCKETS = (0.5, 1, 2.5, 5, 10, 15, 30, 60, 120, 180, 300, 600, float("inf"))
# What the loop is asked to wake up for; later is how long something else kept it.
LOOP_INTERVAL_SECONDS = 0.05
# And while the process does next to nothing: waking up twenty times a second would be most of what it does.
IDLE_LOOP_INTERVAL_SECONDS = 0.25
# Share of a processor used meanwhile that makes it busy.
BUSY = 0.03
LOOP_BUCKETS = (0.05, 0.055, 0.06, 0.065, 0.07, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, float("inf"))


def _histogram(name: str, text: str, *labels: str, **options: Any) -> Histogram:
    return Histogram(f"jupyterhub_{name}", text, labels, registry=REGISTRY, **options)


def _gauge(name: str, text: str, *labels: str) -> Gauge:
    return Gauge(f"jupyterhub_{name}", text, labels, registry=REGISTRY)


request_duration = _histogram(
    "request_duration_seconds", "Request duration for all HTTP requests", "method", "handler", "code"
)
spawn_duration = _histogram(
    "server_spawn_duration_seconds",
    "Time taken for server spawning operation",
    "status",
    "reason",
    buckets=SPAWN_BUCKETS,
)
stop_seconds = _histogram("server_stop_seconds", "Time taken for server stopping operation", "status")
poll_duration = _histogram("server_poll_duration_seconds", "Time taken to poll if server is running", "status")
login_duration = _histogram("login_duration_seconds", "Duration of all authentication attempts", "status")
logout_duration = _histogram("logout_duration_seconds", "Duration of all logout requests")
running_servers = _gauge("running_servers", "The number of user servers currently running")
total_users = _gauge("total_users", "Total number of users")
active_users = _gauge("active_users", "Number of users who were active in the given time period", "period")
hub_startup_duration = _histogram("hub_startup_duration_seconds", "Time taken for Hub to start")
init_spawners_duration = _histogram(
    "init_spawners_duration_seconds", "Time taken at start to read what should exist; servers are checked afterwards"
)
# With a configurable-http-proxy that routes are pushed to; proxies of our own follow the hub.
check_routes_duration = _histogram("check_routes_duration_seconds", "Time taken to validate all routes in proxy")
proxy_poll_duration = _histogram("proxy_poll_duration_seconds", "Duration for polling all routes from proxy")
proxy_add_duration = _histogram("proxy_add_duration_seconds", "Duration for adding user routes to proxy", "status")
proxy_delete_duration = _histogram(
    "proxy_delete_duration_seconds", "Duration for deleting user routes from proxy", "status"
)
csp_reports = Counter("jupyterhub_csp_reports", "Content security policy violation reports", registry=REGISTRY)
event_loop_interval = _histogram(
    "event_loop_interval_seconds", "Distribution of measured event loop intervals", buckets=LOOP_BUCKETS
)

# Rates need a zero to begin at: dashboards would miss the first failure.
for _status in ("success", "failure"):
    for _metric in (stop_seconds, login_duration, proxy_add_duration, proxy_delete_duration):
        _metric.labels(_status)
for _reason in ("", "throttled", "too-many-users", "already-pending"):
    spawn_duration.labels("failure", _reason)
spawn_duration.labels("success", "")
spawn_duration.labels("error", "")


def spawn_refused(reason: str) -> None:
    """A start that a limit kept from being tried."""
    spawn_duration.labels("failure", reason).observe(0)


@contextmanager
def timed(metric: Histogram) -> Iterator[None]:
    """Observe how long the block took under `success`, or under `failure` when it raised."""
    began = perf_counter()
    status = "failure"
    try:
        yield
        status = "success"
    finally:
        metric.labels(status).observe(perf_counter() - began)


async def watch_loop() -> None:
    """Until cancelled: how late the event loop wakes up who asked for it.

    In intervals of one length whatever was asked for, so that lateness can be compared: what is late does not
    depend on how long it slept.
    """
    wanted, spent = LOOP_INTERVAL_SECONDS, process_time()
    while True:
        began = perf_counter()
        await asyncio.sleep(wanted)
        slept, before, spent = perf_counter() - began, spent, process_time()
        event_loop_interval.observe(slept - wanted + LOOP_INTERVAL_SECONDS)
        wanted = LOOP_INTERVAL_SECONDS if spent - before > BUSY * slept else IDLE_LOOP_INTERVAL_SECONDS


def exposition(registry: CollectorRegistry = REGISTRY) -> bytes:
    """The text format of everything registered."""
    return generate_latest(registry)
