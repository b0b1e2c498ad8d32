"""The OAuth 2 provider's rows: clients, codes, the tokens exchanged for them. No HTTP here.

A code is used once even when two replicas get it at the same time: the DELETE that finds it decides.
"""

import base64
import hashlib
import hmac
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from sqlalchemy import Row, bindparam, delete, insert, select, update

from perijove.domain import names
from perijove.domain import scopes as scope_rules
from perijove.domain.errors import HubError
from perijove.domain.events import Event, Kind
from perijove.domain.ids import ServerId, ServiceId
from perijove.domain.names import full_name
from perijove.domain.scopes import Owner, ScopeSet
from perijove.services import imported_hashes
from perijove.services.audit import record
from perijove.services.owners import groups_of
from perijove.services.secrets import hash_session, hash_token, new_oauth_secret
from perijove.store import schema

if TYPE_CHECKING:
    from perijove.services.context import HubContext
    from perijove.services.identity import Identity
    from perijove.store.database import Transaction

CODE_LIFETIME = timedelta(seconds=300)
# What the column holds, and what is left of a longer id before its mark.
MAX_CLIENT_ID = 255
MAX_CLIENT_ID_STEM = 200
_VERIFIER = re.compile(r"[A-Za-z0-9._~-]{43,128}")


class InvalidGrant(HubError):
    """The code is unknown, expired, used already, or not for this client."""


class InvalidClient(HubError):
    """Unknown client or wrong secret."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Client:
    """A registered OAuth client: somebody's server, or a service."""

    id: str
    secret_hash: str
    redirect_uri: str
    allowed_scopes: tuple[str, ...]
    description: str
    server_id: ServerId | None = None
    # Owner and name of the server, if it is one.
    user_name: str = ""
    server_name: str = ""
    service_id: ServiceId | None = None
    service_name: str = ""
    no_confirm: bool = False

    @property
    def access_scope(self) -> str:
        """What a visitor must hold, and gets into the token. "" for a client of nothing (stale)."""
        if self.server_id is not None:
            return f"access:servers!server={full_name(self.user_name, self.server_name)}"
        return f"access:services!service={self.service_name}" if self.service_id is not None else ""

    def owner_of_token(self, user: str) -> Owner:
        """Whom bare filters mean in a token that `user` gets for this client."""
        return Owner(
            kind="user",
            name=user,
            client_server=full_name(self.user_name, self.server_name) if self.server_id is not None else None,
            client_service=self.service_name or None,
        )


@dataclass(frozen=True, slots=True)
class Issued:
    access_token: str
    expires_in_seconds: int
    scopes: tuple[str, ...]


async def put_client(
    tx: "Transaction",
    *,
    client_id: str,
    secret: str | None,
    redirect_uri: str,
    allowed_scopes: Sequence[str] = (),
    description: str = "",
    server_id: ServerId | None = None,
    service_id: ServiceId | None = None,
) -> None:
    """Register or update (same id and owner) within the caller's transaction. `secret` None keeps the one there
    is; a new client then has one that nobody knows. Raises `Conflict` when the id is another's."""
    clients = schema.oauth_clients
    values: dict[str, Any] = {
        "redirect_uri": redirect_uri,
        "allowed_scopes": list(allowed_scopes),
        "description": description,
        "server_id": server_id,
        "service_id": service_id,
    }
    if secret is not None:
        values["secret_hash"] = hash_token(secret)
    same_owner = (clients.c.id == client_id, clients.c.server_id == server_id, clients.c.service_id == service_id)
    changed = await tx.execute(update(clients).where(*same_owner).values(values))
    if not changed.rowcount:
        unknown = hash_token(new_oauth_secret())
        # Somebody else's client of this id is not overwritten: the insert raises `Conflict`.
        await tx.execute(insert(clients), {"id": client_id, "secret_hash": unknown, **values})


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerClient:
    """A server as a client of the hub's OAuth: all of it is said anew at each start."""

    id: str
    server_id: ServerId
    secret: str
    redirect_uri: str
    allowed_scopes: Sequence[str]
    description: str


async def put_server_clients(tx: "Transaction", made: Sequence[ServerClient]) -> None:
    """Register or update them, as `put_client` does. Raises `Conflict` when an id is another's."""
    clients = schema.oauth_clients
    known = {row.id: row.server_id for row in await tx.execute(_OWNERS, {"ids": [one.id for one in made]})}
    rows = [
        {
            "client_id": one.id,
            "server_id": one.server_id,
            "secret_hash": hash_token(one.secret),
            "redirect_uri": one.redirect_uri,
            "allowed_scopes": list(one.allowed_scopes),
            "description": one.description,
        }
        for one in made
    ]
    if old := [row for row in rows if known.get(row["client_id"]) == row["server_id"]]:
        await tx.execute(update(clients).where(clients.c.id == bindparam("client_id")), old)
    # Somebody else's client of this id is not overwritten: the insert raises `Conflict`.
    if new := [row for row in rows if known.get(row["client_id"]) != row["server_id"]]:
        await tx.execute(insert(clients).values(id=bindparam("client_id")), new)


