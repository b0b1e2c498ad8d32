"""What must hold of the proxy's parsers for any bytes at all: each check raises when it does not.

Used by the fuzzer (`make fuzz`) and, with random bytes, by the test suite. The judge is h11, which shares no code
with llhttp or with us.
"""

import json
import re
from urllib.parse import quote, unquote_to_bytes

import h11

from perijove.proxy.activity import Activity
from perijove.proxy.chp_api import ROOT, RouteAPI
from perijove.proxy.control_server import ControlRequest, ControlResponse
from perijove.proxy.framing import BadFraming, ChunkedFraming
from perijove.proxy.head import BadHead
from perijove.proxy.headers import Downstream, client_head, upstream_head
from perijove.proxy.metrics import Metrics
from perijove.proxy.paths import BadTarget, resolve
from perijove.proxy.request_head import PlainFields, RequestHead, read_request
from perijove.proxy.response_head import BODILESS, read_response
from perijove.proxy.routing import Routing
from perijove.proxy.table import Route, RouteTable

_TABLE = RouteTable([Route("/", "hub"), Route("/user/al/", "http://127.0.0.1:1")])
_DOWNSTREAM = (
    Downstream("203.0.113.9", trusted=False, tls=False),
    Downstream("10.0.0.9", trusted=True, tls=True),
)
_AL = [b"user", b"al"]
_DOTS = (b".", b"..")
_BAD_REQUEST = 400
_HIGH = re.compile(rb"[\x80-\xff]")


class Differs(AssertionError):
    """Two readings of the same bytes."""


def _require(condition: object, what: str, *evidence: object) -> None:
    if not condition:
        raise Differs(f"{what}: {evidence!r}")


def check_any(data: bytes) -> None:
    """What the fuzzer calls: the first byte says which parser, the second where to cut."""
    if len(data) < 2:  # noqa: PLR2004 - the two
        return
    match data[0] % 5:
        case 0:
            check_request(data[2:])
            check_known(data[2:])
        case 1:
            check_response(data[2:])
        case 2:
            check_chunks(data[2:], data[1])
        case 3:
            check_path(data[2:])
        case _:
            # A path without line breaks, as a request line leaves it, and a body.
            path, _, body = data[2:].partition(b"\n")
            check_call(path, body)


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
        sent = upstream_head(head, target, downstream.lines(head, b"id"), b"t:80")
        _judge_request(head, target, sent)
        if head.plain is not None and target is head.target:
            _require(downstream.plain_head(head, head.plain, b"id") == sent, "plain fields change what is sent", raw)
    return True


def check_known(data: bytes) -> bool:
    """A request is read alike with and without the fields of an earlier one in mind."""
    end = data.find(b"\r\n\r\n")
    line, crlf, fields = data[: end + 4].partition(b"\r\n")
    if end < 0 or not crlf:
        return False
    try:
        known = read_request(b"GET /a HTTP/1.1\r\n" + fields).plain
    except BadHead:
        return False
    for first in (line, b"HEAD " + line[:20] + b" HTTP/1.1"):
        anew, again = (_reading(first + crlf + fields, plain) for plain in (None, known))
        _require(anew == again, "read otherwise with an earlier request in mind", data, anew, again)
    return True


def _reading(raw: bytes, known: PlainFields | None) -> tuple[object, ...] | str:
    try:
        head = read_request(raw, known)
    except BadHead as error:
        return str(error)
    differing = {"raw", "plain"}
    meaning = tuple(getattr(head, name) for name in RequestHead.__slots__ if name not in differing)
    return (*meaning, head.plain and (head.plain.data, head.plain.host))


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


def check_path(data: bytes) -> bool:
    """A path is refused, or whoever decodes what is sent on, segment by segment, finds himself where it was routed."""
    try:
        resolved = resolve(b"/" + data)
    except BadTarget:
        return False
    _require(resolve(resolved.target) == resolved, "the path that is sent on is routed otherwise", data, resolved)
    path = resolved.target.partition(b"?")[0]
    _require(path.startswith(b"/") and path[:2] != b"//", "another host could be read from it", data, resolved)
    read = [unquote_to_bytes(segment) for segment in path.split(b"/")[1:]]
    _require(not any(segment in _DOTS for segment in read), "dot segments are left to the target", data, resolved)
    route = _TABLE.find(resolved)
    _require(route is not None or b"internal" in path, "nothing for a path below /", data)
    if route is not None:
        _require((route.prefix == "/user/al/") == (read[:2] == _AL), "another server than its path says", data, route)
    return True


def check_call(path: bytes, body: bytes) -> bool:
    """Whatever is put into the REST API's table is refused, or is found, listed and deleted by the same name."""
    path = path.partition(b"?")[0]
    for host_routing in (False, True):
        routing = Routing()
        api = RouteAPI(routing, Metrics(dict), Activity(), token="", host_routing=host_routing)
        api.begin("")
        _call(api, b"PUT", b"", body)
        _check_listed(routing, api)
        # Without a path it is all of them that are read.
        if path.strip(b"/") and _call(api, b"POST", path, body).status < _BAD_REQUEST:
            _require(_call(api, b"GET", path).status < _BAD_REQUEST, "put and not there", path, body)
            _check_listed(routing, api)
            _require(_call(api, b"DELETE", path).status < _BAD_REQUEST, "cannot be deleted", path, body)
            _require(_call(api, b"GET", path).status >= _BAD_REQUEST, "deleted and still there", path, body)
    return True


def _check_listed(routing: Routing, api: RouteAPI) -> None:
    if any("%2F" in prefix for prefix in routing.table.routes):
        # The API's unescaped names cannot tell it from a separator.
        return
    for key, shown in json.loads(_call(api, b"GET", b"").body).items():
        if key == "/":
            continue
        # As JupyterHub asks for what it has read.
        one = _call(api, b"GET", quote(key, safe="@/~").encode())
        _require(one.status < _BAD_REQUEST and json.loads(one.body) == shown, "listed by another name", key, shown)


def _call(api: RouteAPI, method: bytes, path: bytes, body: bytes = b"") -> ControlResponse:
    answer = api(ControlRequest(method, ROOT + (b"/" + path.lstrip(b"/") if path else b""), b"", b"", body))
    assert isinstance(answer, ControlResponse)
    return answer
