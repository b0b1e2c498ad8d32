"""Nobody is sent to a server before the proxy that serves them knows its route.

Proxies learn of routes by watching, each in its own time. An answer that leads to a server carries the
revision at which its route exists; the proxy it passes through holds it until its table is that new. So
each user waits for exactly the proxy they use, and no hub needs to know how many proxies there are.
"""

import re

from starlette.types import Message, Scope

from perijove.services import routes
from perijove.services.context import HubContext

HEADER = b"x-perijove-revision"
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_CREATED = 201
# What a start is posted to; 201 means that the server is ready.
_STARTED = re.compile(r"/users/[^/]+/(server|servers/[^/]*)")


async def revision_header(hub: HubContext, scope: Scope, start: Message) -> list[tuple[bytes, bytes]]:
    """The header for a response that leads to a server, else nothing.

    The newest revision of any route will do: it is not older than the one that made the server ready. The
    newest of all would not: proxies are told of logins and tokens only with the next keep-alive.
    """
    if not _leads_to_server(hub, scope, start):
        return []
    return [(HEADER, str(await routes.latest_revision(hub)).encode())]


def _leads_to_server(hub: HubContext, scope: Scope, start: Message) -> bool:
    base, status = hub.options.base_url.encode(), start["status"]
    if status == _CREATED:
        return _STARTED.fullmatch(scope["path"].removeprefix(f"{hub.hub_prefix}api")) is not None
    if status not in _REDIRECTS:
        return False
    location = next((value for name, value in start["headers"] if name == b"location"), b"")
    origin = hub.addresses.hub_origin.encode()
    path = location.removeprefix(origin) if origin else location
    return base + b"user/" in path and not path.startswith(base + b"hub/")
