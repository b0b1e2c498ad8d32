"""The network between proxies and hubs: a proxy's requests, answered by the hub's own handlers in its own process.

What a hub says arrives in order, a moment later, unless the way is cut (connections are reset), silent (nothing
arrives and nobody says so), or the hub is gone.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from starlette.requests import Request
from starlette.responses import StreamingResponse

from perijove.domain.errors import HubError
from perijove.proxy.fetch import FetchFailed, Patience
from perijove.services.context import HubContext
from perijove.testing.model.loop import Process
from perijove.web.internal.routes import Routes

_LATENCY_SECONDS = 0.003
_END = object()


@dataclass(eq=False)
class Channel:
    """One response on its way."""

    proxy: Process
    hub: Process
    way: "Way"
    # Taken off in turn by timers, which end in any order where they are due at the same moment: and while there is
    # something to do, all moments are the same.
    on_the_way: deque[Any] = field(default_factory=deque)
    arrived: deque[Any] = field(default_factory=deque)
    more: asyncio.Event = field(default_factory=asyncio.Event)
    broken: bool = False

    def send(self, item: Any) -> None:
        if self.way.state == "open" and self.hub.alive and not self.broken:
            self.on_the_way.append(item)
            asyncio.get_running_loop().call_later(_LATENCY_SECONDS, self._arrive, context=self.proxy.context)

    def _arrive(self) -> None:
        item = self.on_the_way.popleft()
        if self.way.state == "open" and not self.broken:
            self.arrived.append(item)
            self.more.set()

    def reset(self) -> None:
        self.broken = True
        self.more.set()

    async def take(self, silence: float | None) -> Any:
        while not self.arrived:
            if self.broken:
                raise ConnectionResetError(self.hub.name)
            self.more.clear()
            try:
                async with asyncio.timeout(silence):
                    await self.more.wait()
            except TimeoutError as error:
                raise FetchFailed(f"{self.hub.name} is silent") from error
        return self.arrived.popleft()


@dataclass
class Way:
    """From one proxy to one place of a hub."""

    state: str = "open"
    channels: set[Channel] = field(default_factory=set)

    def cut(self) -> None:
        self.state = "cut"
        self._reset()

    def silence(self) -> None:
        self.state = "silent"

    def mend(self) -> None:
        if self.state == "silent":
            self._reset()
        self.state = "open"

    def _reset(self) -> None:
        for channel in list(self.channels):
            channel.reset()


@dataclass
class Response:
    """What the follower uses of `proxy.fetch.Fetched`."""

    status: int
    channel: Channel
    patience: Patience

    async def read(self) -> bytes:
        return b"".join([piece async for piece in self.pieces()])

    async def pieces(self) -> AsyncIterator[bytes]:
        while (item := await self.channel.take(self.patience.silence or self.patience.total)) is not _END:
            yield item


@dataclass
class Place:
    """Where a hub listens; the same for each of its lives."""

    hub: HubContext | None = None
    process: Process | None = None


class ModelHubs:
    """`proxy.hubs.Hubs` of one proxy."""

    def __init__(self, proxy: Process, places: list[Place], ways: list[Way], first: int) -> None:
        self._proxy = proxy
        self._places = places
        self._ways = ways
        self._current = first % len(places)

    def __len__(self) -> int:
        return len(self._places)

    def pass_over(self) -> None:
        self._current = (self._current + 1) % len(self._places)

    @property
    def current(self) -> str:
        return f"place {self._current}"

    @asynccontextmanager
    async def request(self, _method: str, path: str, *, patience: Patience) -> AsyncIterator[Response]:
        place, way = self._places[self._current], self._ways[self._current]
        if way.state == "silent":
            await asyncio.sleep(5)
            raise FetchFailed("no connection")
        hub, process = place.hub, place.process
        if hub is None or process is None or not process.alive or way.state == "cut":
            raise ConnectionRefusedError(self.current)
        channel = Channel(self._proxy, process, way)
        way.channels.add(channel)
        process.closers[channel] = channel.reset
        answering = process.begin(_answer(hub, path, channel))
        try:
            status = await channel.take(patience.silence or patience.total)
            yield Response(status, channel, patience)
        finally:
            channel.broken = True
            way.channels.discard(channel)
            process.closers.pop(channel, None)
            # A hub notices when it writes next; one that is frozen, when it is thawed.
            asyncio.get_running_loop().call_soon(answering.cancel, context=process.context)


async def _answer(hub: HubContext, path: str, channel: Channel) -> None:
    path, _, query = path.partition("?")
    handlers = Routes(hub)
    scope = {
        "type": "http",
        "method": "GET",
        "path": f"/{path}",
        "query_string": query.encode(),
        "headers": [(b"authorization", f"token {handlers.token}".encode())],
    }
    try:
        handler = handlers.watch if path.endswith("/watch") else handlers.list_all
        response = await handler(Request(scope))
    except HubError:
        channel.send(503)
        channel.send(_END)
        return
    channel.send(response.status_code)
    if isinstance(response, StreamingResponse):
        try:
            async for piece in response.body_iterator:
                channel.send(piece)
        except HubError:
            channel.reset()
            return
    else:
        channel.send(bytes(response.body))
    channel.send(_END)
