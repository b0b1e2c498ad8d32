"""Who is calling: a token or a login session becomes an `Identity`, from memory when it may.

A token is cut to what its owner holds each time the owner changes (`domain/scopes.token_scopes`), so
losing a role shrinks every token at once. When the database does not answer, these raise
`Unavailable`: a caller is never told "not you" for want of knowing.
"""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from sqlalchemy import Row, select

from perijove.domain import scopes as scope_rules
from perijove.domain.errors import Forbidden, NotFound, Unauthenticated
from perijove.domain.names import full_name
from perijove.domain.scopes import Owner, ScopeSet
from perijove.services import imported_hashes, refresh
from perijove.services.identity_cache import CredentialEntry, Identity, IdentityCache, OwnerEntry
from perijove.services.owners import groups_of, owner_entry
from perijove.services.secrets import MAX_TOKEN_LENGTH, hash_session, hash_token
from perijove.store import schema

if TYPE_CHECKING:
    from perijove.services.context import HubContext

__all__ = [
    "Identity",
    "IdentityCache",
    "allows",
    "identify_session",
    "identify_token",
    "identify_user",
    "require",
    "token_entry",
]

_Load = Callable[["HubContext", str], Awaitable[CredentialEntry | None]]


async def identify_token(hub: "HubContext", token: str) -> Identity | None:
    """The owner of an API or OAuth token. None: unknown, expired, revoked or longer than 64 characters."""
    entry = await token_entry(hub, token)
    return entry.identity if entry else None


async def token_entry(hub: "HubContext", token: str) -> CredentialEntry | None:
    """`identify_token` with room for what the web layer wants to remember along."""
    if not token or len(token) > MAX_TOKEN_LENGTH:
        return None
    hashed = hash_token(token)
    entry = await _current(hub, hashed, _load_token)
    if entry is None and await imported_hashes.adopt_token(hub, token):
        entry = await _current(hub, hashed, _load_token)
    return entry


async def identify_session(hub: "HubContext", secret: str) -> Identity | None:
    """The user behind the (already unsigned) secret of a login cookie."""
    entry = await _current(hub, hash_session(secret), _load_session)
    return entry.identity if entry else None


async def identify_user(hub: "HubContext", name: str) -> Identity:
    """What a user may do in full, whoever asks. Raises `NotFound`."""
    return (await owner_entry(hub, "user", name)).identity


async def _current(hub: "HubContext", hashed: str, load: _Load) -> CredentialEntry | None:
    """The credential, if it has not expired and the authenticator (asked when it is time) still agrees."""
    entry = hub.identities.credential(hashed) or await load(hub, hashed)
    if entry is None:
        return None
    now = hub.store.now()
    if entry.expires_at is not None and entry.expires_at <= now:
        return None
    refresh_at = entry.owner.refresh_at
    if refresh_at is None or refresh_at > now:
        return entry
    if not await refresh.refresh_user(hub, entry.identity.name):
        return None
    entry.owner.refresh_at = hub.store.now() + timedelta(seconds=hub.authenticator.auth_refresh_age_seconds)
    # If the authenticator changed the user, this entry was forgotten meanwhile.
    return hub.identities.credential(hashed) or await load(hub, hashed)


async def allows(hub: "HubContext", identity: Identity, scope: str) -> bool:
    """Whether `scope` (`base` or `base!filter=value`) is covered, resolving group filters from rows."""
    if identity.scopes.covers(scope):
        return True
    wanted = scope_rules.parse(scope)
    grant = identity.scopes.grant(wanted.base)
    if grant is None or not grant.group or wanted.kind not in {"user", "server"}:
        return False
    user = (wanted.value or "").partition("/")[0] if wanted.kind == "server" else wanted.value or ""
    async with hub.store.read() as connection:
        return grant.covers(wanted, await groups_of(connection, [user]))


async def require(hub: "HubContext", identity: Identity | None, *scopes: str) -> Identity:
    """Return the identity if it holds any of `scopes`.

    Raises `Unauthenticated` without identity; `NotFound` when a filtered scope was asked for and the
    caller holds the base with another filter (hides existence); `Forbidden` otherwise.
    """
    if identity is None:
        raise Unauthenticated("Missing or invalid credentials.")
    if not scopes:
        return identity
    for scope in scopes:
        if await allows(hub, identity, scope):
            return identity
    wanted = [scope_rules.parse(scope) for scope in scopes]
    if any(scope.kind and identity.scopes.grant(scope.base) for scope in wanted):
        raise NotFound("No access to resources or resources not found")
    bases = ", ".join(dict.fromkeys(scope.base for scope in wanted))
    raise Forbidden(f"Action is not authorized with current scopes; requires any of [{bases}]")


