"""Some 270 hostile and odd heads and framings: refused with a closed connection, or forwarded as exactly one request.

An independent server (h11) counts what arrives; what the proxy sends is also read by h11's client side.
"""

import asyncio
import contextlib

import h11
import pytest

from perijove.testing.hostile import CLEAR, REFUSED, SMUGGLED
from perijove.testing.proxy import fake_hub, serve_proxy, target, wire

NEXT = b"GET /hub/next HTTP/1.1\r\nHost: h\r\n\r\n"
REFUSALS = (400, 405, 408, 413, 417, 431, 501, 505)


class Counter:
    """A target that keeps every request that h11 finds in what it is sent."""

    def __init__(self):
        self.requests = []
        self.unreadable = []

    async def __call__(self, reader, writer):
        judge = h11.Connection(h11.SERVER)
        request, body = None, b""
        while data := await reader.read(65536):
            judge.receive_data(data)
            while True:
                try:
                    event = judge.next_event()
                except h11.RemoteProtocolError as error:
                    self.unreadable.append((data, str(error)))
                    return
                if event is h11.NEED_DATA or event is h11.PAUSED:
                    break
                if isinstance(event, h11.Request):
                    request, body = event, b""
                elif isinstance(event, h11.Data):
                    body += bytes(event.data)
                elif isinstance(event, h11.EndOfMessage):
                    self.requests.append((bytes(request.target), body))
                    writer.write(judge.send(h11.Response(status_code=200, headers=[("Content-Length", "0")])))
                    judge.send(h11.EndOfMessage())
                    if judge.our_state is h11.MUST_CLOSE:
                        return
                    judge.start_next_cycle()


@contextlib.asynccontextmanager
async def counted():
    counter = Counter()
    async with fake_hub() as hub, target(counter) as url:
        hub.change({"/user/al/": url})
        async with serve_proxy(hub) as proxy:
            yield proxy, hub, counter
    assert counter.unreadable == []


def answers_in(said):
    """The statuses in what a client was sent, by h11; what it cannot read fails the test."""
    judge = h11.Connection(h11.CLIENT)
    judge.send(h11.Request(method="GET", target="/", headers=[("Host", "h")]))
    judge.send(h11.EndOfMessage())
    judge.receive_data(said)
    judge.receive_data(b"")
    found = []
    while True:
        event = judge.next_event()
        if isinstance(event, h11.Response):
            found.append(event.status_code)
        if event is h11.NEED_DATA or event is h11.PAUSED or isinstance(event, (h11.ConnectionClosed, h11.EndOfMessage)):
            return found


def test_there_are_enough_of_them():
    """Each case once, and all with something behind them that must stay unseen."""
    assert len(REFUSED) >= 240
    assert len(set(REFUSED.values())) == len(REFUSED)


@pytest.mark.parametrize("data", REFUSED.values(), ids=REFUSED.keys())
async def test_what_can_be_read_in_two_ways_is_refused(data):
    """One error at most, a closed connection, and nothing behind it is anybody's request."""
    async with counted() as (proxy, hub, counter):
        async with wire(proxy) as client:
            try:
                await client.send(data)
                said = await client.closed()
            except ConnectionError:
                # A reset may overtake the error.
                said = b""
        statuses = answers_in(said) if said else []
        assert all(status in REFUSALS for status in statuses)
        assert not [request.raw_path for request in hub.requests]
        # A request whose body turned out bad may have been begun; it was never finished.
        assert counter.requests == []


@pytest.mark.parametrize("name", CLEAR)
async def test_what_has_one_reading_is_one_request(name):
    """With exactly its body; and what comes next on the connection is the next request."""
    data, body = CLEAR[name]
    async with counted() as (proxy, hub, counter), wire(proxy) as client:
        closes = b"close" in data or b"HTTP/1.0" in data
        await client.send(data if closes else data + NEXT)
        assert (await client.answer()).status == 200
        if closes:
            assert await client.closed() == b""
        else:
            assert (await client.answer()).json()["path"] == "/hub/next"
        assert counter.requests == [(b"/user/al/x", body)]
        assert [request.raw_path for request in hub.requests] == ([] if closes else ["/hub/next"])


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64])
async def test_the_pieces_it_comes_in_do_not_matter(size):
    """A reading that depended on where the network cut would be a second one."""
    async with counted() as (proxy, hub, counter):
        for data, body in CLEAR.values():
            async with wire(proxy) as client:
                for at in range(0, len(data), size):
                    client.writer.write(data[at : at + size])
                    await asyncio.sleep(0)
                assert (await client.answer()).status == 200
            assert counter.requests.pop() == (b"/user/al/x", body)
        for data in list(REFUSED.values())[:: 1 + 10 // size]:
            if len(data) > 2000:
                continue
            async with wire(proxy) as client:
                with contextlib.suppress(ConnectionError):
                    for at in range(0, len(data), size):
                        client.writer.write(data[at : at + size])
                        await asyncio.sleep(0)
                    await client.closed()
        assert counter.requests == []
        assert not [request.raw_path for request in hub.requests]


async def test_what_follows_a_refusal_is_not_read():
    """However much of it there is."""
    async with counted() as (proxy, hub, _), wire(proxy) as client:
        with contextlib.suppress(ConnectionError):
            await client.send(b"nonsense\r\n\r\n" + SMUGGLED * 1000)
            await client.closed()
        assert not hub.requests
