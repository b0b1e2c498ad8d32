"""Requests for the hub that came by a user's or a service's host name.

Every host leads to the hub where no server runs, but its pages belong to its own host alone: served anywhere else,
a login there would put the hub's cookies within reach of a user's scripts. The API stays reachable for tokens, and
what error pages are drawn with.
"""

from http import HTTPStatus

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from perijove.services.context import HubContext
from perijove.web.errors import json_error
from perijove.web.requests import host


def led_home(hub: HubContext, request: Request) -> Response | None:
    """The redirect to the same page at the hub's host; None when it may be answered here."""
    path, prefix = request.url.path, hub.hub_prefix
    if not path.startswith(prefix) or not hub.addresses.is_elsewhere(host(request)):
        return None
    below = path.removeprefix(prefix)
    if below.startswith(("static/", "logo", "error/")) or (below.startswith("api") and "oauth2/authorize" not in below):
        return None
    if request.method not in {"GET", "HEAD"}:
        return json_error(hub, HTTPStatus.FORBIDDEN, f"This page of the hub is at {hub.addresses.hub_origin} only.")
    raw = bytes(request.scope.get("raw_path") or path.encode()).partition(b"?")[0].decode("latin-1")
    query = f"?{request.url.query}" if request.url.query else ""
    return RedirectResponse(hub.addresses.hub(raw + query), HTTPStatus.FOUND, headers={"Cache-Control": "no-store"})
