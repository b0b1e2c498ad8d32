"""Autobahn's kinds of cases through the proxy: what a server says to frames, good and bad, is the same without it.

The client's frames are written here, byte by byte where that matters; `websockets` judges them on the server's side
and, the other way round, reads what a server says. Compared are whole transcripts: the proxy may change nothing.
"""

import asyncio
import base64
import codecs
import contextlib
import hashlib
import struct
import zlib

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed
from websockets.extensions.permessage_deflate import ServerPerMessageDeflateFactory
from websockets.frames import Opcode
from websockets.http11 import Request
from websockets.protocol import State
from websockets.server import ServerProtocol

from perijove.testing.proxy import fake_hub, serve_proxy, target, wire

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
MASK = b"\x01\x80\xff\x00"
KEY = base64.b64encode(bytes(16))
BIG = 16 << 20
GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
SWITCH = b"HTTP/1.1 101 S\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: %b\r\n\r\n"


def frame(opcode, payload=b"", *, fin=True, reserved=0, masked=True):
    """One frame, with the shortest length there is."""
    size = len(payload)
    mark = 0x80 if masked else 0
    if size < 126:
        length = bytes((mark | size,))
    elif size <= 0xFFFF:
        length = struct.pack("!BH", mark | 126, size)
    else:
        length = struct.pack("!BQ", mark | 127, size)
    head = bytes((fin << 7 | reserved << 4 | opcode,)) + length
    if not masked:
        return head + payload
    key = int.from_bytes((MASK * (size // 4 + 1))[:size])
    return head + MASK + (int.from_bytes(payload) ^ key).to_bytes(size)


def closing(code, reason=b""):
    return frame(CLOSE, struct.pack("!H", code) + reason)


BYE = closing(1000)
VALID = (1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999)
INVALID = (0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535)
# What is sent, and the close code that the server answers with.
CASES = {
    **{f"text of {size}": (frame(TEXT, b"*" * size) + BYE, 1000) for size in (0, 125, 126, 127, 128, 300)},
    **{f"bytes of {size}": (frame(BINARY, b"\xfe" * size) + BYE, 1000) for size in (0, 125, 126, 127, 128, 300)},
    "pings": (b"".join(frame(PING, bytes((number,)) * number) for number in range(10)) + BYE, 1000),
    "a ping of 125": (frame(PING, b"\xfe" * 125) + BYE, 1000),
    "a ping of 126": (frame(PING, b"\xfe" * 126), 1002),
    "a pong that nobody asked for": (frame(PONG, b"unsolicited") + frame(PING, b"x") + BYE, 1000),
    "a pong in two": (frame(PONG, b"x", fin=False) + BYE, 1002),
    **{f"reserved bit {bit}": (frame(TEXT, b"x") + frame(TEXT, b"y", reserved=bit), 1002) for bit in (1, 2, 4, 7)},
    **{f"opcode {code}": (frame(TEXT, b"x") + frame(code, b"y"), 1002) for code in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15)},
    "fragments": (frame(TEXT, b"a", fin=False) + frame(CONTINUATION, b"b") + BYE, 1000),
    "a ping among fragments": (
        frame(TEXT, b"a", fin=False) + frame(PING, b"p") + frame(CONTINUATION, b"b") + frame(PING) + BYE,
        1000,
    ),
    "empty fragments": (frame(BINARY, fin=False) + frame(CONTINUATION, fin=False) + frame(CONTINUATION) + BYE, 1000),
    "a continuation of nothing": (frame(CONTINUATION, b"x"), 1002),
    "a message within a message": (frame(TEXT, b"a", fin=False) + frame(TEXT, b"b"), 1002),
    "a letter in two fragments": (frame(TEXT, b"\xc3", fin=False) + frame(CONTINUATION, b"\xa4") + BYE, 1000),
    "text that is not UTF-8": (frame(TEXT, b"\xce\xba\xff"), 1007),
    "a surrogate": (frame(TEXT, b"\xed\xa0\x80"), 1007),
    "half a letter at the end": (frame(TEXT, b"\xf0\x9f\x98"), 1007),
    "bytes that are not UTF-8": (frame(BINARY, b"\xce\xba\xff\x00") + BYE, 1000),
    "frames without a mask": (frame(TEXT, b"x", masked=False), 1002),
    "a close without a code": (frame(CLOSE), 1005),
    "a close with half a code": (frame(CLOSE, b"\x03"), 1002),
    "a close with a reason": (closing(1000, "genug für heute".encode()), 1000),
    "a close with a reason that is not UTF-8": (closing(1000, b"\xff"), 1007),
    "a close too long": (closing(1000, b"x" * 124), 1002),
    "a message after the close": (closing(1000) + frame(TEXT, b"late"), 1000),
    "a close among fragments": (frame(TEXT, b"a", fin=False) + BYE, 1002),
    **{f"close code {code}": (closing(code), code) for code in VALID},
    **{f"close code {code}": (closing(code), 1002) for code in INVALID},
}


def upgrade(path=b"/user/al/ws", extensions=b""):
    return (
        b"GET %b HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: %b\r\n%b\r\n" % (path, KEY, extensions)
    )


class EchoServer:
    """`websockets` without its own input and output, so that its answers come in one order however bytes arrive."""

    def __init__(self):
        self.protocol = ServerProtocol(max_size=None, extensions=[ServerPerMessageDeflateFactory()])
        self.text = None

    def feed(self, data):
        self.protocol.receive_data(data)
        for event in self.protocol.events_received():
            if isinstance(event, Request):
                self.protocol.send_response(self.protocol.accept(event))
            elif event.opcode in (Opcode.TEXT, Opcode.BINARY, Opcode.CONT) and self.protocol.state is State.OPEN:
                self.echo(event)

    def echo(self, received):
        if received.opcode is not Opcode.CONT:
            self.text = codecs.getincrementaldecoder("utf-8")() if received.opcode is Opcode.TEXT else None
        try:
            if self.text is not None:
                self.text.decode(received.data, received.fin)
        except UnicodeDecodeError:
            self.protocol.fail(1007)
            return
        send = {Opcode.TEXT: self.protocol.send_text, Opcode.BINARY: self.protocol.send_binary}
        send.get(received.opcode, self.protocol.send_continuation)(received.data, received.fin)

    async def serve(self, reader, writer):
        while data := await reader.read(1 << 20):
            # What is small goes in byte by byte: a close must not overtake the echo of what was before it.
            each = 1 if len(data) < 4096 else len(data)
            for start in range(0, len(data), each):
                self.feed(data[start : start + each])
            for said in self.protocol.data_to_send():
                if said:
                    writer.write(said)
            if self.protocol.close_expected():
                # Closing before the client has read this and closed would reset what is under way.
                await reader.read()


@contextlib.asynccontextmanager
async def places():
    """The server itself, and the proxy before it."""

    async def handler(reader, writer):
        await EchoServer().serve(reader, writer)

    async with fake_hub() as hub, target(handler) as url:
        hub.change({"/user/al/": url})
        async with serve_proxy(hub) as proxy:
            yield ("127.0.0.1", int(url.rpartition(":")[2])), proxy.addresses[0]


async def frames(reader):
    """All to the close frame, with it."""
    said = b""
    while True:
        head = await reader.readexactly(2)
        size = head[1]
        if size == 126:
            head += await reader.readexactly(2)
            size = int.from_bytes(head[2:])
        said += head + await reader.readexactly(size)
        if head[0] & 0x0F == CLOSE:
            return said


async def transcript(place, sent, *, each=0, extensions=b""):
    """All that the server says after its head, to `sent` in pieces of `each` bytes."""
    async with wire(place) as client, asyncio.timeout(30):
        await client.send(upgrade(extensions=extensions))
        assert b" 101 " in await client.head()
        heard = asyncio.ensure_future(frames(client.reader))
        for start in range(0, len(sent), each or len(sent)):
            await client.send(sent[start : start + (each or len(sent))])
        return await heard


def close_code(said):
    """Of the last frame, which servers do not mask."""
    at = said.rindex(b"\x88") if not said.endswith(b"\x88\x00") else len(said) - 2
    return struct.unpack("!H", said[at + 2 : at + 4])[0] if said[at + 1] else 1005


@pytest.mark.parametrize("each", [0, 1], ids=["at once", "byte by byte"])
async def test_frames_mean_the_same_through_the_proxy(each):
    """Echoes, pongs and close codes of the server, to the byte."""
    async with places() as (server, proxy):
        for name, (sent, code) in CASES.items():
            said = await transcript(proxy, sent, each=each)
            assert said == await transcript(server, sent, each=each), name
            assert close_code(said) == code, (name, said)


@pytest.mark.parametrize("fragments", [1, 64])
async def test_a_message_of_16_mb(fragments):
    """In one frame and in many, and back again."""
    part = bytes(range(256)) * (BIG // fragments // 256)
    sent = frame(BINARY, part, fin=fragments == 1)
    for number in range(1, fragments):
        sent += frame(CONTINUATION, part, fin=number == fragments - 1)
    back = b"".join(
        frame(CONTINUATION if number else BINARY, part, fin=number == fragments - 1, masked=False)
        for number in range(fragments)
    )
    async with places() as (_, proxy), wire(proxy) as client:
        await client.send(upgrade())
        await client.head()
        sending = asyncio.ensure_future(client.send(sent))
        assert await client.reader.readexactly(len(back)) == back
        await sending
        await client.send(BYE)
        assert await frames(client.reader) == frame(CLOSE, b"\x03\xe8", masked=False)


@pytest.mark.parametrize("each", [0, 3])
async def test_compression_is_agreed_and_used_end_to_end(each):
    """With contexts kept over messages: one byte changed, and all that follows would be garbage."""
    squeeze = zlib.compressobj(wbits=-15)
    expand = zlib.decompressobj(wbits=-15)
    sent = b""
    for number in range(5):
        data = squeeze.compress(b"the same again, %d " % number * 9) + squeeze.flush(zlib.Z_SYNC_FLUSH)
        sent += frame(TEXT, data[:-4], reserved=4)
    offer = b"Sec-WebSocket-Extensions: permessage-deflate\r\n"
    async with places() as (server, proxy):
        said = await transcript(proxy, sent + BYE, each=each, extensions=offer)
        assert said == await transcript(server, sent + BYE, extensions=offer)
    heard = b""
    while said[0] & 0x0F == TEXT:
        assert said[0] & 0x40
        size, said = said[1], said[2:]
        heard += expand.decompress(said[:size] + b"\x00\x00\xff\xff")
        said = said[size:]
    assert heard == b"".join(b"the same again, %d " % number * 9 for number in range(5))


SAID = {
    "fragments, a ping among them": (
        [frame(TEXT, b"a", fin=False, masked=False), frame(PING, b"p", masked=False), frame(0, b"b", masked=False)],
        "ab",
    ),
    "a large frame": ([frame(BINARY, b"z" * BIG, masked=False)], b"z" * BIG),
    "text that is not UTF-8": ([frame(TEXT, b"\xff", masked=False)], 1007),
    "a reserved opcode": ([frame(3, b"x", masked=False)], 1002),
    "a close code of its own": ([frame(CLOSE, struct.pack("!H", 4321) + b"x", masked=False)], 4321),
}


@pytest.mark.parametrize("name", SAID)
async def test_what_a_server_says_is_read_alike_by_another_client(name):
    """And what the client answers to it arrives: pongs, and the code that it closes with."""
    said, wanted = SAID[name]
    answered = asyncio.get_running_loop().create_future()

    async def handler(reader, writer):
        _, _, fields = (await reader.readuntil(b"\r\n\r\n")).partition(b"Sec-WebSocket-Key: ")
        accept = base64.b64encode(hashlib.sha1(fields.partition(b"\r\n")[0] + GUID).digest())
        writer.write(SWITCH % accept)
        for part in said:
            writer.write(part)
            await writer.drain()
        opcode, size = await reader.readexactly(2)
        key = int.from_bytes(await reader.readexactly(4))
        size &= 0x7F
        body = await reader.readexactly(size)
        mask = int.from_bytes((key.to_bytes(4) * 40)[:size])
        answered.set_result((opcode & 0x0F, (int.from_bytes(body) ^ mask).to_bytes(size)))

    async with fake_hub() as hub, target(handler) as url:
        hub.change({"/user/al/": url})
        async with serve_proxy(hub) as proxy, asyncio.timeout(30):
            address = f"ws://127.0.0.1:{proxy.addresses[0][1]}/user/al/ws"
            async with connect(address, max_size=None, compression=None) as client:
                if isinstance(wanted, int):
                    with pytest.raises(ConnectionClosed):
                        await client.recv()
                    opcode, payload = await answered
                    assert (opcode, struct.unpack("!H", payload[:2])[0]) == (CLOSE, wanted)
                else:
                    assert await client.recv() == wanted
                    await client.close()
                    opcode, payload = await answered
                    assert (opcode, payload) == ((PONG, b"p") if "ping" in name else (CLOSE, b"\x03\xe8"))
