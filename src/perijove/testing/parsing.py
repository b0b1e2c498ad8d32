"""What must hold of the proxy's parsers for any bytes at all: each check raises when it does not.

Used by the fuzzer (`make fuzz`) and, with random bytes, by the test suite. The judge is h11, which shares no code
with llhttp or with us.
"""

import re

import h11

from perijove.proxy.framing import BadFraming, ChunkedFraming
from perijove.proxy.head import BadHead
from perijove.proxy.headers import Downstream, client_head, upstream_head
from perijove.proxy.paths import BadTarget, resolve
from perijove.proxy.request_head import RequestHead, read_request
from perijove.proxy.response_head import BODILESS, read_response
from perijove.proxy.table import Route, RouteTable

_TABLE = RouteTable([Route("/", "hub"), Route("/user/al/", "http://127.0.0.1:1")])
_DOWNSTREAM = (
    Downstream("203.0.113.9", trusted=False, tls=False),
    Downstream("10.0.0.9", trusted=True, tls=True),
)
_HIGH = re.compile(rb"[\x80-\xff]")


class Differs(AssertionError):
    """Two readings of the same bytes."""


def _require(condition: object, what: str, *evidence: object) -> None:
    if not condition:
        raise Differs(f"{what}: {evidence!r}")


def check_request(data: bytes) -> bool:
    """A head is refused, or sent on as a head that an independent server reads in the same way."""
    end = data.find(b"\r\n\r\n")
    if end < 0:
        return False
    raw = data[: end + 4]
    for downstream in _DOWNSTREAM:
        try:
            head = read_request(raw)
            resolved = resolve(head.target)
        except (BadHead, BadTarget):
            return False
        again = resolve(resolved.target)
        _require(again == resolved, "the path that is sent on is routed otherwise", head.target, resolved, again)
        route = _TABLE.find(resolved)
        _require(
            route is None or not resolved.target.startswith(b"/hub/internal/"), "an inner path is public", head.target
        )
        target = head.target if resolved.target == head.target else resolved.target
        _judge_request(head, target, upstream_head(head, target, downstream.lines(head, b"id"), b"t:80"))
    return True


def _judge_request(head: RequestHead, target: bytes, sent: bytes) -> None:
    judge = h11.Connection(h11.SERVER)
    # h11 takes no bytes beyond ASCII in a target; servers do, and to us they are like any letter.
    line, crlf, fields = sent.partition(b"\r\n")
    try:
        judge.receive_data(_HIGH.sub(b"x", line) + crlf + fields)
        event = judge.next_event()
    except h11.RemoteProtocolError as error:
        raise Differs(f"h11 does not take what is sent on ({error}): {sent!r}") from error
    if not isinstance(event, h11.Request):
        raise Differs(f"not one request: {sent!r}")
    _require(bytes(event.method) == head.method, "another method", sent)
    _require(bytes(event.target) == _HIGH.sub(b"x", target), "another target", sent, target)
    names = [bytes(name) for name, _ in event.headers]
    for name in (b"host", b"x-forwarded-for", b"x-request-id"):
        _require(names.count(name) == 1, f"not one {name!r}", sent)
    codings = [value for name, value in event.headers if name == b"transfer-encoding"]
    lengths = [int(value) for name, value in event.headers if name == b"content-length"]
    _require(bool(codings) == head.chunked, "another framing", sent)
    _require(not (codings and lengths), "two framings", sent)
    _require((lengths or [0])[0] == head.length, "another length", sent)
    _require(not judge.trailing_data[0] or head.has_body(), "more than a head", sent)


def check_response(data: bytes) -> bool:
    """The same for what a target says and a client is told."""
    end = data.find(b"\r\n\r\n")
    if end < 0:
        return False
    raw = data[: end + 4]
    try:
        head = read_response(raw)
    except BadHead:
        return False
    for close in (False, True):
        told = client_head(head, close=close, chunked=head.status not in BODILESS, extra=b"")
        judge = h11.Connection(h11.CLIENT)
        judge.send(h11.Request(method="GET", target="/", headers=[("Host", "h")]))
        judge.send(h11.EndOfMessage())
        try:
            judge.receive_data(told)
            event = judge.next_event()
        except h11.RemoteProtocolError as error:
            raise Differs(f"h11 does not take what a client is told ({error}): {told!r}") from error
        if not isinstance(event, h11.Response | h11.InformationalResponse):
            raise Differs(f"not one response: {told!r}")
        _require(event.status_code == head.status, "another status", told)
        codings = [value for name, value in event.headers if name == b"transfer-encoding"]
        _require(not codings or head.chunked, "a framing from nowhere", told)
    return True


def check_chunks(data: bytes, cut: int) -> bool:
    """A chunked body ends in the same place however it is cut, and h11 finds the same content in what passes."""
    whole = _follow([data], decode=False)
    at = cut % (len(data) + 1)
    pieces = [data[:at], data[at:]]
    _require(whole == _follow(pieces, decode=False), "cut elsewhere, read otherwise", data, at)
    single = [data[index : index + 1] for index in range(len(data))]
    _require(whole == _follow(single, decode=False), "byte by byte, read otherwise", data)
    content = _follow(pieces, decode=True)
    if whole is None:
        _require(content is None, "decoded what does not pass", data)
        return False
    passed, rest = whole
    _require(content is not None and content[1] == rest, "decoded to another end", data)
    _require(data.endswith(rest), "invented bytes", data, rest)
    assert content is not None
    _require(_by_h11(passed) == content[0], "h11 finds another content", passed, content[0])
    return True


def _follow(pieces: list[bytes], *, decode: bool) -> tuple[bytes, bytes] | None:
    """What passed and what came after; None when it was refused or is not all there."""
    framing = ChunkedFraming(decode=decode)
    passed = b""
    for number, piece in enumerate(pieces):
        try:
            body, rest = framing.feed(piece)
        except BadFraming:
            return None
        passed += body
        if framing.done:
            return passed, rest + b"".join(pieces[number + 1 :])
    return None


def _by_h11(passed: bytes) -> bytes | None:
    judge = h11.Connection(h11.SERVER)
    judge.receive_data(b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n" + passed)
    content = b""
    try:
        while not isinstance(event := judge.next_event(), h11.EndOfMessage):
            if isinstance(event, h11.Data):
                content += bytes(event.data)
            elif event is h11.NEED_DATA:
                return None
    except h11.RemoteProtocolError:
        return None
    return content
