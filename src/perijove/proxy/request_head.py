"""What a request's head means to a proxy.

Stricter than llhttp where two readers could differ: one Host, HTTP/1.0 or 1.1 only, single spaces in the request
line, `chunked` as the only transfer coding, no fragment, no target that another host could be read from.
"""

import re
from collections.abc import Callable

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser

from perijove.proxy.head import NOT_NOMINABLE, BadHead, Sink, options_of, spellings

FORWARDED = (
    *("X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host", "X-Forwarded-Port", "Forwarded"),
    # Other names that servers behind a proxy believe (Tornado's xheaders for one).
    *("X-Forwarded-Server", "X-Forwarded-Ssl", "X-Forwarded-Prefix", "X-Real-IP", "X-Scheme"),
)
_HOP_BY_HOP = ("Keep-Alive", "Proxy-Connection", "Proxy-Authorization", "Proxy-Authenticate", "HTTP2-Settings")
_FRAMING = ("Host", "Connection", "Content-Length", "Transfer-Encoding", "Upgrade", "Expect", "TE", "X-Request-ID")
_NAMES = spellings((*_FRAMING, *_HOP_BY_HOP, *FORWARDED))
_FORWARDED = frozenset(name.lower().encode() for name in FORWARDED)
_HOST = re.compile(rb"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._~!$&'()*+,;=%-]+)(?::[0-9]{0,5})?")
# Those found good: a hub has few names, and a stranger's many are forgotten again.
_KNOWN_HOSTS: set[bytes] = set()
_MAX_HOSTS = 512
_ABSOLUTE = re.compile(rb"(?i:https?)://([^/?#]*)([/?].*)?")
_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")
# TRACE would show the next hop's view of the request, our headers with it, to a page's script. After CONNECT a next
# hop may take all that follows for a tunnel, whatever its target looks like.
_NOT_OFFERED = frozenset((b"CONNECT", b"TRACE"))
# llhttp passes over line breaks before the method, and takes one in the target for the end of an HTTP/0.9 request
# line with fields behind it. Sent on, either would be a line of its own.
_LINE = re.compile(rb"([A-Z-]+) ([!-~\x80-\xff]+) HTTP/1\.([01])")
# Lines that mean what they look like, whatever the fields are: a path of letters that every reader of URLs takes,
# and a method that says nothing about a body.
_PLAIN_LINE = re.compile(rb"(GET|HEAD|POST|PUT|PATCH) (/[A-Za-z0-9._~!$&'()*+,;=:@%/?-]*) HTTP/1\.1\r\n")
_PLAIN_METHODS = frozenset((b"GET", b"HEAD", b"POST", b"PUT", b"PATCH"))
_OTHER_VERSION = re.compile(rb"\A[A-Z-]+ [!-~\x80-\xff]+ HTTP/[0-9]\.[0-9]\Z")


class PlainFields:
    """Fields that go on as they came and say nothing to a proxy but the host.

    The requests of one connection mostly have the same, byte for byte. Comparing them costs a fiftieth of reading
    them, and what they mean does not depend on a plain request line.
    """

    __slots__ = ("data", "host", "sent")

    def __init__(self, data: bytes, host: bytes) -> None:
        self.data = data
        """Between the request line and the end of the head, the blank line with it."""
        self.host = host
        self.sent = b""
        """What is sent on in their place; whoever sends it keeps it here."""


class RequestHead:
    """A request as received, and what it means. `drop` are the (lower-case) names that must not be sent on."""

    __slots__ = (
        *("absolute", "chunked", "close", "connection", "drop", "forwarded", "host", "length", "line_end"),
        *("method", "minor", "offered", "plain", "raw", "request_id", "target", "upgrade"),
    )

    def __init__(self, raw: bytes, line_end: int, method: bytes, target: bytes, minor: int) -> None:
        self.raw = raw
        self.line_end = line_end
        self.method = method
        self.target = target
        self.minor = minor
        self.close = not minor
        self.absolute = False
        self.host: bytes | None = None
        self.length = 0
        self.chunked = False
        self.connection: bytes | None = None
        self.offered: bytes | None = None
        """The Upgrade header; `upgrade` is it where it means something."""
        self.upgrade: bytes | None = None
        self.request_id: bytes | None = None
        self.forwarded: dict[bytes, bytes] | None = None
        self.drop: set[bytes] | None = None
        self.plain: PlainFields | None = None
        """Where nothing has to be done to the fields but to add ours."""

    def has_body(self) -> bool:
        return self.chunked or self.length > 0

    def must_drop(self, *names: bytes) -> None:
        self.drop = (self.drop or set()).union(names)


def read_request(raw: bytes, known: PlainFields | None = None) -> RequestHead:
    """`raw` ends with the blank line; `known` are fields of an earlier request. Raises BadHead."""
    if known is not None and raw.endswith(known.data):
        line = _PLAIN_LINE.match(raw)
        if line is not None and line.end() + len(known.data) == len(raw):
            head = RequestHead(raw, line.end() - 2, line[1], line[2], 1)
            head.host = known.host
            head.plain = known
            return head
    return _read_whole(raw)


def _read_line(raw: bytes) -> RequestHead:
    end = raw.index(b"\r\n")
    line = _LINE.fullmatch(raw, 0, end)
    if line is None:
        if _OTHER_VERSION.search(raw, 0, end):
            raise BadHead("only HTTP/1.0 and HTTP/1.1 are spoken here", 505)
        raise BadHead("malformed request line")
    return RequestHead(raw, end, line[1], line[2], 1 if line[3] == b"1" else 0)


