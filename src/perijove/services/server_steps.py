"""What operations on servers write, step by step: the steps of all that go on at once, in one transaction.

In a storm of starts each server takes four or five steps. One by one that is forty statements a server, and the
database with its one writer would be what everybody waits for. Here a batch of steps takes a dozen, as many as one.

A step says what it writes when it is its turn (`Decide`), from what is wanted of the server then: between
that look and the write nobody else writes. A step whose lease is lost writes nothing, and the others do not care.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from perijove.domain.errors import LeaseLost
from perijove.domain.ids import ServerId
from perijove.domain.states import Desired
from perijove.services import oauth, spawn_limits, tokens
from perijove.services.oauth import ServerClient
from perijove.services.server_rows import ServerRow
from perijove.services.servers import append_event, changed
from perijove.services.tokens import ServerToken
from perijove.store import claims
from perijove.store.claims import Lease
from perijove.store.gathering import Answer

if TYPE_CHECKING:
    from perijove.services.context import HubContext
    from perijove.store.database import Transaction


@dataclass(frozen=True, slots=True)
class Intent:
    """What is wanted of a server at the time of a step, perhaps something else than when its operation began."""

    desired: Desired
    generation: int


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a server authenticates with: its token, which is its OAuth client's secret too."""

    client: ServerClient
    token: ServerToken


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """All that one step writes."""

    # Columns of the row. With None the row, and with it the lease, is left as it is.
    values: Mapping[str, Any] | None = field(default_factory=dict)
    # Of the start's progress.
    event: Mapping[str, Any] | None = None
    # Give the lease back; otherwise it is extended.
    release: bool = False
    # In place of any before.
    credentials: Credentials | None = None
    # No token opens it any more, its own nor its visitors'.
    forget: bool = False
    # How a start ended, for the limit on failures in a row.
    failed: bool | None = None


Decide = Callable[[Intent, datetime], Change]


@dataclass(frozen=True, slots=True)
class Step:
    lease: Lease
    row: ServerRow
    decide: Decide


_Decided = tuple[Step, Intent, Change]


async def write_step(hub: "HubContext", step: Step) -> Intent:
    """What was wanted when it was written. Raises `LeaseLost`: nothing was."""
    return await hub.steps.add(step, partial(_write, hub))


async def _write(hub: "HubContext", steps: Sequence[Step], answer: Answer[Intent]) -> None:
    results: list[Intent | Exception] = []
    decided: list[_Decided] = []
    async with hub.store.transaction() as tx:
        rows = await claims.still_held(tx, [step.lease for step in steps])
        for step in steps:
            row = rows.get(step.lease.server_id)
            if row is None:
                results.append(LeaseLost(f"server {step.lease.server_id}, epoch {step.lease.epoch}"))
                continue
            intent = Intent(Desired(row.desired), row.generation)
            decided.append((step, intent, step.decide(intent, tx.now)))
            results.append(intent)
        await _write_credentials(tx, decided)
        await _write_rows(tx, decided)
        for step, _, change in decided:
            if change.event is not None:
                append_event(tx, step.row, change.event)
        outcomes = [change.failed for _, _, change in decided if change.failed is not None]
        await spawn_limits.note_outcomes(tx, limit=hub.options.consecutive_failure_limit, failed=outcomes)
        tx.committed.append(partial(answer, results))


async def _write_credentials(tx: "Transaction", decided: Sequence[_Decided]) -> None:
    if gone := [step.row for step, _, change in decided if change.forget]:
        await forget_credentials(tx, gone)
    if made := [change.credentials for _, _, change in decided if change.credentials is not None]:
        await oauth.put_server_clients(tx, [one.client for one in made])
        await tokens.issue_server_tokens(tx, [one.token for one in made])


async def forget_credentials(tx: "Transaction", rows: Sequence[ServerRow]) -> None:
    """Stopped servers' tokens and OAuth clients, and with the clients every visitor's token for them."""
    await tokens.revoke_server_tokens(tx, {row.id: row.user_name for row in rows})
    if clients := [row.oauth_client_id for row in rows if row.oauth_client_id]:
        await oauth.delete_clients(tx, clients)


async def _write_rows(tx: "Transaction", decided: Sequence[_Decided]) -> None:
    alike: dict[tuple[bool, *tuple[str, ...]], list[tuple[ServerId, Mapping[str, Any]]]] = {}
    for step, intent, change in decided:
        if change.values is None:
            continue
        alike.setdefault((change.release, *sorted(change.values)), []).append((step.lease.server_id, change.values))
        now = {"desired": intent.desired, "generation": intent.generation, **change.values}
        tx.emit(changed(step.row.with_(now)))
    for (release, *_), results in alike.items():
        await claims.settle(tx, results, release=release)
