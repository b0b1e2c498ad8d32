"""Request targets: the path that is forwarded, and the segments it is routed by, derived from one another.

Parser differentials (routed by one reading, served by another) are how requests end at the wrong server, so
there is one reading: dot segments are resolved and leading slashes collapsed *in what is forwarded*, and the
segments come from that. Everything else is forwarded byte for byte.

Two spellings of a segment are one: every escape is decoded for comparison, except `%2F` and `%25`, which stay
escapes (in upper case), because decoded they would turn data into structure.
"""

import re
from functools import partial
from typing import NamedTuple
from urllib.parse import unquote_to_bytes

_BAD_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})")
_ESCAPE = re.compile(rb"%([0-9A-Fa-f]{2})")
_KEPT = {b"2f": b"%2F", b"2F": b"%2F", b"25": b"%25"}
# "." and its escape are one, also for browsers, so dot segments are recognised in both spellings.
_DOT = frozenset((b".", b"%2e", b"%2E"))
_DOT_DOT = frozenset(a + b for a in _DOT for b in _DOT)
_FORBIDDEN = re.compile(rb"[\x00-\x20\x7f#?]")


class BadTarget(ValueError):
    """The request target cannot be read in exactly one way."""


class Resolved(NamedTuple):
    """`target` is what goes on the wire; `segments` (the first is empty) is what the table is asked."""

    target: bytes
    segments: list[bytes]
    encoded_slash: bool


# Half the price of calling the class, which has keywords to read.
_resolved = partial(tuple.__new__, Resolved)


def resolve(target: bytes) -> Resolved:
    """Read a request target in origin form (`/path?query`)."""
    path, mark, query = target.partition(b"?") if b"?" in target else (target, b"", b"")
    if b"%" not in path and b"/." not in path and b"//" not in path:
        return _resolved((target, path.split(b"/"), False))
    if _BAD_ESCAPE.search(path):
        raise BadTarget("a % in the path is not followed by two hexadecimal digits")
    raw = _without_dots(path.split(b"/")) if b"/." in path or b"/%2" in path else path.split(b"/")
    # ["", "", "host", …] would be read as //host by whoever follows a redirect to it.
    while raw[1:-1] and not raw[1]:
        del raw[1]
    segments = [_canonical(segment) if b"%" in segment else segment for segment in raw]
    return Resolved(b"/".join(raw) + mark + query, segments, any(b"%2F" in segment for segment in segments))


def prefix_segments(prefix: str) -> tuple[bytes, ...]:
    """The key of a route's escaped path prefix (`/user/alice/`)."""
    if not prefix.startswith("/") or not prefix.isascii() or _FORBIDDEN.search(prefix.encode()):
        raise BadTarget(f"not an escaped path prefix: {prefix!r}")
    segments = resolve(prefix.encode()).segments[1:]
    if segments and not segments[-1]:
        segments.pop()
    return tuple(segments)


def fully_decoded(segments: list[bytes]) -> list[bytes]:
    """The segments a server sees that decodes the whole path before it splits (as ASGI servers do)."""
    decoded = unquote_to_bytes(b"/".join(segments))
    return [segment for segment in _without_dots(decoded.split(b"/")) if segment]


def _canonical(segment: bytes) -> bytes:
    return _ESCAPE.sub(lambda match: _KEPT.get(match[1]) or bytes.fromhex(match[1].decode()), segment)


def _without_dots(raw: list[bytes]) -> list[bytes]:
    """RFC 3986 5.2.4 on segments; raw[0] is the empty one before the first slash."""
    kept = raw[:1]
    for segment in raw[1:]:
        if segment in _DOT_DOT:
            if len(kept) > 1:
                kept.pop()
        elif segment not in _DOT:
            kept.append(segment)
    if raw[-1] in _DOT or raw[-1] in _DOT_DOT or len(kept) == 1:
        kept.append(b"")
    return kept
