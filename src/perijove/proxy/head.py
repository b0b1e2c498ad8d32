"""Reading heads: llhttp (through httptools) says whether a head is HTTP; what it means is read beside it.

A parser is made for each head and fed exactly that head, found by its blank line: creating one costs 0.2 us, and
bodies then never pass through it (see `framing`). Its callback only notes headers that a proxy must look at; all
others are forwarded as the bytes they came in.
"""

from collections.abc import Iterable

# Common names of no interest, so that they cost one dict lookup.
_ORDINARY = (
    *("User-Agent", "Accept", "Accept-Encoding", "Accept-Language", "Cookie", "Referer", "Origin"),
    *("Cache-Control", "Pragma", "DNT", "Priority", "Upgrade-Insecure-Requests", "Sec-Fetch-Dest"),
    *("Sec-Fetch-Mode", "Sec-Fetch-Site", "Sec-Fetch-User", "sec-ch-ua", "sec-ch-ua-mobile"),
    *("sec-ch-ua-platform", "Authorization", "Content-Type", "If-None-Match", "If-Modified-Since"),
    *("X-XSRFToken", "Sec-WebSocket-Key", "Sec-WebSocket-Version", "Sec-WebSocket-Extensions"),
    *("Sec-WebSocket-Protocol", "Server", "Date", "Etag", "ETag", "Last-Modified", "Vary", "Set-Cookie"),
    *("Content-Security-Policy", "X-JupyterHub-Version", "Content-Encoding", "Location", "Expires"),
    *("X-Content-Type-Options", "Access-Control-Allow-Origin"),
)

# Naming one of these in Connection would let a peer take away what the next hop decides by.
NOT_NOMINABLE = frozenset((b"host", b"content-length", b"transfer-encoding", b"authorization", b"cookie"))


class BadHead(ValueError):
    """A head that cannot be read in exactly one way, or that we refuse."""

    def __init__(self, reason: str, status: int = 400) -> None:
        super().__init__(reason)
        self.status = status


def spellings(special: Iterable[str]) -> dict[bytes, bytes]:
    """Spelling -> lower case for names to note, -> b"" for ordinary ones."""
    forms = (str, str.lower, str.title)
    known = {form(name).encode(): b"" for name in _ORDINARY for form in forms}
    known.update({form(name).encode(): name.lower().encode() for name in special for form in forms})
    return known


class Sink:
    """What a parser calls. `names` (from `spellings`) decides which headers are noted."""

    __slots__ = ("names", "noted")

    def __init__(self, names: dict[bytes, bytes]) -> None:
        self.names = names
        self.noted: list[tuple[bytes, bytes]] = []

    def on_header(self, name: bytes, value: bytes) -> None:
        lower = self.names.get(name)
        if lower is None:
            # An odd spelling; "hOST" must not slip by.
            lower = self.names.get(name.lower(), b"")
        if lower:
            self.noted.append((lower, value))


def options_of(connection: bytes) -> list[bytes]:
    """The options of Connection headers joined by commas."""
    return [option.strip().lower() for option in connection.split(b",")]
