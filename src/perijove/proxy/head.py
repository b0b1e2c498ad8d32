"""Reading heads: llhttp (through httptools) says whether a head is HTTP, this says what it means to a proxy.

A parser is made for each head and fed exactly that head, found by its blank line: creating one costs 0.2 us, and
bodies then never pass through it (see `framing`). Its callback only notes headers that a proxy must look at; all
others are forwarded as the bytes they came in.

Stricter than llhttp where two readers could differ: one Host, HTTP/1.0 or 1.1 only, single spaces in the request
line, `chunked` as the only transfer coding.
"""

import re

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser, HttpResponseParser

_REQUEST_SPECIAL = (
    *("Host", "Connection", "Content-Length", "Transfer-Encoding", "Upgrade", "Expect", "TE"),
    *("Keep-Alive", "Proxy-Connection", "Proxy-Authorization", "Proxy-Authenticate", "HTTP2-Settings"),
    *("X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host", "X-Forwarded-Port", "Forwarded", "X-Request-ID"),
    *("X-Forwarded-Server", "X-Forwarded-Ssl", "X-Forwarded-Prefix", "X-Real-IP", "X-Scheme"),
)
_RESPONSE_SPECIAL = (
    *("Connection", "Content-Length", "Transfer-Encoding", "Upgrade", "Keep-Alive", "Proxy-Connection"),
    *("X-Perijove-Revision",),
)
# Common names of no interest, so that they cost one dict lookup.
_ORDINARY = (
    *("User-Agent", "Accept", "Accept-Encoding", "Accept-Language", "Cookie", "Referer", "Origin", "Cache-Control"),
    *("Pragma", "DNT", "Upgrade-Insecure-Requests", "Sec-Fetch-Dest", "Sec-Fetch-Mode", "Sec-Fetch-Site"),
    *("Sec-Fetch-User", "sec-ch-ua", "sec-ch-ua-mobile", "sec-ch-ua-platform", "Authorization", "Content-Type"),
    *("If-None-Match", "If-Modified-Since", "X-XSRFToken", "Sec-WebSocket-Key", "Sec-WebSocket-Version", "Priority"),
    *("Sec-WebSocket-Extensions", "Sec-WebSocket-Protocol", "Server", "Date", "Etag", "ETag", "Last-Modified", "Vary"),
    *("Set-Cookie", "Content-Security-Policy", "X-JupyterHub-Version", "Content-Encoding", "Location", "Expires"),
    *("X-Content-Type-Options", "Access-Control-Allow-Origin"),
)


def _names(special: tuple[str, ...]) -> dict[bytes, bytes]:
    """Spelling -> lower case for names to note, -> b"" for ordinary ones."""
    known = {spelling(name).encode(): b"" for name in _ORDINARY for spelling in (str, str.lower, str.title)}
    known.update(
        {spelling(name).encode(): name.lower().encode() for name in special for spelling in (str, str.lower, str.title)}
    )
    return known


