"""The audit trail: who did what to whom. Written in the transaction that did it; never holds secrets."""

from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from perijove.lib.log import correlation_id
from perijove.store import schema

if TYPE_CHECKING:
    from perijove.services.context import HubContext
    from perijove.store.database import Transaction


# Where the request that is being answered came from; the web layer sets it, as it does the correlation id.
source: ContextVar[str] = ContextVar("source", default="")


async def record(
    tx: "Transaction",
    action: str,
    *,
    actor: str,
    subject: str = "",
    address: str = "",
    result: str = "ok",
    **data: Any,
) -> None:
    """Append one line: `action` like `user.create`, `subject` the name it was done to.

    `address`: where that is not the request's own.
    """
    tx.append(
        schema.audit,
        {
            "at": tx.now,
            "action": action,
            "actor": actor,
            # A server's is longer than a name: user, slash and server.
            "subject": subject[:255],
            "address": (address or source.get())[:64],
            "correlation_id": correlation_id.get()[:64],
            "result": result,
            "data": data,
        },
    )


async def record_denied(hub: "HubContext", *, actor: str, method: str, path: str) -> None:
    """Somebody known asked for a change that they may not make. Anonymous requests are the log's, not the trail's:
    anybody could fill it."""
    async with hub.store.transaction() as tx:
        await record(tx, "api.refused", actor=actor, subject=path, result="denied", method=method)
