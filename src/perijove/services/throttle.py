"""Slowing down password guessing, without locking a class behind one address out.

Counts failures per account and address together, and per account alone with a higher limit; an address alone is never
throttled: a whole school may come from one. The counts are rows, so that whoever meets several replicas gets no more
guesses than with one. Forms of plug-ins are counted here too (`web/bridge.py`).
"""

import hashlib
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from sqlalchemy import delete, insert, select, update

from perijove.domain.errors import Conflict, HubError, LimitReached, Unavailable
from perijove.lib import metrics
from perijove.lib.log import get_logger
from perijove.services.audit import record
from perijove.store.schema import login_failures

if TYPE_CHECKING:
    from perijove.services.context import HubContext
    from perijove.store.database import Transaction

log = get_logger(__name__)

FREE_FAILURES = 10
FREE_FAILURES_PER_ACCOUNT = 50
FIRST_WAIT_SECONDS = 5.0
MAX_WAIT_SECONDS = 300.0
# Failures are forgotten after this without another.
FORGET_SECONDS = 900.0


@asynccontextmanager
async def attempt(hub: "HubContext", account: str, address: str) -> AsyncIterator[None]:
    """A login in the block: refused before it begins when it has to wait, counted when it raises a `HubError`.

    Raises `LimitReached`.
    """
    keys = _keys(hub, account, address)
    counted = await _read(hub, keys)
    seconds = int(wait_seconds(keys, counted, hub.store.now()))
    if seconds > 0:
        raise LimitReached(f"Too many failed logins. Try again in {seconds} seconds.", retry_after_seconds=seconds)
    try:
        with metrics.timed(metrics.login_duration):
            yield
    except (Unavailable, LimitReached):
        # Nobody was told anything about the password.
        raise
    except HubError as error:
        log.warning("login_refused", account=account[:255], address=address)
        await _failed(hub, keys, account, address, type(error).__name__)
        raise
    mine = next(iter(keys))
    if mine in counted:
        # Only for this address: an attacker elsewhere gains nothing from the owner's login.
        async with hub.store.transaction() as tx:
            await tx.execute(delete(login_failures).where(login_failures.c.key == mine))


def _keys(hub: "HubContext", account: str, address: str) -> Mapping[str, int]:
    """Key -> failures that are free: of the account from this address first, then of the account."""
    name = hub.authenticator.normalize(account[:255])
    here = {_hashed(f"{address}\n{name}"): FREE_FAILURES}
    # Forms without a name are everybody's.
    return here | {_hashed(f"\n{name}"): FREE_FAILURES_PER_ACCOUNT} if name else here


def _hashed(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


Counted = Mapping[str, tuple[int, datetime]]


async def _read(hub: "HubContext", keys: Mapping[str, int]) -> Counted:
    f = login_failures.c
    async with hub.store.read() as connection:
        rows = await connection.execute(select(f.key, f.count, f.last).where(f.key.in_(list(keys))))
        return {row.key: (row._mapping["count"], row.last) for row in rows}  # noqa: SLF001 - `count` is a tuple's method


def wait_seconds(keys: Mapping[str, int], counted: Counted, now: datetime) -> float:
    """How long this attempt must wait, a second at least; 0: go on."""
    return max(_waits(keys, counted, now), default=0.0)


def _waits(keys: Mapping[str, int], counted: Counted, now: datetime) -> Iterator[float]:
    for key, free in keys.items():
        count, last = counted.get(key, (0, now))
        passed = (now - last).total_seconds()
        if count < free or passed > FORGET_SECONDS:
            continue
        wait = min(FIRST_WAIT_SECONDS * 2.0 ** min(count - free, 10), MAX_WAIT_SECONDS)
        if passed < wait:
            yield wait - passed + 1


async def _failed(hub: "HubContext", keys: Mapping[str, int], account: str, address: str, why: str) -> None:
    try:
        async with hub.store.transaction() as tx:
            for key in keys:
                await _count(tx, key)
            await record(
                tx, "login", actor=account[:255], subject=account[:255], address=address, result="denied", why=why
            )
    except Conflict:
        # Another replica counted the first failure at the same moment.
        log.info("login_failure_counted_elsewhere", account=account[:255])


async def _count(tx: "Transaction", key: str) -> None:
    f = login_failures
    row = (await tx.execute(select(f.c.last).where(f.c.key == key))).first()
    if row is None:
        await tx.execute(insert(f).values(key=key, count=1, last=tx.now))
        return
    fresh = tx.now - row.last > timedelta(seconds=FORGET_SECONDS)
    values: dict[str, Any] = {"count": 1 if fresh else f.c.count + 1, "last": tx.now}
    await tx.execute(update(f).where(f.c.key == key).values(values))


async def forget_old(tx: "Transaction") -> int:
    """Within the chore that deletes what has expired."""
    old = login_failures.c.last < tx.now - timedelta(seconds=FORGET_SECONDS)
    return (await tx.execute(delete(login_failures).where(old))).rowcount
