"""The address a spawner's `start()` returned, in one shape: `scheme://host:port`."""

from typing import Any
from urllib.parse import urlsplit

from perijove.domain.errors import SpawnFailed

_DEFAULT_PORTS = {"http": 80, "https": 443}
# "Listening everywhere" is nowhere to connect to; what a spawner started there, it started here.
_LOOPBACK = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - compared with, not bound


def endpoint(result: Any, server: Any, *, scheme: str = "http") -> str:
    """`result` is a URL, `(ip, port)`, or nothing when the spawner wrote `server.ip` and `.port` itself."""
    if not result:
        if server is None or not server.port:
            raise _unusable(result, "it returned nothing and wrote no port to spawner.server either")
        return _join(server.proto, server.ip, server.port)
    if isinstance(result, str):
        return _from_url(result)
    try:
        ip, port = result
        return _join(scheme, str(ip), int(port))
    except (TypeError, ValueError) as exc:
        raise _unusable(result, "neither a URL nor (ip, port)") from exc


def _from_url(url: str) -> str:
    try:
        parts = urlsplit(url)
        port = parts.port or _DEFAULT_PORTS.get(parts.scheme)
    except ValueError as exc:
        raise _unusable(url, str(exc)) from exc
    if port is None or parts.hostname is None:
        raise _unusable(url, "not an http:// or https:// URL with a host")
    return _join(parts.scheme, parts.hostname, port)


def _join(scheme: str, host: str, port: int) -> str:
    host = host.removeprefix("[").removesuffix("]")
    host = _LOOPBACK.get(host, host)
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


def _unusable(result: Any, why: str) -> SpawnFailed:
    return SpawnFailed(
        "The server was started, but the spawner did not say where.",
        reason="bad_url",
        details=f"Spawner.start() returned {result!r}: {why}.",
    )
