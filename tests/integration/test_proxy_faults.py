"""Targets and clients that die, lie, stall or vanish: the proxy lives, and nobody takes a part for the whole."""

import asyncio
import contextlib
import os
import signal
import sys

import pytest

from perijove.proxy.options import ProxyLimits, ProxyTimeouts
from perijove.testing.proxy import fake_hub, serve_proxy, target, wire
from perijove.testing.waiting import until

GET = b"GET /user/al/x HTTP/1.1\r\nHost: h\r\nAccept: application/json\r\n\r\n"
POST = b"POST /user/al/x HTTP/1.1\r\nHost: h\r\nAccept: application/json\r\nContent-Length: 4\r\n\r\nbody"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@contextlib.asynccontextmanager
async def behind(handler, **options):
    async with fake_hub() as hub, target(handler) as url:
        hub.change({"/user/al/": url})
        async with serve_proxy(hub, **options) as proxy, wire(proxy) as client:
            yield proxy, client


def saying(*parts, end="close"):
    """A target that says `parts` to every request, then closes, resets or stays silent."""

    async def handler(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        for part in parts:
            writer.write(part)
            await writer.drain()
        if end == "reset":
            writer.transport.abort()
        elif end == "stay":
            await reader.read()

    return handler


@pytest.mark.parametrize("end", ["close", "reset"])
@pytest.mark.parametrize("request_", [GET, POST])
async def test_a_target_that_says_nothing_is_unavailable(end, request_):
    """503 with when to come back, once: a fresh connection is not tried again."""
    asked = 0

    async def handler(reader, writer):
        nonlocal asked
        asked += 1
        await saying(end=end)(reader, writer)

    async with behind(handler) as (_, client):
        answer = await client.ask(request_)
        assert (answer.status, answer.field("retry-after")) == (503, "5")
        assert answer.json()["request_id"]
    assert asked == 1


async def test_nothing_listens_at_the_target():
    """503 for every request, and the client's connection stays usable."""
    async with fake_hub() as hub, target(saying()) as url:
        hub.change({"/user/al/": url})
        async with serve_proxy(hub) as proxy, wire(proxy) as client:
            hub.change({"/user/bo/": "http://127.0.0.1:1"})
            await until(lambda: "/user/bo/" in proxy.routing.table.routes)
            for _ in range(5):
                assert (await client.ask(GET.replace(b"/al/", b"/bo/"))).status == 503


@pytest.mark.parametrize(
    "said",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\nContent-Length: 2\n\nok\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X: " + b"y" * 200_000,
        b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
    ],
)
async def test_a_target_that_does_not_speak_http_is_a_bad_gateway(said):
    """502, not its bytes."""
    async with behind(saying(said, end="stay")) as (_, client):
        assert (await client.ask(GET)).status == 502


@pytest.mark.parametrize(
    "said",
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nsome",),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nsome\r\n",),
        # Too large to be read in one piece with the nonsense, which would be a 502.
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n100000\r\n" + b"z" * 0x100000, b"\r\nnonsense\r\n"),
    ],
)
@pytest.mark.parametrize("end", ["close", "reset"])
async def test_a_response_cut_short_is_cut_short_for_the_client(said, end):
    """Its connection breaks before the body is whole; a clean end would be a lie."""
    async with behind(saying(*said, end=end)) as (_, client):
        await client.send(GET)
        with pytest.raises((asyncio.IncompleteReadError, ConnectionError, ValueError)):
            await client.answer()


async def test_more_bytes_than_promised_reach_no_one():
    """They could be read as the answer to somebody's next request."""
    evil = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"
    connections = 0

    async def handler(reader, writer):
        nonlocal connections
        connections += 1
        while True:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(OK + evil)

    async with behind(handler) as (_, client):
        for _ in range(5):
            assert (await client.ask(GET)).body == b"ok"
        assert (await client.ask(b"GET /hub/x HTTP/1.1\r\nHost: h\r\n\r\n")).json()["at"] == "hub"
    assert connections == 5


