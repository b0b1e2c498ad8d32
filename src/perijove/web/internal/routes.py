"""Routes for proxies: list, watch, and the report of activity that comes back."""

import hmac
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from perijove.domain.errors import Forbidden, Invalid, Unavailable
from perijove.domain.events import Event, Kind, Lagged
from perijove.lib.log import get_logger
from perijove.services import activity
from perijove.services import routes as table
from perijove.services.context import HubContext

log = get_logger(__name__)

# Well under the four seconds after which a proxy takes silence for a dead hub.
KEEP_ALIVE_SECONDS = 2.0
GONE = 410


class Routes:
    """Handlers with their hub."""

    def __init__(self, hub: HubContext) -> None:
        self.hub = hub
        self.token = hub.options.proxy_token or hub.store.proxy_token

    def authenticate(self, request: Request) -> None:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        given = token.strip().encode("utf-8", "surrogateescape")
        if scheme.lower() not in {"token", "bearer"} or not hmac.compare_digest(given, self.token.encode()):
            raise Forbidden("Only a proxy with this hub's token may ask.")

    async def list_all(self, request: Request) -> Response:
        self.authenticate(request)
        revision, found = await table.all_routes(self.hub)
        return JSONResponse({"epoch": self.hub.store.epoch, "revision": revision, "routes": found})

    async def watch(self, request: Request) -> Response:
        self.authenticate(request)
        try:
            since = int(request.query_params.get("since", ""))
        except ValueError as error:
            raise Invalid("since: a revision number, as /internal/routes gave it.", field="since") from error
        if request.query_params.get("epoch") != self.hub.store.epoch:
            return Response("another database: list again\n", GONE, media_type="text/plain")
        # Subscribed before the outbox is read, so that nothing falls between the two.
        stream = self._changes(since)
        first = await anext(stream, None)
        if first is None:
            return Response("too long ago: list again\n", GONE, media_type="text/plain")
        return StreamingResponse(_resumed(first, stream), media_type="application/x-ndjson")

    async def _changes(self, since: int) -> AsyncIterator[bytes]:
        """Lines for the watcher; ends at once when `since` is too old, and when the watcher lags."""
        with self.hub.bus.subscribe(Kind.SERVER, Kind.ROUTE) as subscription:
            missed = await table.events_since(self.hub, since)
            if missed is None:
                return
            last = max((event.revision for event in missed), default=since)
            yield await self._line(missed, last)
            while True:
                taken = await subscription.take(KEEP_ALIVE_SECONDS)
                if self.hub.bus.closed or any(isinstance(item, Lagged) for item in taken):
                    return
                # The outbox, not the hint, says what happened: complete, in order, from any replica.
                events = await table.events_since(self.hub, last)
                if events is None:
                    return
                last = max((event.revision for event in events), default=last)
                yield await self._line(events, last)

    async def _line(self, events: list[Event], revision: int) -> bytes:
        line: dict[str, Any] = {"revision": revision}
        if events:
            line["put"], line["delete"] = await table.changes(self.hub, events)
        return msgspec.json.encode(line) + b"\n"

    async def activity(self, request: Request) -> Response:
        self.authenticate(request)
        try:
            times = msgspec.json.decode(await request.body(), type=dict[str, datetime])
        except msgspec.DecodeError as error:
            raise Invalid(f"A JSON object of route prefixes and times is wanted: {error}") from error
        aware = {prefix: at if at.tzinfo else at.replace(tzinfo=UTC) for prefix, at in times.items()}
        await activity.report_routes(self.hub, aware)
        return Response(status_code=200)


async def _resumed(first: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield first
    try:
        async for line in rest:
            yield line
    except Unavailable as error:
        # The watcher goes on at another hub where this one stopped.
        log.info("a watch of routes ends early", reason=error.message)


def routes(hub: HubContext) -> list[Route]:
    """Relative to `<base_url>hub`."""
    handlers = Routes(hub)
    return [
        Route("/internal/routes", handlers.list_all, methods=["GET"]),
        Route("/internal/routes/watch", handlers.watch, methods=["GET"]),
        Route("/internal/activity", handlers.activity, methods=["POST"]),
    ]
