"""One claimed server under one lease: reading it, writing to it, noticing that it was lost or is unwanted.

Shared by starting, stopping and polling. Everything it writes goes through `settle`, so a replica that
was frozen past its lease finds its writes refused, however late it wakes.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from perijove.domain.errors import LeaseLost
from perijove.domain.events import Event, Kind
from perijove.domain.ids import UserId
from perijove.domain.ports import ServerSpec
from perijove.services import oauth, tokens
from perijove.services.context import HubContext
from perijove.services.server_rows import ServerRow, by_id
from perijove.services.server_spec import spec_of
from perijove.services.servers import append_event
from perijove.services.user_facts import user_facts
from perijove.store.claims import Lease, renew, settle
from perijove.store.database import Transaction


@dataclass(slots=True)
class Operation:
    """`unwanted` is set when the row's intent turned away from what this operation does."""

    hub: HubContext
    lease: Lease
    unwanted: asyncio.Event = field(default_factory=asyncio.Event)

    async def read(self) -> ServerRow:
        """The row, if the lease still holds. Raises `LeaseLost`."""
        async with self.hub.store.read() as connection:
            row = await by_id(connection, self.lease.server_id)
        if row is None or row.lease_epoch != self.lease.epoch:
            raise LeaseLost(f"server {self.lease.server_id}")
        return row

    async def hold(self) -> None:
        """Before what cannot be undone: extend the lease, or raise `LeaseLost`.

        A hub that slept past its lease would otherwise act on what its successor made before any of its own
        writes is refused.
        """
        if self.lease.server_id not in await renew(self.hub.store, [self.lease]):
            raise LeaseLost(f"server {self.lease.server_id}")

    async def write(
        self,
        tx: Transaction,
        row: ServerRow,
        values: Mapping[str, Any],
        *,
        event: Mapping[str, Any] | None = None,
        release: bool = False,
    ) -> None:
        """Settle `values` and tell about it, in the caller's transaction. Raises `LeaseLost`."""
        await settle(tx, self.lease, dict(values), release=release)
        if event is not None:
            await append_event(tx, row, event)
        tx.emit(Event(Kind.SERVER, str(row.id), {"user": row.user_name, "name": row.name}))

    async def spec(self, row: ServerRow, *, api_token: str = "", auth_state: bool = False) -> ServerSpec:
        """What a spawner may know of this server."""
        facts = await user_facts(self.hub, UserId(row.user_id), with_auth_state=auth_state)
        return spec_of(row, facts, api_token=api_token, lease_epoch=self.lease.epoch)


async def forget_credentials(tx: Transaction, row: ServerRow) -> None:
    """A stopped server's token and OAuth client, and with the client every visitor's token for it."""
    await tokens.revoke_server_tokens(tx, server_id=row.id, user_name=row.user_name)
    if row.oauth_client_id:
        await oauth.delete_client(tx, row.oauth_client_id)
