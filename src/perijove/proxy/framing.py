"""Where a body ends. Bytes pass through as they came; only chunk extensions are taken out.

Ours rather than llhttp's: it copies every body into new objects and does not say where a message ended, which
pipelining needs. Nothing of a chunk's size line is passed on before the whole line has been found good, so the
next hop never sees a framing that we have not understood.
"""

import re
from typing import Protocol

_MAX_LINE = 4096
_MAX_TRAILERS = 16384
_SIZE_LINE = re.compile(rb"([0-9A-Fa-f]{1,15})((?:[\t ]*;[\t\x20-\x7e\x80-\xff]*)?)")
_TRAILER = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[\t\x20-\x7e\x80-\xff]*")
# Fields that would change how a message is read must not come after it.
_NO_TRAILER = frozenset(
    b"""
    content-length transfer-encoding host connection upgrade trailer te content-encoding content-type content-range
    authorization cookie set-cookie expect forwarded x-forwarded-for x-forwarded-proto x-forwarded-host
    x-forwarded-port x-request-id
    """.split()
)


class BadFraming(ValueError):
    """A body that cannot be read in exactly one way."""


class Framing(Protocol):
    """Follows one body."""

    done: bool

    def feed(self, data: bytes) -> tuple[bytes, bytes]:
        """Split into what belongs to the body and what comes after it. Raises BadFraming."""
        ...

    def eof(self) -> bool:
        """Whether the body may end here."""
        ...


class LengthFraming:
    """Content-Length."""

    __slots__ = ("done", "remaining")

    def __init__(self, length: int) -> None:
        self.remaining = length
        self.done = length == 0

    def feed(self, data: bytes) -> tuple[bytes, bytes]:
        size = len(data)
        if size < self.remaining:
            self.remaining -= size
            return data, b""
        end = self.remaining
        self.remaining = 0
        self.done = True
        return (data, b"") if size == end else (data[:end], data[end:])

    def eof(self) -> bool:
        return self.done


class CloseFraming:
    """A response that ends when its connection does."""

    __slots__ = ("done",)

    def __init__(self) -> None:
        self.done = False

    def feed(self, data: bytes) -> tuple[bytes, bytes]:
        return data, b""

    def eof(self) -> bool:
        self.done = True
        return True


_SIZE, _DATA, _CRLF, _TRAILERS = range(4)


class ChunkedFraming:
    """`Transfer-Encoding: chunked`. With `decode`, what passes is the content alone (for HTTP/1.0 clients)."""

    __slots__ = ("_decode", "_partial", "_remaining", "_state", "_trailer_bytes", "done")

    def __init__(self, *, decode: bool = False) -> None:
        self.done = False
        self._decode = decode
        self._state = _SIZE
        self._remaining = 0
        self._partial = b""
        self._trailer_bytes = 0

    def feed(self, data: bytes) -> tuple[bytes, bytes]:
        if self._state == _DATA and len(data) < self._remaining:
            self._remaining -= len(data)
            return data, b""
        if self._partial:
            data = self._partial + data
            self._partial = b""
        passed: list[bytes] = []
        position = 0
        while not self.done:
            after = self._step(data, position, passed)
            if after < 0:
                self._partial = data[position:]
                return b"".join(passed), b""
            position = after
        return b"".join(passed), data[position:]

    def eof(self) -> bool:
        return self.done

    def _step(self, data: bytes, position: int, passed: list[bytes]) -> int:
        """Take one element at `position`; the position after it, or -1 if it is not all there."""
        if self._state == _DATA:
            return self._take_data(data, position, passed)
        if self._state == _CRLF:
            if len(data) < position + 2:
                if data[position : position + 1] not in (b"", b"\r"):
                    raise BadFraming("chunk longer than its size")
                return -1
            if data[position : position + 2] != b"\r\n":
                raise BadFraming("chunk longer than its size")
            if not self._decode:
                passed.append(b"\r\n")
            self._state = _SIZE
            return position + 2
        end = data.find(b"\r\n", position, position + _MAX_LINE)
        if end < 0:
            self._check_partial(data, position)
            return -1
        line = data[position:end]
        if self._state == _SIZE:
            self._take_size(line, passed)
        else:
            self._take_trailer(line, passed)
        return end + 2

    def _take_data(self, data: bytes, position: int, passed: list[bytes]) -> int:
        available = len(data) - position
        if available <= 0:
            return -1
        taken = min(available, self._remaining)
        passed.append(data[position : position + taken])
        self._remaining -= taken
        if not self._remaining:
            self._state = _CRLF
        return position + taken

    def _take_size(self, line: bytes, passed: list[bytes]) -> None:
        match = _SIZE_LINE.fullmatch(line)
        if not match:
            raise BadFraming("malformed chunk size")
        self._remaining = int(match[1], 16)
        if not self._decode:
            passed.append(match[1] + b"\r\n")
        self._state = _DATA if self._remaining else _TRAILERS

    def _take_trailer(self, line: bytes, passed: list[bytes]) -> None:
        self._trailer_bytes += len(line) + 2
        if self._trailer_bytes > _MAX_TRAILERS:
            raise BadFraming("trailers too long")
        if line:
            match = _TRAILER.fullmatch(line)
            if not match or match[1].lower() in _NO_TRAILER:
                raise BadFraming("malformed trailer")
        else:
            self.done = True
        if not self._decode:
            passed.append(line + b"\r\n")

    def _check_partial(self, data: bytes, position: int) -> None:
        """Refuse early: a peer must not make us hold an endless line."""
        line = data[position:]
        if len(line) > _MAX_LINE:
            raise BadFraming("chunk line too long")
        if b"\n" in line or b"\r" in line[:-1]:
            raise BadFraming("bare line break")
