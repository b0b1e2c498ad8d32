"""The audit trail: who did what to whom. Written in the transaction that did it; never holds secrets."""

from typing import TYPE_CHECKING, Any

from sqlalchemy import insert

from perijove.lib.log import correlation_id
from perijove.store import schema

if TYPE_CHECKING:
    from perijove.store.database import Transaction


async def record(
    tx: "Transaction", action: str, *, actor: str, subject: str = "", address: str = "", **data: Any
) -> None:
    """Append one line: `action` like `user.create`, `subject` the name it was done to."""
    await tx.execute(
        insert(schema.audit),
        {
            "at": tx.now,
            "action": action,
            "actor": actor,
            # A server's is longer than a name: user, slash and server.
            "subject": subject[:255],
            "address": address[:64],
            "correlation_id": correlation_id.get()[:64],
            "data": data,
        },
    )
