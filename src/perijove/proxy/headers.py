"""Heads as they are sent on: hop-by-hop fields out, X-Forwarded-* and X-Request-ID in.

A head from which nothing must go is forwarded as the slice it came in; only others are taken apart line by line.
"""

from collections.abc import Iterator
from itertools import count, product
from secrets import token_hex

from perijove.proxy.request_head import PlainFields, RequestHead
from perijove.proxy.response_head import ResponseHead

_REWRITTEN = (b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host", b"x-forwarded-port")
_DIGITS = [b"%x%x%x" % digits for digits in product(range(16), repeat=3)]


def _request_ids() -> Iterator[bytes]:
    prefix = token_hex(6).encode()
    for number in count():
        block = b"%s-%x" % (prefix, number)
        for digits in _DIGITS:
            yield block + digits


_IDS = _request_ids()


def new_request_id() -> bytes:
    """Unique, not secret: a random prefix per process and a number, whose last digits are not formatted anew."""
    return next(_IDS)


class Downstream:
    """What is said about one client connection to every target. Made once a connection."""

    __slots__ = ("_default_port", "_host", "_host_lines", "_lines", "address", "plain", "proto", "trusted")

    def __init__(self, address: str, *, trusted: bool, tls: bool) -> None:
        self.address = address.encode()
        self.trusted = trusted
        self.proto = b"https" if tls else b"http"
        self._default_port = b"443" if tls else b"80"
        self._lines = b"X-Forwarded-For: %s\r\nX-Forwarded-Proto: %s\r\n" % (self.address, self.proto)
        self._host: bytes | None = None
        self._host_lines = b""
        self.plain: PlainFields | None = None
        """Of the last request that had such: what `read_request` may be told."""

    def forwarded(self, head: RequestHead) -> bytes:
        """The X-Forwarded-* lines for a request; its own are to be dropped wherever it had any."""
        if head.forwarded is not None:
            head.must_drop(*head.forwarded)
            if self.trusted:
                return self._appended(head.forwarded, head.host)
        if head.host is not self._host and head.host != self._host:
            self._host = head.host
            self._host_lines = self._lines + self._about_host(head.host)
        return self._host_lines or self._lines + self._about_host(head.host)

    def lines(self, head: RequestHead, request_id: bytes) -> bytes:
        """All that is added to a request, to its blank line."""
        return b"%sX-Request-ID: %s\r\n\r\n" % (self.forwarded(head), request_id)

    def plain_head(self, head: RequestHead, plain: PlainFields, request_id: bytes) -> bytes:
        """What `upstream_head` would say of a request with plain fields."""
        sent = plain.sent
        if not sent:
            sent = plain.sent = plain.data[:-2] + self.forwarded(head) + b"X-Request-ID: "
            self.plain = plain
        return b"".join((head.raw[: head.line_end + 2], sent, request_id, b"\r\n\r\n"))

    def _about_host(self, host: bytes | None) -> bytes:
        if host is None:
            return b"X-Forwarded-Port: %s\r\n" % self._default_port
        return b"X-Forwarded-Host: %s\r\nX-Forwarded-Port: %s\r\n" % (host, self._port(host))

    def _port(self, host: bytes) -> bytes:
        # After the last colon, unless that colon is inside an IPv6 address.
        _, colon, port = host.rpartition(b":")
        return port if colon and port.isdigit() else self._default_port

    def _appended(self, given: dict[bytes, bytes], host: bytes | None) -> bytes:
        """As configurable-http-proxy: append to lists, keep the first host."""
        lines = []
        for name, label, own in (
            (b"x-forwarded-for", b"X-Forwarded-For", self.address),
            (b"x-forwarded-proto", b"X-Forwarded-Proto", self.proto),
            (b"x-forwarded-port", b"X-Forwarded-Port", self._port(host) if host else self._default_port),
        ):
            before = given.get(name)
            lines.append(b"%s: %s\r\n" % (label, b"%s,%s" % (before, own) if before else own))
        if first := given.get(b"x-forwarded-host") or host:
            lines.append(b"X-Forwarded-Host: %s\r\n" % first)
        lines.extend(b"%s: %s\r\n" % (name.title(), value) for name, value in given.items() if name not in _REWRITTEN)
        return b"".join(lines)


def upstream_head(
    head: RequestHead, target: bytes, extra: bytes, authority: bytes, *, change_origin: bool = False
) -> bytes:
    """The request head for a target. `extra` are our own lines; `authority` stands in where an HTTP/1.0 client gave
    no Host, and with `change_origin` always.
    """
    raw = head.raw
    if head.host is None:
        extra = b"Host: %s\r\n%s" % (authority, extra)
    elif head.absolute or change_origin:
        head.must_drop(b"host")
        extra = b"Host: %s\r\n%s" % (authority if change_origin else head.host, extra)
    if head.upgrade is not None:
        head.must_drop(b"upgrade")
        extra = b"Connection: Upgrade\r\nUpgrade: %s\r\n%s" % (head.upgrade, extra)
    elif head.method in (b"DELETE", b"OPTIONS") and not head.has_body():
        head.must_drop(b"content-length")
        extra = b"Content-Length: 0\r\n" + extra
    if head.drop is not None:
        fields = _without(raw, head.line_end, head.drop)
    elif target is head.target and head.minor:
        return b"".join((raw[:-2], extra))
    else:
        fields = raw[head.line_end : -2]
    return b"%s %s HTTP/1.1%s%s" % (head.method, target, fields, extra)


def client_head(head: ResponseHead, *, close: bool, chunked: bool, extra: bytes = b"") -> bytes:
    """The response head for a client. `chunked`: the body goes out in chunks (if it came so). `extra`: our lines."""
    drop = head.drop
    if extra and head.own_hsts:
        drop = (drop or set()) | {b"strict-transport-security"}
    if head.chunked and not chunked:
        drop = (drop or set()) | {b"transfer-encoding"}
    if drop is None and not close and head.minor:
        return head.raw[:-2] + extra + b"\r\n" if extra else head.raw
    line = b"HTTP/1.1 %d %s" % (head.status, head.reason)
    fields = _without(head.raw, head.line_end, drop) if drop else head.raw[head.line_end : -2]
    return b"%s%s%s%s" % (line, fields, extra, b"Connection: close\r\n\r\n" if close else b"\r\n")


def _without(raw: bytes, line_end: int, drop: set[bytes]) -> bytes:
    """CRLF, then the fields whose names are not in `drop`, each with its CRLF."""
    lines = raw[line_end + 2 : -4].split(b"\r\n")
    kept = [line for line in lines if line and line[: line.index(b":")].lower() not in drop]
    return b"\r\n".join((b"", *kept, b""))
