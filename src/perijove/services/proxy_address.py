"""Where a configurable-http-proxy is that moved while the hub ran: `PATCH /proxy` says so to one replica, and
another may be the one that pushes. What the configuration says is in force again once it says something else.
"""

from typing import TYPE_CHECKING, NamedTuple

import msgspec
from sqlalchemy import delete, insert, select

from perijove.services.audit import record
from perijove.store.schema import meta

if TYPE_CHECKING:
    from perijove.services.context import HubContext

_KEY = "chp_address"


class Address(NamedTuple):
    api_url: str
    auth_token: str


class _Told(msgspec.Struct):
    configured: str
    api_url: str
    auth_token: str


async def current(hub: "HubContext") -> Address:
    async with hub.store.read() as connection:
        found = (await connection.execute(select(meta.c.value).where(meta.c.key == _KEY))).scalar()
    options = hub.options
    told = msgspec.json.decode(found, type=_Told) if found else None
    configured = Address(options.chp_api_url, options.proxy_token or hub.store.proxy_token)
    if told is None or told.configured != options.chp_api_url:
        return configured
    return Address(told.api_url or configured.api_url, told.auth_token or configured.auth_token)


async def repoint(hub: "HubContext", *, api_url: str, auth_token: str, actor: str) -> None:
    """Empty values are left as they are now."""
    now = await current(hub)
    told = _Told(hub.options.chp_api_url, api_url or now.api_url, auth_token or now.auth_token)
    async with hub.store.transaction() as tx:
        await tx.execute(delete(meta).where(meta.c.key == _KEY))
        await tx.execute(insert(meta).values(key=_KEY, value=msgspec.json.encode(told).decode()))
        await record(tx, "proxy.repoint", actor=actor, subject=told.api_url)