async def server_client_ids(hub: "HubContext", servers: Mapping[ServerId, tuple[str, str]]) -> dict[ServerId, str]:
    """Ids for the clients of servers, each given with its owner and name: JupyterHub's, unless another server has it
    already, or it is too long.

    JupyterHub makes ids of names, so user `x-y` and user `x` with a server `y` get the same, and take each
    other's secret and address. The one that comes second here gets a mark that no quoted name contains. The same
    mark ends what is cut, since the id is also the name of a cookie.
    """
    wanted = {number: names.client_id(user, server) for number, (user, server) in servers.items()}
    own = {number: f"{text[:MAX_CLIENT_ID_STEM]}+{number}" for number, text in wanted.items()}
    async with hub.store.read() as connection:
        found = await connection.execute(_OWNERS, {"ids": [*wanted.values(), *own.values()]})
        owners = {row.id: row.server_id for row in found}
    chosen: dict[ServerId, str] = {}
    for number, text in wanted.items():
        # Of two that start at once for the first time, too.
        free = len(text) <= MAX_CLIENT_ID and owners.setdefault(text, number) == number
        # A resumed server goes on under the id it had.
        chosen[number] = text if free and own[number] not in owners else own[number]
    return chosen


async def delete_clients(tx: "Transaction", ids: Sequence[str]) -> None:
    """Delete clients; their codes and tokens go with them. Emits for every owner of such a token."""
    for name in (await tx.execute(_VISITORS, {"ids": ids})).scalars().all():
        tx.emit(Event(Kind.IDENTITY, name))
    await tx.execute(_DELETE, {"ids": ids})


_SOME = schema.oauth_clients.c.id.in_(bindparam("ids", expanding=True))
_OWNERS = select(schema.oauth_clients.c.id, schema.oauth_clients.c.server_id).where(_SOME)
_DELETE = delete(schema.oauth_clients).where(_SOME)
_VISITORS = (
    select(schema.users.c.name)
    .join(schema.tokens, schema.tokens.c.user_id == schema.users.c.id)
    .where(schema.tokens.c.client_id.in_(bindparam("ids", expanding=True)))
    .distinct()
)


async def get_client(hub: "HubContext", client_id: str) -> Client | None:
    clients, servers, services, users = schema.oauth_clients, schema.servers, schema.services, schema.users
    statement = (
        select(
            clients,
            servers.c.name.label("server_name"),
            users.c.name.label("user_name"),
            services.c.name.label("service_name"),
            services.c.oauth_no_confirm,
        )
        .outerjoin(servers, servers.c.id == clients.c.server_id)
        .outerjoin(users, users.c.id == servers.c.user_id)
        .outerjoin(services, services.c.id == clients.c.service_id)
        .where(clients.c.id == client_id)
    )
    async with hub.store.read() as connection:
        row = (await connection.execute(statement)).first()
    if row is None:
        return None
    return Client(
        id=row.id,
        secret_hash=row.secret_hash,
        redirect_uri=row.redirect_uri,
        allowed_scopes=tuple(row.allowed_scopes),
        description=row.description,
        server_id=row.server_id,
        user_name=row.user_name or "",
        server_name=row.server_name or "",
        service_id=row.service_id,
        service_name=row.service_name or "",
        no_confirm=bool(row.oauth_no_confirm),
    )


async def grantable(
    hub: "HubContext", identity: "Identity", client: Client, requested: Sequence[str]
) -> tuple[str, ...]:
    """Those of `requested` that both the client may have and the user holds, as they will be stored.

    The identify scopes and the client's access scope are always among them (the caller has checked access).
    """
    catalogue = hub.identities.catalogue
    whose = client.owner_of_token(identity.name)
    allowed = ScopeSet(catalogue.expand(scope_rules.known_only(catalogue, client.allowed_scopes), whose))
    everything = "inherit" in client.allowed_scopes
    always = [*IDENTIFY, client.access_scope]
    granted = []
    for text in dict.fromkeys(requested):
        if text in always:
            continue
        if text == "inherit":
            if everything:
                granted.append(text)
            continue
        wanted = ScopeSet(catalogue.expand([text], whose))
        membership: dict[str, tuple[str, ...]] = {}
        if identity.scopes.has_group_filters or allowed.has_group_filters:
            async with hub.store.read() as connection:
                membership = await groups_of(connection, wanted.users_named())
        if not len(wanted) or (not everything and wanted.within(allowed, membership)):
            continue
        if len(wanted.intersect(identity.scopes, membership)):
            granted.append(text)
    return (*granted, *always)


