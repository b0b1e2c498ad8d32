"""What one process does for all that serve: fill the table, save it, report activity, answer the API and metrics.

In a proxy of one process this runs beside the data plane; with several workers it is what their supervisor does.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from perijove.lib.log import get_logger
from perijove.proxy.activity import Activity
from perijove.proxy.certificates import Certificates
from perijove.proxy.chp_api import ROOT, RouteAPI, Settled
from perijove.proxy.control_server import ControlRequest, ControlResponse, ControlServer, first_of
from perijove.proxy.follow import Follower
from perijove.proxy.hubs import Hubs
from perijove.proxy.listeners import Place
from perijove.proxy.metrics import Metrics
from perijove.proxy.options import ProxyOptions
from perijove.proxy.routing import Routing
from perijove.proxy.saved import SavedTable
from perijove.proxy.upstreams import Upstreams

log = get_logger(__name__)

_SWEEP_SECONDS = 10.0
_METRICS_TYPE = b"text/plain; version=0.0.4; charset=utf-8"


class Control:
    """`start`, then `stop`."""

    def __init__(
        self,
        options: ProxyOptions,
        *,
        routing: Routing,
        upstreams: Upstreams,
        activity: Activity,
        metrics: Metrics,
        settled: Settled | None = None,
        before_metrics: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self._options = options
        self._routing = routing
        self._activity = activity
        self._metrics = metrics
        self._before_metrics = before_metrics
        self._tasks: list[asyncio.Task[None]] = []
        self._api_tls = Certificates(options.api.tls) if options.api and options.api.tls else None
        self.saved = SavedTable(options.table_path, routing) if options.table_path and not options.api else None
        self.follower: Follower | None = None
        self._api: RouteAPI | None = None
        self._servers: list[tuple[ControlServer, list[Place]]] = []
        if options.api:
            self._api = RouteAPI(
                routing, metrics, activity, token=options.token, host_routing=options.host_routing, settled=settled
            )
            api = ControlServer(first_of((ROOT, self._api)))
            self._servers.append((api, _api_places(options)))
        else:
            use_saved = self.saved.use if self.saved else None
            self.follower = Follower(routing, Hubs(options, upstreams), activity, use_saved=use_saved)
        self._metrics_server: ControlServer | None = None
        if options.metrics_listen or options.metrics_unix:
            places = [Place(*options.metrics_listen)] if options.metrics_listen else []
            places += [Place(unix=options.metrics_unix)] if options.metrics_unix else []
            self._metrics_server = ControlServer(first_of((b"/metrics", self._show_metrics)))
            self._servers.append((self._metrics_server, places))

    async def start(self) -> None:
        """Raises OSError if an address cannot be listened on."""
        options = self._options
        for server, places in self._servers:
            tls = self._api_tls if server is not self._metrics_server else None
            await server.start(places, tls.context if tls else None)
        work: list[Coroutine[Any, Any, None]] = [self._sweep()]
        if self._api is not None:
            if not options.token:
                log.warning("the REST API asks for no token: set CONFIGPROXY_AUTH_TOKEN")
            self._api.begin(options.api.default_target)
        if self.follower is not None:
            work += [self.follower.run(), self.follower.report_activity(options.activity_seconds)]
        if self.saved is not None:
            work.append(self.saved.keep())
        self._tasks = background(*work)

    @property
    def api_address(self) -> tuple[str, int] | None:
        return self._servers[0][0].address if self._api is not None else None

    @property
    def metrics_address(self) -> tuple[str, int] | None:
        return self._metrics_server.address if self._metrics_server is not None else None

    def reload(self) -> None:
        if self._api_tls is not None:
            self._api_tls.reload()
        if self.follower is not None:
            self.follower.relist()

    async def stop(self) -> None:
        for server, _ in self._servers:
            await server.stop()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._tasks:
            if self.saved is not None:
                await self.saved.save_now()
            if self.follower is not None:
                await self.follower.report_now()
        self._tasks = []

    def _show_metrics(self, _: ControlRequest) -> "ControlResponse | Awaitable[ControlResponse]":
        if self._before_metrics is None:
            return ControlResponse(200, self._metrics.text(), _METRICS_TYPE)
        return self._show_metrics_later(self._before_metrics)

    async def _show_metrics_later(self, before: Callable[[], Awaitable[None]]) -> ControlResponse:
        await before()
        return ControlResponse(200, self._metrics.text(), _METRICS_TYPE)

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(_SWEEP_SECONDS)
            for server, _ in self._servers:
                server.sweep()
            if self._api_tls is not None:
                self._api_tls.reload()
            if self._api is not None:
                # Nobody is told of it: the API shows each route's own.
                self._activity.take_raw()


def _api_places(options: ProxyOptions) -> list[Place]:
    api = options.api
    places = [Place(host, port) for host, port in api.listen]
    places += [Place(unix=path) for path in api.unix_sockets]
    return places + [Place(descriptor=number) for number in api.sockets]


def background(*work: Coroutine[Any, Any, None]) -> list[asyncio.Task[None]]:
    """Work that never ends by itself: if it does by an error, that is a bug."""
    tasks = [asyncio.create_task(item) for item in work]
    for task in tasks:
        task.add_done_callback(_note_end)
    return tasks


def _note_end(task: "asyncio.Task[None]") -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        message = f"background work ended: {task.get_coro()}"
        task.get_loop().call_exception_handler({"message": message, "exception": error})
