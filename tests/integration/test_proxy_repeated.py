"""Heads that repeat are read once; what is sent on must not show it."""

import pytest

from perijove.proxy import request_head, response_head
from perijove.testing.proxy import fake_hub, serve_proxy, target, wire

FIELDS = b"Host: h\r\nCookie: a=1\r\nUser-Agent: x\r\n\r\n"


async def counting(reader, writer):
    """A target that answers with the head it got, without what differs by nature."""
    while True:
        head = await reader.readuntil(b"\r\n\r\n")
        lines = [line for line in head.split(b"\r\n") if not line.startswith(b"X-Request-ID")]
        body = b"\r\n".join(lines)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))


def counted(monkeypatch, module, name):
    """How often the parser is asked."""
    parser = getattr(module, name)
    calls = []

    def made(sink):
        calls.append(sink)
        return parser(sink)

    monkeypatch.setattr(module, name, made)
    return calls


@pytest.fixture
async def served():
    async with fake_hub() as hub, target(counting) as url:
        hub.change({"/user/al/": url})
        async with serve_proxy(hub) as proxy:
            yield proxy


async def test_the_same_fields_are_parsed_once(served, monkeypatch):
    """Whatever the path; and the target gets each request as if it were the first."""
    requests = counted(monkeypatch, request_head, "HttpRequestParser")
    responses = counted(monkeypatch, response_head, "HttpResponseParser")
    async with wire(served) as client:
        first = await client.ask(b"GET /user/al/a HTTP/1.1\r\n" + FIELDS)
        for path in (b"a", b"b", b"c?x=1"):
            again = await client.ask(b"GET /user/al/%b HTTP/1.1\r\n" % path + FIELDS)
            assert again.body == first.body.replace(b"/user/al/a ", b"/user/al/%b " % path)
    assert len(requests) == 1
    # `/c?x=1` is longer, so its answer has another head.
    assert len(responses) == 2


@pytest.mark.parametrize(
    "line",
    [
        b"GET /user/al/a HTTP/1.0",
        b"GET  /user/al/a HTTP/1.1",
        b"CONNECT /user/al/a HTTP/1.1",
        b"GET /user/al/\x00 HTTP/1.1",
        b"GET http://other/user/al/a HTTP/1.1",
        b"GET /user/al/a#f HTTP/1.1",
        b"GET /user/al/%zz HTTP/1.1",
        b"FOO / HTTP/1.1",
        b"DELETE /user/al/a HTTP/1.1",
        b"OPTIONS /user/al/a HTTP/1.1",
        b"GET /user/al/a HTTP/1.1\r\nX: y",
        b"GET /user/al/a HTTP/1.1\r\nHost: h",
        b"POST /user/al/a HTTP/1.1\r\nContent-Length: 0",
    ],
)
async def test_a_request_is_the_same_after_one_with_its_fields(served, line):
    """Refused or served, it is what it would have been as the first of its connection."""
    async with wire(served) as fresh:
        alone = await fresh.ask(line + b"\r\n" + FIELDS)
    async with wire(served) as used:
        await used.ask(b"GET /user/al/a HTTP/1.1\r\n" + FIELDS)
        after = await used.ask(line + b"\r\n" + FIELDS)
    assert (after.status, after.body) == (alone.status, alone.body)


async def test_what_differs_by_one_byte_is_read_again(served):
    """Also where it only begins or ends alike."""
    async with wire(served) as client:
        for fields in (FIELDS, FIELDS.replace(b"a=1", b"a=2"), b"X: y\r\n" + FIELDS, FIELDS[:-2] + b"X: y\r\n\r\n"):
            head = (await client.ask(b"GET /user/al/a HTTP/1.1\r\n" + fields)).body
            assert head.startswith(b"GET /user/al/a HTTP/1.1\r\n" + fields[:-2])
            assert head.count(b"X-Forwarded-For: 127.0.0.1\r\n") == 1


async def test_clients_do_not_share_what_is_said_of_them(served):
    """The fields are the same; who sent them is not."""
    async with wire(served) as one, wire(served, local_addr=("127.0.0.2", 0)) as two:
        for client, address in ((one, b"127.0.0.1"), (two, b"127.0.0.2"), (one, b"127.0.0.1")):
            head = (await client.ask(b"GET /user/al/a HTTP/1.1\r\n" + FIELDS)).body
            assert b"X-Forwarded-For: %b\r\n" % address in head


async def test_a_response_like_the_last_one_may_be_another():
    """The same head with another body, in other pieces, and to HEAD."""
    said = [b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n", b"ab", b"cd", b"e", b"f"]

    async def handler(reader, writer):
        for parts in (
            (said[0] + said[1],),
            (said[0], said[2]),
            (said[0] + said[3], said[4]),
            (said[0],),
            (said[0] + b"gh",),
        ):
            await reader.readuntil(b"\r\n\r\n")
            for part in parts:
                writer.write(part)
                await writer.drain()

    async with fake_hub() as hub, target(handler) as url:
        hub.change({"/user/al/": url})
        async with serve_proxy(hub) as proxy, wire(proxy) as client:
            for body in (b"ab", b"cd", b"ef"):
                assert (await client.ask(b"GET /user/al/a HTTP/1.1\r\n" + FIELDS)).body == body
            await client.send(b"HEAD /user/al/a HTTP/1.1\r\n" + FIELDS)
            assert (await client.answer(head_request=True)).body == b""
            assert (await client.ask(b"GET /user/al/a HTTP/1.1\r\n" + FIELDS)).body == b"gh"