async def test_bytes_on_an_idle_connection_end_it():
    """Nobody asked for them."""
    writers = []

    async def handler(reader, writer):
        writers.append(writer)
        while True:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(OK)

    async with behind(handler) as (proxy, client):
        await client.ask(GET)
        writers[0].write(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil")
        (pool,) = [pool for pools in proxy.plane.upstreams._pools.values() for pool in pools]
        await until(lambda: not pool.open)
        assert (await client.ask(GET)).body == b"ok"


async def test_a_kept_connection_that_closes_is_tried_again_for_reading_only():
    """GET goes to a new connection unseen; a POST may have had its effect, so the client is told."""
    requests = []

    async def once(reader, writer):
        requests.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(OK)
        # The next request meets a closing connection.
        requests.append(await reader.readuntil(b"\r\n\r\n"))

    async with behind(once) as (_, client):
        assert (await client.ask(GET)).body == b"ok"
        assert (await client.ask(GET)).body == b"ok"
        assert (await client.ask(POST)).status == 503
    assert [head.split(b" ")[0] for head in requests] == [b"GET", b"GET", b"GET", b"POST"]


async def test_a_request_that_must_not_be_repeated_avoids_old_connections():
    """One that has been idle for a while may be closing right now."""
    connections = 0

    async def handler(reader, writer):
        nonlocal connections
        connections += 1
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            if head.startswith(b"POST"):
                await reader.readexactly(4)
            writer.write(OK)

    async with behind(handler) as (proxy, client):
        await client.ask(GET)
        (pool,) = [pool for pools in proxy.plane.upstreams._pools.values() for pool in pools]
        await until(lambda: pool.idle)
        pool.idle[0].idle_since -= 5
        await client.ask(GET)
        assert connections == 1
        pool.idle[0].idle_since -= 5
        await client.ask(POST)
        assert connections == 2


@pytest.mark.parametrize("when", ["before the head", "in the body", "in a websocket"])
async def test_a_killed_server_process_ends_its_requests(tmp_path, when):
    """SIGKILL of a real process: an error, a cut, a closed websocket; its successor serves the next request."""
    program = (
        "import socket,sys\n"
        "s=socket.socket(); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)\n"
        "s.bind(('127.0.0.1', int(sys.argv[1]))); s.listen(); print(s.getsockname()[1], flush=True)\n"
        "c,_=s.accept(); c.recv(9999); c.sendall(eval(sys.argv[2])); print('said', flush=True); s.accept()\n"
    )
    said = {
        "before the head": b"",
        "in the body": b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nx",
        "in a websocket": b"HTTP/1.1 101 S\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
    }[when]

    async def start(port, words):
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", program, str(port), repr(words), stdout=asyncio.subprocess.PIPE
        )
        return process, int(await process.stdout.readline())

    process, port = await start(0, said)
    async with fake_hub() as hub:
        hub.change({"/user/al/": f"http://127.0.0.1:{port}"})
        async with serve_proxy(hub) as proxy, wire(proxy) as client:
            upgrade = b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
            await client.send(GET if when != "in a websocket" else GET[:-2] + upgrade)
            await process.stdout.readline()
            if when != "before the head":
                await client.head()
            os.kill(process.pid, signal.SIGKILL)
            await process.wait()
            if when == "before the head":
                assert (await client.answer()).status == 503
            else:
                assert len(await client.closed()) <= 1
            process, _ = await start(port, OK)
            async with wire(proxy) as again:
                assert (await again.ask(GET)).body == b"ok"
            process.kill()
            await process.wait()
    process._transport.close()


