"""Prometheus metrics under JupyterHub's names, so that existing dashboards work.

Gauges that count rows are read from the database when they are scraped, not kept: a replica that counted
only its own events would be wrong.
"""

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

SPAWN_BUCKETS = (0.5, 1, 2, 5, 10, 15, 30, 60, 120, 180, 300, 600, float("inf"))

request_duration = Histogram(
    "jupyterhub_request_duration_seconds",
    "Request duration for all HTTP requests",
    ["method", "handler", "code"],
    registry=REGISTRY,
)
spawn_duration = Histogram(
    "jupyterhub_server_spawn_duration_seconds",
    "Time taken for server spawning operation",
    ["status"],
    buckets=SPAWN_BUCKETS,
    registry=REGISTRY,
)
stop_seconds = Histogram(
    "jupyterhub_server_stop_seconds", "Time taken for server stopping operation", ["status"], registry=REGISTRY
)
poll_duration = Histogram(
    "jupyterhub_server_poll_duration_seconds", "Time taken to poll if server is running", ["status"], registry=REGISTRY
)
login_duration = Histogram("jupyterhub_login_duration_seconds", "Login request duration", ["status"], registry=REGISTRY)
running_servers = Gauge("jupyterhub_running_servers", "The number of user servers currently running", registry=REGISTRY)
total_users = Gauge("jupyterhub_total_users", "Total number of users", registry=REGISTRY)
active_users = Gauge(
    "jupyterhub_active_users", "Number of users who were active in the given time period", ["period"], registry=REGISTRY
)
hub_startup_duration = Histogram(
    "jupyterhub_hub_startup_duration_seconds", "Time taken for Hub to start", registry=REGISTRY
)
spawn_failures = Counter("perijove_spawn_failures", "Failed server starts by reason", ["reason"], registry=REGISTRY)


def exposition(registry: CollectorRegistry = REGISTRY) -> bytes:
    """The text format of everything registered."""
    return generate_latest(registry)
