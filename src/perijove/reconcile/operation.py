"""One claimed server under one lease: writing to it, noticing that it was lost or is unwanted.

Shared by starting, stopping and polling. Everything it writes is a step (`services.server_steps`), so a replica
that was frozen past its lease finds its writes refused, however late it wakes.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from perijove.domain.errors import LeaseLost
from perijove.domain.ports import ServerSpec, UserFacts
from perijove.services.context import HubContext
from perijove.services.server_rows import ServerRow
from perijove.services.server_spec import spec_of
from perijove.services.server_steps import Change, Decide, Intent, Step, write_step
from perijove.store.claims import Lease, renew

# What was written under the lease so long ago shows that it holds.
FRESH_SECONDS = 1.0


@dataclass(slots=True)
class Operation:
    """`unwanted` is set when the row's intent turned away from what this operation does."""

    hub: HubContext
    lease: Lease
    # Its owner, when it was claimed.
    user: UserFacts
    unwanted: asyncio.Event = field(default_factory=asyncio.Event)
    _written: float = field(default=float("-inf"))

    async def hold(self) -> None:
        """Before what cannot be undone: be sure of the lease, or raise `LeaseLost`.

        A hub that slept past its lease would otherwise act on what its successor made before any of its own
        writes is refused.
        """
        if self.hub.clock.monotonic() - self._written < FRESH_SECONDS:
            return
        if self.lease.server_id not in await renew(self.hub.store, [self.lease]):
            raise LeaseLost(f"server {self.lease.server_id}")

    async def decide(self, row: ServerRow, decide: Decide) -> Intent:
        """Write what `decide` says of what is wanted now; returns that. Raises `LeaseLost`."""
        began = self.hub.clock.monotonic()
        intent = await write_step(self.hub, Step(self.lease, row, decide))
        self._written = began
        return intent

    async def write(self, row: ServerRow, change: Change) -> None:
        """Write `change` whatever is wanted now. Raises `LeaseLost`."""
        await self.decide(row, lambda _intent, _now: change)

    async def tell(self, row: ServerRow, event: Mapping[str, Any]) -> None:
        """Add to what is told of the start. Raises `LeaseLost`."""
        await self.write(row, Change(values=None, event=event))

    def spec(self, row: ServerRow, *, api_token: str = "") -> ServerSpec:
        """What a spawner may know of this server."""
        return spec_of(row, self.user, api_token=api_token, lease_epoch=self.lease.epoch)
