"""Services made and deleted while the hub runs: external ones, since only the configuration names commands.

They are rows like those of the configuration, without its mark: a restart leaves them alone.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from sqlalchemy import delete, insert, select

from perijove.config.options import ServiceOptions
from perijove.domain.errors import Conflict, Forbidden, Invalid, NotFound
from perijove.domain.events import Event, Kind
from perijove.domain.ids import ServiceId
from perijove.domain.names import check_service_name
from perijove.services import granting, oauth, registry
from perijove.services.audit import record
from perijove.services.registry import ServiceRow
from perijove.services.secrets import hash_token, new_token
from perijove.store import schema

if TYPE_CHECKING:
    from perijove.services.context import HubContext
    from perijove.services.identity import Identity
    from perijove.store.database import Transaction

CLIENT_ID_PREFIX = "service-"


@dataclass(frozen=True, slots=True, kw_only=True)
class NewService:
    """What is asked for; `api_token` "" has one made."""

    name: str
    url: str = ""
    api_token: str = field(default="", repr=False)
    admin: bool = False
    info: Mapping[str, Any] = field(default_factory=dict)
    display: bool = True
    oauth_client_id: str = ""
    oauth_redirect_uri: str = ""
    oauth_no_confirm: bool = False
    oauth_client_allowed_scopes: Sequence[str] = ()


async def create_service(
    hub: "HubContext", wanted: NewService, *, by: "Identity", actor: str
) -> tuple[ServiceRow, str]:
    """The service, and its token if one was made here (shown once).

    Raises `Invalid`, `Conflict` (exists), `Forbidden` (an admin service, by who is none).
    """
    _check(wanted)
    if wanted.admin and not granting.is_full_admin(by):
        raise Forbidden("Only admins may make admin services")
    for scope in wanted.oauth_client_allowed_scopes:
        hub.identities.catalogue.check(scope)
    if missing := await granting.not_held(hub, by, wanted.oauth_client_allowed_scopes):
        raise Invalid(f"Scopes {', '.join(missing)} are not yours to allow", field="oauth_client_allowed_scopes")
    token = wanted.api_token or new_token()
    options = _options(wanted, token)
    async with hub.store.transaction() as tx:
        services = schema.services
        if (await tx.execute(select(services.c.id).where(services.c.name == wanted.name))).first():
            raise Conflict(f"Service {wanted.name} already exists")
        made = await tx.execute(
            insert(services).values(name=wanted.name, from_config=False, **registry.row_values(options))
        )
        assert made.inserted_primary_key is not None
        service_id = ServiceId(made.inserted_primary_key[0])
        await registry.put_client(hub, tx, options, service_id)
        await _put_token(tx, service_id, token)
        await record(tx, "service.create", actor=actor, subject=wanted.name, url=wanted.url, admin=wanted.admin)
        tx.emit(Event(Kind.ROUTE, wanted.name), Event(Kind.IDENTITY, f"service:{wanted.name}"))
    return await registry.get_service(hub, wanted.name), "" if wanted.api_token else token


async def delete_service(hub: "HubContext", name: str, *, by: "Identity", actor: str) -> None:
    """With its tokens and its OAuth client. Raises `NotFound`, `Forbidden`."""
    services, clients = schema.services, schema.oauth_clients.c
    async with hub.store.transaction() as tx:
        row = (await tx.execute(select(services).where(services.c.name == name))).first()
        if row is None or row.from_config:
            raise NotFound(f"Service {name} does not exist")
        if row.admin and not granting.is_full_admin(by):
            raise Forbidden("Only admins may delete admin services")
        await oauth.delete_clients(
            tx, (await tx.execute(select(clients.id).where(clients.service_id == row.id))).scalars().all()
        )
        await tx.execute(delete(services).where(services.c.id == row.id))
        await record(tx, "service.delete", actor=actor, subject=name)
        tx.emit(Event(Kind.ROUTE, name), Event(Kind.IDENTITY, f"service:{name}"))


def _check(wanted: NewService) -> None:
    check_service_name(wanted.name)
    if wanted.api_token:
        registry.check_token(wanted.api_token, f"service {wanted.name}")
    if wanted.oauth_client_id and not wanted.oauth_client_id.startswith(CLIENT_ID_PREFIX):
        raise Invalid(f"oauth_client_id must begin with {CLIENT_ID_PREFIX!r}", field="oauth_client_id")
    if wanted.url:
        try:
            parts = urlsplit(wanted.url)
        except ValueError as error:
            raise Invalid(f"Not a URL: {wanted.url[:80]!r}", field="url") from error
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise Invalid("url must be http://host[:port] or https://host[:port]", field="url")


def _options(wanted: NewService, token: str) -> ServiceOptions:
    return ServiceOptions(
        name=wanted.name,
        url=wanted.url,
        api_token=token,
        admin=wanted.admin,
        display=wanted.display,
        info=wanted.info,
        oauth_client_id=wanted.oauth_client_id,
        oauth_redirect_uri=wanted.oauth_redirect_uri,
        oauth_no_confirm=wanted.oauth_no_confirm,
        oauth_client_allowed_scopes=tuple(wanted.oauth_client_allowed_scopes),
    )


async def _put_token(tx: "Transaction", service_id: ServiceId, token: str) -> None:
    """Raises `Conflict` when somebody has this token already."""
    values = {
        "hashed": hash_token(token),
        "prefix": token[:4],
        "service_id": service_id,
        "scopes": ["inherit"],
        "note": "of a service made through the API",
        "created": tx.now,
    }
    await tx.execute(insert(schema.tokens), values)
