"""What people and programs do to a hub while it is upgraded: nobody waits, repeats or forgives.

Every client keeps its connections as browsers do. What fails is written down, with what was being done: an answer
that is not the one for success, a connection that ends without one, a websocket that is cut. A GET on a kept
connection that was closed meanwhile is sent again by the client, as every browser does; nothing else is.
"""

import asyncio
import itertools
import json
import math
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Any

import aiohttp

from perijove.testing.browser import Browser
from perijove.testing.service import Service
from perijove.testing.waiting import until

_TIMEOUT = aiohttp.ClientTimeout(total=20)
_SETTLE_SECONDS = 30
_REACH_SECONDS = 60
_PAUSE = 0.02
# Of each client between one thing and the next: the machine is needed for starting hubs.
_REST = 0.2


class Cut(Exception):
    """A websocket ended that should not have."""


class Refused(Exception):
    """An answer that nobody likes to get."""


class Load:
    """`async with load.on():`, then look at `failures` and `done`."""

    def __init__(self, front: Service, token: str) -> None:
        self.front = front
        self.token = token
        self.failures: list[str] = []
        # Websockets that were open on a proxy that had to go: how many were cut, and at which endpoint.
        self.cut: list[int] = []
        # When the time to drain of an endpoint is over, by the loop's clock: what it still carries may be cut then.
        self.overdue: dict[int, float] = {}
        self.done: Counter[str] = Counter()
        self._names = (f"user{number}" for number in itertools.count())
        self._stop = asyncio.Event()

    @asynccontextmanager
    async def on(self) -> AsyncIterator[None]:
        async with asyncio.TaskGroup() as group:
            kinds = [self.log_in, self.call_api, self.post_activity, self.spawn, self.spawn, self.short_websocket]
            for number, kind in enumerate(kinds):
                group.create_task(self._again_and_again(kind, f"{kind.__name__}{number}"))
            for number in range(4):
                group.create_task(self._long_websocket(f"kernel{number}"))
            try:
                yield
            finally:
                self._stop.set()

    async def reached(self, count: int, kinds: Collection[str]) -> None:
        """Each of these was done so many times."""
        await until(lambda: all(self.done[kind] >= count for kind in kinds), seconds=_REACH_SECONDS)

    async def _again_and_again(self, kind: Callable[..., Awaitable[None]], user: str) -> None:
        async with self._session() as session:
            await self.expect(session, "POST", f"hub/api/users/{user}", {201})
            while not self._stop.is_set():
                try:
                    await kind(session, user)
                    self.done[kind.__name__] += 1
                except (aiohttp.ClientError, Cut, Refused, TimeoutError) as error:
                    self.failures.append(f"{kind.__name__}: {error!r}")
                await asyncio.sleep(_REST)

    def _session(self) -> aiohttp.ClientSession:
        headers = {"Authorization": f"token {self.token}"}
        return aiohttp.ClientSession(headers=headers, timeout=_TIMEOUT)

    async def expect(
        self, session: aiohttp.ClientSession, method: str, path: str, statuses: Collection[int], body: Any = None
    ) -> Any:
        async with session.request(method, f"{self.front.url}/{path}", json=body, allow_redirects=False) as response:
            text = await response.text()
            if response.status not in statuses:
                raise Refused(f"{method} {path}: {response.status} {text[:300]}")
            return json.loads(text) if response.content_type == "application/json" and text else text

    # -- what people do

    async def log_in(self, _: aiohttp.ClientSession, user: str) -> None:
        name = f"{user}-{next(self._names)}"
        async with Browser(f"{self.front.url}/") as browser:
            status, url = await browser.log_in(name, path="hub/login?next=/hub/home")
            if status != HTTPStatus.OK or not url.endswith("/hub/home"):
                raise Refused(f"login ended at {url} with {status}")
            response, page = await browser.get("hub/token")
            if response.status != HTTPStatus.OK or name not in page:
                raise Refused(f"hub/token: {response.status} {page[:300]}")

    async def call_api(self, session: aiohttp.ClientSession, user: str) -> None:
        await self.expect(session, "GET", f"hub/api/users/{user}", {200})
        await self.expect(session, "PATCH", f"hub/api/users/{user}", {200}, {"admin": False})

    async def post_activity(self, session: aiohttp.ClientSession, user: str) -> None:
        body = {"last_activity": "2026-01-01T00:00:00Z"}
        await self.expect(session, "POST", f"hub/api/users/{user}/activity", {200}, body)

    async def spawn(self, session: aiohttp.ClientSession, user: str) -> None:
        await self.expect(session, "POST", f"hub/api/users/{user}/server", {201, 202})
        await self._settled(session, user, lambda servers: servers.get("", {}).get("ready"))
        await self._arrive(session, user)
        await self.expect(session, "DELETE", f"hub/api/users/{user}/server", {202, 204})
        await self._settled(session, user, lambda servers: "" not in servers or servers[""].get("stopped"))

    async def _arrive(self, session: aiohttp.ClientSession, user: str) -> None:
        """At the server itself. Who asks the moment it is ready may be a moment ahead of the proxy, whose answer
        then leads by the hub, as browsers are."""
        async with asyncio.timeout(_SETTLE_SECONDS):
            while True:
                found = await self.expect(session, "GET", f"user/{user}/tree", {200, 302})
                if found:
                    break
        if found["user"] != user:
            raise Refused(f"{found['user']} serves {user}")

    async def _settled(
        self, session: aiohttp.ClientSession, user: str, settled: Callable[[dict[str, Any]], Any]
    ) -> None:
        async with asyncio.timeout(_SETTLE_SECONDS):
            while True:
                found = await self.expect(session, "GET", f"hub/api/users/{user}?include_stopped_servers", {200})
                if settled(found["servers"]):
                    return
                await asyncio.sleep(_PAUSE)

    # -- notebooks

    async def short_websocket(self, session: aiohttp.ClientSession, user: str) -> None:
        """A kernel that is talked to for a while: it fits into the time to drain, so nothing may cut it."""
        await self._run(session, user)
        async with session.ws_connect(f"{self.front.url}/user/{user}/ws") as socket:
            for number in range(10):
                await _echo(socket, number)

    async def _run(self, session: aiohttp.ClientSession, user: str) -> None:
        found = await self.expect(session, "GET", f"hub/api/users/{user}", {200})
        if "" not in found["servers"]:
            await self.expect(session, "POST", f"hub/api/users/{user}/server", {201, 202})
            await self._settled(session, user, lambda servers: servers.get("", {}).get("ready"))
        await self._arrive(session, user)

    async def _long_websocket(self, user: str) -> None:
        """A notebook that stays open: it is cut by nobody but the proxy that it came by, when its time is over."""
        async with self._session() as session:
            await self.expect(session, "POST", f"hub/api/users/{user}", {201})
            await self._run(session, user)
            while not self._stop.is_set():
                await self._stay(session, user)

    async def _stay(self, session: aiohttp.ClientSession, user: str) -> None:
        endpoint = None
        try:
            async with session.ws_connect(f"{self.front.url}/user/{user}/ws") as socket:
                endpoint = self.front.target_of(socket.get_extra_info("sockname")[1])
                number = 0
                while not self._stop.is_set():
                    await _echo(socket, number := number + 1)
                    self.done["long_websocket"] += 1
        except (aiohttp.ClientError, Cut, Refused, TimeoutError) as error:
            if endpoint is not None and self.overdue.get(endpoint.port, math.inf) <= asyncio.get_running_loop().time():
                self.cut.append(endpoint.port)
            else:
                self.failures.append(f"long websocket: {error!r}")
                await asyncio.sleep(_PAUSE)


async def _echo(socket: aiohttp.ClientWebSocketResponse, number: int) -> None:
    try:
        await socket.send_str(str(number))
        message = await socket.receive(timeout=10)
    except ConnectionError as error:
        raise Cut(str(error)) from error
    if message.type is not aiohttp.WSMsgType.TEXT or message.data != str(number):
        raise Cut(f"{message.type.name} instead of {number}")
    await asyncio.sleep(0.05)
