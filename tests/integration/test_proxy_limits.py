"""Limits: what one client or one target may take, and what happens to the others meanwhile."""

import asyncio
import contextlib
import socket

import pytest

from perijove.proxy.options import ProxyLimits, ProxyTimeouts
from perijove.testing.proxy import fake_hub, serve_proxy, target, wire
from perijove.testing.waiting import until

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
GET = b"GET /user/al/x HTTP/1.1\r\nHost: h\r\n\r\n"
HEALTH = b"GET /_chp_healthz HTTP/1.1\r\nHost: h\r\n\r\n"
UPGRADE = b"GET /user/al/ws HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
# Nobody is trusted: every peer counts as the client it is.
STRANGERS = {"trusted_downstream": ()}


async def ok(reader, writer):
    while True:
        head = await reader.readuntil(b"\r\n\r\n")
        if b"Upgrade: websocket" in head:
            writer.write(SWITCH)
            await reader.read()
            return
        writer.write(OK)


@contextlib.asynccontextmanager
async def behind(handler=ok, **options):
    async with fake_hub() as hub, target(handler) as url:
        hub.change({"/user/al/": url})
        async with serve_proxy(hub, **options) as proxy:
            yield proxy


@contextlib.asynccontextmanager
async def deaf():
    """The URL of a listener whose queue is full: the kernel drops what knocks, as a machine that is gone does."""
    loop = asyncio.get_running_loop()
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(4):
            knocking = stack.enter_context(socket.socket())
            knocking.setblocking(False)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(loop.sock_connect(knocking, listener.getsockname()), 0.1)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


def later(proxy, monkeypatch, seconds):
    """Move the proxy's clock."""
    now = proxy.plane.upstreams.time()
    monkeypatch.setattr(proxy.plane, "time", lambda: now + seconds)
    monkeypatch.setattr(proxy.plane.admission, "_time", lambda: now + seconds)
    proxy.plane.sweep()


async def test_one_address_gets_so_many_connections():
    """One more is refused, until another ends; websockets count."""
    limits = ProxyLimits(clients_per_address=2)
    async with behind(limits=limits, **STRANGERS) as proxy:
        async with wire(proxy) as first, wire(proxy) as second:
            await first.send(UPGRADE)
            await first.head()
            assert (await second.ask(HEALTH)).status == 200
            async with wire(proxy) as third:
                await third.send(HEALTH)
                assert await third.closed() == b""
            assert (await second.ask(HEALTH)).status == 200
        await until(lambda: not proxy.plane.clients and not proxy.plane.tunnels)
        async with wire(proxy) as fourth:
            assert (await fourth.ask(HEALTH)).status == 200
        assert b'perijove_proxy_limited_total{limit="clients_per_address"} 1' in proxy.plane.metrics.text()


async def test_a_trusted_proxy_may_have_any_number():
    """It speaks for many."""
    async with behind(limits=ProxyLimits(clients_per_address=1)) as proxy, wire(proxy) as first, wire(proxy) as second:
        for client in (first, second):
            assert (await client.ask(HEALTH)).status == 200


async def test_one_client_may_ask_so_often(monkeypatch):
    """Then it gets 429 on a connection that stays, and may ask again a moment later."""
    limits = ProxyLimits(requests_per_second=2, request_burst=5)
    async with behind(limits=limits, **STRANGERS) as proxy, wire(proxy) as client:
        assert [(await client.ask(GET)).status for _ in range(5)] == [200] * 5
        answer = await client.ask(GET)
        assert (answer.status, answer.field("retry-after")) == (429, "5")
        later(proxy, monkeypatch, 1.01)
        assert [(await client.ask(GET)).status for _ in range(3)] == [200, 200, 429]
        later(proxy, monkeypatch, 30)
        assert [(await client.ask(GET)).status for _ in range(6)] == [200] * 5 + [429]


