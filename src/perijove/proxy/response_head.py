"""What a response's head means to a proxy. Targets run users' code, so they are believed as little as clients."""

import re

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from perijove.proxy.head import NOT_NOMINABLE, BadHead, Sink, options_of, spellings

_NAMES = spellings(
    (
        *("Connection", "Content-Length", "Transfer-Encoding", "Upgrade", "Keep-Alive", "Proxy-Connection"),
        "X-Perijove-Revision",
    )
)
# llhttp lets these through, and some client might read one as the end of the line.
_BAD_REASON = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
_REVISION = re.compile(rb"[0-9]{1,18}")
SWITCHING = 101
BODILESS = frozenset((204, 304))


class ResponseHead:
    """A response as received. `drop` are the (lower-case) names that must not be sent on."""

    __slots__ = (
        *("chunked", "close", "drop", "length", "line_end", "minor", "raw"),
        *("reason", "revision", "status", "until_close"),
    )

    def __init__(self, raw: bytes) -> None:
        self.raw = raw
        self.line_end = raw.index(b"\r\n")
        version, _, line = raw[: self.line_end].partition(b" ")
        if version not in (b"HTTP/1.1", b"HTTP/1.0"):
            raise BadHead("not an HTTP/1 response")
        self.minor = 1 if version == b"HTTP/1.1" else 0
        status, _, self.reason = line.partition(b" ")
        if len(status) != 3 or not status.isdigit() or _BAD_REASON.search(self.reason):  # noqa: PLR2004 - digits
            raise BadHead("malformed status line")
        self.status = int(status)
        self.length: int | None = None
        self.chunked = False
        self.close = not self.minor
        self.until_close = False
        """The body ends with the connection."""
        self.revision: int | None = None
        self.drop: set[bytes] | None = None

    def must_drop(self, *names: bytes) -> None:
        self.drop = (self.drop or set()).union(names)


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
        elif name == b"x-perijove-revision":
            head.revision = int(value) if _REVISION.fullmatch(value.strip()) else None
        else:
            head.must_drop(name)
    return head
