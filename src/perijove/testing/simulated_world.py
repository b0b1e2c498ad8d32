"""`World`: the machines that users' servers run on, in one small process that outlives hubs.

A simulated server is a port that answers every path under its prefix with who it is, echoes on a websocket (`…/ws`)
and counts for ever (`…/ticks`). It starts in a millisecond, so a test may have thousands. As in a cluster, one
name is one server: a second start under it is refused (409) until somebody ends the first. Hubs come here through
`SimulatedSpawner`; tests look at what runs, and tell it how starts go from now on:

    with run_world() as world:
        world.behave(start_seconds=2)          # or fail=True: starts end with an error; silent=True: nobody answers
        world.servers()                        # what runs now: user, name, generation, epoch, url …
        world.history                          # "start 3/1/7", "stop 3/1/7", …: server id, generation, lease epoch
        world.kill("ada")                      # it dies by itself
"""

import asyncio
import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import WSMsgType, web

TICK_SECONDS = 0.02
_DEAD = 404
_TAKEN = 409


@dataclass
class _Server:
    facts: dict[str, Any]
    port: asyncio.Server
    url: str
    # Of its open requests: they end with it.
    tasks: set["asyncio.Task[Any]"] = field(default_factory=set)

    def described(self) -> dict[str, Any]:
        return {**self.facts, "url": self.url}


class _Machines:
    """Lives in the world's process."""

    def __init__(self, ip: str) -> None:
        self._ip = ip
        self._servers: dict[str, _Server] = {}
        self._behaviour: dict[str, Any] = {}
        self._history: list[str] = []

    def application(self) -> web.Application:
        application = web.Application()
        application.add_routes([
            web.get("/servers", self._list),
            web.post("/servers", self._start),
            web.delete("/servers/{name}", self._end),
            web.put("/behaviour", self._behave),
            web.get("/history", self._tell),
        ])  # fmt: skip
        return application

    async def _list(self, _: web.Request) -> web.Response:
        return web.json_response([server.described() for server in self._servers.values()])

    async def _tell(self, _: web.Request) -> web.Response:
        return web.json_response(self._history)

    async def _behave(self, request: web.Request) -> web.Response:
        self._behaviour = await request.json()
        return web.json_response({})

    async def _start(self, request: web.Request) -> web.Response:
        facts = await request.json()
        name = facts["id"]
        if (existing := self._servers.get(name)) is not None:
            return web.json_response(existing.described(), status=_TAKEN)
        if self._behaviour.get("fail"):
            return web.json_response({}, status=500)
        handler = web.Server(self._answer(name))
        port = await asyncio.get_running_loop().create_server(handler, self._ip, 0)
        if name in self._servers:  # somebody was faster while we were opening a port
            port.close()
            return web.json_response(self._servers[name].described(), status=_TAKEN)
        address = port.sockets[0].getsockname()
        server = self._servers[name] = _Server(facts, port, f"http://{address[0]}:{address[1]}")
        self._history.append(f"start {_mark(facts)}")
        # It exists from now on, whatever becomes of whoever waits for this answer.
        await asyncio.sleep(self._behaviour.get("start_seconds", 0))
        return web.json_response(server.described())

    async def _end(self, request: web.Request) -> web.Response:
        server = self._servers.get(request.match_info["name"])
        up_to = int(request.query.get("epoch", sys.maxsize))
        exactly = request.query.get("exactly") == "1"
        if server is None:
            return web.json_response({}, status=_DEAD)
        epoch = server.facts["epoch"]
        if epoch > up_to or (exactly and epoch != up_to):
            return web.json_response(server.described(), status=_TAKEN)
        del self._servers[request.match_info["name"]]
        self._history.append(f"{request.query.get('how', 'stop')} {_mark(server.facts)}")
        server.port.close()
        for task in server.tasks:
            task.cancel()
        return web.json_response({})

    def _answer(self, name: str) -> Any:
        async def answer(request: web.BaseRequest) -> web.StreamResponse:
            server = self._servers.get(name)
            if server is None or (self._behaviour.get("silent") and request.path.endswith("/api")):
                return web.Response(status=503)
            task = asyncio.current_task()
            assert task is not None
            server.tasks.add(task)
            try:
                return await _serve(request, server)
            finally:
                server.tasks.discard(task)

        return answer


