"""Short ways through the API: what machines ask thousands of times a second is answered before the router.

A fast path answers what is asked as nearly everybody asks it, from memory. Whatever is not plain (another kind of
credential, a body that is refused, a permission that rests on groups) it hands on, so that errors, their audit and
their texts are made in one place.
"""

from collections.abc import Awaitable, Callable

from starlette.types import Receive, Scope, Send

from perijove import WIRE_VERSION
from perijove.services.context import HubContext
from perijove.web.errors import api_headers

# None: it has answered. Else from where the router reads the request, which may have been read in part.
FastPath = Callable[[Scope, Receive, Send], Awaitable[Receive | None]]
Header = tuple[bytes, bytes]


def bearer(scope: Scope) -> str | None:
    """The token of the `Authorization` header, as `web.identity.bearer_token` reads it."""
    for name, value in scope["headers"]:
        if name == b"authorization":
            kind, _, token = value.partition(b" ")
            if kind.lower() in (b"token", b"bearer"):
                return str(token.strip().decode("latin-1"))
            return None
    return None


def fixed_headers(hub: HubContext) -> list[Header]:
    """What is the same on every good answer."""
    fixed = {
        "content-type": "application/json",
        "x-jupyterhub-version": WIRE_VERSION,
        **{name.lower(): value for name, value in api_headers(hub).items()},
        # The operator's policy is for pages.
        **{k.lower(): v for k, v in hub.options.headers.items() if k.lower() != "content-security-policy"},
    }
    return [(name.encode(), str(value).encode()) for name, value in fixed.items()]
