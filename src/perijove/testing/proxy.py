"""A hub and targets for proxies to be tried with, all on real sockets of the running loop.

`FakeHub` speaks the route protocol and can be taken down and brought back on the same port; `serve_proxy` gives a
proxy that follows it; `Wire` is a client that sees bytes.
"""

import asyncio
import json
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from ssl import SSLContext
from typing import Any
from urllib.parse import quote

from aiohttp import web

from perijove.proxy.main import Proxy
from perijove.proxy.options import APIOptions, ProxyOptions
from perijove.testing.waiting import until

DEADLINE_SECONDS = 10.0

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class FakeHub:
    """The hub's side of the route protocol, and a page for every other path."""

    def __init__(self, base_url: str = "/", token: str = "secret") -> None:  # noqa: S107 - a test's
        self.base_url = base_url
        self.token = token
        self.epoch = "e1"
        self.revision = 1
        self.routes: dict[str, dict[str, Any]] = {"/": {"prefix": "/", "target": "hub", "data": {"hub": True}}}
        self.activity: dict[str, str] = {}
        self.lists = 0
        self.requests: list[web.Request] = []
        self.answer: Callable[[web.Request], Awaitable[web.StreamResponse]] | None = None
        self.port = 0
        self._log: list[dict[str, Any]] = []
        self._changed = asyncio.Event()
        self._runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def change(self, put: Mapping[str, str] | None = None, delete: tuple[str, ...] = ()) -> int:
        """Routes as prefix -> target; the revision that has them."""
        self.revision += 1
        items = [
            {"prefix": prefix, "target": target, "data": {"user": prefix.strip("/").rpartition("/")[2]}}
            for prefix, target in (put or {}).items()
        ]
        for item in items:
            self.routes[str(item["prefix"])] = item
        for prefix in delete:
            del self.routes[prefix]
        self._log.append({"revision": self.revision, "put": items, "delete": list(delete)})
        self._changed.set()
        self._changed = asyncio.Event()
        return self.revision

    async def start(self) -> None:
        app = web.Application()
        app.router.add_get(f"{self.base_url}hub/internal/routes", self._list)
        app.router.add_get(f"{self.base_url}hub/internal/routes/watch", self._watch)
        app.router.add_post(f"{self.base_url}hub/internal/activity", self._activity)
        app.router.add_get(f"{self.base_url}hub/error/{{code}}", self._error)
        app.router.add_route("*", "/{path:.*}", self._page)
        self._runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=0.01)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port, reuse_address=True).start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        """Also breaks the watches under way."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    def _check(self, request: web.Request) -> None:
        if request.headers.get("Authorization") != f"token {self.token}":
            raise web.HTTPForbidden

    async def _list(self, request: web.Request) -> web.Response:
        self._check(request)
        self.lists += 1
        return web.json_response({"epoch": self.epoch, "revision": self.revision, "routes": list(self.routes.values())})

    async def _watch(self, request: web.Request) -> web.StreamResponse:
        self._check(request)
        since = int(request.query["since"])
        oldest = self._log[0]["revision"] - 1 if self._log else self.revision
        if request.query["epoch"] != self.epoch or since < oldest:
            raise web.HTTPGone
        response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
        await response.prepare(request)
        while True:
            changed = self._changed
            for line in self._log:
                if line["revision"] > since:
                    await response.write(json.dumps(line).encode() + b"\n")
            since = self.revision
            with suppress(TimeoutError):
                await asyncio.wait_for(changed.wait(), 1)
            await response.write(json.dumps({"revision": self.revision}).encode() + b"\n")

    def forget_log(self) -> None:
        """As after a long time: whoever is behind must list again."""
        self._log = []

    async def _activity(self, request: web.Request) -> web.Response:
        self._check(request)
        self.activity.update(await request.json())
        return web.Response(status=204)

    async def _error(self, request: web.Request) -> web.Response:
        page = f"<h1>hub page {request.match_info['code']}</h1><p>{request.query.get('url', '')}</p>"
        return web.Response(text=page, content_type="text/html")

    async def _page(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(request)
        if self.answer is not None:
            return await self.answer(request)
        body = await request.read()
        return web.json_response(
            {
                "at": "hub",
                "path": request.raw_path,
                "headers": [list(item) for item in request.headers.items()],
                "body": body.decode("latin-1"),
            }
        )


@asynccontextmanager
async def fake_hub(**options: Any) -> AsyncIterator[FakeHub]:
    hub = FakeHub(**options)
    await hub.start()
    try:
        yield hub
    finally:
        await hub.stop()


@asynccontextmanager
async def serve_proxy(hub: FakeHub, *, wait: bool = True, **options: Any) -> AsyncIterator[Proxy]:
    """A proxy on a free port that follows `hub`."""
    merged = {
        "listen": [("127.0.0.1", 0)],
        "hub_urls": [hub.url],
        "base_url": hub.base_url,
        "token": hub.token,
        **options,
    }
    bugs: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: bugs.append(context))
    proxy = Proxy(ProxyOptions(**merged))
    await proxy.start()
    try:
        if wait:
            await until(lambda: proxy.routing.connected)
        yield proxy
    finally:
        await proxy.stop(0)
    if bugs:
        raise AssertionError(f"errors that nobody caught: {bugs}") from bugs[0].get("exception")


@asynccontextmanager
async def serve_api_proxy(**options: Any) -> AsyncIterator[Proxy]:
    """A proxy whose routes come by the REST API, as configurable-http-proxy's do; its token is `secret`."""
    api = options.pop("api", APIOptions(listen=[("127.0.0.1", 0)]))
    proxy = Proxy(ProxyOptions(**{"listen": [("127.0.0.1", 0)], "token": "secret", "api": api, **options}))
    await proxy.start()
    try:
        yield proxy
    finally:
        await proxy.stop(0)


