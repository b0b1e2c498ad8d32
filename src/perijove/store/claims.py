"""Claim, act, settle: how one replica, and no other, works on a server.

A claim is one short transaction that chooses free rows, sets owner and expiry and adds one to `lease_epoch`.
Whoever settles says which epoch it holds (`held`); if another has claimed since, the UPDATE finds no row and the
result is dropped. A lease fences the row, not the world: what a frozen holder does to the world after it
wakes is bounded by names (server id, generation) and undone by the orphan sweep.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, bindparam, or_, select, tuple_, update

from perijove.domain.errors import LeaseLost
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


def _claimable(now: datetime, host: str | None) -> ColumnElement[bool]:
    free = or_(servers.c.lease_expires.is_(None), servers.c.lease_expires < now)
    mine = servers.c.host.is_(None) if host is None else or_(servers.c.host.is_(None), servers.c.host == host)
    return and_(free, mine)


def _asked(*conditions: ColumnElement[bool]) -> Select[Any]:
    """Whether there is such a row that can be claimed. Asked all the time, so it is built once."""
    host = bindparam("host", type_=servers.c.host.type)
    mine = or_(servers.c.host.is_(None), servers.c.host == host)
    free = or_(servers.c.lease_expires.is_(None), servers.c.lease_expires < _NOW)
    return select(servers.c.id).where(*conditions, free, mine).limit(1)


_NOW = bindparam("now", type_=servers.c.next_poll.type)
_TODO = or_(*(and_(servers.c.desired == desired, servers.c.observed == observed) for desired, observed in WORK))
_HAS_WORK = _asked(_TODO, or_(servers.c.next_attempt.is_(None), servers.c.next_attempt <= _NOW))
_HAS_POLLS = _asked(servers.c.next_poll <= _NOW, servers.c.observed == Observed.RUNNING)


async def claim_work(store: Store, *, owner: str, host: str | None, limit: int) -> list[Lease]:
    """Take servers whose intent differs from what is observed. `host`: also those bound to this machine."""
    async with store.transaction() as tx:
        due = or_(servers.c.next_attempt.is_(None), servers.c.next_attempt <= tx.now)
        return await _claim(tx, and_(_TODO, due, _claimable(tx.now, host)), owner=owner, limit=limit)


async def claim_polls(
    store: Store, *, owner: str, host: str | None, limit: int, ahead: timedelta = timedelta()
) -> list[Lease]:
    """Take running servers whose poll is due, or will be within `ahead`: a batch costs the same for one as for many."""
    async with store.transaction() as tx:
        due = and_(
            servers.c.next_poll <= tx.now + ahead,
            servers.c.observed == Observed.RUNNING,
            servers.c.desired == Desired.RUNNING,
        )
        return await _claim(tx, and_(due, _claimable(tx.now, host)), owner=owner, limit=limit)


async def _claim(tx: Transaction, condition: ColumnElement[bool], *, owner: str, limit: int) -> list[Lease]:
    # Chosen, then written: MySQL has neither UPDATE … RETURNING nor LIMIT in a subquery. Between the two nobody
    # writes, since a transaction is the only writer; a row that some other client holds is left for next time.
    chosen = select(servers.c.id, servers.c.lease_epoch).where(condition).order_by(servers.c.id).limit(limit)
    rows = (await tx.execute(chosen.with_for_update(skip_locked=True))).all()
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
    async with store.read() as connection:
        return (await connection.execute(statement, {"now": store.now(), "host": host})).first() is not None


def held(lease: Lease) -> ColumnElement[bool]:
    """The condition of every write under a lease."""
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


async def settle(tx: Transaction, lease: Lease, values: dict[str, Any], *, release: bool) -> None:
    """Write what was observed, if the lease still holds. Raises `LeaseLost`; the caller's transaction rolls back."""
    free = {"lease_owner": None, "lease_expires": None} if release else {"lease_expires": tx.now + LEASE}
    result = await tx.execute(update(servers).where(held(lease)).values(values | free))
    if result.rowcount != 1:
        raise LeaseLost(f"server {lease.server_id}, epoch {lease.epoch}")


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