# In every token, as JupyterHub writes them.
IDENTIFY = ("read:users:name!user", "read:users:groups!user")


async def has_consented(hub: "HubContext", identity: "Identity", client: Client, scopes: Sequence[str]) -> bool:
    """Whether a live token of this user and client already carries all `scopes`."""
    t = schema.tokens.c
    statement = select(t.scopes).where(t.user_id == identity.id, t.client_id == client.id)
    statement = statement.where(t.expires_at.is_(None) | (t.expires_at > hub.store.now()))
    wanted = set(scopes)
    async with hub.store.read() as connection:
        return any(wanted <= set(stored) for (stored,) in await connection.execute(statement))


async def issue_code(
    hub: "HubContext",
    identity: "Identity",
    client: Client,
    *,
    scopes: Sequence[str],
    redirect_uri: str,
    browser_session: str,
    challenge: str = "",
    challenge_method: str = "",
) -> str:
    """A code for this user and client, good for five minutes and one use."""
    code = new_oauth_secret()
    async with hub.store.transaction() as tx:
        await tx.execute(
            insert(schema.oauth_codes),
            {
                "hashed": hash_session(code),
                "client_id": client.id,
                "user_id": identity.id,
                "redirect_uri": redirect_uri,
                "browser_session": browser_session,
                "scopes": list(scopes),
                "challenge": challenge,
                "challenge_method": challenge_method,
                "expires_at": tx.now + CODE_LIFETIME,
            },
        )
        await record(tx, "oauth.authorize", actor=identity.name, subject=client.id)
    return code


async def check_client(hub: "HubContext", client_id: str, secret: str) -> Client:
    """Raises `InvalidClient`."""
    client = await get_client(hub, client_id) if client_id else None
    known = client.secret_hash if client is not None else hash_token("")
    if client is not None and imported_hashes.is_imported(known):
        if not await imported_hashes.adopt_client_secret(hub, client_id, known, secret):
            raise InvalidClient
        return client
    # Compared even without a client, so that the time says nothing about which ids exist.
    if not hmac.compare_digest(known, hash_token(secret)) or client is None:
        raise InvalidClient
    return client


async def exchange(hub: "HubContext", client: Client, *, code: str, redirect_uri: str, verifier: str) -> Issued:
    """Code to token. Raises `InvalidGrant`; the code is then spent if it was this client's."""
    codes = schema.oauth_codes.c
    hashed = hash_session(code)
    lifetime = hub.options.oauth_token_expires
    token = new_oauth_secret()
    async with hub.store.transaction() as tx:
        row = (await tx.execute(select(schema.oauth_codes).where(codes.hashed == hashed))).first()
        spent = await tx.execute(delete(schema.oauth_codes).where(codes.hashed == hashed, codes.client_id == client.id))
        good = row is not None and spent.rowcount == 1 and row.expires_at > tx.now
        good = good and row is not None and row.redirect_uri == redirect_uri and _proves(row, verifier)
        if good and row is not None:
            await _insert_token(tx, client, row, token, lifetime)
    # Raised after the commit: a code shown with a wrong verifier is spent all the same.
    if not good or row is None:
        raise InvalidGrant
    return Issued(token, int(lifetime.total_seconds()), tuple(row.scopes))


async def _insert_token(tx: "Transaction", client: Client, code: Row[Any], token: str, lifetime: timedelta) -> None:
    values = {
        "hashed": hash_token(token),
        "prefix": token[:4],
        "user_id": code.user_id,
        "client_id": client.id,
        "browser_session": code.browser_session,
        "scopes": code.scopes,
        "note": "",
        "created": tx.now,
        "expires_at": tx.now + lifetime,
    }
    await tx.execute(insert(schema.tokens), values)


def _proves(code: Row[Any], verifier: str) -> bool:
    """PKCE: the verifier is required exactly if a challenge was given."""
    if not code.challenge:
        return True
    if not _VERIFIER.fullmatch(verifier):
        return False
    if code.challenge_method == "S256":
        digest = hashlib.sha256(verifier.encode()).digest()
        verifier = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
    return hmac.compare_digest(code.challenge.encode(), verifier.encode())