@asynccontextmanager
async def target(handler: Handler, *, unix: str = "", ssl: SSLContext | None = None) -> AsyncIterator[str]:
    """A server whose every connection `handler` serves by hand; its URL."""
    tasks: set[asyncio.Task[Any]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            await handler(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            tasks.discard(task)
            writer.close()

    scheme = "https" if ssl else "http"
    server: asyncio.Server
    if unix:
        server = await asyncio.start_unix_server(serve, unix, limit=1 << 20, ssl=ssl)
        url = f"{scheme}+unix://{quote(unix, safe='')}"
    else:
        server = await asyncio.start_server(serve, "127.0.0.1", 0, limit=1 << 20, ssl=ssl)
        url = f"{scheme}://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield url
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class Answer:
    """A response as its bytes."""

    def __init__(self, head: bytes, body: bytes) -> None:
        self.head = head
        self.body = body
        self.status = int(head.split(b" ", 2)[1])
        self.fields = [
            (name.decode().lower(), value.strip().decode("latin-1"))
            for name, _, value in (line.partition(b":") for line in head.split(b"\r\n")[1:] if line)
        ]

    def field(self, name: str) -> str | None:
        """Its value; all of them joined when there are several."""
        values = [value for key, value in self.fields if key == name.lower()]
        return ", ".join(values) if values else None

    def json(self) -> Any:
        return json.loads(self.body)


class Wire:
    """A client that sends bytes as given."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def head(self) -> bytes:
        async with asyncio.timeout(DEADLINE_SECONDS):
            return await self.reader.readuntil(b"\r\n\r\n")

    async def answer(self, *, head_request: bool = False) -> Answer:
        """The next response, whole."""
        head = await self.head()
        answer = Answer(head, b"")
        async with asyncio.timeout(DEADLINE_SECONDS):
            if head_request or answer.status in (204, 304) or answer.status // 100 == 1:
                return answer
            if answer.field("transfer-encoding") == "chunked":
                answer.body = await self._chunks()
            elif (length := answer.field("content-length")) is not None:
                answer.body = await self.reader.readexactly(int(length))
            else:
                answer.body = await self.reader.read(-1)
        return answer

    async def _chunks(self) -> bytes:
        body = b""
        while size := int((await self.reader.readline()).split(b";")[0], 16):
            body += await self.reader.readexactly(size)
            await self.reader.readexactly(2)
        while await self.reader.readline() != b"\r\n":
            pass
        return body

    async def ask(self, data: bytes) -> Answer:
        await self.send(data)
        return await self.answer()

    def reset(self) -> None:
        """Vanish: the other side gets RST, not the end of what we say."""
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()

    async def closed(self) -> bytes:
        """What still comes until the other side closes."""
        async with asyncio.timeout(DEADLINE_SECONDS):
            try:
                return await self.reader.read(-1)
            except ConnectionError:
                return b""


@asynccontextmanager
async def wire(proxy: Proxy | tuple[str, int], *, receive_bytes: int = 0, **options: Any) -> AsyncIterator[Wire]:
    """To a proxy's public side, or to any address. With `receive_bytes` the kernel takes no more than about that much
    for us: left to itself, it takes tens of megabytes.
    """
    place = proxy if isinstance(proxy, tuple) else proxy.addresses[0]
    if receive_bytes:
        sock = socket.socket()
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        await asyncio.get_running_loop().sock_connect(sock, place)
        reader, writer = await asyncio.open_connection(sock=sock, limit=1 << 17, **options)
    else:
        reader, writer = await asyncio.open_connection(*place, limit=1 << 17, **options)
    try:
        yield Wire(reader, writer)
    finally:
        writer.close()
        with suppress(ConnectionError, TimeoutError):
            await asyncio.wait_for(writer.wait_closed(), 1)
