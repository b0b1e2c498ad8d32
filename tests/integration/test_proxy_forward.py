"""Requests and responses through real sockets: what arrives at either side, byte for byte."""

import asyncio
import contextlib

import h11
import pytest
from aiohttp import web

from perijove.proxy.options import ProxyTimeouts
from perijove.testing.proxy import fake_hub, serve_proxy, target, wire
from perijove.testing.waiting import until

GET = b"GET /user/al/x HTTP/1.1\r\nHost: h\r\n\r\n"


@contextlib.asynccontextmanager
async def behind(handler, **options):
    """A proxy with /user/al/ served by `handler`."""
    async with fake_hub() as hub, target(handler) as url:
        hub.change({"/user/al/": url})
        async with serve_proxy(hub, **options) as proxy:
            yield proxy


def answering(*responses, seen=None, connections=None):
    """A target that answers one head after the other, on any number of connections."""
    left = list(responses)

    async def handler(reader, writer):
        if connections is not None:
            connections.append(writer)
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            if seen is not None:
                seen.append(head)
            writer.write(left.pop(0) if len(left) > 1 else left[0])
            await writer.drain()

    return handler


OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


async def test_connections_are_kept_alive_on_both_sides():
    """Many requests of one client use one connection to the target."""
    connections = []
    async with behind(answering(OK, connections=connections)) as proxy, wire(proxy) as client:
        for _ in range(20):
            assert (await client.ask(GET)).body == b"ok"
    assert len(connections) == 1


async def test_pipelined_requests_are_answered_in_order():
    """One at a time towards the targets, whichever target is quicker."""

    async def slow(reader, writer):
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            await asyncio.sleep(0)
            body = head.split(b" ")[1]
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))

    async with behind(slow) as proxy, wire(proxy) as client:
        await client.send(
            b"".join(b"GET /user/al/%d HTTP/1.1\r\nHost: h\r\n\r\n" % number for number in range(50))
            + b"GET /_chp_healthz HTTP/1.1\r\nHost: h\r\n\r\n"
            + b"POST /user/al/p HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nGET "
            + b"GET /user/al/last HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"
        )
        bodies = [(await client.answer()).body for _ in range(52)]
        assert bodies[:50] == [b"/user/al/%d" % number for number in range(50)]
        assert bodies[50:] == [b'{"status":"OK"}', b"/user/al/p"]


async def test_thousands_of_pipelined_requests_do_not_recurse():
    """Those that are answered here at once, too."""
    async with behind(answering(OK)) as proxy, wire(proxy) as client:
        await client.send(b"GET /_chp_healthz HTTP/1.1\r\nHost: h\r\n\r\n" * 5000)
        for _ in range(5000):
            assert (await client.answer()).status == 200


@pytest.mark.parametrize(
    ("response", "body", "kept"),
    [
        (OK, b"ok", True),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-T: 1\r\n\r\n", b"ok", True),
        (b"HTTP/1.1 204 No Content\r\n\r\n", b"", True),
        (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 99\r\nEtag: x\r\n\r\n", b"", True),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", b"", True),
        (b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok", b"ok", True),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", b"ok", True),
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\nok", b"ok", True),
    ],
)
async def test_every_framing_of_a_response(response, body, kept):
    """Ends where it says, and the client's connection goes on."""
    async with behind(answering(response)) as proxy, wire(proxy) as client:
        for _ in range(3 if kept else 1):
            assert (await client.ask(GET)).body == body


