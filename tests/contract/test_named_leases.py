"""Work that one replica does at a time, on each database: who gets a lease, and who keeps it."""

from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta

import pytest

from perijove.store.database import Store
from perijove.store.named_leases import NamedLease

HOLD = timedelta(seconds=30)
OVER = timedelta(0)
DAY = timedelta(days=1)


@pytest.fixture
async def replicas(database):
    """Two stores on one database."""
    async with AsyncExitStack() as stack:
        stores = []
        for _ in range(2):
            stores.append(await Store.open(database))
            stack.push_async_callback(stores[-1].close)
        yield stores


def lease_of(store, owner, hold=HOLD):
    return NamedLease(store, "sweep", owner, hold)


async def test_a_lease_is_one_replicas_until_it_is_released_or_over(replicas):
    ann, ben = lease_of(replicas[0], "ann"), lease_of(replicas[1], "ben")
    assert await ann.take()
    assert not await ben.take()
    assert await ann.take(), "it may be taken again by its owner"
    assert await ann.renew()
    assert not await ben.renew()
    await ben.release()
    assert not await ben.take(), "only its owner can release it"
    await ann.release()
    assert await ben.take()
    assert not await ann.renew()
    assert await lease_of(replicas[1], "ben", OVER).take()
    assert await ann.take(), "the other one's is over"


async def test_work_with_a_period_waits_for_its_turn_even_with_its_last_doer(replicas):
    ann, ben = lease_of(replicas[0], "ann"), lease_of(replicas[1], "ben")
    assert await ann.take(every=DAY)
    assert not await ann.take(every=DAY), "what failed is tried again when the lease is over"
    await ann.release(done=True)
    assert not await ann.take(every=DAY)
    assert not await ben.take(every=DAY)
    assert await ben.take(every=OVER)


@pytest.mark.parametrize("first", ["take", "renew"])
async def test_of_two_that_see_the_same_free_lease_only_the_first_to_write_gets_it(replicas, monkeypatch, first):
    """An owner that renews at the last moment keeps it: whoever saw its lease run out comes too late."""
    ann, ben = lease_of(replicas[0], "ann"), lease_of(replicas[1], "ben")
    assert await lease_of(replicas[0], "ann", OVER).take()
    transaction = replicas[1].transaction

    @asynccontextmanager
    async def late():
        """After ben has looked, and before he writes."""
        assert await getattr(ann, first)()
        async with transaction() as tx:
            yield tx

    monkeypatch.setattr(replicas[1], "transaction", late)
    assert not await ben.take()
    monkeypatch.undo()
    assert await ann.renew()


async def test_of_two_that_see_no_lease_only_the_first_to_write_gets_it(replicas, monkeypatch):
    ann, ben = lease_of(replicas[0], "ann"), lease_of(replicas[1], "ben")
    transaction = replicas[1].transaction

    @asynccontextmanager
    async def late():
        assert await ann.take()
        async with transaction() as tx:
            yield tx

    monkeypatch.setattr(replicas[1], "transaction", late)
    assert not await ben.take()
    monkeypatch.undo()
    assert await ann.renew()
