"""Tokens of a user: list, create, read, revoke."""

import re

import msgspec
from starlette.responses import Response

from perijove.domain.errors import Forbidden, HubError, LimitReached, NotFound, Unauthenticated, Unavailable
from perijove.domain.ids import TokenId
from perijove.services import identity as identities
from perijove.services import login, tokens
from perijove.services.identity import Identity
from perijove.web.api.endpoint import Call, Endpoint, Operation
from perijove.web.identity import identify
from perijove.web.models import token_model
from perijove.web.requests import facts, read_optional_json

_ID = re.compile(r"a([0-9]{1,18})")


class NewToken(msgspec.Struct):
    """JupyterHub reads past keys that it does not know, and so clients send some."""

    note: str | None = None
    expires_in: int | None = None
    roles: list[str] | None = None
    scopes: list[str] | None = None
    # Credentials for the authenticator, from callers without any of the hub's.
    auth: dict[str, str] | None = None


async def list_tokens(call: Call) -> Response:
    found = await tokens.list_tokens(call.hub, call.path["user"])
    return call.json({"api_tokens": [token_model(token) for token in found]})


async def create_token(call: Call) -> Response:
    """Callers without credentials of the hub may log in with `auth`; every failure of theirs is a 403."""
    wanted = await read_optional_json(call.request, NewToken, NewToken())
    user = call.path["user"]
    requester = await _requester(call, wanted.auth)
    try:
        await identities.require(call.hub, requester, f"tokens!user={user}")
        identities_of_user = await identities.identify_user(call.hub, user)
    except NotFound as error:
        raise Forbidden(f"No such user, or its tokens are not yours: {user}") from error
    note = wanted.note or "Requested via api"
    if not wanted.note and (requester.kind, requester.name) != ("user", identities_of_user.name):
        note += f" by {requester.kind} {requester.name}"
    made = await tokens.create_token(
        call.hub,
        user,
        note=note,
        actor=requester.name if requester.kind == "user" else f"service:{requester.name}",
        scopes=wanted.scopes,
        roles=wanted.roles,
        expires_in_seconds=wanted.expires_in,
    )
    return call.json({**token_model(made.row), "token": made.token}, 201)


async def _requester(call: Call, auth: dict[str, str] | None) -> Identity:
    hub = call.hub
    try:
        identity = await identify(hub, call.request)
    except Forbidden:
        if auth is None:
            raise
        identity = None
    if identity is not None:
        return identity
    if auth is None:
        raise Unauthenticated("Missing or invalid credentials.")
    try:
        model = await login.authenticate(hub, auth, facts(hub, call.request))
        return await identities.identify_user(hub, model.name)
    except (LimitReached, Unavailable):
        raise
    except HubError as error:
        raise Forbidden(login.REFUSED) from error


async def read_token(call: Call) -> Response:
    return call.json(token_model(await tokens.get_token(call.hub, call.path["user"], _token_id(call))))


async def revoke_token(call: Call) -> Response:
    await tokens.revoke_token(call.hub, call.path["user"], _token_id(call), actor=call.actor)
    return call.empty(204, media_type="text/plain")


def _token_id(call: Call) -> TokenId:
    match = _ID.fullmatch(call.path["token"])
    if match is None:
        raise NotFound(f"No such token: {call.path['token'][:40]}")
    return TokenId(int(match[1]))


ENDPOINTS = [
    Endpoint(
        "/users/{user}/tokens",
        GET=Operation(list_tokens, "read:tokens!user"),
        POST=Operation(create_token, public=True),
    ),
    Endpoint(
        "/users/{user}/tokens/{token}",
        GET=Operation(read_token, "read:tokens!user"),
        DELETE=Operation(revoke_token, "tokens!user"),
    ),
]
