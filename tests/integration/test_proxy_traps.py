"""Four mistakes that a proxy of this design can make without any other test noticing, kept from coming back."""

import asyncio

from perijove.testing.proxy import fake_hub, serve_proxy, target, wire
from perijove.testing.waiting import until

BIG = 8 << 20


async def big_and_small(reader, writer):
    while True:
        head = await reader.readuntil(b"\r\n\r\n")
        size = BIG if b"/big" in head else 2
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size + b"x" * size)
        await writer.drain()


async def test_a_connection_paused_for_a_slow_client_is_reading_when_it_is_pooled():
    """Otherwise the request that takes it next waits for ever, and only some of the time."""
    async with fake_hub() as hub, target(big_and_small) as url:
        hub.change({"/user/al/": url})
        async with serve_proxy(hub) as proxy, wire(proxy, receive_bytes=1 << 16) as client:
            for _ in range(10):
                await client.send(b"GET /user/al/big HTTP/1.1\r\nHost: h\r\n\r\n")
                # Until the client's side is full: that is what pauses the target's.
                await until(lambda: any(not peer.writable for peer in proxy.plane.clients))
                assert len((await client.answer()).body) == BIG
                async with wire(proxy) as other:
                    assert (await other.ask(b"GET /user/al/s HTTP/1.1\r\nHost: h\r\n\r\n")).body == b"xx"
            (pool,) = proxy.plane.upstreams.pools_for(url)
            await until(lambda: len(pool.idle) == pool.open)
            assert not any(connection.paused for connection in pool.idle)


async def test_keep_alive_is_decided_while_the_message_is_there():
    """llhttp's `should_keep_alive()` is false once the message is over: every request would connect anew."""
    opened = 0

    async def handler(reader, writer):
        nonlocal opened
        opened += 1
        await big_and_small(reader, writer)

    async with fake_hub() as hub, target(handler) as url:
        hub.change({"/user/al/": url})
        async with serve_proxy(hub) as proxy, wire(proxy) as client:
            for _ in range(100):
                await client.ask(b"GET /user/al/s HTTP/1.1\r\nHost: h\r\n\r\n")
    assert opened == 1


async def test_an_upgrade_survives_the_removal_of_hop_by_hop_fields():
    """`Connection: Upgrade` is hop-by-hop, and without it the target answers 426."""
    seen = asyncio.Queue()

    async def handler(reader, writer):
        seen.put_nowait(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
        await reader.read()

    async with fake_hub() as hub, target(handler) as url:
        hub.change({"/user/al/": url})
        async with serve_proxy(hub) as proxy:
            for connection in (b"Upgrade", b"upgrade", b"keep-alive, Upgrade", b"Upgrade,keep-alive"):
                async with wire(proxy) as client:
                    await client.send(
                        b"GET /user/al/ HTTP/1.1\r\nHost: h\r\nConnection: %s\r\nUpgrade: websocket\r\n\r\n"
                        % connection
                    )
                    head = await client.head()
                    assert b"\r\nConnection: Upgrade\r\n" in head
                sent = await seen.get()
                assert b"\r\nConnection: Upgrade\r\n" in sent
                assert b"\r\nUpgrade: websocket\r\n" in sent


async def test_a_request_without_host_is_refused():
    """As nginx and node do: what it is for would be anybody's guess."""
    async with fake_hub() as hub, serve_proxy(hub) as proxy, wire(proxy) as client:
        assert (await client.ask(b"GET / HTTP/1.1\r\n\r\n")).status == 400
        assert await client.closed() == b""
