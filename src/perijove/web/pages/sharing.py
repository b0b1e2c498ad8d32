"""`/hub/share/{user}[/{server}]`: with whom a server is shared, and sharing it, by name or by a link.

What may be seen and done here is what the REST API allows with the same scopes. The page of a server answers to one
POST, whose field `action` says what to do: a path for each would be the name of somebody's server.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus
from typing import Any

from starlette.datastructures import FormData
from starlette.requests import Request
from starlette.responses import Response

from perijove.domain import names
from perijove.domain.errors import Forbidden, HubError, Invalid, NotFound
from perijove.services import share_codes, share_grants
from perijove.services.identity import Identity
from perijove.services.server_rows import find
from perijove.services.share_codes import ShareCodeRow
from perijove.services.share_grants import NAMING, Target, TargetKind
from perijove.web.pages.pager import pager, read_offset, with_offset
from perijove.web.pages.server_view import path_tail
from perijove.web.pages.view import Pages, chosen, text
from perijove.web.requests import host, scheme

PAGE = 50
_EXPIRATIONS = (
    ("An hour", 3600),
    ("A day", share_codes.DEFAULT_SECONDS),
    ("A week", 604_800),
    ("30 days", 2_592_000),
    ("A year", share_codes.LONGEST_SECONDS),
)


@dataclass(frozen=True, slots=True)
class CodeView:
    id: str
    created: datetime
    expires_at: datetime | None
    accepted: int


@dataclass(frozen=True, slots=True)
class _Shared:
    """The server that a page is about."""

    owner: str
    name: str

    @property
    def full_name(self) -> str:
        return names.full_name(self.owner, self.name)


def share_url(pages: Pages, owner: str, server: str) -> str:
    return f"{pages.prefix}share/{path_tail(owner, server)}"


async def may_share(pages: Pages, identity: Identity, owner: str, server: str) -> bool:
    return await pages.may(identity, f"shares!server={names.full_name(owner, server)}")


async def show(pages: Pages, request: Request) -> Response:
    identity = await pages.user(request)
    return await _page(pages, request, identity, await _server(pages, request, identity, "read:shares"))


async def change(pages: Pages, request: Request) -> Response:
    """POST: one of `_ACTIONS`."""
    identity = await pages.user(request)
    form = await pages.form(request)
    server = await _server(pages, request, identity, "shares")
    action = chosen(_ACTIONS, form)
    try:
        made = await action(pages, identity, server, form)
    except (Invalid, Forbidden, NotFound) as error:
        return await _page(
            pages, request, identity, server, status=HTTPStatus.BAD_REQUEST, **_typed(form), **_problem(form, error)
        )
    if made is None:
        return pages.redirect(share_url(pages, server.owner, server.name), status=HTTPStatus.SEE_OTHER)
    # Answered with the page itself, not with a redirect: the link is nowhere else and must not be in another one.
    return await _page(pages, request, identity, server, status=HTTPStatus.CREATED, new_link=made)


async def _server(pages: Pages, request: Request, identity: Identity, scope: str) -> _Shared:
    """Raises `NotFound`."""
    server = _Shared(request.path_params["user"], request.path_params.get("server", ""))
    await pages.require_server(identity, scope, server.owner, server.name)
    await share_grants.require_server(pages.hub, server.owner, server.name)
    return server


# -- actions; each answers with the link it made, if it made one


async def _grant(pages: Pages, identity: Identity, server: _Shared, form: FormData) -> None:
    target = _target(form)
    if not target.name:
        raise Invalid(f"Name a {target.kind}.", field="name")
    if target == Target("user", server.owner):
        raise Invalid(f"This server belongs to {server.owner}.", field="name")
    hub = pages.hub
    scopes = share_grants.scopes_for(hub, server.owner, server.name, None)
    await share_grants.require_held(hub, identity, scopes)
    await share_grants.require_nameable(hub, identity, target)
    await share_grants.grant(hub, server.owner, server.name, target, scopes, actor=identity.name)


async def _revoke(pages: Pages, identity: Identity, server: _Shared, form: FormData) -> None:
    await share_grants.revoke(pages.hub, server.owner, server.name, _target(form), None, actor=identity.name)


async def _revoke_all(pages: Pages, identity: Identity, server: _Shared, _form: FormData) -> None:
    """The links too: who has one could come back."""
    await share_codes.revoke_codes(pages.hub, server.owner, server.name, actor=identity.name)
    await share_grants.revoke_all(pages.hub, server.owner, server.name, actor=identity.name)


async def _make_link(pages: Pages, identity: Identity, server: _Shared, form: FormData) -> str:
    typed = text(form, "expires_in")
    if typed not in {str(seconds) for _, seconds in _EXPIRATIONS}:
        raise Invalid("Choose when the link expires.", field="expires_in")
    hub = pages.hub
    scopes = share_grants.scopes_for(hub, server.owner, server.name, None)
    await share_grants.require_held(hub, identity, scopes)
    made = await share_codes.issue(
        hub, server.owner, server.name, scopes, expires_in_seconds=int(typed), actor=identity.name
    )
    return f"{pages.prefix}accept-share?code={names.escape(made.code)}"


async def _revoke_link(pages: Pages, identity: Identity, server: _Shared, form: FormData) -> None:
    code_id = text(form, "link")
    if not code_id:
        raise Invalid("Which link?", field="link")
    await share_codes.revoke_codes(pages.hub, server.owner, server.name, code_id=code_id, actor=identity.name)


_Action = Callable[[Pages, Identity, _Shared, FormData], Awaitable[str | None]]
_ACTIONS: dict[str, _Action] = {
    "grant": _grant,
    "revoke": _revoke,
    "revoke-all": _revoke_all,
    "make-link": _make_link,
    "revoke-link": _revoke_link,
}


def _target(form: FormData) -> Target:
    kind = text(form, "kind")
    if kind not in NAMING:
        raise Invalid("Choose a user or a group.", field="kind")
    return Target(kind, text(form, "name").strip())


def _typed(form: FormData) -> dict[str, Any]:
    return {"typed_kind": text(form, "kind"), "typed_name": text(form, "name")}


def _problem(form: FormData, error: HubError) -> dict[str, Any]:
    """Said at the form it is about."""
    return {"grant_error" if text(form, "action") == "grant" else "share_error": error.message}


# -- the page


async def _page(
    pages: Pages, request: Request, identity: Identity, server: _Shared, *, status: int = HTTPStatus.OK, **more: Any
) -> Response:
    hub, page = pages.hub, share_url(pages, server.owner, server.name)
    offset, link_offset = read_offset(request.query_params), read_offset(request.query_params, "links")
    shares, total = await share_grants.list_of_owner(hub, server.owner, server.name, offset=offset, limit=PAGE)
    codes, code_total = await share_codes.list_codes(hub, server.owner, server.name, offset=link_offset, limit=PAGE)
    if link := more.pop("new_link", None):
        more["new_link"] = f"{_origin(pages, request)}{link}"
    may = await may_share(pages, identity, server.owner, server.name)
    return await pages.render(
        request,
        "share.html",
        status=status,
        here="home",
        page_url=page,
        owner=server.owner,
        own=server.owner == identity.name,
        server_name=server.name,
        server_title=await _title(pages, server),
        server_link=_server_link(pages, request, server),
        may_change=may,
        kinds=[kind for kind in NAMING if may and _may_name(identity, kind)],
        expirations=_EXPIRATIONS,
        default_expiration=share_codes.DEFAULT_SECONDS,
        shares=shares,
        shares_pager=pager(len(shares), total, offset=offset, limit=PAGE, url=with_offset(page)),
        links=[_code_view(code) for code in codes],
        links_pager=pager(len(codes), code_total, offset=link_offset, limit=PAGE, url=with_offset(page, "links")),
        **more,
    )


async def _title(pages: Pages, server: _Shared) -> str:
    """Empty for a default server, which the page calls what its reader does."""
    async with pages.hub.store.read() as connection:
        row = await find(connection, server.owner, server.name)
    return (row.display_name if row else "") or server.name


def _code_view(code: ShareCodeRow) -> CodeView:
    return CodeView(f"sc_{code.id}", code.created, code.expires_at, code.exchange_count)


def _may_name(identity: Identity, kind: TargetKind) -> bool:
    """Whether there may be anybody to name: everybody may name themselves, which helps nobody."""
    grant = identity.scopes.grant(NAMING[kind])
    return grant is not None and bool(grant.everything or grant.group or grant.user - {identity.name})


def _origin(pages: Pages, request: Request) -> str:
    """Where people open the hub: what the operator said, else where this request came to."""
    return pages.hub.addresses.hub_origin or f"{scheme(request)}://{host(request)}"


def _server_link(pages: Pages, request: Request, server: _Shared) -> str:
    """What to send to those it is shared with."""
    addresses = pages.hub.addresses
    path = addresses.server_url(server.owner, server.name)
    return addresses.public_server_url(server.owner, server.name) or f"{_origin(pages, request)}{path}"
