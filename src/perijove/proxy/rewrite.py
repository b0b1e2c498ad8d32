"""Requests that are not forwarded as they came: what configurable-http-proxy's options change.

Only made when one of them is set; a hub needs none.
"""

from typing import TYPE_CHECKING

from perijove.proxy.headers import upstream_head
from perijove.proxy.options import RewriteOptions
from perijove.proxy.table import Route
from perijove.proxy.targets import Target

if TYPE_CHECKING:
    from perijove.proxy.forward import Exchange


class Rewriting:
    """`RewriteOptions` at work."""

    def __init__(self, options: RewriteOptions) -> None:
        self._options = options
        self._custom = b"".join(f"{name}: {value}\r\n".encode("latin-1") for name, value in options.custom_headers)
        self._names = [name.lower().encode("latin-1") for name, _ in options.custom_headers]

    def head(self, exchange: "Exchange", place: Target) -> bytes:
        options = self._options
        head = exchange.head
        target = exchange.target
        if not options.include_prefix and exchange.route is not None:
            target = without_prefix(target, exchange.route)
        if options.prepend_path and place.path:
            target = place.path + target
        forwarded = exchange.client.downstream.forwarded(head) if options.x_forwarded else b""
        if self._names:
            head.must_drop(*self._names)
        extra = b"%s%sX-Request-ID: %s\r\n\r\n" % (forwarded, self._custom, exchange.request_id)
        return upstream_head(head, target, extra, place.authority, change_origin=options.change_origin)


def without_prefix(target: bytes, route: Route) -> bytes:
    """The prefix is counted in segments: its spelling in the request may be another."""
    path, mark, query = target.partition(b"?")
    count = len([segment for segment in route.prefix[route.prefix.index("/") :].split("/") if segment])
    rest = path.split(b"/")[count + 1 :]
    return b"/" + b"/".join(rest).lstrip(b"/") + mark + query