_REQUEST_NAMES = _names(_REQUEST_SPECIAL)
_RESPONSE_NAMES = _names(_RESPONSE_SPECIAL)
_HOST = re.compile(rb"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._~!$&'()*+,;=%-]+)(?::[0-9]{0,5})?")
_ABSOLUTE = re.compile(rb"(?i:https?)://([^/?#]*)([/?].*)?")
_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")
_BAD_REASON = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
# Naming one of these in Connection would let a client take away what the next hop decides by.
_NOT_NOMINABLE = frozenset((b"host", b"content-length", b"transfer-encoding", b"authorization", b"cookie"))
_FORWARDED = frozenset(
    (b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host", b"x-forwarded-port", b"forwarded")
    + (b"x-forwarded-server", b"x-forwarded-ssl", b"x-forwarded-prefix", b"x-real-ip", b"x-scheme")
)
_HOP_BY_HOP = frozenset((b"keep-alive", b"proxy-connection", b"proxy-authorization", b"proxy-authenticate"))


class BadHead(ValueError):
    """A head that cannot be read in exactly one way, or that we refuse."""

    def __init__(self, reason: str, status: int = 400) -> None:
        super().__init__(reason)
        self.status = status


class _Sink:
    """What a parser calls. `names` decides which headers are noted."""

    __slots__ = ("names", "noted", "url")

    def __init__(self, names: dict[bytes, bytes]) -> None:
        self.names = names
        self.noted: list[tuple[bytes, bytes]] = []
        self.url = b""

    def on_url(self, url: bytes) -> None:
        self.url = url

    def on_header(self, name: bytes, value: bytes) -> None:
        lower = self.names.get(name)
        if lower is None:
            # An odd spelling; "hOST" must not slip by.
            lower = self.names.get(name.lower(), b"")
        if lower:
            self.noted.append((lower, value))


class RequestHead:
    """A request as received, and what it means. `drop` are the (lower-case) names that must not be sent on as they are."""

    __slots__ = (
        *("absolute", "chunked", "close", "drop", "expect", "forwarded", "host", "length", "line_end"),
        *("method", "minor", "raw", "request_id", "target", "upgrade"),
    )

    def __init__(self, raw: bytes) -> None:
        self.raw = raw
        self.line_end = raw.index(b"\r\n")
        parts = raw[: self.line_end].split(b" ")
        if len(parts) != 3 or parts[2] not in (b"HTTP/1.1", b"HTTP/1.0"):
            raise BadHead(*_why_not_http(parts))
        self.method = parts[0]
        self.target = parts[1]
        self.minor = 1 if parts[2] == b"HTTP/1.1" else 0
        self.close = self.minor == 0
        self.absolute = False
        self.host: bytes | None = None
        self.length = 0
        self.chunked = False
        self.expect = False
        self.upgrade: bytes | None = None
        self.request_id: bytes | None = None
        self.forwarded: dict[bytes, bytes] | None = None
        self.drop: set[bytes] | None = None

    def has_body(self) -> bool:
        return self.chunked or self.length > 0

    def must_drop(self, *names: bytes) -> None:
        self.drop = (self.drop or set()).union(names)


def read_request(raw: bytes) -> RequestHead:
    """`raw` ends with the blank line. Raises BadHead."""
    sink = _Sink(_REQUEST_NAMES)
    head = RequestHead(raw)
    try:
        HttpRequestParser(sink).feed_data(raw)
    except HttpParserUpgrade:
        # Only llhttp's opinion: framing and upgrades are decided below.
        pass
    except HttpParserError as error:
        raise BadHead(str(error)) from error
    connection = b""
    upgrade: bytes | None = None
    for name, value in sink.noted:
        if name == b"host":
            if head.host is not None:
                raise BadHead("more than one Host header")
            head.host = value.rstrip(b" \t")
        elif name == b"connection":
            connection = connection + b"," + value if connection else value
        elif name == b"upgrade":
            upgrade = value.strip() if upgrade is None else upgrade + b", " + value.strip()
        else:
            _note(head, name, value.strip())
    _check_target(head)
    if head.host is None:
        if head.minor == 1:
            raise BadHead("no Host header")
    elif not _HOST.fullmatch(head.host):
        raise BadHead("bad Host header")
    if connection and connection != b"keep-alive":
        _read_connection(head, connection, upgrade)
    if upgrade is not None and head.upgrade is None:
        head.must_drop(b"upgrade", b"http2-settings")
    return head


def _note(head: RequestHead, name: bytes, value: bytes) -> None:
    if name == b"content-length":
        # llhttp has refused everything but one run of digits.
        head.length = int(value)
    elif name == b"transfer-encoding":
        if value.lower() != b"chunked" or head.chunked:
            raise BadHead("transfer coding other than chunked", 501)
        if head.minor == 0:
            raise BadHead("Transfer-Encoding in HTTP/1.0")
        head.chunked = True
    elif name == b"expect":
        if value.lower() != b"100-continue":
            raise BadHead("unknown expectation", 417)
        if head.minor == 1:
            head.expect = True
        else:
            head.must_drop(b"expect")
    elif name == b"x-request-id":
        if head.request_id is None and _REQUEST_ID.fullmatch(value):
            head.request_id = value
        head.must_drop(name)
    elif name in _FORWARDED:
        if head.forwarded is None:
            head.forwarded = {}
        before = head.forwarded.get(name)
        head.forwarded[name] = value if before is None else before + b", " + value
    elif name in _HOP_BY_HOP or (name == b"te" and value.lower() != b"trailers"):
        head.must_drop(name)


def _read_connection(head: RequestHead, value: bytes, upgrade: bytes | None) -> None:
    options = [option.strip().lower() for option in value.split(b",")]
    if b"close" in options:
        head.close = True
    if upgrade is not None and b"upgrade" in options and head.minor == 1 and not head.has_body():
        protocols = [protocol.strip().lower() for protocol in upgrade.split(b",")]
        # h2c would hide later requests from routing; ignoring an Upgrade is always allowed.
        if b"h2c" not in protocols and upgrade:
            head.upgrade = upgrade
    head.must_drop(b"connection")
    for option in options:
        if option not in _NOT_NOMINABLE and option not in _FORWARDED and option not in (b"te", b"upgrade", b""):
            head.must_drop(option)


def _check_target(head: RequestHead) -> None:
    target = head.target
    if target.startswith(b"/"):
        if b"#" in target:
            raise BadHead("fragment in the request target")
        return
    if head.method == b"CONNECT":
        raise BadHead("CONNECT is not offered", 405)
    if target == b"*" and head.method == b"OPTIONS":
        return
    absolute = _ABSOLUTE.fullmatch(target)
    if not absolute or b"#" in target:
        raise BadHead("unreadable request target")
    if head.host is not None and absolute[1].lower() != head.host.lower():
        raise BadHead("Host and the request target differ")
    path = absolute[2] or b"/"
    head.host = absolute[1]
    head.target = path if path.startswith(b"/") else b"/" + path
    head.absolute = True


def _why_not_http(parts: list[bytes]) -> tuple[str, int]:
    if len(parts) == 3 and re.fullmatch(rb"HTTP/[0-9]\.[0-9]", parts[2]):
        return "only HTTP/1.0 and HTTP/1.1 are spoken here", 505
    return "malformed request line", 400


class ResponseHead:
    """A response as received. `drop` as for requests."""

    __slots__ = ("chunked", "close", "drop", "length", "line_end", "minor", "raw", "revision", "status", "until_close")

    def __init__(self, raw: bytes) -> None:
        self.raw = raw
        self.line_end = raw.index(b"\r\n")
        if raw.startswith(b"HTTP/1.1 "):
            self.minor = 1
        elif raw.startswith(b"HTTP/1.0 "):
            self.minor = 0
        else:
            raise BadHead("not an HTTP/1 response")
        if not raw[9:12].isdigit() or raw[12:13] not in (b" ", b"\r"):
            raise BadHead("malformed status line")
        self.status = int(raw[9:12])
        self.length: int | None = None
        self.chunked = False
        self.close = self.minor == 0
        self.revision: int | None = None
        self.until_close = False
        self.drop: set[bytes] | None = None

    def must_drop(self, *names: bytes) -> None:
        self.drop = (self.drop or set()).union(names)

    def reason(self) -> bytes:
        return self.raw[13 : self.line_end]


def read_response(raw: bytes) -> ResponseHead:
    """`raw` ends with the blank line. Raises BadHead."""
    sink = _Sink(_RESPONSE_NAMES)
    head = ResponseHead(raw)
    try:
        HttpResponseParser(sink).feed_data(raw)
    except HttpParserUpgrade:
        pass
    except HttpParserError as error:
        raise BadHead(str(error)) from error
    if _BAD_REASON.search(head.reason()):
        # llhttp lets these through, and some client might read one as the end of the line.
        raise BadHead("control character in the reason phrase")
    for name, value in sink.noted:
        if name == b"content-length":
            head.length = int(value)
        elif name == b"transfer-encoding":
            if value.strip().lower() != b"chunked" or head.chunked or head.minor == 0:
                raise BadHead("transfer coding other than chunked")
            head.chunked = True
        elif name == b"connection":
            options = [option.strip().lower() for option in value.split(b",")]
            head.close = head.close or b"close" in options
            head.must_drop(name, *(option for option in options if option not in _NOT_NOMINABLE))
        elif name == b"x-perijove-revision":
            head.revision = int(value) if value.isdigit() and len(value) < 19 else None
        else:
            head.must_drop(name)
    return head
