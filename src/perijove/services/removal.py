"""Removing a user with everything that is theirs: servers are stopped and deleted for ever first."""

from typing import TYPE_CHECKING

from perijove.domain.errors import Invalid
from perijove.services import users
from perijove.services.progress import wait_settled
from perijove.services.server_rows import from_row, query
from perijove.services.servers import stop_row
from perijove.store.schema import users as users_table

if TYPE_CHECKING:
    from perijove.services.context import HubContext

# Deleting storage takes longer than stopping.
MIN_WAIT_SECONDS = 30.0


async def remove_user(hub: "HubContext", name: str, *, actor: str) -> None:
    """Raises `NotFound`; `Invalid` when a server takes too long to stop (ask again later)."""
    async with hub.store.transaction() as tx:
        await users.find_id(tx, name)
        rows = [from_row(row) for row in await tx.execute(query(users_table.c.name == name))]
        for row in rows:
            # The default server too: its storage goes with its user.
            await stop_row(tx, row, actor=actor, remove=True, reason="user deleted")
    deadline = hub.clock.monotonic() + max(hub.options.slow_stop_timeout_seconds, MIN_WAIT_SECONDS)
    for row in rows:
        left = deadline - hub.clock.monotonic()
        if await wait_settled(hub, row.id, max(left, 0)) is not None:
            raise Invalid(
                f"{name}'s server {row.name!r} is still stopping. A hub must be running to delete it; "
                "delete the user again in a while."
            )
    await users.delete_user(hub, name, actor=actor)