async def test_a_response_without_length_ends_with_its_connection():
    """The client is told by the same means."""

    async def handler(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\n\r\nsome")
        await writer.drain()
        writer.write(b"thing")
        writer.close()

    async with behind(handler) as proxy, wire(proxy) as client:
        answer = await client.ask(GET)
        assert (answer.body, answer.field("connection")) == (b"something", "close")


async def test_head_has_no_body_whatever_the_response_says():
    """And the connection is usable afterwards."""
    response = b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"
    async with behind(answering(response, response, OK)) as proxy, wire(proxy) as client:
        for _ in range(2):
            await client.send(b"HEAD /user/al/x HTTP/1.1\r\nHost: h\r\n\r\n")
            assert (await client.answer(head_request=True)).field("content-length") == "1000"
        assert (await client.ask(GET)).body == b"ok"


async def test_an_old_client_gets_no_chunks():
    """HTTP/1.0: the content alone, then the end of the connection."""
    seen = []
    response = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;x=y\r\nok\r\n3\r\n!!!\r\n0\r\n\r\n"
    async with behind(answering(response, seen=seen)) as proxy, wire(proxy) as client:
        await client.send(b"GET /user/al/x HTTP/1.0\r\n\r\n")
        head = await client.head()
        assert b"chunked" not in head
        assert b"Connection: close" in head
        assert await client.closed() == b"ok!!!"
    assert b" HTTP/1.1\r\nHost: 127.0.0.1:" in seen[0]


async def test_interim_responses_are_relayed():
    """100 when the client waits for it, 103 too; the final one ends the exchange."""

    async def handler(reader, writer):
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            assert b"Expect: 100-continue" in head
            writer.write(b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n")
            assert await reader.readexactly(4) == b"body"
            writer.write(OK)

    async with behind(handler) as proxy, wire(proxy) as client:
        for _ in range(2):
            await client.send(
                b"POST /user/al/x HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n"
            )
            assert (await client.answer()).field("link") == "</x>"
            assert (await client.answer()).status == 100
            assert (await client.ask(b"body")).body == b"ok"


async def test_a_refusal_instead_of_100_ends_the_connection():
    """The client has not sent its body, so nobody knows whether it will."""

    async def handler(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nno\n")
        await reader.read()

    async with behind(handler) as proxy, wire(proxy) as client:
        answer = await client.ask(
            b"POST /user/al/x HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 400\r\n\r\n"
        )
        assert (answer.status, answer.field("connection")) == (413, "close")
        assert await client.closed() == b""


async def test_an_early_response_is_readable_while_uploading():
    """The client gets to read why, though it has not stopped sending."""

    async def handler(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 4\r\n\r\nstop")
        await writer.drain()

    async with behind(handler) as proxy, wire(proxy) as client:
        await client.send(b"POST /user/al/x HTTP/1.1\r\nHost: h\r\nContent-Length: 1000000\r\n\r\n" + b"x" * 1000)
        answer = await client.answer()
        assert (answer.status, answer.body, answer.field("connection")) == (403, b"stop", "close")
        for _ in range(20):
            client.writer.write(b"x" * 1000)
        assert await client.closed() == b""


@pytest.mark.parametrize("size", [0, 1, 10, 70_000, 1_000_000])
@pytest.mark.parametrize("chunked", [False, True])
async def test_bodies_arrive_whole(size, chunked):
    """Of any size and framing, in one piece with the head or after it."""
    got = []

    async def handler(reader, writer):
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            body = b""
            if b"chunked" in head:
                while length := int(await reader.readline(), 16):
                    body += (await reader.readexactly(length + 2))[:-2]
                assert await reader.readline() == b"\r\n"
            elif b"Content-Length: " in head:
                body = await reader.readexactly(int(head.split(b"Content-Length: ")[1].split(b"\r\n")[0]))
            got.append(body)
            writer.write(OK)

    body = bytes(number % 251 for number in range(size))
    if chunked:
        half = size // 2
        framed = b"".join(b"%X\r\n%s\r\n" % (len(part), part) for part in (body[:half], body[half:]) if part)
        request = b"POST /user/al/x HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n" + framed + b"0\r\n\r\n"
    else:
        request = b"PUT /user/al/x HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n%s" % (size, body)
    async with behind(handler) as proxy, wire(proxy) as client:
        assert (await client.ask(request)).body == b"ok"
        for at in range(0, len(request), max(1, len(request) // 7)):
            await client.send(request[at : at + max(1, len(request) // 7)])
        assert (await client.answer()).body == b"ok"
    assert got == [body, body]


async def test_what_we_send_is_http_to_an_independent_parser():
    """h11 reads our requests as a server and our responses as a client."""
    served = h11.Connection(h11.SERVER)
    asked = h11.Connection(h11.CLIENT)

    async def handler(reader, writer):
        while True:
            data = await reader.read(65536)
            if not data:
                return
            served.receive_data(data)
            while not isinstance(event := served.next_event(), type(h11.NEED_DATA)):
                if event is h11.PAUSED:
                    break
                if isinstance(event, h11.EndOfMessage):
                    writer.write(served.send(h11.Response(status_code=200, headers=[("Transfer-Encoding", "chunked")])))
                    writer.write(served.send(h11.Data(data=b"hello")))
                    writer.write(served.send(h11.EndOfMessage(headers=[("x-sum", "1")])))
                    served.start_next_cycle()

    async with behind(handler) as proxy, wire(proxy) as client:
        for _ in range(2):
            request = h11.Request(
                method="POST", target="/user/al/x", headers=[("Host", "h"), ("Transfer-Encoding", "chunked")]
            )
            await client.send(asked.send(request) + asked.send(h11.Data(data=b"abc")) + asked.send(h11.EndOfMessage()))
            events = []
            while not events or not isinstance(events[-1], h11.EndOfMessage):
                event = asked.next_event()
                if event is h11.NEED_DATA:
                    asked.receive_data(await client.reader.read(65536))
                else:
                    events.append(event)
            assert events[0].status_code == 200
            assert b"".join(bytes(event.data) for event in events if isinstance(event, h11.Data)) == b"hello"
            assert events[-1].headers == [(b"x-sum", b"1")]
            asked.start_next_cycle()


async def test_events_pass_as_they_are_written():
    """Server-sent events are not held back for more."""
    go = asyncio.Event()

    async def handler(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
        for number in range(5):
            go.clear()
            line = b"data: %d\n\n" % number
            writer.write(b"%x\r\n%s\r\n" % (len(line), line))
            await go.wait()
        writer.write(b"0\r\n\r\n")

    async with behind(handler) as proxy, wire(proxy) as client:
        await client.send(GET)
        await client.head()
        async with asyncio.timeout(5):
            for number in range(5):
                await client.reader.readline()
                assert await client.reader.readline() == b"data: %d\n" % number
                await client.reader.readline()
                await client.reader.readline()
                go.set()
            assert await client.reader.readline() == b"0\r\n"


async def test_a_client_that_closed_its_sending_side_gets_its_answer():
    """Half a connection is enough for a response."""
    go = asyncio.Event()

    async def handler(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        body = await reader.readexactly(3)
        await go.wait()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n" + body)
        await writer.drain()

    async with behind(handler) as proxy, wire(proxy) as client:
        await client.send(b"POST /user/al/x HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc")
        client.writer.write_eof()
        await until(lambda: any(peer._eof for peer in proxy.plane.clients))
        go.set()
        assert (await client.answer()).body == b"abc"
        assert await client.closed() == b""


@pytest.mark.parametrize("reset", [True, False])
async def test_a_client_that_goes_away_takes_its_request_with_it(reset):
    """The target sees its connection closed instead of working for nobody: at once, or when nothing more is said."""
    gone = asyncio.Event()

    async def handler(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n")
        with contextlib.suppress(ConnectionError):
            await reader.read()
        gone.set()

    timeouts = ProxyTimeouts(half_closed_seconds=60 if reset else 0)
    async with behind(handler, timeouts=timeouts) as proxy, wire(proxy) as client:
        await client.send(GET)
        await client.head()
        if reset:
            client.reset()
        else:
            client.writer.close()
        await until(lambda: proxy.plane.sweep() or gone.is_set())
        await until(lambda: not proxy.plane.clients)


async def test_forwarded_headers_request_id_and_host_reach_the_target():
    """Host as the client sent it, the rest about the client."""
    seen = []
    async with behind(answering(OK, seen=seen), trusted_downstream=[]) as proxy, wire(proxy) as client:
        await client.ask(
            b"GET /user/al/x HTTP/1.1\r\nHost: hub.org:99\r\nX-Forwarded-For: 9.9.9.9\r\nX-Request-ID: mine\r\n\r\n"
        )
    head = seen[0]
    for line in (b"Host: hub.org:99", b"X-Forwarded-For: 127.0.0.1", b"X-Forwarded-Proto: http"):
        assert head.count(b"\r\n" + line + b"\r\n") == 1
    assert b"X-Forwarded-Host: hub.org:99\r\nX-Forwarded-Port: 99\r\n" in head
    assert b"9.9.9.9" not in head
    assert b"mine" not in head


async def test_a_trusted_proxys_request_id_is_passed_on():
    """One id from the outer proxy to the target."""
    seen = []
    async with behind(answering(OK, seen=seen)) as proxy, wire(proxy) as client:
        await client.ask(b"GET /user/al/x HTTP/1.1\r\nHost: h\r\nX-Request-ID: abc-1\r\n\r\n")
        await client.ask(b"GET /user/al/x HTTP/1.1\r\nHost: h\r\nX-Request-ID: a b\r\n\r\n")
    assert b"\r\nX-Request-ID: abc-1\r\n" in seen[0]
    assert b"a b" not in seen[1]


async def test_the_path_goes_on_as_it_was_routed():
    """Dots resolved and leading slashes collapsed on the wire, all other bytes untouched; targets may have a path."""
    seen = []
    async with fake_hub() as hub, target(answering(OK, seen=seen)) as url:
        hub.change({"/user/al/": url, "/user/a%40b/": url, "/services/x/": url + "/below"})
        async with serve_proxy(hub) as proxy, wire(proxy) as client:
            for path in (
                b"/user/x/../al/y?a=../b",
                b"//user/al/%7e%2F(1)",
                b"/user/a@b/x",
                b"/user/%61%40b/x",
                b"/services/x/y?z",
            ):
                assert (await client.ask(b"GET %s HTTP/1.1\r\nHost: h\r\n\r\n" % path)).status == 200
            assert (await client.ask(b"GET /user%2Fal/x HTTP/1.1\r\nHost: h\r\n\r\n")).json()["at"] == "hub"
            assert (await client.ask(b"GET //zzz/user/al/x HTTP/1.1\r\nHost: h\r\n\r\n")).json()[
                "path"
            ] == "/zzz/user/al/x"
            assert (await client.ask(b"GET /user/al/%zz HTTP/1.1\r\nHost: h\r\n\r\n")).status == 400
    assert [head.split(b" ")[1] for head in seen] == [
        b"/user/al/y?a=../b",
        b"/user/al/%7e%2F(1)",
        b"/user/a@b/x",
        b"/user/%61%40b/x",
        b"/below/services/x/y?z",
    ]


async def test_delete_without_a_length_says_zero():
    """As configurable-http-proxy: some servers wait for a body otherwise."""
    seen = []
    async with behind(answering(OK, seen=seen)) as proxy, wire(proxy) as client:
        await client.ask(b"DELETE /user/al/x HTTP/1.1\r\nHost: h\r\n\r\n")
        await client.ask(b"DELETE /user/al/x HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n")
    assert [head.lower().count(b"content-length: 0") for head in seen] == [1, 1]


async def test_unix_sockets_on_both_sides(tmp_path):
    """Listening and as a target."""
    seen = []
    listening = tmp_path / "p.sock"
    async with fake_hub() as hub, target(answering(OK, seen=seen), unix=str(tmp_path / "t.sock")) as url:
        hub.change({"/user/al/": url})
        async with serve_proxy(hub, unix_sockets=[listening]):
            reader, writer = await asyncio.open_unix_connection(str(listening))
            writer.write(GET)
            assert (await reader.readuntil(b"ok")).startswith(b"HTTP/1.1 200")
            writer.close()
    assert b"X-Forwarded-For: 127.0.0.1" in seen[0]


async def test_hub_responses_wait_for_their_revision():
    """Nobody is redirected to a server before this proxy has its route, and the header stays inside."""
    async with fake_hub() as hub, serve_proxy(hub) as proxy, wire(proxy) as client:

        async def answer(request):
            return web.Response(text="moved", headers={"X-Perijove-Revision": str(hub.revision + 1)})

        hub.answer = answer
        await client.send(b"GET /hub/spawn HTTP/1.1\r\nHost: h\r\n\r\n")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(client.reader.read(1), 0.1)
        hub.change({"/user/al/": "http://127.0.0.1:1"})
        answered = await client.answer()
        assert (answered.body, answered.field("x-perijove-revision")) == (b"moved", None)
        assert "/user/al/" in proxy.routing.table.routes


async def test_a_revision_that_never_comes_does_not_hold_for_ever():
    """Late is better than never."""
    timeouts = ProxyTimeouts(hold_seconds=0.05)
    async with fake_hub() as hub, serve_proxy(hub, timeouts=timeouts) as proxy, wire(proxy) as client:

        async def answer(request):
            return web.Response(text="x" * 500_000, headers={"X-Perijove-Revision": "999"})

        hub.answer = answer
        for _ in range(2):
            assert len((await client.ask(b"GET /hub/x HTTP/1.1\r\nHost: h\r\n\r\n")).body) == 500_000
