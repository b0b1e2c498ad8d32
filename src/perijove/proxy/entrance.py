"""By which door a client came: what differs between the listeners of one proxy."""

from dataclasses import dataclass

from perijove.proxy.options import ProxyOptions
from perijove.proxy.request_head import RequestHead
from perijove.proxy.table import Route

ACME_PREFIX = "/.well-known/acme-challenge/"
_HTTPS_PORT = 443


@dataclass(frozen=True, slots=True)
class Entrance:
    """One kind of listener."""

    tls: bool = False
    fields: bytes = b""
    """Lines added to every response."""
    redirects_to: int = 0
    """The https port that every request is sent to instead; 0 = requests are served."""


def entrance_of(options: ProxyOptions) -> Entrance:
    tls = bool(options.tls)
    fields = f"Strict-Transport-Security: {options.hsts}\r\n".encode() if tls and options.hsts else b""
    return Entrance(tls=tls, fields=fields)


def pinned_routes(options: ProxyOptions) -> list[Route]:
    """Those that are this proxy's own, whatever a hub says."""
    routes = [
        Route(prefix if prefix.endswith("/") else prefix + "/", target, {"extra": True})
        for prefix, target in options.extra_routes.items()
    ]
    if options.acme_target:
        routes.append(Route(ACME_PREFIX, options.acme_target, {"extra": True}))
    return routes


def redirect(head: RequestHead, target: bytes, port: int) -> tuple[int, bytes, bytes]:
    """Status, head and body of the answer that leads to https. A method other than GET must stay what it is."""
    if head.host is None:
        body = b"400 no Host header\n"
        return 400, b"HTTP/1.1 400 Bad Request\r\nContent-Length: %d\r\n" % len(body), body
    status, reason = (301, b"Moved Permanently") if head.method in (b"GET", b"HEAD") else (308, b"Permanent Redirect")
    name, colon, digits = head.host.rpartition(b":")
    host = name if colon and (digits.isdigit() or not digits) and not name.endswith(b":") else head.host
    place = host if port == _HTTPS_PORT else b"%s:%d" % (host, port)
    location = b"https://%s%s" % (place, target)
    return status, b"HTTP/1.1 %d %s\r\nLocation: %s\r\nContent-Length: 0\r\n" % (status, reason, location), b""