async def _serve(request: web.BaseRequest, server: _Server) -> web.StreamResponse:
    if request.path.endswith("/ws"):
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        async for message in socket:
            if message.type is WSMsgType.TEXT:
                await socket.send_str(message.data)
        return socket
    if request.path.endswith("/ticks"):
        stream = web.StreamResponse()
        await stream.prepare(request)
        tick = 0
        while True:
            await stream.write(b"%d\n" % tick)
            tick += 1
            await asyncio.sleep(TICK_SECONDS)
    return web.json_response({**server.facts, "path": request.path})


def _mark(facts: dict[str, Any]) -> str:
    return f"{facts['server_id']}/{facts['generation']}/{facts['epoch']}"


async def _serve_world(ip: str) -> None:
    runner = web.AppRunner(_Machines(ip).application(), access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, ip, 0)
    await site.start()
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    # Ends with whoever started it, however that goes: its end of the pipe is closed then.
    loop.add_reader(sys.stdin.fileno(), stop.set)
    sys.stdout.write(f"{runner.addresses[0][1]}\n")
    sys.stdout.flush()
    await stop.wait()
    os._exit(0)


@dataclass(frozen=True)
class World:
    """The world as a test sees it. Calls block, for a millisecond or so."""

    url: str
    process: "subprocess.Popen[bytes]"

    def servers(self, user: str = "") -> list[dict[str, Any]]:
        """What runs now, of this user or of anybody."""
        found = self._ask("GET", "/servers")
        return [server for server in found if not user or server["user"] == user]

    @property
    def history(self) -> list[str]:
        found: list[str] = self._ask("GET", "/history")
        return found

    def behave(self, **behaviour: Any) -> None:
        """How starts go from now on; nothing: at once and well."""
        self._ask("PUT", "/behaviour", behaviour)

    def kill(self, user: str, name: str = "") -> None:
        """It dies by itself. Raises `LookupError` when it does not run."""
        for server in self.servers(user):
            if server["name"] == name:
                self._ask("DELETE", f"/servers/{server['id']}?how=died")
                return
        raise LookupError(f"no server {user}/{name}")

    def clear(self) -> None:
        """End everything."""
        for server in self.servers():
            with suppress(urllib.error.HTTPError):
                self._ask("DELETE", f"/servers/{server['id']}?how=cleared")

    def freeze(self) -> None:
        self.process.send_signal(signal.SIGSTOP)

    def wake(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    def _ask(self, method: str, path: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.url}{path}", data, method=method)  # noqa: S310 - our own
        with urllib.request.urlopen(request, timeout=10) as response:  # noqa: S310 - our own
            return json.load(response)


@contextmanager
def run_world(*, ip: str = "127.0.0.1") -> Iterator[World]:
    """A world that ends with the block, or with this process. `ip`: where its servers are reached."""
    command = [sys.executable, "-P", "-m", __name__, ip]
    process = subprocess.Popen(  # noqa: S603 - ourselves
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True, cwd=Path(__file__).parent
    )
    assert process.stdout is not None
    try:
        port = process.stdout.readline().strip().decode()
        if not port:
            raise RuntimeError("the world did not come into being")
        yield World(f"http://{ip}:{port}", process)
    finally:
        process.kill()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()
        process.wait()


def new_name(hub_id: str, server_id: int) -> str:
    """What the world knows a server by: as a pod's name, the same for each start of one row."""
    return f"{hub_id}-{server_id}"


if __name__ == "__main__":
    asyncio.run(_serve_world(sys.argv[1]))
