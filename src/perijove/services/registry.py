"""Services in the sense of JupyterHub: programs beside the hub with a token of their own, and maybe pages.

Those of the configuration are written at start and leave with it; their tokens and OAuth clients too. Others are
made through the API (`runtime_services`).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import delete, insert, select, update

from perijove.config.options import ServiceOptions
from perijove.domain.errors import Invalid, NotFound
from perijove.domain.ids import ServiceId
from perijove.domain.names import escape
from perijove.domain.roles import ADMIN, DEFAULT_ROLES
from perijove.services import oauth
from perijove.services.secrets import MAX_TOKEN_LENGTH, hash_token
from perijove.store import schema

if TYPE_CHECKING:
    from perijove.services.context import HubContext
    from perijove.store.database import Transaction

MIN_TOKEN_LENGTH = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceRow:
    id: ServiceId
    name: str
    admin: bool
    url: str
    info: Mapping[str, Any]
    display: bool
    roles: tuple[str, ...]
    # Of the configuration; empty for services that the hub does not start.
    command: tuple[str, ...] = ()
    # Else it was made through the API, and may be deleted there.
    from_config: bool = True

    def prefix(self, base_url: str) -> str:
        return f"{base_url}services/{escape(self.name)}/" if self.url else ""


async def list_services(hub: "HubContext", *, names: frozenset[str] | None = None) -> list[ServiceRow]:
    """All, by name. They are as few as an administrator writes down."""
    services, assigned, roles = schema.services, schema.service_roles.c, schema.roles.c
    statement = select(services).order_by(services.c.name)
    if names is not None:
        statement = statement.where(services.c.name.in_(names))
    role_query = select(assigned.service_id, roles.name).join_from(
        schema.service_roles, schema.roles, roles.id == assigned.role_id
    )
    async with hub.store.read() as connection:
        rows = (await connection.execute(statement)).all()
        of: dict[int, list[str]] = {}
        for service_id, name in (await connection.execute(role_query)).all():
            of.setdefault(service_id, []).append(name)
    commands = {service.name: service.command for service in hub.options.services}
    return [
        ServiceRow(
            id=row.id,
            name=row.name,
            admin=row.admin,
            url=row.url or "",
            info=row.info,
            display=row.display,
            roles=tuple(sorted({*of.get(row.id, ()), *([ADMIN] if row.admin else ())})),
            command=commands.get(row.name, ()),
            from_config=row.from_config,
        )
        for row in rows
    ]


async def get_service(hub: "HubContext", name: str) -> ServiceRow:
    """Raises `NotFound`."""
    found = await list_services(hub, names=frozenset({name}))
    if not found:
        raise NotFound(f"No such service: {name}")
    return found[0]


async def put_services(hub: "HubContext", tx: "Transaction", *, admins: frozenset[str]) -> None:
    """The configured services into rows; those no longer configured go, with their tokens."""
    services = schema.services
    names = [service.name for service in hub.options.services]
    if len(set(names)) != len(names):
        raise Invalid("services: a name is listed twice", field="services")
    await tx.execute(delete(services).where(services.c.from_config, services.c.name.not_in(names)))
    known = {row.name: row.id for row in (await tx.execute(select(services.c.name, services.c.id))).all()}
    for service in hub.options.services:
        values = {**row_values(service), "admin": service.admin or service.name in admins, "from_config": True}
        if service.name in known:
            service_id = known[service.name]
            await tx.execute(update(services).where(services.c.id == service_id).values(values))
        else:
            made = await tx.execute(insert(services).values(name=service.name, **values))
            assert made.inserted_primary_key is not None
            service_id = made.inserted_primary_key[0]
        await put_client(hub, tx, service, ServiceId(service_id))


def row_values(service: ServiceOptions) -> dict[str, Any]:
    """Of its row, name and origin aside."""
    return {
        "admin": service.admin,
        "url": service.url or None,
        "info": dict(service.info),
        "display": service.display,
        "oauth_no_confirm": service.oauth_no_confirm,
        "oauth_client_id": client_id(service) if _is_client(service) else None,
    }


def client_id(service: ServiceOptions) -> str:
    return service.oauth_client_id or f"service-{service.name}"


def _is_client(service: ServiceOptions) -> bool:
    return bool(service.url or service.oauth_redirect_uri or service.oauth_client_id)


async def put_client(hub: "HubContext", tx: "Transaction", service: ServiceOptions, service_id: ServiceId) -> None:
    """Visitors log in to a service with pages through OAuth; its API token is the client's secret."""
    clients = schema.oauth_clients.c
    if not _is_client(service):
        await tx.execute(delete(schema.oauth_clients).where(clients.service_id == service_id))
        return
    wanted = client_id(service)
    await tx.execute(delete(schema.oauth_clients).where(clients.service_id == service_id, clients.id != wanted))
    await oauth.put_client(
        tx,
        client_id=wanted,
        # Without a configured token the hub makes one when it starts the service (`service_tokens`).
        secret=service.api_token or None,
        redirect_uri=service.oauth_redirect_uri or f"{hub.addresses.service_url(service.name)}oauth_callback",
        allowed_scopes=_allowed_scopes(hub, service),
        description=f"Service {service.name}",
        service_id=service_id,
    )