async def test_behind_a_trusted_proxy_clients_are_told_apart():
    """By the nearest address that is not a proxy's; what a client itself put before it is not believed."""
    limits = ProxyLimits(requests_per_second=0.001, request_burst=1)

    def from_(addresses):
        return GET[:-2] + b"X-Forwarded-For: " + addresses + b"\r\n\r\n"

    async with behind(limits=limits) as proxy, wire(proxy) as client:
        for addresses, status in (
            (b"203.0.113.1", 200),
            (b"203.0.113.2", 200),
            (b"203.0.113.1", 429),
            (b"198.51.100.7, 203.0.113.1", 429),
            (b"203.0.113.3, 10.0.0.1", 200),
            (b"203.0.113.3", 429),
            (b"2001:db8::1", 200),
            (b"2001:db8::2", 429),
            (b"2001:db8:0:1::1", 200),
        ):
            assert (await client.ask(from_(addresses))).status == status, addresses


async def test_requests_to_a_busy_target_wait_in_line():
    """For a connection that comes free; health and others go on meanwhile."""
    go = asyncio.Event()
    open_now = most = 0

    async def slow(reader, writer):
        nonlocal open_now, most
        open_now += 1
        most = max(most, open_now)
        try:
            while True:
                await reader.readuntil(b"\r\n\r\n")
                await go.wait()
                writer.write(OK)
        finally:
            open_now -= 1

    async with behind(slow, limits=ProxyLimits(target_connections=3)) as proxy, contextlib.AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(wire(proxy)) for _ in range(10)]
        for client in clients:
            await client.send(GET)
        await until(lambda: open_now == 3)
        async with wire(proxy) as other:
            assert (await other.ask(HEALTH)).status == 200
        go.set()
        for client in clients:
            assert (await client.answer()).body == b"ok"
        assert most == 3


async def test_a_target_that_stays_busy_is_a_503():
    """After as long as connecting may take; websockets hold their places, and give them back."""
    limits, timeouts = ProxyLimits(target_connections=1), ProxyTimeouts(connect_seconds=0.1)
    async with behind(limits=limits, timeouts=timeouts) as proxy, wire(proxy) as client:
        async with wire(proxy) as holder:
            await holder.send(UPGRADE)
            await holder.head()
            assert (await client.ask(GET)).status == 503
        await until(lambda: not proxy.plane.tunnels)
        assert (await client.ask(GET)).status == 200


async def test_a_client_that_waits_in_line_may_go():
    """Its place is nobody's loss."""
    limits = ProxyLimits(target_connections=1)
    async with behind(limits=limits) as proxy, wire(proxy) as holder, wire(proxy) as client:
        await holder.send(UPGRADE)
        await holder.head()
        async with wire(proxy) as impatient:
            await impatient.send(GET)
            await until(lambda: any(peer.exchange for peer in proxy.plane.clients))
            impatient.reset()
        await client.send(GET)
        holder.reset()
        assert (await client.answer()).body == b"ok"


async def test_a_target_that_does_not_answer_is_tried_by_one_at_a_time():
    """The others are told at once, instead of each waiting as long."""
    async with fake_hub() as hub, deaf() as url:
        hub.change({"/user/al/": url})
        timeouts = ProxyTimeouts(connect_seconds=1)
        async with serve_proxy(hub, timeouts=timeouts) as proxy, contextlib.AsyncExitStack() as stack:
            clients = [await stack.enter_async_context(wire(proxy)) for _ in range(5)]
            assert (await clients[0].ask(GET)).status == 503
            began = asyncio.get_running_loop().time()
            await clients[0].send(GET)
            await until(lambda: any(peer.exchange for peer in proxy.plane.clients))
            for client in clients[1:]:
                assert (await client.ask(GET)).status == 503
            assert asyncio.get_running_loop().time() - began < 0.9


async def test_a_head_that_trickles_is_cut_off(monkeypatch):
    """Slowloris: each byte is in time, the head is not."""
    async with behind(timeouts=ProxyTimeouts(head_seconds=30)) as proxy, wire(proxy) as client:
        for number, byte in enumerate(GET[:4]):
            await client.send(bytes([byte]))
            await until(lambda number=number: any(len(peer._buffer) == number + 1 for peer in proxy.plane.clients))
            later(proxy, monkeypatch, number * 9)
        later(proxy, monkeypatch, 40)
        answer = await client.answer()
        assert answer.status == 408


