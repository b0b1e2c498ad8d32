"""Shares and share codes: granting, listing and revoking access to servers, for owners and for visitors."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

import msgspec
from starlette.responses import Response

from perijove.domain.errors import Invalid
from perijove.domain.names import escape
from perijove.services import share_codes, share_grants
from perijove.services.context import HubContext
from perijove.services.share_codes import ShareCodeRow
from perijove.services.share_grants import SharedServer, ShareRow, Target
from perijove.web.api.endpoint import Call, Endpoint, Operation
from perijove.web.api.pagination import read_page, with_pagination
from perijove.web.requests import read_optional_json

Row = TypeVar("Row", ShareRow, ShareCodeRow)


class ShareRequest(msgspec.Struct, forbid_unknown_fields=True):
    user: str | None = None
    group: str | None = None
    scopes: list[str] | None = None

    @property
    def target(self) -> Target:
        if (self.user is None) == (self.group is None):
            raise Invalid("Specify exactly one of `user` or `group`")
        return Target("user", self.user) if self.user is not None else Target("group", self.group or "")


class CodeRequest(msgspec.Struct, forbid_unknown_fields=True):
    scopes: list[str] | None = None
    expires_in: int = share_codes.DEFAULT_SECONDS


# -- models


def server_part(hub: HubContext, server: SharedServer) -> dict[str, Any]:
    addresses = hub.addresses
    return {
        "user": {"name": server.owner},
        "name": server.name,
        "url": addresses.server_url(server.owner, server.name),
        "full_url": addresses.public_server_url(server.owner, server.name) or None,
        "ready": server.ready,
    }


def share_model(hub: HubContext, share: ShareRow) -> dict[str, Any]:
    target = share.target
    return {
        "server": server_part(hub, share.server),
        "scopes": share.scopes,
        "user": {"name": target.name} if target.kind == "user" else None,
        "group": {"name": target.name} if target.kind == "group" else None,
        "kind": target.kind,
        "created_at": share.created,
    }


def code_model(hub: HubContext, code: ShareCodeRow) -> dict[str, Any]:
    return {
        "server": server_part(hub, code.server),
        "scopes": code.scopes,
        "id": f"sc_{code.id}",
        "created_at": code.created,
        "expires_at": code.expires_at,
        "exchange_count": code.exchange_count,
        "last_exchanged_at": code.last_exchanged,
    }


# -- the owner's side


async def list_shares(call: Call) -> Response:
    return await _list(call, share_grants.list_of_owner, share_model, call.path["user"])


async def list_server_shares(call: Call) -> Response:
    return await _list(call, share_grants.list_of_owner, share_model, call.path["user"], _name(call))


async def grant_share(call: Call) -> Response:
    wanted = await read_optional_json(call.request, ShareRequest, ShareRequest())
    hub, owner, server, target = call.hub, call.path["user"], _name(call), wanted.target
    scopes = share_grants.scopes_for(hub, owner, server, wanted.scopes)
    await share_grants.require_server(hub, owner, server)
    await share_grants.require_held(hub, call.identity, scopes)
    await share_grants.require_nameable(hub, call.identity, target)
    made = await share_grants.grant(hub, owner, server, target, scopes, actor=call.actor)
    return call.json(share_model(hub, made))


async def revoke_share(call: Call) -> Response:
    wanted = await read_optional_json(call.request, ShareRequest, ShareRequest())
    hub, owner, server = call.hub, call.path["user"], _name(call)
    scopes = share_grants.scopes_for(hub, owner, server, wanted.scopes) if wanted.scopes else None
    left = await share_grants.revoke(hub, owner, server, wanted.target, scopes, actor=call.actor)
    return call.json(share_model(hub, left) if left is not None else {})


async def revoke_shares(call: Call) -> Response:
    await share_grants.revoke_all(call.hub, call.path["user"], _name(call), actor=call.actor)
    return call.empty(204)


# -- codes


async def list_codes(call: Call) -> Response:
    return await _list(call, share_codes.list_codes, code_model, call.path["user"])


async def list_server_codes(call: Call) -> Response:
    return await _list(call, share_codes.list_codes, code_model, call.path["user"], _name(call))


async def issue_code(call: Call) -> Response:
    wanted = await read_optional_json(call.request, CodeRequest, CodeRequest())
    hub, owner, server = call.hub, call.path["user"], _name(call)
    scopes = share_grants.scopes_for(hub, owner, server, wanted.scopes)
    await share_grants.require_held(hub, call.identity, scopes)
    made = await share_codes.issue(
        hub,
        owner,
        server,
        scopes,
        expires_in_seconds=wanted.expires_in,
        actor=call.actor,
    )
    accept = f"{hub.hub_prefix}accept-share?code={escape(made.code)}"
    origin = hub.addresses.hub_origin
    links = {
        "code": made.code,
        "accept_url": accept,
        "full_accept_url": f"{origin}{accept}" if origin else None,
    }
    return call.json({**code_model(hub, made.row), **links})


async def revoke_code(call: Call) -> Response:
    await share_codes.revoke_codes(
        call.hub,
        call.path["user"],
        _name(call),
        code=call.query("code"),
        code_id=call.query("id"),
        actor=call.actor,
    )
    return call.empty(204)


# -- the visitor's side


async def list_shared(call: Call) -> Response:
    return await _list(call, share_grants.list_for, share_model, _visitor(call))


async def read_shared(call: Call) -> Response:
    share = await share_grants.get_share(call.hub, call.path["owner"], _name(call), _visitor(call))
    return call.json(share_model(call.hub, share))


async def leave_shared(call: Call) -> Response:
    await share_grants.leave(call.hub, call.path["owner"], _name(call), _visitor(call), actor=call.actor)
    return call.empty(204)


async def _list(
    call: Call,
    find: Callable[..., Awaitable[tuple[Sequence[Row], int]]],
    model: Callable[[HubContext, Row], dict[str, Any]],
    *whose: object,
) -> Response:
    page = read_page(call)
    found, total = await find(call.hub, *whose, offset=page.offset, limit=page.limit)
    return call.json(with_pagination(call, page, [model(call.hub, row) for row in found], total))


def _visitor(call: Call) -> Target:
    return Target("user", call.path["user"]) if "user" in call.path else Target("group", call.path["group"])


def _name(call: Call) -> str:
    return call.path.get("server", "")


# -- paths


def _with_default(path: str, operations: dict[str, Operation]) -> Sequence[Endpoint]:
    """A server's path, and that of the default server, whose name is empty."""
    return (Endpoint(f"{path}/", **operations), Endpoint(f"{path}/{{server}}", **operations))


