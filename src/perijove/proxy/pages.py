"""Answers that are the proxy's own: error pages.

The hub renders them, because it knows the deployment's templates; with no hub, files of the operator's, and last a
page that is built in and stands on its own: it must work when nothing else does. Programs that ask for JSON get
JSON, and an upgrade gets a bare status: nobody would see a page.
"""

import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from html import escape
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from perijove.lib.log import get_logger
from perijove.proxy.fetch import Fetched, Patience, fetch
from perijove.proxy.hubs import Hubs
from perijove.proxy.options import ProxyOptions
from perijove.proxy.table import HUB
from perijove.proxy.upstreams import Upstreams

if TYPE_CHECKING:
    from perijove.proxy.forward import Exchange
    from perijove.proxy.plane import DataPlane
    from perijove.proxy.request_head import RequestHead

log = get_logger(__name__)

_RETRY_SECONDS = 5
_RELAYED = (b"content-type", b"content-encoding", b"content-security-policy")
_MAX_PAGE = 1 << 20
_PATIENCE = Patience(total=5)
_MESSAGES = {
    404: ("There is nothing here", "No server and no page of this hub has this address."),
    429: ("Too many requests", "You have asked for more than is allowed in a short time. Wait a moment."),
    502: ("The server gave an unreadable answer", "What runs at this address does not speak HTTP correctly."),
    503: (
        "This server cannot be reached right now",
        (
            "It may be starting, stopping, or its machine may be busy. Try again in a moment, "
            "or open the hub's home page to see its state and start it again."
        ),
    ),
}
_HUB_DOWN = (
    "{brand} is away for a moment",
    (
        "Its pages cannot be shown right now. Notebooks that are open keep running and can be used; "
        "logging in and starting servers must wait. This page tries again by itself."
    ),
)
_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
{refresh}<title>{title} · {brand}</title>
<style>:root{{color-scheme:light dark;font:1.05rem/1.6 system-ui,sans-serif}}
body{{max-width:38rem;margin:12vh auto;padding:0 1.25rem}}h1{{font-size:1.5rem}}
header img{{max-height:3rem;max-width:100%}}header{{font-weight:600;margin-bottom:2rem}}
a{{display:inline-block;margin-right:1rem;padding:.4rem 0}}small{{opacity:.75}}</style></head>
<body><header>{header}</header><main><h1>{title}</h1><p>{text}</p>{detail}
<p><a href="">Try again</a><a href="{home}">Hub home page</a></p>
<p><small>Status {status}. Request {request_id}.</small></p></main></body></html>
"""
_IMAGES = {".svg": "image/svg+xml", ".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".webp": "image/webp"}
_REFRESH = '<meta http-equiv="refresh" content="15">\n'
_POLICY = (
    b"Content-Security-Policy: default-src 'none'; img-src data:; style-src 'unsafe-inline'; frame-ancestors 'none'\r\n"
)


class ErrorPages:
    """Answers exchanges that came to nothing."""

    def __init__(self, plane: "DataPlane") -> None:
        self._plane = plane
        options = plane.options
        self._source = PageSource(options, plane.upstreams)
        self._files = _read_dir(options.error_dir)
        self._header = _header(options)
        self._fetching = 0

    def answer(self, exchange: "Exchange", status: int, detail: str = "") -> None:
        plane = self._plane
        if exchange.head.upgrade is not None:
            exchange.close = True
            exchange.answer(status, _head(status, b"Content-Length: 0\r\n"), b"")
        elif prefers_json(exchange.head, exchange.target):
            self._json(exchange, status, detail)
        elif (
            self._fetching >= plane.options.limits.error_page_fetches
            or not plane.routing.table.loaded
            or not plane.routing.connected
            or not self._source.there
            or status == HTTPStatus.TOO_MANY_REQUESTS
        ):
            self._alone(exchange, status, detail)
        else:
            self._fetching += 1
            plane.spawn(self._from_hub(exchange, status, detail))

    def _json(self, exchange: "Exchange", status: int, detail: str) -> None:
        message = detail or _message(status)[1]
        body = json.dumps({"status": status, "message": message, "request_id": exchange.request_id.decode()}).encode()
        exchange.answer(status, _head(status, _typed(b"application/json", body)), body)

    def _alone(self, exchange: "Exchange", status: int, detail: str) -> None:
        """Without the help of a hub."""
        body = self._files.get(status) or self._files.get(0)
        if body is not None:
            exchange.answer(status, _head(status, _typed(b"text/html; charset=utf-8", body)), body)
            return
        brand = self._plane.options.brand
        title, text = _message(status)
        hub_down = (
            status == HTTPStatus.SERVICE_UNAVAILABLE and exchange.route is not None and exchange.route.target is HUB
        )
        if hub_down:
            title, text = (part.format(brand=brand) for part in _HUB_DOWN)
        page = _PAGE.format(
            status=status,
            title=escape(title),
            text=escape(text),
            brand=escape(brand),
            header=self._header,
            refresh=_REFRESH if hub_down and exchange.head.method == b"GET" else "",
            detail=f"<p>{escape(detail)}</p>" if detail else "",
            home=escape(f"{self._plane.options.base_url}hub/home"),
            request_id=escape(exchange.request_id.decode()),
        ).encode()
        exchange.answer(status, _head(status, _typed(b"text/html; charset=utf-8", page) + _POLICY), page)

    async def _from_hub(self, exchange: "Exchange", status: int, detail: str) -> None:
        try:
            page = await self._fetch(status, exchange.target)
        finally:
            self._fetching -= 1
        if exchange.over:
            return
        if page is None:
            self._alone(exchange, status, detail)
        else:
            fields, body = page
            exchange.answer(status, _head(status, fields + b"Content-Length: %d\r\n" % len(body)), body)

    async def _fetch(self, status: int, target: bytes) -> tuple[bytes, bytes] | None:
        try:
            async with self._source.ask(status, quote(target, safe="")) as response:
                if response.status not in (HTTPStatus.OK, status):
                    return None
                body = await response.read(_MAX_PAGE)
                fields = ((name, response.field(name)) for name in _RELAYED)
                return b"".join(b"%s: %s\r\n" % (name.title(), value) for name, value in fields if value), body
        except OSError as error:
            log.info("nobody gave an error page", problem=str(error) or type(error).__name__)
            return None


class PageSource:
    """Who renders error pages: the hubs, or what `--error-target` names."""

    def __init__(self, options: ProxyOptions, upstreams: Upstreams) -> None:
        self._hubs = Hubs(options, upstreams) if not options.api else None
        self._pool = upstreams.hub_pool(options.error_target) if options.error_target else None

    @property
    def there(self) -> bool:
        return self._hubs is not None or self._pool is not None

    @asynccontextmanager
    async def ask(self, status: int, url: str) -> AsyncIterator[Fetched]:
        """Raises OSError."""
        if self._pool is not None:
            async with fetch(self._pool, "GET", f"/{status}?url={url}", patience=_PATIENCE) as fetched:
                yield fetched
        elif self._hubs is not None:
            path = f"hub/error/{status}?url={url}"
            try:
                async with self._hubs.request("GET", path, patience=_PATIENCE, authorized=False) as fetched:
                    yield fetched
            except OSError:
                self._hubs.pass_over()
                raise


def prefers_json(head: "RequestHead", target: bytes) -> bool:
    """By Accept, as the hub decides for stopped servers; an API path without a preference is a program's."""
    accept = b""
    for line in head.raw[head.line_end + 2 : -4].split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"accept":
            accept += value.lower()
    json_at, html_at = accept.find(b"application/json"), accept.find(b"text/html")
    if json_at >= 0 or html_at >= 0:
        return html_at < 0 or 0 <= json_at < html_at
    return b"/api/" in target.partition(b"?")[0]


