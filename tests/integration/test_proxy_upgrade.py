"""Upgraded connections: raw bytes both ways, other answers relayed, nothing kept of their requests."""

import asyncio
import base64
import contextlib
import gc
import os
from collections import Counter

import pytest
from websockets.asyncio.client import connect
from websockets.asyncio.server import serve
from websockets.exceptions import ConnectionClosed, InvalidStatus

from perijove.proxy.forward import Exchange
from perijove.proxy.request_head import RequestHead
from perijove.proxy.server import ClientConnection
from perijove.proxy.upgrade import TunnelEnd
from perijove.proxy.upstream import UpstreamConnection
from perijove.testing.proxy import fake_hub, serve_proxy, target, wire
from perijove.testing.waiting import until

UPGRADE = (
    b"GET /user/al/ws HTTP/1.1\r\nHost: h\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: %s\r\n\r\n" % base64.b64encode(os.urandom(16))
)
SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@contextlib.asynccontextmanager
async def websocket(handler, *, server=None, **options):
    """A proxy before a real websocket server; also its address."""
    async with fake_hub() as hub, serve(handler, "127.0.0.1", 0, max_size=None, **(server or {})) as served:
        hub.change({"/user/al/": f"http://127.0.0.1:{served.sockets[0].getsockname()[1]}"})
        async with serve_proxy(hub, **options) as proxy:
            yield proxy, f"ws://127.0.0.1:{proxy.addresses[0][1]}/user/al/ws"


@contextlib.asynccontextmanager
async def behind(handler):
    async with fake_hub() as hub, target(handler) as url:
        hub.change({"/user/al/": url})
        async with serve_proxy(hub) as proxy, wire(proxy) as client:
            yield proxy, client


async def echo(connection):
    async for message in connection:
        await connection.send(message)


async def test_messages_of_every_size_and_kind():
    """Text, binary, empty, 8 MB, fragmented; with compression and a subprotocol agreed end to end."""
    async with (
        websocket(echo, server={"subprotocols": ["v1.kernel"]}) as (_, url),
        connect(url, max_size=None, subprotocols=["v1.kernel"]) as client,
    ):
        assert client.subprotocol == "v1.kernel"
        assert "permessage-deflate" in client.response.headers["Sec-WebSocket-Extensions"]
        for message in ("", "ü", b"", b"\x00" * 65537, os.urandom(8_000_000)):
            await client.send(message)
            assert await client.recv() == message
        await client.send(iter([b"a", b"b" * 70_000, b"c"]))
        assert await client.recv() == b"a" + b"b" * 70_000 + b"c"


async def test_pings_and_close_codes_are_the_peers_own():
    """The proxy answers none of them."""

    async def closing(connection):
        await (await connection.ping())
        await connection.close(4001, "enough")

    async with websocket(closing) as (proxy, url), connect(url) as client:
        with pytest.raises(ConnectionClosed) as caught:
            await client.recv()
        assert (caught.value.rcvd.code, caught.value.rcvd.reason) == (4001, "enough")
        await until(lambda: not proxy.plane.tunnels)


async def test_a_refused_upgrade_is_relayed_whole():
    """Status, headers and body; the page needs them to know that it must log in again."""

    def refuse(connection, request):
        return connection.respond(403, "not you\n")

    async with websocket(echo, server={"process_request": refuse}) as (_, url):
        with pytest.raises(InvalidStatus) as caught:
            async with connect(url):
                pass
    assert (caught.value.response.status_code, caught.value.response.body) == (403, b"not you\n")


async def test_after_a_refused_upgrade_the_connection_speaks_http():
    """Bytes that came after the head are the next request, not data for a tunnel that never was."""

    async def handler(reader, writer):
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 426 Upgrade Required\r\nContent-Length: 0\r\n\r\n" if b"pgrade" in head else OK)

    async with behind(handler) as (_, client):
        await client.send(UPGRADE + b"GET /hub/next HTTP/1.1\r\nHost: h\r\n\r\n")
        assert (await client.answer()).status == 426
        assert (await client.answer()).json()["path"] == "/hub/next"


