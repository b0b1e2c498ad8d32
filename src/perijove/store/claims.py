"""Claim, act, settle: how one replica, and no other, works on a server.

A claim is one short transaction that chooses free rows, sets owner and expiry and adds one to `lease_epoch`.
Whoever settles says which epoch it holds (`still_held`); if another has claimed since, the result is dropped. A lease
fences the row, not the world: what a frozen holder does to the world after it wakes is bounded by names (server id,
generation) and undone by the orphan sweep.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Integer, Row, Select, and_, bindparam, or_, select, tuple_, update

from perijove.domain.ids import LeaseEpoch, ServerId
from perijove.domain.states import Desired, Observed
from perijove.store.database import Store, Transaction
from perijove.store.schema import leases as named_leases
from perijove.store.schema import replicas, servers

LEASE = timedelta(seconds=15)


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to act on one server, until it expires or is released."""

    server_id: ServerId
    epoch: LeaseEpoch
    owner: str


# Pairs of (desired, observed) in which there is something to do. Spelt out, so that each is a search in
# the index on the two columns.
WORK = (
    (Desired.RUNNING, Observed.STOPPED),
    (Desired.RUNNING, Observed.STARTING),
    (Desired.RUNNING, Observed.STOPPING),
    (Desired.STOPPED, Observed.STARTING),
    (Desired.STOPPED, Observed.RUNNING),
    (Desired.STOPPED, Observed.STOPPING),
    (Desired.DELETED, Observed.STOPPED),
    (Desired.DELETED, Observed.STARTING),
    (Desired.DELETED, Observed.RUNNING),
    (Desired.DELETED, Observed.STOPPING),
)


_NOW = bindparam("now", type_=servers.c.next_poll.type)
_HOST = bindparam("host", type_=servers.c.host.type)
_MOST = bindparam("most", type_=Integer)
_TODO = and_(
    or_(*(and_(servers.c.desired == desired, servers.c.observed == observed) for desired, observed in WORK)),
    or_(servers.c.next_attempt.is_(None), servers.c.next_attempt <= _NOW),
)
_DUE = and_(
    servers.c.next_poll <= bindparam("due", type_=servers.c.next_poll.type),
    servers.c.observed == Observed.RUNNING,
    servers.c.desired == Desired.RUNNING,
)
_CLAIMABLE = and_(
    or_(servers.c.lease_expires.is_(None), servers.c.lease_expires < _NOW),
    or_(servers.c.host.is_(None), servers.c.host == _HOST),
)


def _chosen(*conditions: ColumnElement[bool]) -> Select[Any]:
    # Chosen, then written: MySQL has neither UPDATE … RETURNING nor LIMIT in a subquery. Between the two nobody
    # writes, since a transaction is the only writer; a row that some other client holds is left for next time.
    chosen = select(servers.c.id, servers.c.lease_epoch).where(*conditions).order_by(servers.c.id).limit(_MOST)
    return chosen.with_for_update(skip_locked=True)


# Built once: they are long, and asked all the time.
_WORK, _POLLS = _chosen(_TODO, _CLAIMABLE), _chosen(_DUE, _CLAIMABLE)
_HAS_WORK, _HAS_POLLS = (select(servers.c.id).where(which, _CLAIMABLE).limit(1) for which in (_TODO, _DUE))


async def claim_work(store: Store, *, owner: str, host: str | None, limit: int) -> list[Lease]:
    """Take servers whose intent differs from what is observed. `host`: also those bound to this machine."""
    async with store.transaction() as tx:
        rows = (await tx.execute(_WORK, {"now": tx.now, "host": host, "most": limit})).all()
        return await _claim(tx, rows, owner=owner)


async def claim_polls(
    store: Store, *, owner: str, host: str | None, limit: int, ahead: timedelta = timedelta()
) -> list[Lease]:
    """Take running servers whose poll is due, or will be within `ahead`: a batch costs the same for one as for many."""
    async with store.transaction() as tx:
        asked = {"now": tx.now, "due": tx.now + ahead, "host": host, "most": limit}
        return await _claim(tx, (await tx.execute(_POLLS, asked)).all(), owner=owner)