async def test_a_slow_client_stops_its_target_and_nobody_else():
    """100 MB down, a client that does not read at first: bounded memory, and others are served meanwhile."""
    total = 100 << 20
    written = 0

    async def handler(reader, writer):
        nonlocal written
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            if b"/big" not in head:
                writer.write(OK)
                continue
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % total)
            block = b"z" * 262144
            for _ in range(total // len(block)):
                writer.write(block)
                await writer.drain()
                written += len(block)

    async with behind(handler) as (proxy, client):
        await client.send(GET.replace(b"/x", b"/big"))
        await until(lambda: any(not peer.writable for peer in proxy.plane.clients))
        # What the kernel's buffers and ours take; far from the whole.
        async with wire(proxy) as other:
            for _ in range(20):
                assert (await other.ask(GET)).body == b"ok"
        assert written < 40 << 20
        held = max(peer.transport.get_write_buffer_size() for peer in proxy.plane.clients)
        assert held < 2 << 20
        await client.head()
        left = total
        while left:
            left -= len(await client.reader.read(1 << 20))


@pytest.mark.parametrize("chunked", [False, True])
async def test_a_slow_target_stops_its_client(chunked):
    """100 MB up against a target that does not read at first."""
    total = 100 << 20
    go = asyncio.Event()
    sent = 0

    async def handler(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        await go.wait()
        left = total if not chunked else 1 << 62
        tail = b""
        while left > 0 and not (chunked and tail.endswith(b"0\r\n\r\n")):
            data = await reader.read(1 << 20)
            left -= len(data)
            tail = (tail + data)[-5:]
        writer.write(OK)
        await writer.drain()

    async def upload(client):
        nonlocal sent
        block = b"z" * 262144
        for _ in range(total // len(block)):
            await client.send(b"40000\r\n" + block + b"\r\n" if chunked else block)
            sent += len(block)
        if chunked:
            await client.send(b"0\r\n\r\n")

    framing = b"Transfer-Encoding: chunked" if chunked else b"Content-Length: %d" % total
    async with behind(handler) as (proxy, client):
        await client.send(b"PUT /user/al/x HTTP/1.1\r\nHost: h\r\n" + framing + b"\r\n\r\n")
        work = asyncio.ensure_future(upload(client))
        await until(lambda: any(peer._blocked for peer in proxy.plane.clients))
        (peer,) = proxy.plane.clients
        assert peer.exchange.upstream.transport.get_write_buffer_size() < 2 << 20
        assert sent < 40 << 20
        go.set()
        assert (await client.answer()).body == b"ok"
        await work


async def test_a_client_that_vanishes_while_uploading():
    """The target sees a cut request, not a short one that looks whole."""
    got = asyncio.Queue()

    async def handler(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        try:
            got.put_nowait(await reader.readexactly(100))
        except (asyncio.IncompleteReadError, ConnectionError) as error:
            got.put_nowait(error)

    for how in ("reset", "close"):
        async with behind(handler) as (proxy, client):
            await client.send(b"PUT /user/al/x HTTP/1.1\r\nHost: h\r\nContent-Length: 100\r\n\r\nabc")
            await until(lambda: any(peer.exchange and peer.exchange.upstream for peer in proxy.plane.clients))
            if how == "reset":
                client.reset()
            else:
                client.writer.close()
            assert isinstance(await asyncio.wait_for(got.get(), 5), Exception)
            await until(lambda: not proxy.plane.clients)


def sweep_later(proxy, monkeypatch):
    """As if a second had passed."""
    now = proxy.plane.time()
    monkeypatch.setattr(proxy.plane, "time", lambda: now + 1)
    proxy.plane.sweep()


async def test_a_client_that_never_finishes_its_head_is_told_and_closed(monkeypatch):
    """408 after its time; one that never began is closed without a word."""
    async with behind(saying(OK), timeouts=ProxyTimeouts(head_seconds=0, keep_alive_seconds=0)) as (proxy, client):
        await client.send(b"GET / HTTP/1.1\r\nHost")
        await until(lambda: any(peer._buffer for peer in proxy.plane.clients))
        async with wire(proxy) as idle:
            await until(lambda: len(proxy.plane.clients) == 2)
            sweep_later(proxy, monkeypatch)
            assert (await client.answer()).status == 408
            assert await idle.closed() == b""


async def test_a_body_that_stalls_is_given_up(monkeypatch):
    """And its target told."""
    async with behind(saying(end="stay"), timeouts=ProxyTimeouts(body_seconds=0)) as (proxy, client):
        await client.send(b"PUT /user/al/x HTTP/1.1\r\nHost: h\r\nContent-Length: 100\r\n\r\nabc")
        await until(lambda: any(peer.exchange and peer.exchange.upstream for peer in proxy.plane.clients))
        sweep_later(proxy, monkeypatch)
        assert await client.closed() == b""


async def test_a_quiet_request_is_not_given_up(monkeypatch):
    """A long poll may be silent for as long as it likes."""
    go = asyncio.Event()

    async def handler(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        await go.wait()
        writer.write(OK)
        await writer.drain()

    timeouts = ProxyTimeouts(
        head_seconds=0, body_seconds=0, keep_alive_seconds=0, send_seconds=0, half_closed_seconds=0
    )
    async with behind(handler, timeouts=timeouts) as (proxy, client):
        await client.send(GET)
        await until(lambda: any(peer.exchange and peer.exchange.upstream for peer in proxy.plane.clients))
        for _ in range(3):
            now = proxy.plane.time()
            monkeypatch.setattr(proxy.plane, "time", lambda now=now: now + 1e6)
            proxy.plane.sweep()
        go.set()
        assert (await client.answer()).body == b"ok"


async def test_more_connections_than_the_limit_are_refused():
    """With a log line; those that are there go on."""
    asked = b"GET /_chp_healthz HTTP/1.1\r\nHost: h\r\n\r\n"
    async with (
        behind(saying(OK), limits=ProxyLimits(clients=20)) as (proxy, client),
        contextlib.AsyncExitStack() as stack,
    ):
        others = [await stack.enter_async_context(wire(proxy)) for _ in range(40)]
        served = 0
        for other in others:
            with contextlib.suppress(ConnectionError):
                other.writer.write(asked)
                served += bool(await other.reader.read(10))
        assert served == 19
        assert (await client.ask(GET)).body == b"ok"


async def test_idle_target_connections_are_closed_after_a_while():
    """And the pool of a target that is gone takes no memory."""

    async def handler(reader, writer):
        while True:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(OK)

    async with behind(handler, timeouts=ProxyTimeouts(idle_upstream_seconds=0)) as (proxy, client):
        await client.ask(GET)
        await until(lambda: proxy.plane.sweep() or not proxy.plane.upstreams._pools)
        assert (await client.ask(GET)).body == b"ok"
