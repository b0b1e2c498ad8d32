"""Answers that are the proxy's own: error pages.

The hub renders them, because it knows the deployment's templates; a page that stands on its own is built in for
when no hub answers. Programs that ask for JSON get JSON, and an upgrade gets a bare status: nobody would see a page.
Pages are not cached by the hub's text alone: they may name the URL that was asked for.
"""

import json
from html import escape
from http import HTTPStatus
from typing import TYPE_CHECKING
from urllib.parse import quote

import aiohttp

from perijove.lib.log import get_logger
from perijove.proxy.hubs import CLIENT_ERRORS

if TYPE_CHECKING:
    from perijove.proxy.forward import Exchange
    from perijove.proxy.plane import DataPlane
    from perijove.proxy.request_head import RequestHead

log = get_logger(__name__)

_RETRY_SECONDS = 5
_RELAYED = ("Content-Type", "Content-Security-Policy")
_MAX_PAGE = 1 << 20
_PAGE_TIMEOUT = aiohttp.ClientTimeout(total=5)
_MESSAGES = {
    404: ("There is nothing here", "No server and no page of this hub has this address."),
    502: ("The server gave an unreadable answer", "What runs at this address does not speak HTTP correctly."),
    503: (
        "This server cannot be reached right now",
        (
            "It may be starting, stopping, or its machine may be busy. Try again in a moment, "
            "or open the hub's home page to see its state and start it again."
        ),
    ),
}
_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{status}: {title}</title>
<style>:root{{color-scheme:light dark;font:1.05rem/1.6 system-ui,sans-serif}}
body{{max-width:38rem;margin:12vh auto;padding:0 1.25rem}}h1{{font-size:1.5rem}}
a{{display:inline-block;margin-right:1rem;padding:.4rem 0}}small{{opacity:.75}}</style></head>
<body><main><h1>{title}</h1><p>{text}</p>{detail}
<p><a href="">Try again</a><a href="{home}">Hub home page</a></p>
<p><small>Status {status}. Request {request_id}.</small></p></main></body></html>
"""


class ErrorPages:
    """Answers exchanges that came to nothing."""

    def __init__(self, plane: "DataPlane") -> None:
        self._plane = plane
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
            or not plane.table.loaded
            or not plane.follower.connected
        ):
            self._built_in(exchange, status, detail)
        else:
            self._fetching += 1
            plane.spawn(self._from_hub(exchange, status, detail))

    def _json(self, exchange: "Exchange", status: int, detail: str) -> None:
        message = detail or _message(status)[1]
        body = json.dumps({"status": status, "message": message, "request_id": exchange.request_id.decode()}).encode()
        exchange.answer(status, _head(status, _typed(b"application/json", body)), body)

    def _built_in(self, exchange: "Exchange", status: int, detail: str) -> None:
        title, text = _message(status)
        body = _PAGE.format(
            status=status,
            title=title,
            text=text,
            detail=f"<p>{escape(detail)}</p>" if detail else "",
            home=escape(f"{self._plane.options.base_url}hub/home"),
            request_id=escape(exchange.request_id.decode()),
        ).encode()
        policy = b"Content-Security-Policy: default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'\r\n"
        exchange.answer(status, _head(status, _typed(b"text/html; charset=utf-8", body) + policy), body)

    async def _from_hub(self, exchange: "Exchange", status: int, detail: str) -> None:
        try:
            page = await self._fetch(status, exchange.target)
        finally:
            self._fetching -= 1
        if exchange.over:
            return
        if page is None:
            self._built_in(exchange, status, detail)
        else:
            fields, body = page
            exchange.answer(status, _head(status, fields + b"Content-Length: %d\r\n" % len(body)), body)

    async def _fetch(self, status: int, target: bytes) -> tuple[bytes, bytes] | None:
        path = f"hub/error/{status}?url={quote(target, safe='')}"
        try:
            async with self._plane.hubs.request("GET", path, within=_PAGE_TIMEOUT, authorized=False) as response:
                if response.status not in (HTTPStatus.OK, status):
                    return None
                body = await response.content.read(_MAX_PAGE)
                fields = "".join(
                    f"{name}: {response.headers[name]}\r\n" for name in _RELAYED if name in response.headers
                )
                return fields.encode("latin-1"), body
        except CLIENT_ERRORS as error:
            log.info("the hub gave no error page", problem=str(error) or type(error).__name__)
            return None


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


def _message(status: int) -> tuple[str, str]:
    return _MESSAGES.get(status) or (HTTPStatus(status).phrase, HTTPStatus(status).description or "")


def _typed(kind: bytes, body: bytes) -> bytes:
    return b"Content-Type: %s\r\nContent-Length: %d\r\n" % (kind, len(body))


def _head(status: int, fields: bytes) -> bytes:
    retry = b"Retry-After: %d\r\n" % _RETRY_SECONDS if status == HTTPStatus.SERVICE_UNAVAILABLE else b""
    return b"HTTP/1.1 %d %s\r\nCache-Control: no-store\r\n%s%s" % (
        status,
        HTTPStatus(status).phrase.encode(),
        retry,
        fields,
    )
