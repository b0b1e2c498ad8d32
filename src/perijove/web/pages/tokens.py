"""The token page: request one with chosen scopes and an expiry, see it once, revoke it."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from http import HTTPStatus
from typing import Any

from starlette.datastructures import FormData
from starlette.requests import Request
from starlette.responses import Response

from perijove.domain.errors import Forbidden, Invalid, NotFound
from perijove.domain.ids import TokenId
from perijove.domain.scope_table import SELF
from perijove.services.identity import Identity
from perijove.services.tokens import TokenRow, create_token, list_tokens, revoke_token
from perijove.web.pages.view import Pages, text

_EXPIRATIONS = (
    ("An hour", 3600),
    ("A day", 86_400),
    ("A week", 604_800),
    ("30 days", 2_592_000),
    ("90 days", 7_776_000),
    ("A year", 31_536_000),
)
_DEFAULT_SECONDS = 2_592_000


@dataclass(frozen=True, slots=True)
class Typed:
    """The form as it was sent, to show it again."""

    note: str = ""
    expires_in: str = str(_DEFAULT_SECONDS)
    permissions: str = "all"
    scopes: frozenset[str] = frozenset()
    more_scopes: str = ""

    def requested(self) -> list[str] | None:
        """None: everything the owner may do. Raises `Invalid` when nothing was chosen."""
        if self.permissions != "some":
            return None
        chosen = sorted({*self.scopes, *self.more_scopes.replace(",", " ").split()})
        if not chosen:
            raise Invalid("Choose at least one permission, or “Everything I may do”.", field="scopes")
        return chosen


@dataclass(frozen=True, slots=True)
class ScopeChoice:
    value: str
    name: str
    label: str


@dataclass(frozen=True, slots=True)
class ScopeGroup:
    title: str
    slug: str
    scopes: list[ScopeChoice] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class TokenView:
    id: TokenId
    note: str
    inherits: bool
    scopes: tuple[str, ...]
    created: datetime
    last_activity: datetime | None
    expires_at: datetime | None


@dataclass(frozen=True, slots=True)
class ClientView:
    """An application that holds OAuth tokens of this person; revoking one token revokes all of it."""

    token_id: TokenId
    description: str
    scopes: tuple[str, ...]
    created: datetime
    last_activity: datetime | None


async def show(pages: Pages, request: Request) -> Response:
    return await _page(pages, request, await pages.user(request), Typed())


async def create(pages: Pages, request: Request) -> Response:
    identity = await pages.user(request)
    typed = _typed(await pages.form(request))
    try:
        seconds = _seconds(typed.expires_in)
        made = await create_token(
            pages.hub,
            identity.name,
            note=typed.note or "Requested on the token page",
            actor=identity.name,
            scopes=typed.requested(),
            expires_in_seconds=seconds,
        )
    except (Invalid, Forbidden) as error:
        return await _page(pages, request, identity, typed, status=HTTPStatus.BAD_REQUEST, form_error=error.message)
    # Answered with the page itself, not with a redirect: the token is nowhere else and must not be in a URL.
    return await _page(pages, request, identity, Typed(), status=HTTPStatus.CREATED, new_token=made.token)


async def revoke(pages: Pages, request: Request) -> Response:
    identity = await pages.user(request)
    form = await pages.form(request)
    chosen = text(form, "token")
    if not chosen.isascii() or not chosen.isdigit():
        raise NotFound("No such token.")
    await revoke_token(pages.hub, identity.name, TokenId(int(chosen)), actor=identity.name)
    return pages.redirect(f"{pages.prefix}token", status=HTTPStatus.SEE_OTHER)


def _typed(form: FormData) -> Typed:
    return Typed(
        note=text(form, "note").strip(),
        expires_in=text(form, "expires_in"),
        permissions=text(form, "permissions", "all"),
        scopes=frozenset(value for value in form.getlist("scopes") if isinstance(value, str)),
        more_scopes=text(form, "more_scopes"),
    )


def _seconds(typed: str) -> int | None:
    if not typed:
        return None
    if not typed.isascii() or not typed.isdigit() or int(typed) == 0:
        raise Invalid("Choose when the token expires.", field="expires_in")
    return int(typed)


async def _page(
    pages: Pages, request: Request, identity: Identity, typed: Typed, *, status: int = HTTPStatus.OK, **more: Any
) -> Response:
    rows = await list_tokens(pages.hub, identity.name)
    return await pages.render(
        request,
        "token.html",
        status=status,
        here="token",
        typed=typed,
        expirations=expirations(pages.hub.options.token_expires_max),
        scope_groups=scope_groups(pages, identity),
        # A server's own token is not listed: it lives and dies with the server.
        tokens=[_token(row) for row in rows if row.client_id is None and row.server_id is None],
        oauth_clients=_clients(rows),
        **more,
    )


def expirations(longest: timedelta | None) -> list[dict[str, Any]]:
    """Choices of the form; with a maximum, that is the longest of them and "never" is none."""
    limit = longest.total_seconds() if longest else None
    choices = [
        {"label": label, "seconds": seconds} for label, seconds in _EXPIRATIONS if limit is None or seconds <= limit
    ]
    if limit is None:
        return [*choices, {"label": "Never", "seconds": ""}]
    return choices or [{"label": "As late as this hub allows", "seconds": int(limit)}]


def scope_groups(pages: Pages, identity: Identity) -> list[ScopeGroup]:
    """What this person may pass on: on their own account, and on everybody's."""
    own, everybody = ScopeGroup("Your own account and servers", "own"), ScopeGroup("Administration", "all")
    own_bases = {base for name in SELF for base in pages.hub.identities.catalogue.descendants(name)}
    for base, definition in pages.hub.identities.catalogue.definitions.items():
        grant = identity.scopes.grant(base)
        if grant is None:
            continue
        if grant.everything:
            everybody.scopes.append(ScopeChoice(base, base, definition.description))
        if base in own_bases and grant.for_user(identity.name, identity.groups):
            own.scopes.append(ScopeChoice(f"{base}!user={identity.name}", f"{base}!user", definition.description))
    return [group for group in (own, everybody) if group.scopes]


def _token(row: TokenRow) -> TokenView:
    inherits = "inherit" in row.scopes
    return TokenView(row.id, row.note, inherits, row.scopes, row.created, row.last_activity, row.expires_at)


def _clients(rows: list[TokenRow]) -> list[ClientView]:
    """One line for each application, however many browsers it has tokens for."""
    found: dict[str, ClientView] = {}
    for row in rows:
        if row.client_id is None or row.server_id is not None:
            continue
        before = found.get(row.client_id)
        seen = [moment for moment in (before and before.last_activity, row.last_activity) if moment]
        found[row.client_id] = ClientView(
            token_id=row.id,
            description=row.client_description,
            scopes=tuple(sorted({*row.scopes, *(before.scopes if before else ())})),
            created=min(row.created, before.created) if before else row.created,
            last_activity=max(seen, default=None),
        )
    return list(found.values())
