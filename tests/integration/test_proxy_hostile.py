"""Bytes that try to mean two things: refused with a closed connection, or forwarded as exactly one request.

An independent counter (a target that records everything it is sent, and h11) says how many there were.
"""

import asyncio
import random
import re

import h11
import pytest

from perijove.proxy.options import ProxyLimits
from perijove.testing.proxy import fake_hub, serve_proxy, target, wire

SMUGGLED = b"GET /hub/smuggled HTTP/1.1\r\nHost: h\r\n\r\n"
START = b"POST /user/al/x HTTP/1.1\r\nHost: h\r\n"
CHUNKED = START + b"Transfer-Encoding: chunked\r\n\r\n"

REFUSED = {
    "CL.CL": START + b"Content-Length: 0\r\nContent-Length: %d\r\n\r\n" % len(SMUGGLED) + SMUGGLED,
    "CL.TE": START + b"Content-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + SMUGGLED,
    "TE.CL": START + b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n" + SMUGGLED,
    "TE space": START + b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n" + SMUGGLED,
    "TE tab": START + b"Transfer-Encoding:\tchunked\x0b\r\n\r\n0\r\n\r\n" + SMUGGLED,
    "TE xchunked": START + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n" + SMUGGLED,
    "TE identity, chunked": START + b"Transfer-Encoding: identity, chunked\r\n\r\n0\r\n\r\n" + SMUGGLED,
    "TE twice": START + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n" + SMUGGLED,
    "TE folded": START + b"Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n" + SMUGGLED,
    "TE after a bare LF": START + b"X: y\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + SMUGGLED,
    "TE after a bare CR": START + b"X: y\rTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + SMUGGLED,
    "CL with a plus": START + b"Content-Length: +%d\r\n\r\n" % len(SMUGGLED) + SMUGGLED,
    "CL in octal clothes": START + b"Content-Length: 0x10\r\n\r\n" + SMUGGLED,
    "CL list": START + b"Content-Length: 0, 10\r\n\r\n" + SMUGGLED,
    "NUL in the head": START + b"X: a\x00b\r\n\r\n" + SMUGGLED,
    "bare LF head": b"GET /user/al/x HTTP/1.1\nHost: h\n\n" + SMUGGLED,
    "line starts with a space": START + b" X: y\r\n\r\n" + SMUGGLED,
    "two hosts": START + b"Host: other\r\n\r\n" + SMUGGLED,
    "absolute with another host": b"GET http://other/user/al/x HTTP/1.1\r\nHost: h\r\n\r\n" + SMUGGLED,
    "no host": b"GET /user/al/x HTTP/1.1\r\n\r\n" + SMUGGLED,
    "chunk size with 0x": CHUNKED + b"0x5\r\nhello\r\n0\r\n\r\n" + SMUGGLED,
    "chunk size with a sign": CHUNKED + b"+5\r\nhello\r\n0\r\n\r\n" + SMUGGLED,
    "chunk size wraps": CHUNKED + b"10000000000000005\r\nhello\r\n0\r\n\r\n" + SMUGGLED,
    "chunk longer than its size": CHUNKED + b"5\r\nhello there\r\n0\r\n\r\n" + SMUGGLED,
    "chunk ends with LF": CHUNKED + b"5\r\nhello\n0\r\n\r\n" + SMUGGLED,
    "chunk size ends with LF": CHUNKED + b"5\nhello\r\n0\r\n\r\n" + SMUGGLED,
    "LF in a chunk extension": CHUNKED + b"5;\nxx\r\nhello\r\n0\r\n\r\n" + SMUGGLED,
    "CR in a chunk extension": CHUNKED + b"5;\rxx\r\nhello\r\n0\r\n\r\n" + SMUGGLED,
    "length in a trailer": CHUNKED + b"0\r\nContent-Length: 40\r\n\r\n" + SMUGGLED,
    "bad escape": b"GET /user/al/%%2fx HTTP/1.1\r\nHost: h\r\n\r\n" + SMUGGLED,
    "space in the target": b"GET /user/al/x y HTTP/1.1\r\nHost: h\r\n\r\n" + SMUGGLED,
    "HTTP/2 preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + SMUGGLED,
    "CONNECT": b"CONNECT h:80 HTTP/1.1\r\nHost: h:80\r\n\r\n" + SMUGGLED,
    "TLS hello": bytes.fromhex("16030100a5010000a1030352") + b"\r\n\r\n" + SMUGGLED,
    "head too long": START + b"X: " + b"y" * 70_000 + b"\r\n\r\n" + SMUGGLED,
    "endless head": START + b"X: y\r\n" * 20_000,
}


