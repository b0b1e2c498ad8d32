"""API and OAuth tokens: random, stored as hashes, each with scopes fixed at issue and cut at use."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal

from sqlalchemy import Row, bindparam, delete, func, insert, select

from perijove.domain import roles as role_rules
from perijove.domain import scopes as scope_rules
from perijove.domain.errors import Invalid, NotFound
from perijove.domain.events import Event, Kind
from perijove.domain.ids import ServerId, TokenId, UserId
from perijove.domain.names import full_name
from perijove.domain.rates import WINDOW_SECONDS, too_many
from perijove.domain.scopes import Owner, ScopeSet
from perijove.services import throttle
from perijove.services.audit import record
from perijove.services.identity import TOKEN_QUERY, token_owner
from perijove.services.identity_cache import OwnerEntry
from perijove.services.owners import groups_of, owner_entry
from perijove.services.secrets import MAX_TOKEN_LENGTH, hash_token, new_token
from perijove.store import schema

if TYPE_CHECKING:
    from perijove.services.context import HubContext
    from perijove.store.database import Transaction

__all__ = [
    "MAX_TOKEN_LENGTH",
    "NewToken",
    "ServerToken",
    "TokenRow",
    "create_token",
    "get_token",
    "hash_token",
    "issue_server_tokens",
    "list_tokens",
    "new_token",
    "purge_expired",
    "revoke_server_tokens",
    "revoke_token",
]

HUB_DESCRIPTION = "JupyterHub"
MAX_NOTE = 1000
MAX_SCOPES = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenRow:
    id: TokenId
    owner_kind: Literal["user", "service"]
    owner: str
    # As stored; `effective` is what they mean now.
    scopes: tuple[str, ...]
    effective: tuple[str, ...]
    note: str
    created: datetime
    last_activity: datetime | None
    expires_at: datetime | None
    browser_session: str
    client_id: str | None
    # "JupyterHub" for the hub's own, else the OAuth client's description.
    client_description: str
    server_id: ServerId | None


@dataclass(frozen=True, slots=True)
class NewToken:
    token: str  # shown once
    row: TokenRow


async def create_token(
    hub: "HubContext",
    user: str,
    *,
    note: str,
    actor: str,
    scopes: Sequence[str] | None = None,
    roles: Sequence[str] | None = None,
    expires_in_seconds: int | None = None,
) -> NewToken:
    """A token for `user`, `inherit` by default.

    Raises:
        NotFound: no such user.
        Invalid: unknown scopes or roles, scopes the user does not hold, both lists given, a bad lifetime.
        LimitReached: too many of this user's within a minute.
    """
    owner = await owner_entry(hub, "user", user)
    wanted = await _requested_scopes(hub, owner, scopes, roles)
    expires_in = _lifetime(hub, expires_in_seconds)
    token = new_token()
    values: dict[str, Any] = {
        "hashed": hash_token(token),
        "prefix": token[:4],
        "user_id": owner.identity.id,
        "scopes": wanted,
        "note": note[:MAX_NOTE],
    }
    async with hub.store.transaction() as tx:
        await _check_rate(hub, tx, owner.identity.id)
        values["created"] = tx.now
        values["expires_at"] = tx.now + expires_in if expires_in else None
        made = await tx.execute(insert(schema.tokens).values(values))
        assert made.inserted_primary_key is not None
        token_id = TokenId(made.inserted_primary_key[0])
        await record(tx, "token.create", actor=actor, subject=user, token_id=token_id, note=note[:MAX_NOTE])
    return NewToken(token, await get_token(hub, user, token_id))


async def _check_rate(hub: "HubContext", tx: "Transaction", user_id: int) -> None:
    """Raises `LimitReached`. Counted in rows, so that all replicas allow as many together as one."""
    limit = hub.rates.limits["token"]
    if not limit:
        return
    t, window = schema.tokens.c, timedelta(seconds=WINDOW_SECONDS)
    mine = (t.user_id == user_id, t.client_id.is_(None), t.server_id.is_(None), t.created > tx.now - window)
    found = (
        await tx.execute(select(func.count().label("made"), func.min(t.created).label("first")).where(*mine))
    ).one()
    if found.made >= limit:
        raise too_many(limit, (found.first + window - tx.now).total_seconds())


async def _requested_scopes(
    hub: "HubContext", owner: OwnerEntry, scopes: Sequence[str] | None, roles: Sequence[str] | None
) -> list[str]:
    if scopes is not None and roles is not None:
        raise Invalid("Give either scopes or roles, not both.", field="scopes")
    if scopes is None:
        scopes = await _role_scopes(hub, roles) if roles is not None else await _role_scopes(hub, [role_rules.TOKEN])
    if len(scopes) > MAX_SCOPES:
        raise Invalid(f"A token has at most {MAX_SCOPES} scopes.", field="scopes")
    catalogue = hub.identities.catalogue
    for text in scopes:
        catalogue.check(text)
    whose = Owner(kind="user", name=owner.identity.name)
    wanted = ScopeSet(catalogue.expand((s for s in scopes if s != "inherit"), whose))
    held = owner.identity.scopes
    membership: dict[str, tuple[str, ...]] = {}
    if held.has_group_filters:
        async with hub.store.read() as connection:
            membership = await groups_of(connection, wanted.users_named())
    if missing := wanted.within(held, membership):
        raise Invalid(
            f"Not assigning requested scopes {', '.join(missing)} not held by user {owner.identity.name}",
            field="scopes",
        )
    return list(dict.fromkeys(scopes))


async def _role_scopes(hub: "HubContext", names: Sequence[str]) -> list[str]:
    """The scopes of these roles now; a token keeps scopes, not roles."""
    r = schema.roles.c
    async with hub.store.read() as connection:
        rows = await connection.execute(select(r.name, r.scopes).where(r.name.in_(list(names))))
        known: dict[str, Iterable[str]] = {row.name: row.scopes for row in rows}
    for name in names:
        if name not in known and (default := role_rules.DEFAULT_ROLES.get(name)) is not None:
            known[name] = default.scopes
        if name not in known:
            raise Invalid(f"No such role: {name}", field="roles")
    return [scope for name in names for scope in known[name]]


def _lifetime(hub: "HubContext", seconds: int | None) -> timedelta | None:
    longest = hub.options.token_expires_max
    if seconds is None:
        return longest
    if seconds <= 0:
        raise Invalid("expires_in must be a positive number of seconds.", field="expires_in")
    if longest is not None and seconds > longest.total_seconds():
        raise Invalid(f"Token expires_in must not exceed {int(longest.total_seconds())} seconds.", field="expires_in")
    if seconds > MAX_LIFETIME.total_seconds():
        raise Invalid(
            f"Token expires_in must not exceed {int(MAX_LIFETIME.total_seconds())} seconds.", field="expires_in"
        )
    return timedelta(seconds=seconds)


# A hundred years: what a date column and a calendar still hold.
MAX_LIFETIME = timedelta(days=36525)


async def list_tokens(hub: "HubContext", user: str) -> list[TokenRow]:
    """Live ones of a user, OAuth and server tokens included, by id. Raises `NotFound`."""
    owner = await owner_entry(hub, "user", user)
    t = schema.tokens.c
    statement = TOKEN_QUERY.where(t.user_id == owner.identity.id, _live(hub)).order_by(t.id)
    async with hub.store.read() as connection:
        rows = (await connection.execute(statement)).all()
        membership = await _membership(hub, connection, owner, rows)
    return [_token_row(hub, owner, row, membership) for row in rows]


async def get_token(hub: "HubContext", user: str, token_id: TokenId) -> TokenRow:
    """Raises `NotFound` for any mismatch."""
    owner = await owner_entry(hub, "user", user)
    t = schema.tokens.c
    statement = TOKEN_QUERY.where(t.user_id == owner.identity.id, t.id == token_id, _live(hub))
    async with hub.store.read() as connection:
        row = (await connection.execute(statement)).first()
        if row is None:
            raise NotFound(f"No such token: a{token_id}")
        membership = await _membership(hub, connection, owner, [row])
    return _token_row(hub, owner, row, membership)


def _live(hub: "HubContext") -> Any:
    expires = schema.tokens.c.expires_at
    return expires.is_(None) | (expires > hub.store.now())


async def _membership(
    hub: "HubContext", connection: Any, owner: OwnerEntry, rows: Sequence[Row[Any]]
) -> dict[str, tuple[str, ...]]:
    if not owner.held.has_group_filters and not any("!group=" in text for row in rows for text in row.scopes):
        return {}
    names = set(owner.held.users_named())
    catalogue = hub.identities.catalogue
    for row in rows:
        stored = scope_rules.known_only(catalogue, row.scopes)
        names |= ScopeSet(catalogue.expand(stored, token_owner(owner, row))).users_named()
    return await groups_of(connection, names)


def _token_row(hub: "HubContext", owner: OwnerEntry, row: Row[Any], membership: dict[str, tuple[str, ...]]) -> TokenRow:
    effective = scope_rules.token_scopes(
        hub.identities.catalogue, row.scopes, token_owner(owner, row), owner.held, membership
    )
    return TokenRow(
        id=row.id,
        owner_kind=owner.identity.kind,
        owner=owner.identity.name,
        scopes=tuple(row.scopes),
        effective=effective.texts(),
        note=row.note,
        created=row.created,
        last_activity=row.last_activity,
        expires_at=row.expires_at,
        browser_session=row.browser_session,
        client_id=row.client_id,
        client_description=(row.client_description or row.client_id) if row.client_id else HUB_DESCRIPTION,
        server_id=row.server_id,
    )


async def revoke_token(hub: "HubContext", user: str, token_id: TokenId, *, actor: str) -> None:
    """Delete it; of an OAuth token, all tokens of that client for this user. Raises `NotFound`."""
    t = schema.tokens.c
    async with hub.store.transaction() as tx:
        found = (
            await tx.execute(
                select(t.user_id, t.client_id)
                .join(schema.users, schema.users.c.id == t.user_id)
                .where(schema.users.c.name == user, t.id == token_id)
            )
        ).first()
        if found is None:
            raise NotFound(f"No such token: a{token_id}")
        which = t.id == token_id
        if found.client_id is not None:
            which = (t.user_id == found.user_id) & (t.client_id == found.client_id)
        await tx.execute(delete(schema.tokens).where(which))
        await record(tx, "token.revoke", actor=actor, subject=user, token_id=token_id, client_id=found.client_id)
        tx.emit(Event(Kind.IDENTITY, user))


async def purge_expired(hub: "HubContext") -> int:
    """Chore: delete expired tokens, sessions, codes and share codes, and failed logins of long ago. How many rows.

    Emits nothing: what has expired is refused by its own time, remembered or not.
    """
    count = 0
    async with hub.store.transaction() as tx:
        for table in (schema.tokens, schema.sessions, schema.oauth_codes, schema.share_codes):
            count += (await tx.execute(delete(table).where(table.c.expires_at <= tx.now))).rowcount
        count += await throttle.forget_old(tx)
    return count


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerToken:
    """What a server authenticates with. `scopes` may be empty: the role `server` then says them."""

    token: str  # as the server shows it
    user_id: UserId
    user_name: str
    server_id: ServerId
    server_name: str
    scopes: Sequence[str]
    url_path: str


async def issue_server_tokens(tx: "Transaction", made: Sequence[ServerToken]) -> None:
    """Within the starts' transaction: record them in place of the servers' earlier tokens.

    Bare `!server`/`!user` filters are resolved, `users:activity!user` is added if missing, note
    `Server at <url_path>`.
    """
    role = () if all(one.scopes for one in made) else await _server_role(tx)
    await revoke_server_tokens(tx, {one.server_id: one.user_name for one in made})
    hashes = {one.token: hash_token(one.token) for one in made}
    # A resumed server comes back with the token it was started with.
    await tx.execute(_FORGET_HASHES, {"hashes": list(hashes.values())})
    rows = [
        {
            "hashed": hashes[one.token],
            "prefix": one.token[:4],
            "user_id": one.user_id,
            "server_id": one.server_id,
            "scopes": _resolved(one, one.scopes or role),
            "note": f"Server at {one.url_path}",
            "created": tx.now,
        }
        for one in made
    ]
    await tx.execute(insert(schema.tokens), rows)


def _resolved(made: ServerToken, scopes: Sequence[str]) -> list[str]:
    whose = Owner(kind="user", name=made.user_name, client_server=full_name(made.user_name, made.server_name))
    stored = []
    for text in role_rules.server_token_scopes(scopes):
        scope = scope_rules.parse(text)
        if scope.kind and scope.value is None:
            value = whose.resolve(scope.kind)
            if value is None:
                continue
            text = str(scope_rules.Scope(scope.base, scope.kind, value))  # noqa: PLW2901 - the same scope, resolved
        stored.append(text)
    return stored


async def _server_role(tx: "Transaction") -> Sequence[str]:
    r = schema.roles.c
    found: Sequence[str] | None = (await tx.execute(select(r.scopes).where(r.name == role_rules.SERVER))).scalar()
    return found or ()


async def revoke_server_tokens(tx: "Transaction", servers: Mapping[ServerId, str]) -> None:
    """Within the stops' transaction (unless the spawner will resume): the servers' own tokens, with owners' names."""
    gone = await tx.execute(_FORGET_SERVERS, {"ids": list(servers)})
    if gone.rowcount:
        tx.emit(*(Event(Kind.IDENTITY, name) for name in servers.values()))


_FORGET_HASHES = delete(schema.tokens).where(schema.tokens.c.hashed.in_(bindparam("hashes", expanding=True)))
_FORGET_SERVERS = delete(schema.tokens).where(schema.tokens.c.server_id.in_(bindparam("ids", expanding=True)))