_SHARES = {
    "GET": Operation(list_server_shares, "read:shares!server"),
    "POST": Operation(grant_share, "shares!server"),
    "PATCH": Operation(revoke_share, "shares!server"),
    "DELETE": Operation(revoke_shares, "shares!server"),
}
_CODES = {
    "GET": Operation(list_server_codes, "read:shares!server"),
    "POST": Operation(issue_code, "shares!server"),
    "DELETE": Operation(revoke_code, "shares!server"),
}


def _shared(kind: str) -> dict[str, Operation]:
    return {
        "GET": Operation(read_shared, f"read:{kind}s:shares!{kind}"),
        "DELETE": Operation(leave_shared, f"{kind}s:shares!{kind}"),
    }


ENDPOINTS = [
    Endpoint("/shares/{user}", GET=Operation(list_shares, "read:shares!user")),
    *_with_default("/shares/{user}", _SHARES),
    Endpoint("/share-codes/{user}", GET=Operation(list_codes, "read:shares!user")),
    *_with_default("/share-codes/{user}", _CODES),
    Endpoint("/users/{user}/shared", GET=Operation(list_shared, "read:users:shares!user")),
    *_with_default("/users/{user}/shared/{owner}", _shared("user")),
    Endpoint("/groups/{group}/shared", GET=Operation(list_shared, "read:groups:shares!group")),
    *_with_default("/groups/{group}/shared/{owner}", _shared("group")),
]