async def test_a_switch_that_nobody_asked_for_is_an_error():
    """A target must not turn a client's connection into a tunnel."""

    async def handler(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(SWITCH + b"GET /hub/")
        await reader.read()

    async with behind(handler) as (_, client):
        assert (await client.ask(b"GET /user/al/x HTTP/1.1\r\nHost: h\r\n\r\n")).status == 502


async def test_any_protocol_may_be_upgraded_to():
    """Bytes pass in both directions, also those that came with the heads, and half-closing passes, too."""

    async def handler(reader, writer):
        head = await reader.readuntil(b"\r\n\r\n")
        assert b"\r\nConnection: Upgrade\r\n" in head
        assert b"\r\nUpgrade: tcp\r\n" in head
        writer.write(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\nhello ")
        writer.write(await reader.read())
        writer.close()

    async with behind(handler) as (proxy, client):
        await client.send(UPGRADE.replace(b"websocket", b"tcp") + b"early ")
        assert b"101" in await client.head()
        await client.send(b"late")
        client.writer.write_eof()
        assert await client.closed() == b"hello early late"
        await until(lambda: not proxy.plane.tunnels)


@pytest.mark.parametrize("side", ["client", "target"])
async def test_when_one_side_vanishes_the_other_is_told(side):
    """No tunnel outlives its ends."""
    ended = asyncio.Event()
    served = []

    async def handler(reader, writer):
        served.append(writer)
        await reader.readuntil(b"\r\n\r\n")
        writer.write(SWITCH)
        with contextlib.suppress(ConnectionError):
            await reader.read()
        ended.set()

    async with behind(handler) as (proxy, client):
        await client.send(UPGRADE)
        await client.head()
        if side == "client":
            client.reset()
            await asyncio.wait_for(ended.wait(), 5)
        else:
            served[0].transport.abort()
            assert await client.closed() == b""
        await until(lambda: not proxy.plane.tunnels)


@pytest.mark.parametrize("slow", ["client", "target"])
async def test_a_slow_reader_fills_no_memory(slow):
    """Its peer is stopped instead, and everything arrives in the end."""
    total = 64 << 20
    block = b"z" * 65536
    go = asyncio.Event()
    received = 0

    async def pour(writer):
        for _ in range(total // len(block)):
            writer.write(block)
            await writer.drain()

    async def drink(reader):
        nonlocal received
        await go.wait()
        while received < total:
            received += len(await reader.read(1 << 20))

    async def handler(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(SWITCH)
        await (pour(writer) if slow == "client" else drink(reader))

    async with behind(handler) as (proxy, client):
        await client.send(UPGRADE)
        await client.head()
        work = asyncio.ensure_future(drink(client.reader) if slow == "client" else pour(client.writer))
        tunnel = next(iter(proxy.plane.tunnels))
        end = tunnel if slow == "client" else tunnel.other
        await until(lambda: end.transport.get_write_buffer_size() > 262144)
        for _ in range(50):
            await asyncio.sleep(0)
            assert end.transport.get_write_buffer_size() < 2 << 20
        go.set()
        await until(lambda: received == total, seconds=30)
        await asyncio.wait_for(work, 5)


async def test_only_what_the_person_sends_is_activity():
    """A kernel that talks by itself does not keep its server from being culled."""
    talk = asyncio.Event()

    async def talker(connection):
        await talk.wait()
        await connection.send("output")
        await echo(connection)

    async with websocket(talker) as (proxy, url), connect(url) as client:
        assert proxy.plane.activity.take()
        talk.set()
        await client.recv()
        assert not proxy.plane.activity.take()
        await client.send("input")
        await client.recv()
        assert list(proxy.plane.activity.take()[0]) == ["/user/al/"]


async def test_an_idle_websocket_keeps_nothing_of_its_request():
    """Neither the parsed head nor the exchange."""
    async with websocket(echo) as (_, url), connect(url):
        gc.collect()
        kinds = Counter(type(thing) for thing in gc.get_objects())
        assert kinds[TunnelEnd] == 2
        assert not kinds[Exchange] + kinds[RequestHead] + kinds[ClientConnection]
        # The one that follows the hub.
        assert kinds[UpstreamConnection] == 1


async def test_a_thousand_websockets_at_once():
    """All of them answered, all of them gone afterwards."""
    async with behind(_tunnel_echo) as (proxy, _):
        port = proxy.addresses[0][1]
        peers = []
        for _ in range(1000):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(UPGRADE)
            peers.append((reader, writer))
        for number, (reader, writer) in enumerate(peers):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"%05d" % number)
        for number, (reader, writer) in enumerate(peers):
            assert await reader.readexactly(5) == b"%05d" % number
            writer.close()
        await until(lambda: not proxy.plane.tunnels)


async def _tunnel_echo(reader, writer):
    await reader.readuntil(b"\r\n\r\n")
    writer.write(SWITCH)
    while data := await reader.read(100):
        writer.write(data)
