"""`GET /user`, which every single-user server asks for each visitor: the hottest call there is.

A token's answer is kept, as bytes, beside its remembered identity. It goes when the identity goes, when one
of the owner's servers changes, and when activity moved a time in it; nothing is asked of the database then.
Cookies take the ordinary way: they need the XSRF rule.
"""

import hashlib
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any

import msgspec
from starlette.types import Message, Receive, Scope, Send

from perijove import WIRE_VERSION
from perijove.domain.errors import HubError
from perijove.services import users
from perijove.services.context import HubContext
from perijove.services.identity import Identity, token_entry
from perijove.services.identity_cache import CredentialEntry
from perijove.services.registry import ServiceRow
from perijove.services.user_list import UserRow
from perijove.web.api.endpoint import matches
from perijove.web.errors import api_headers, headers_of, json_error, status_of
from perijove.web.models import UserModels, service_model

FastPath = Callable[[Scope, Receive, Send], Awaitable[bool]]
_KEY = "GET /user"


def render_me(hub: HubContext, identity: Identity, user: UserRow | None) -> dict[str, Any]:
    """The model of the caller: what their scopes say about themselves, and the scopes."""
    if user is not None:
        model = UserModels(hub, identity)(user)
    else:
        service = ServiceRow(
            id=identity.id,  # type: ignore[arg-type] # the owner's kind says which id this is
            name=identity.name,
            admin=identity.admin,
            url="",
            info={},
            display=True,
            roles=identity.roles,
        )
        shown = service_model(hub, identity, service)
        model = {key: shown[key] for key in ("kind", "name", "admin", "roles") if key in shown}
    by_token = identity.token_id is not None
    model["token_id"] = f"a{identity.token_id}" if by_token else None
    model["session_id"] = (identity.browser_session or None) if by_token else None
    model["scopes"] = identity.listed_scopes
    return model


class _Kept:
    """A rendered answer and the times it was rendered with."""

    __slots__ = ("body", "etag", "server_times", "start", "user_time")

    def __init__(self, hub: HubContext, entry: CredentialEntry, user: UserRow | None, headers: list[Any]) -> None:
        activity = hub.activity
        self.user_time = activity.last_user(entry.identity.id) if user else None
        self.server_times: list[tuple[int, datetime | None]] = []
        if user is not None and entry.identity.scopes.grant("read:servers"):
            self.server_times = [(server.id, activity.last_server(server.id)) for server in user.servers.values()]
        content = msgspec.json.encode(render_me(hub, entry.identity, user))
        self.etag = f'"{hashlib.sha1(content, usedforsecurity=False).hexdigest()}"'
        self.start: Message = {
            "type": "http.response.start",
            "status": 200,
            "headers": [
                (b"content-length", str(len(content)).encode()),
                (b"etag", self.etag.encode()),
                *headers,
            ],
        }
        self.body: Message = {"type": "http.response.body", "body": content}

    def holds(self, hub: HubContext, user_id: int) -> bool:
        """Whether no time in it has moved."""
        activity = hub.activity
        if self.user_time is not activity.last_user(user_id):
            return False
        return all(activity.last_server(server_id) is at for server_id, at in self.server_times)


class Me:
    """The fast path of `GET /user`: false means "not for me", and the router goes on."""

    def __init__(self, hub: HubContext) -> None:
        self._hub = hub
        fixed = {
            "content-type": "application/json",
            "x-jupyterhub-version": WIRE_VERSION,
            **api_headers(hub),
            # The operator's policy is for pages.
            **{k: v for k, v in hub.options.headers.items() if k.lower() != "content-security-policy"},
        }
        self._headers = [(name.lower().encode(), str(value).encode()) for name, value in fixed.items()]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> bool:
        token = _bearer(scope)
        if token is None:
            return False
        try:
            return await self._answer(token, scope, send)
        except HubError as error:
            # Said here: the ordinary way would wait as long again for a database that does not answer.
            headers = {"x-jupyterhub-version": WIRE_VERSION, **headers_of(error)}
            await json_error(self._hub, status_of(error), error.message, headers)(scope, receive, send)
            return True

    async def _answer(self, token: str, scope: Scope, send: Send) -> bool:
        hub = self._hub
        entry = await token_entry(hub, token)
        if entry is None:
            return False
        identity = entry.identity
        hub.activity.saw_identity(identity, hub.store.now())
        kept = entry.rendered.get(_KEY)
        user_id = identity.id if identity.kind == "user" else -1
        if not isinstance(kept, _Kept) or not kept.holds(hub, user_id):
            kept = await self._render(entry)
        if any(
            name == b"if-none-match" and matches(value.decode("latin-1"), kept.etag) for name, value in scope["headers"]
        ):
            start: Message = {
                "type": "http.response.start",
                "status": 304,
                "headers": [(b"etag", kept.etag.encode()), *self._headers],
            }
            await send(start)
            await send({"type": "http.response.body", "body": b""})
            return True
        # A copy: servers and middleware may add headers to the message they are given.
        await send({**kept.start, "headers": list(kept.start["headers"])})
        await send(kept.body)
        return True

    async def _render(self, entry: CredentialEntry) -> _Kept:
        hub, identity = self._hub, entry.identity
        entry.rendered[_KEY] = None
        user = await users.get_user(hub, identity.name) if identity.kind == "user" else None
        kept = _Kept(hub, entry, user, self._headers)
        # Only if no event cleared it while the rows were read.
        if _KEY in entry.rendered:
            entry.rendered[_KEY] = kept
        return kept


def _bearer(scope: Scope) -> str | None:
    for name, value in scope["headers"]:
        if name == b"authorization":
            kind, _, token = value.partition(b" ")
            if kind.lower() in (b"token", b"bearer"):
                return str(token.strip().decode("latin-1"))
            return None
    return None


def fast_paths(hub: HubContext) -> dict[str, FastPath]:
    """By path below `<base_url>hub`; hit before routing."""
    return {"/api/user": Me(hub)}