def _read_dir(place: Path | None) -> dict[int, bytes]:
    """Status -> page, 0 for all others. Read once: a page is wanted when disks fail, too."""
    if place is None:
        return {}
    found = {0: place / "error.html", **{status: place / f"{status}.html" for status in (404, 429, 500, 502, 503)}}
    return {status: file.read_bytes() for status, file in found.items() if file.is_file()}


def _header(options: ProxyOptions) -> str:
    brand = escape(options.brand)
    if options.logo is None:
        return brand
    kind = _IMAGES.get(options.logo.suffix.lower(), "image/png")
    data = base64.b64encode(options.logo.read_bytes()).decode()
    return f'<img alt="{brand}" src="data:{kind};base64,{data}">'


def _message(status: int) -> tuple[str, str]:
    return _MESSAGES.get(status) or (HTTPStatus(status).phrase, HTTPStatus(status).description or "")


def _typed(kind: bytes, body: bytes) -> bytes:
    return b"Content-Type: %s\r\nContent-Length: %d\r\n" % (kind, len(body))


def _head(status: int, fields: bytes) -> bytes:
    retry = b"Retry-After: %d\r\n" % _RETRY_SECONDS if status in (429, 503) else b""
    return b"HTTP/1.1 %d %s\r\nCache-Control: no-store\r\n%s%s" % (
        status,
        HTTPStatus(status).phrase.encode(),
        retry,
        fields,
    )