async def _claim(tx: Transaction, rows: Sequence[Row[Any]], *, owner: str) -> list[Lease]:
    if rows:
        await tx.execute(
            update(servers)
            .where(servers.c.id.in_([row.id for row in rows]))
            .values(lease_owner=owner, lease_epoch=servers.c.lease_epoch + 1, lease_expires=tx.now + LEASE)
        )
    return [Lease(ServerId(row.id), LeaseEpoch(row.lease_epoch + 1), owner) for row in rows]


async def has_work(store: Store, *, host: str | None) -> bool:
    """A read that spares idle hubs the write lock."""
    return await _any(store, _HAS_WORK, host)


async def has_polls(store: Store, *, host: str | None) -> bool:
    return await _any(store, _HAS_POLLS, host)


async def _any(store: Store, statement: Select[Any], host: str | None) -> bool:
    now = store.now()
    asked = {"now": now, "due": now, "host": host}
    async with store.read() as connection:
        return (await connection.execute(statement, asked)).first() is not None


def held(lease: Lease) -> ColumnElement[bool]:
    """As the condition of a write."""
    return and_(
        servers.c.id == lease.server_id,
        servers.c.lease_epoch == lease.epoch,
        servers.c.lease_owner == lease.owner,
    )


def _held(leases: Sequence[Lease]) -> ColumnElement[bool]:
    """Of many: one condition of one shape, whatever their number."""
    marks = [(lease.server_id, lease.epoch, lease.owner) for lease in leases]
    return and_(
        servers.c.id.in_([lease.server_id for lease in leases]),
        tuple_(servers.c.id, servers.c.lease_epoch, servers.c.lease_owner).in_(marks),
    )


def holds(lease: Lease, row: Row[Any] | None) -> bool:
    return row is not None and (row.lease_epoch, row.lease_owner) == (lease.epoch, lease.owner)


async def still_held(tx: Transaction, leases: Sequence[Lease]) -> dict[ServerId, Row[Any]]:
    """Those of them that hold until this transaction ends, with what is wanted of their servers."""
    rows = {row.id: row for row in await tx.execute(_WANTED, {"ids": [lease.server_id for lease in leases]})}
    return {lease.server_id: rows[lease.server_id] for lease in leases if holds(lease, rows.get(lease.server_id))}


async def settle(tx: Transaction, results: Sequence[tuple[ServerId, Mapping[str, Any]]], *, release: bool) -> None:
    """Write what was observed of servers whose leases `still_held` named in this transaction, the same columns each."""
    free = {"lease_owner": None, "lease_expires": None} if release else {"lease_expires": tx.now + LEASE}
    await tx.execute(_SETTLE, [{"row_id": server_id, **values, **free} for server_id, values in results])


_WANTED = select(
    servers.c.id, servers.c.desired, servers.c.generation, servers.c.lease_epoch, servers.c.lease_owner
).where(servers.c.id.in_(bindparam("ids", expanding=True)))
# The columns are those of the parameters.
_SETTLE = update(servers).where(servers.c.id == bindparam("row_id"))


async def renew(store: Store, leases: Sequence[Lease]) -> set[ServerId]:
    """Extend all these leases in one UPDATE; returns those that still hold."""
    if not leases:
        return set()
    async with store.transaction() as tx:
        still = select(servers.c.id).where(_held(leases))
        ids = [row.id for row in await tx.execute(still.with_for_update())]
        if ids:
            await tx.execute(update(servers).where(servers.c.id.in_(ids)).values(lease_expires=tx.now + LEASE))
        return {ServerId(number) for number in ids}


async def release_polls(tx: Transaction, leases: Sequence[Lease], next_poll: datetime) -> None:
    """Give back servers that were polled and found running."""
    if leases:
        await tx.execute(
            update(servers).where(_held(leases)).values(next_poll=next_poll, lease_owner=None, lease_expires=None)
        )


async def release_of(store: Store, owners: Sequence[str]) -> int:
    """Free the leases of replicas known to be dead, those of chores and services too; returns how many servers."""
    if not owners:
        return 0
    async with store.transaction() as tx:
        result = await tx.execute(
            update(servers).where(servers.c.lease_owner.in_(owners)).values(lease_owner=None, lease_expires=None)
        )
        await tx.execute(update(named_leases).where(named_leases.c.owner.in_(owners)).values(expires=tx.now))
        await tx.execute(replicas.delete().where(replicas.c.id.in_(owners)))
        return result.rowcount