def _read_whole(raw: bytes) -> RequestHead:
    head = _read_line(raw)
    sink = Sink(_NAMES)
    try:
        HttpRequestParser(sink).feed_data(raw)
    except HttpParserUpgrade:
        # Only llhttp's opinion: framing and upgrades are decided below.
        pass
    except HttpParserError as error:
        raise BadHead(str(error)) from error
    if head.method in _NOT_OFFERED:
        raise BadHead(f"{head.method.decode()} is not offered", 405)
    for name, value in sink.noted:
        _READ[name](head, value.strip(b" \t"), name)
    if not head.target.startswith(b"/") or b"#" in head.target:
        _read_target(head)
    if head.host is None and head.minor:
        raise BadHead("no Host header")
    if head.connection is not None and head.connection != b"keep-alive":
        _read_connection(head, options_of(head.connection))
    if head.offered is not None and head.upgrade is None:
        head.must_drop(b"upgrade")
    if head.drop is None and _is_plain(head):
        assert head.host is not None
        head.plain = PlainFields(raw[head.line_end + 2 :], head.host)
    return head


def _is_plain(head: RequestHead) -> bool:
    if head.absolute or head.upgrade or head.forwarded or head.close or not head.minor or head.has_body():
        return False
    return head.method in _PLAIN_METHODS


def _host(head: RequestHead, value: bytes, _: bytes) -> None:
    if head.host is not None:
        raise BadHead("more than one Host header")
    if value not in _KNOWN_HOSTS:
        if not _HOST.fullmatch(value):
            raise BadHead("bad Host header")
        if len(_KNOWN_HOSTS) >= _MAX_HOSTS:
            _KNOWN_HOSTS.clear()
        _KNOWN_HOSTS.add(value)
    head.host = value


def _connection(head: RequestHead, value: bytes, _: bytes) -> None:
    head.connection = value if head.connection is None else head.connection + b"," + value


def _length(head: RequestHead, value: bytes, _: bytes) -> None:
    # llhttp has refused everything but one run of digits that fits 64 bits.
    head.length = int(value)


def _coding(head: RequestHead, value: bytes, _: bytes) -> None:
    if value.lower() != b"chunked" or head.chunked:
        raise BadHead("a transfer coding other than chunked", 501)
    if not head.minor:
        raise BadHead("Transfer-Encoding in HTTP/1.0")
    head.chunked = True


def _upgrade(head: RequestHead, value: bytes, _: bytes) -> None:
    head.offered = value if head.offered is None else head.offered + b", " + value


def _expect(head: RequestHead, value: bytes, name: bytes) -> None:
    if value.lower() != b"100-continue":
        raise BadHead("unknown expectation", 417)
    if not head.minor:
        head.must_drop(name)


def _te(head: RequestHead, value: bytes, name: bytes) -> None:
    # Trailers pass; other codings are between neighbours.
    if value.lower() != b"trailers":
        head.must_drop(name)


def _request_id(head: RequestHead, value: bytes, name: bytes) -> None:
    if head.request_id is None and _REQUEST_ID.fullmatch(value):
        head.request_id = value
    head.must_drop(name)


def _forwarded(head: RequestHead, value: bytes, name: bytes) -> None:
    if head.forwarded is None:
        head.forwarded = {}
    before = head.forwarded.get(name)
    head.forwarded[name] = value if before is None else before + b", " + value


def _hop_by_hop(head: RequestHead, _: bytes, name: bytes) -> None:
    head.must_drop(name)


_READ: dict[bytes, Callable[[RequestHead, bytes, bytes], None]] = {
    b"host": _host,
    b"connection": _connection,
    b"content-length": _length,
    b"transfer-encoding": _coding,
    b"upgrade": _upgrade,
    b"expect": _expect,
    b"te": _te,
    b"x-request-id": _request_id,
    **dict.fromkeys(_FORWARDED, _forwarded),
    **{name.lower().encode(): _hop_by_hop for name in _HOP_BY_HOP},
}


def _read_connection(head: RequestHead, options: list[bytes]) -> None:
    if b"close" in options:
        head.close = True
    # An Upgrade with a body is read as the request it also is: where the body ends must not depend on the answer.
    # h2c would hide later requests from routing. Ignoring an Upgrade is always allowed.
    upgradable = head.minor and not head.has_body() and b"upgrade" in options
    if head.offered and upgradable and b"h2c" not in options_of(head.offered):
        head.upgrade = head.offered
    head.must_drop(b"connection")
    for option in options:
        if option not in NOT_NOMINABLE and option not in _FORWARDED and option not in (b"te", b"upgrade", b""):
            head.must_drop(option)


def _read_target(head: RequestHead) -> None:
    """Forms other than a path."""
    if head.target == b"*":
        raise BadHead("OPTIONS * is not offered", 405)
    absolute = _ABSOLUTE.fullmatch(head.target)
    if not absolute or b"#" in head.target:
        raise BadHead("unreadable request target")
    if head.host is not None and absolute[1].lower() != head.host.lower():
        raise BadHead("Host and the request target differ")
    if not _HOST.fullmatch(absolute[1]):
        raise BadHead("unreadable request target")
    path = absolute[2] or b"/"
    head.host = absolute[1]
    head.target = path if path.startswith(b"/") else b"/" + path
    head.absolute = True
