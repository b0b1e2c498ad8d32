"""`/hub/metrics`: what this replica measured, and what the database counts."""

from datetime import timedelta
from typing import Any

from prometheus_client import CONTENT_TYPE_LATEST
from sqlalchemy import func, select
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Scope

from perijove.domain.states import Observed
from perijove.lib import metrics
from perijove.services.context import HubContext
from perijove.store.schema import servers, users
from perijove.web.identity import require

PERIODS = {"24h": timedelta(hours=24), "7d": timedelta(days=7), "30d": timedelta(days=30)}


class RequestMetrics:
    """Counts requests by handler and status, as JupyterHub's dashboards group them."""

    def __init__(self) -> None:
        self._children: dict[tuple[str, str, int], Any] = {}

    def observe(self, scope: Scope, status: int, seconds: float) -> None:
        """The handler is the route's own path, so that user names never become labels."""
        route = scope.get("route")
        handler = getattr(route, "path", "") or "unrouted"
        key = (scope["method"], handler, status)
        child = self._children.get(key)
        if child is None:
            child = self._children[key] = metrics.request_duration.labels(*map(str, key))
        child.observe(seconds)


def metrics_routes(hub: HubContext) -> list[Route]:
    async def show(request: Request) -> Response:
        if hub.options.authenticate_prometheus:
            await require(hub, request, "read:metrics")
        await _count(hub)
        return Response(metrics.exposition(), media_type=CONTENT_TYPE_LATEST)

    return [Route("/metrics", show, methods=["GET"]), Route("/api/metrics", show, methods=["GET"])]


async def _count(hub: HubContext) -> None:
    now = hub.store.now()
    async with hub.store.read() as connection:
        running = select(func.count()).where(servers.c.observed == Observed.RUNNING)
        metrics.running_servers.set((await connection.execute(running)).scalar_one())
        metrics.total_users.set((await connection.execute(select(func.count()).select_from(users))).scalar_one())
        for period, length in PERIODS.items():
            active = select(func.count()).where(users.c.last_activity > now - length)
            metrics.active_users.labels(period).set((await connection.execute(active)).scalar_one())