@pytest.mark.parametrize(("rate", "cut"), [(20.0, True), (0.0, False)])
async def test_a_body_that_trickles_is_cut_off(monkeypatch, rate, cut):
    """Slowloris by body: a byte now and then is not enough to stay, unless it is allowed to be."""

    async def reading(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        await reader.readexactly(1000)
        writer.write(OK)

    async with behind(reading, limits=ProxyLimits(body_bytes_per_second=rate)) as proxy, wire(proxy) as client:
        await client.send(b"POST /user/al/x HTTP/1.1\r\nHost: h\r\nContent-Length: 1000\r\n\r\n")
        await until(lambda: any(peer.exchange and peer.exchange.upstream for peer in proxy.plane.clients))
        (peer,) = proxy.plane.clients
        for number in range(10):
            before = peer.exchange.framing.remaining
            await client.send(b"x")
            await until(lambda before=before: peer.exchange is None or peer.exchange.framing.remaining < before)
            later(proxy, monkeypatch, 10 * number)
            if peer.exchange is None:
                break
        assert (peer.exchange is None) == cut
        if cut:
            await client.closed()
        else:
            await client.send(b"x" * 990)
            assert (await client.answer()).body == b"ok"


async def test_a_fast_upload_may_take_long(monkeypatch):
    """What has been sent buys time."""

    async def reading(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        await reader.readexactly(100_000)
        writer.write(OK)

    async with behind(reading) as proxy, wire(proxy) as client:
        await client.send(b"POST /user/al/x HTTP/1.1\r\nHost: h\r\nContent-Length: 100000\r\n\r\n")
        await until(lambda: any(peer.exchange and peer.exchange.upstream for peer in proxy.plane.clients))
        (peer,) = proxy.plane.clients
        for number in range(10):
            await client.send(b"x" * 10_000)
            await until(
                lambda left=90_000 - number * 10_000: (
                    peer.exchange is None or peer.exchange.framing is None or peer.exchange.framing.remaining == left
                )
            )
            later(proxy, monkeypatch, 200 * number)
        assert (await client.answer()).body == b"ok"


async def test_a_target_may_be_given_a_time(monkeypatch):
    """`target_silence_seconds`: none by default; then a silent one is a 503, and a stalled response is cut."""

    async def silent(reader, writer):
        head = await reader.readuntil(b"\r\n\r\n")
        if b"/half" in head:
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
        await reader.read()

    timeouts = ProxyTimeouts(target_silence_seconds=20)
    async with behind(silent, timeouts=timeouts) as proxy, wire(proxy) as client, wire(proxy) as other:
        await client.send(GET)
        await other.send(GET.replace(b"/x", b"/half"))
        assert (await other.head()).startswith(b"HTTP/1.1 200")
        await until(lambda: all(peer.exchange and peer.exchange.upstream for peer in proxy.plane.clients))
        later(proxy, monkeypatch, 10)
        assert len(proxy.plane.clients) == 2
        later(proxy, monkeypatch, 60)
        assert (await client.answer()).status == 503
        assert await other.closed() in (b"half", b"")


async def test_idle_connections_make_room():
    """When nearly all places are taken, those that are only kept alive go; those in use stay."""
    limits = ProxyLimits(clients=10)
    async with behind(limits=limits) as proxy, contextlib.AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(wire(proxy)) for _ in range(10)]
        for client in clients:
            assert (await client.ask(HEALTH)).status == 200
        await clients[0].send(b"GET /user")
        await until(lambda: any(peer._buffer for peer in proxy.plane.clients))
        proxy.plane.sweep()
        for client in clients[1:]:
            assert await client.closed() == b""
        async with wire(proxy) as another:
            assert (await another.ask(HEALTH)).status == 200
        await clients[0].send(b"/al/x HTTP/1.1\r\nHost: h\r\n\r\n")
        assert (await clients[0].answer()).body == b"ok"


async def test_extra_routes_are_fixed():
    """They are there before any hub is, and no hub takes them."""
    async with fake_hub() as hub, target(ok) as url:
        hub.change({"/docs/": "http://127.0.0.1:1"})
        async with serve_proxy(hub, extra_routes={"/docs": url}) as proxy, wire(proxy) as client:
            for path in (b"/docs", b"/docs/x"):
                assert (await client.ask(b"GET %s HTTP/1.1\r\nHost: h\r\n\r\n" % path)).body == b"ok"
            hub.change(delete=("/docs/",))
            await until(lambda: proxy.routing.reached(hub.revision))
            assert (await client.ask(b"GET /docs/x HTTP/1.1\r\nHost: h\r\n\r\n")).body == b"ok"
