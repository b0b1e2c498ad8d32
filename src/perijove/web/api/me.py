"""`GET /user`, which every single-user server asks for each visitor: the hottest call there is.

A token's answer is kept, as bytes, beside its remembered identity. It goes when the identity goes, when one
of the owner's servers changes, and when activity moved a time in it; nothing is asked of the database then.
Cookies take the ordinary way: they need the XSRF rule.
"""

import hashlib
from datetime import datetime
from typing import Any

import msgspec
from starlette.types import Message, Receive, Scope, Send

from perijove.services import users
from perijove.services.context import HubContext
from perijove.services.identity import Identity, token_entry
from perijove.services.identity_cache import CredentialEntry
from perijove.services.registry import ServiceRow
from perijove.services.user_list import UserRow
from perijove.web.api.endpoint import matches
from perijove.web.api.fast import bearer, fixed_headers
from perijove.web.models import UserModels, service_model

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
    """The fast path of `GET /user`."""

    def __init__(self, hub: HubContext) -> None:
        self._hub = hub
        self._headers = fixed_headers(hub)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> Receive | None:
        token = bearer(scope)
        if token is None or not await self._answer(token, scope, send):
            return receive
        return None

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