class Recorder:
    """A target that keeps every byte and answers whenever h11 sees the end of a request."""

    def __init__(self):
        self.requests = []

    async def __call__(self, reader, writer):
        judge = h11.Connection(h11.SERVER)
        while data := await reader.read(65536):
            judge.receive_data(data)
            while True:
                try:
                    event = judge.next_event()
                except h11.RemoteProtocolError:
                    # Our side must never cause this; a cut body is reported by the end of the data alone.
                    self.requests.append("unreadable")
                    return
                if event is h11.NEED_DATA or event is h11.PAUSED:
                    break
                if isinstance(event, h11.Request):
                    self.requests.append(bytes(event.target))
                if isinstance(event, h11.EndOfMessage):
                    writer.write(judge.send(h11.Response(status_code=200, headers=[("Content-Length", "0")])))
                    judge.send(h11.EndOfMessage())
                    judge.start_next_cycle()


@pytest.mark.parametrize("data", REFUSED.values(), ids=REFUSED.keys())
@pytest.mark.parametrize("pieces", ["whole", "split"])
async def test_nothing_is_smuggled(data, pieces):
    """An error and a closed connection; nothing that came after is anybody's request."""
    recorder = Recorder()
    async with fake_hub() as hub, target(recorder) as url:
        hub.change({"/user/al/": url})
        async with serve_proxy(hub) as proxy, wire(proxy) as client:
            size = len(data) if pieces == "whole" else max(7, len(data) // 40)
            try:
                for at in range(0, len(data), size):
                    await client.send(data[at : at + size])
                    await asyncio.sleep(0)
                said = await client.closed()
            except ConnectionError:
                said = b""
            # A reset may overtake the error; a second answer may never be there.
            assert len(re.findall(rb"HTTP/1\.1 \d", said)) <= 1
            if said:
                assert said.split(b" ")[1] in (b"400", b"405", b"431", b"501", b"505")
            await client.closed()
        assert not any("smuggled" in request.raw_path for request in hub.requests)
    assert recorder.requests in ([], [b"/user/al/x"])


async def test_odd_but_clear_requests_pass_as_one():
    """What has only one reading is forwarded, and the next request is the next request."""
    recorder = Recorder()
    odd = [
        b"\r\n\r\n" + START + b"Content-Length: 3\r\n\r\nabc",
        START + b"Content-Length:\t3 \r\n\r\nabc",
        START + b"content-length: 0003\r\n\r\nabc",
        START + b"tRaNsFeR-eNcOdInG: ChUnKeD\r\n\r\n003;x=y\r\nabc\r\n00\r\nX-T: 1\r\n\r\n",
        START + b"X-Utf8: \xc3\xbc\r\nX-Empty:\r\nContent-Length: 3\r\n\r\nabc",
        b"GET http://h/user/al/x HTTP/1.1\r\nHost: h\r\n\r\n",
        START + b"Connection: close, keep-alive\r\nContent-Length: 3\r\n\r\nabc",
    ]
    async with fake_hub() as hub, target(recorder) as url:
        hub.change({"/user/al/": url})
        async with serve_proxy(hub) as proxy:
            for data in odd:
                async with wire(proxy) as client:
                    assert (await client.ask(data)).status == 200
                    if b"close" not in data:
                        assert (await client.ask(b"GET /hub/next HTTP/1.1\r\nHost: h\r\n\r\n")).json()[
                            "path"
                        ] == "/hub/next"
    assert recorder.requests == [b"/user/al/x"] * len(odd)


async def test_a_head_may_come_byte_by_byte():
    """In any pieces, next to the limit on its size and beyond it."""
    recorder = Recorder()
    async with fake_hub() as hub, target(recorder) as url:
        hub.change({"/user/al/": url})
        async with serve_proxy(hub, limits=ProxyLimits(head_bytes=200)) as proxy:
            for length, status in ((200, 200), (201, 431)):
                data = b"GET /user/al/x HTTP/1.1\r\nHost: h\r\nX: "
                data += b"y" * (length - len(data) - 4) + b"\r\n\r\n"
                async with wire(proxy) as client:
                    for byte in data:
                        client.writer.write(bytes([byte]))
                        await asyncio.sleep(0)
                    assert (await client.answer()).status == status


async def test_random_bytes_do_no_harm():
    """Whatever is thrown at it, the proxy answers the next client."""
    source = random.Random(4711)
    pieces = [
        *REFUSED.values(),
        b"\r\n",
        b"\r\n\r\n",
        b"GET ",
        b" HTTP/1.1",
        b"Host: h\r\n",
        b"\x00",
        b"0\r\n\r\n",
        CHUNKED,
    ]
    async with fake_hub() as hub, target(Recorder()) as url:
        hub.change({"/user/al/": url})
        async with serve_proxy(hub) as proxy:
            for _ in range(150):
                data = b"".join(
                    source.choice(pieces)[: source.randrange(1, 200)] for _ in range(source.randrange(1, 8))
                )
                async with wire(proxy) as client:
                    client.writer.write(data)
                    if source.random() < 0.5:
                        client.reset()
                    else:
                        client.writer.write_eof()
                        await client.closed()
            async with wire(proxy) as client:
                assert (await client.ask(b"GET /user/al/ok HTTP/1.1\r\nHost: h\r\n\r\n")).status == 200
