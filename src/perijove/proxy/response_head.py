"""What a response's head means to a proxy. Targets run users' code, so they are believed as little as clients."""

import re

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from perijove.proxy.head import NOT_NOMINABLE, BadHead, Sink, options_of, spellings

_NAMES = spellings(
    (
        *("Connection", "Content-Length", "Transfer-Encoding", "Upgrade", "Keep-Alive", "Proxy-Connection"),
        *("X-Perijove-Revision", "X-Perijove-Away", "Strict-Transport-Security"),
        # What a server of one user must not say for the whole host, which others share: that its worker may answer
        # for everything, and that the browser forget its logins. The hub says neither.
        *("Service-Worker-Allowed", "Clear-Site-Data"),
    )
)
# llhttp lets these through, and some client might read one as the end of the line.
_BAD_REASON = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
_STATUS = re.compile(rb"[1-9][0-9]{2}")
_REVISION = re.compile(rb"[0-9]{1,18}")
FINAL = 200
SWITCHING = 101
BODILESS = frozenset((204, 304))


# Status lines are few; reading one anew each time would be a tenth of reading the head.
_KNOWN_LINES: dict[bytes, tuple[int, int, bytes]] = {}
_MAX_LINES = 512


def _read_line(line: bytes) -> tuple[int, int, bytes]:
    """The minor version, the status and the reason."""
    version, _, rest = line.partition(b" ")
    if version not in (b"HTTP/1.1", b"HTTP/1.0"):
        raise BadHead("not an HTTP/1 response")
    status, _, reason = rest.partition(b" ")
    if not _STATUS.fullmatch(status) or _BAD_REASON.search(reason):
        raise BadHead("malformed status line")
    if len(_KNOWN_LINES) >= _MAX_LINES:
        _KNOWN_LINES.clear()
    known = _KNOWN_LINES[line] = (1 if version == b"HTTP/1.1" else 0, int(status), reason)
    return known


class ResponseHead:
    """A response as received. `drop` are the (lower-case) names that must not be sent on."""

    __slots__ = (
        *("away", "chunked", "close", "drop", "length", "line_end", "minor", "own_hsts", "plain", "raw"),
        *("reason", "revision", "status", "until_close"),
    )

    def __init__(self, raw: bytes) -> None:
        self.raw = raw
        self.line_end = raw.index(b"\r\n")
        line = raw[: self.line_end]
        self.minor, self.status, self.reason = _KNOWN_LINES.get(line) or _read_line(line)
        self.length: int | None = None
        self.chunked = False
        self.close = not self.minor
        self.until_close = False
        """The body ends with the connection."""
        self.revision: int | None = None
        self.away = False
        """A hub says that another one may be able to answer."""
        self.own_hsts = False
        self.drop: set[bytes] | None = None
        self.plain = False
        """Nobody will change it: it may stand for other responses with the same bytes."""

    def must_drop(self, *names: bytes) -> None:
        self.drop = (self.drop or set()).union(names)


def _note_hub(head: ResponseHead, name: bytes, value: bytes) -> None:
    """What a hub tells its proxies; whether it is one is for the exchange to know."""
    if name == b"x-perijove-away":
        head.away = True
    else:
        head.revision = int(value) if _REVISION.fullmatch(value.strip()) else None


def read_response(raw: bytes) -> ResponseHead:
    """`raw` ends with the blank line. Raises BadHead."""
    head = ResponseHead(raw)
    sink = Sink(_NAMES)
    try:
        HttpResponseParser(sink).feed_data(raw)
    except HttpParserUpgrade:
        # Only llhttp's opinion: the exchange knows whether it asked for one.
        pass
    except HttpParserError as error:
        raise BadHead(str(error)) from error
    for name, value in sink.noted:
        if name == b"content-length":
            head.length = int(value)
        elif name == b"transfer-encoding":
            if value.strip().lower() != b"chunked" or head.chunked or not head.minor:
                raise BadHead("a transfer coding other than chunked")
            head.chunked = True
        elif name == b"connection":
            options = options_of(value)
            head.close = head.close or b"close" in options
            head.must_drop(name, *(option for option in options if option not in NOT_NOMINABLE))
        elif name.startswith(b"x-perijove-"):
            _note_hub(head, name, value)
        elif name == b"strict-transport-security":
            head.own_hsts = True
        else:
            head.must_drop(name)
    framed = head.chunked or head.length is not None
    head.plain = framed and head.drop is None and head.revision is None and not head.away and head.status >= FINAL
    return head
