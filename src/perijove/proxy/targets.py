"""Targets as routes name them, read once: where to connect, over what, and the path they put in front.

`http://host:port`, `https://host:port`, `http+unix://%2Fpath` (and https+unix), each with an optional path.
"""

import ssl
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from perijove.proxy.options import ProxyOptions


class BadRouteTarget(ValueError):
    """A route's target cannot be connected to, whatever is listening."""


@dataclass(frozen=True, slots=True)
class Target:
    url: str
    host: str
    port: int
    unix: str | None = None
    tls: bool = False
    path: bytes = b""
    authority: bytes = b"localhost"


def read_target(url: str) -> Target:
    """Raises BadRouteTarget."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise BadRouteTarget(f"{url!r}: {error}") from error
    scheme, _, over = parts.scheme.partition("+")
    if scheme == "unix":
        scheme, over = over or "http", "unix"
    if scheme not in ("http", "https") or over not in ("", "unix") or not parts.netloc:
        raise BadRouteTarget(f"{url!r} is not http://host:port, https://host:port or http+unix://%2Fpath")
    tls = scheme == "https"
    path = parts.path.rstrip("/")
    if not path.isascii() or any(character <= " " for character in path):
        raise BadRouteTarget(f"{url!r}: unescaped characters in the path")
    if over:
        return Target(url, "localhost", 0, unix=unquote(parts.netloc), tls=tls, path=path.encode())
    if not parts.hostname:
        raise BadRouteTarget(f"{url!r} names no host")
    port = port or (443 if tls else 80)
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    authority = f"{host}:{port}".encode("ascii", "replace")
    return Target(url, parts.hostname, port, tls=tls, path=path.encode(), authority=authority)


def target_tls(options: ProxyOptions) -> ssl.SSLContext:
    """For https targets: verified always, against `target_ca` or the system's authorities."""
    context = ssl.create_default_context(cafile=str(options.target_ca) if options.target_ca else None)
    if options.target_cert:
        context.load_cert_chain(options.target_cert, options.target_key)
    context.set_alpn_protocols(["http/1.1"])
    return context