# -- loading


async def _load_token(hub: "HubContext", hashed: str) -> CredentialEntry | None:
    with hub.identities.reading() as reading:
        async with hub.store.read() as connection:
            row = (await connection.execute(TOKEN_QUERY.where(schema.tokens.c.hashed == hashed))).first()
        if row is None or _over(hub, row.expires_at):
            return None
        try:
            if row.user_name is not None:
                owner = await owner_entry(hub, "user", row.user_name)
            else:
                owner = await owner_entry(hub, "service", row.service_name)
        except NotFound:  # deleted since the first query
            return None
        entry = await _token_entry(hub, row, owner)
        hub.identities.put_credential(hashed, entry, reading)
    return entry


async def _token_entry(hub: "HubContext", row: Row[Any], owner: OwnerEntry) -> CredentialEntry:
    whose = token_owner(owner, row)
    depends: frozenset[str] = frozenset()
    membership: dict[str, tuple[str, ...]] = {}
    catalogue = hub.identities.catalogue
    if "inherit" not in row.scopes:
        wanted = ScopeSet(catalogue.expand(scope_rules.known_only(catalogue, row.scopes), whose))
        if wanted.has_group_filters or owner.held.has_group_filters:
            depends = wanted.users_named() | owner.held.users_named()
            async with hub.store.read() as connection:
                membership = await groups_of(connection, depends)
    scopes = scope_rules.token_scopes(catalogue, row.scopes, whose, owner.held, membership)
    identity = replace(
        owner.identity,
        scopes=scopes.union(ScopeSet(scope_rules.identify_scopes(whose))),
        listed_scopes=scopes.texts(),
        token_id=row.id,
        browser_session=row.browser_session,
        client_id=row.client_id,
        counts_as_activity=row.server_id is None,
    )
    return CredentialEntry(identity=identity, owner=owner, expires_at=row.expires_at, depends=depends)


def token_owner(owner: OwnerEntry, row: Row[Any]) -> Owner:
    """Whom the bare filters of this token's scopes mean: `row` carries its client's server or service."""
    server = full_name(row.client_user, row.client_server) if row.client_user is not None else None
    return Owner(
        kind=owner.identity.kind,
        name=owner.identity.name,
        client_server=server,
        client_service=row.client_service,
    )


async def _load_session(hub: "HubContext", hashed: str) -> CredentialEntry | None:
    with hub.identities.reading() as reading:
        sessions, users = schema.sessions.c, schema.users.c
        async with hub.store.read() as connection:
            statement = (
                select(sessions.id, sessions.browser_session, sessions.expires_at, users.name)
                .join(schema.users, users.id == sessions.user_id)
                .where(sessions.hashed == hashed)
            )
            row = (await connection.execute(statement)).first()
        if row is None or _over(hub, row.expires_at):
            return None
        try:
            owner = await owner_entry(hub, "user", row.name)
        except NotFound:
            return None
        identity = replace(owner.identity, session_id=row.id, browser_session=row.browser_session)
        entry = CredentialEntry(identity=identity, owner=owner, expires_at=row.expires_at)
        hub.identities.put_credential(hashed, entry, reading)
    return entry


def _over(hub: "HubContext", expires_at: datetime | None) -> bool:
    return expires_at is not None and expires_at <= hub.store.now()


_owning_users = schema.users.alias("owning_users")
_client_services = schema.services.alias("client_services")

# A token with its owner's name and the server or service of the client it was issued to.
TOKEN_QUERY = (
    select(
        schema.tokens,
        schema.users.c.name.label("user_name"),
        schema.services.c.name.label("service_name"),
        _owning_users.c.name.label("client_user"),
        schema.servers.c.name.label("client_server"),
        _client_services.c.name.label("client_service"),
        schema.oauth_clients.c.description.label("client_description"),
    )
    .outerjoin(schema.users, schema.users.c.id == schema.tokens.c.user_id)
    .outerjoin(schema.services, schema.services.c.id == schema.tokens.c.service_id)
    .outerjoin(schema.oauth_clients, schema.oauth_clients.c.id == schema.tokens.c.client_id)
    .outerjoin(schema.servers, schema.servers.c.id == schema.oauth_clients.c.server_id)
    .outerjoin(_owning_users, _owning_users.c.id == schema.servers.c.user_id)
    .outerjoin(_client_services, _client_services.c.id == schema.oauth_clients.c.service_id)
)
