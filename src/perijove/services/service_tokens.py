"""Tokens that the hub makes for services which it starts itself and for which none is configured."""

from sqlalchemy import delete, insert, select, update

from perijove.domain.errors import NotFound
from perijove.domain.events import Event, Kind
from perijove.services.context import HubContext
from perijove.services.secrets import hash_token, new_token
from perijove.store.schema import oauth_clients, services, tokens

NOTE = "generated for a managed service"


async def issue_service_token(hub: HubContext, name: str) -> str:
    """A fresh token for each start of the service; the one of the start before is revoked. Raises `NotFound`."""
    token = new_token()
    async with hub.store.transaction() as tx:
        service_id = (await tx.execute(select(services.c.id).where(services.c.name == name))).scalar()
        if service_id is None:
            raise NotFound(f"No such service: {name!r}.")
        await tx.execute(delete(tokens).where(tokens.c.service_id == service_id, tokens.c.note == NOTE))
        row = {
            "hashed": hash_token(token),
            "prefix": token[:4],
            "service_id": service_id,
            "scopes": ["inherit"],
            "note": NOTE,
            "created": tx.now,
        }
        await tx.execute(insert(tokens), row)
        # It is the service's OAuth client secret as well.
        secret = update(oauth_clients).where(oauth_clients.c.service_id == service_id)
        await tx.execute(secret.values(secret_hash=hash_token(token)))
        tx.emit(Event(Kind.IDENTITY, f"service:{name}"))
    return token
