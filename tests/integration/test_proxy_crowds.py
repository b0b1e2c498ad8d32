"""Crowds: thousands of quiet websockets, of connections never used, of clients that vanish; and a full disk."""

import asyncio
import contextlib
import errno
import os
import resource
import socket
import struct
import sys

import psutil
import pytest

from perijove.proxy.options import ProxyLimits, ProxyTimeouts
from perijove.testing.proxy import fake_hub, serve_proxy, target, wire
from perijove.testing.waiting import until

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
GET = b"GET /user/al/x HTTP/1.1\r\nHost: h\r\n\r\n"
UPGRADE = b"GET /user/al/ws HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"


@pytest.fixture(autouse=True)
def many_files():
    """As many descriptors as a crowd needs: three a websocket, as clients and proxy are in this process."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < 16_000:
        pytest.skip("not enough file descriptors here")
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


class Peer(asyncio.Protocol):
    """A client that costs little itself."""

    def __init__(self):
        self.got = b""
        self.transport = None

    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self.got += data


ECHO = """
import asyncio, resource
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
SWITCH = b"HTTP/1.1 101 Switching Protocols\\r\\nConnection: Upgrade\\r\\nUpgrade: websocket\\r\\n\\r\\n"

class Echo(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self.transport.write(SWITCH if data.startswith(b"GET") else data)

async def main():
    server = await asyncio.get_running_loop().create_server(Echo, "127.0.0.1", 0, backlog=4096)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()

asyncio.run(main())
"""


@contextlib.asynccontextmanager
async def echo():
    """A target that switches protocols and says back what it is told, in a process of its own; its URL."""
    child = await asyncio.create_subprocess_exec(sys.executable, "-c", ECHO, stdout=asyncio.subprocess.PIPE)
    try:
        yield f"http://127.0.0.1:{int(await child.stdout.readline())}"
    finally:
        child.kill()
        await child.wait()
        child._transport.close()


@contextlib.asynccontextmanager
async def peers(count, address):
    """So many connected clients, fifty at a time."""
    loop = asyncio.get_running_loop()
    opened = []
    try:
        for _ in range(0, count, 50):
            made = await asyncio.gather(*(loop.create_connection(Peer, *address) for _ in range(50)))
            opened += [protocol for _, protocol in made]
        yield opened
    finally:
        for peer in opened:
            # Gone, not half closed: that would be somebody who still waits for an answer.
            if not peer.transport.is_closing():
                sock = peer.transport.get_extra_info("socket")
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            peer.transport.abort()


async def test_five_thousand_quiet_websockets():
    """All are open, cost little, answer when spoken to, and are gone when their people are."""
    async with fake_hub() as hub, echo() as url:
        hub.change({"/user/al/": url})
        async with serve_proxy(hub, limits=ProxyLimits(target_connections=0, clients=20_000)) as proxy:
            before = psutil.Process().memory_info().rss
            async with peers(5000, proxy.addresses[0]) as clients:
                for client in clients:
                    client.transport.write(UPGRADE)
                await until(lambda: len(proxy.plane.tunnels) == 5000, seconds=60)
                await until(lambda: all(client.got.startswith(b"HTTP/1.1 101") for client in clients), seconds=60)
                each = (psutil.Process().memory_info().rss - before) / 5000
                # Of three ends, in one process; the benchmark measures the proxy's own.
                assert each < 30_000
                proxy.plane.sweep()
                for number, client in enumerate(clients):
                    client.got = b""
                    client.transport.write(b"%d" % number)
                await until(
                    lambda: all(client.got == b"%d" % number for number, client in enumerate(clients)), seconds=60
                )
                async with wire(proxy) as another:
                    assert (await another.ask(b"GET /hub/x HTTP/1.1\r\nHost: h\r\n\r\n")).status == 200
            # The one that is left is kept for the hub.
            await until(lambda: not proxy.plane.tunnels and proxy.plane.upstreams.open == 1, seconds=60)


async def ok(reader, writer):
    while True:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(OK)


async def test_two_thousand_connections_that_are_never_used(monkeypatch):
    """Others are served meanwhile; those are closed when their time is over, and cost nothing more."""
    async with fake_hub() as hub, target(ok) as url:
        hub.change({"/user/al/": url})
        timeouts = ProxyTimeouts(head_seconds=30)
        async with (
            serve_proxy(hub, timeouts=timeouts) as proxy,
            peers(2000, proxy.addresses[0]),
            wire(proxy) as client,
        ):
            await until(lambda: len(proxy.plane.clients) == 2001)
            assert (await client.ask(GET)).body == b"ok"
            now = proxy.plane.upstreams.time()
            monkeypatch.setattr(proxy.plane, "time", lambda: now + 31)
            proxy.plane.sweep()
            await until(lambda: len(proxy.plane.clients) == 1)
            assert (await client.ask(GET)).body == b"ok"


async def test_clients_that_vanish_leave_nothing():
    """Five hundred requests whose clients reset: no exchange, no connection to a target, no task is left."""
    arrived = 0

    async def silent(reader, writer):
        nonlocal arrived
        await reader.readuntil(b"\r\n\r\n")
        arrived += 1
        await reader.read()

    async with fake_hub() as hub, target(silent) as url:
        hub.change({"/user/al/": url})
        async with serve_proxy(hub) as proxy:
            async with peers(500, proxy.addresses[0]) as clients:
                for client in clients:
                    client.transport.write(GET)
                await until(lambda: arrived == 500)
            await until(lambda: not proxy.plane.clients and not proxy.plane.upstreams.open)
            await until(lambda: not proxy.plane._tasks)


async def test_a_full_disk_is_said_once_and_survived(tmp_path, monkeypatch, capsys):
    """The old file stays whole, the routes in memory are served, and are saved when there is room again."""
    place = tmp_path / "routes.json"
    full = True

    def fsync(descriptor):
        if full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    async with fake_hub() as hub, target(ok) as url, serve_proxy(hub, table_path=place) as proxy, wire(proxy) as client:
        await proxy.control.saved.save_now()
        before = place.read_bytes()
        monkeypatch.setattr("perijove.proxy.saved.os.fsync", fsync)
        for name in ("al", "bo", "cy"):
            hub.change({f"/user/{name}/": url})
            await until(lambda: proxy.routing.reached(hub.revision))
            await proxy.control.saved.save_now()
        assert place.read_bytes() == before
        assert list(tmp_path.iterdir()) == [place]
        assert (await client.ask(GET)).body == b"ok"
        full = False
        await proxy.control.saved.save_now()
        assert b"/user/cy/" in place.read_bytes()
    assert capsys.readouterr().out.count("the routes cannot be saved") == 1