def _allowed_scopes(hub: "HubContext", service: ServiceOptions) -> tuple[str, ...]:
    """With those of `oauth_roles`. Raises `Invalid` for a role that nobody defines."""
    configured = {role.name: role.scopes for role in hub.options.load_roles if role.scopes is not None}
    defined = {name: role.scopes for name, role in DEFAULT_ROLES.items()} | configured
    scopes = list(service.oauth_client_allowed_scopes)
    for name in service.oauth_roles:
        if name not in defined:
            raise Invalid(f"services: {service.name} has the unknown role {name!r} in oauth_roles", field="services")
        scopes += defined[name]
    return tuple(dict.fromkeys(scopes))


async def service_ids(tx: "Transaction", names: Iterable[str]) -> list[int]:
    """Raises `Invalid` when one is unknown."""
    wanted = set(names)
    services = schema.services.c
    rows = (await tx.execute(select(services.name, services.id).where(services.name.in_(wanted)))).all()
    if unknown := wanted - {row.name for row in rows}:
        raise Invalid(f"No such service: {', '.join(sorted(unknown))}", field="load_roles")
    return [row.id for row in rows]


async def put_tokens(hub: "HubContext", tx: "Transaction") -> None:
    """Tokens written in the configuration: of services and of users. Those no longer there are revoked."""
    wanted: dict[str, dict[str, Any]] = {}
    for service in hub.options.services:
        if service.api_token:
            check_token(service.api_token, f"service {service.name}")
            (service_id,) = await service_ids(tx, [service.name])
            wanted[service.api_token] = {"service_id": service_id, "user_id": None}
    users = schema.users.c
    for token, user in hub.options.api_tokens.items():
        check_token(token, f"user {user}")
        name = hub.authenticator.normalize(user)
        user_id = (await tx.execute(select(users.id).where(users.name == name))).scalar_one()
        wanted[token] = {"user_id": user_id, "service_id": None}
    tokens = schema.tokens
    hashes = {hash_token(token): (token, owner) for token, owner in wanted.items()}
    rows = (await tx.execute(select(tokens).where(tokens.c.from_config))).all()
    have = {row.hashed: row for row in rows}
    same = {h for h, row in have.items() if h in hashes and _same_owner(row, hashes[h][1])}
    replaced = {*(have.keys() - same), *(hashes.keys() - same)}
    if replaced:
        await tx.execute(delete(tokens).where(tokens.c.hashed.in_(replaced)))
    for hashed in hashes.keys() - same:
        token, owner = hashes[hashed]
        row = {
            **owner,
            "hashed": hashed,
            "prefix": token[:4],
            "scopes": ["inherit"],
            "note": "from the configuration",
            "created": tx.now,
            "from_config": True,
        }
        await tx.execute(insert(tokens), row)


def _same_owner(row: Any, owner: Mapping[str, Any]) -> bool:
    return bool(row.user_id == owner["user_id"] and row.service_id == owner["service_id"])


def check_token(token: str, whose: str) -> None:
    """Raises `Invalid` unless it has a length that can be told from a mistake, and be looked up."""
    if not MIN_TOKEN_LENGTH <= len(token) <= MAX_TOKEN_LENGTH:
        raise Invalid(
            f"The API token of {whose} must have {MIN_TOKEN_LENGTH} to {MAX_TOKEN_LENGTH} characters.",
            field="api_token",
        )
