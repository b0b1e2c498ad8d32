"""What is written together: as much as waits, in one transaction, and none of it the worse for the others."""

import asyncio

import pytest
from sqlalchemy import insert, select

from perijove.domain.errors import Conflict, Invalid
from perijove.domain.events import Event, Kind
from perijove.lib.log import correlation_id
from perijove.services.audit import record
from perijove.store import schema
from perijove.store.database import Store

users, outbox, audit = schema.users, schema.outbox, schema.audit


@pytest.fixture
async def store(database):
    store = await Store.open(database)
    yield store
    await store.close()


def user(name, *, refuse=None, fail=False):
    """A unit of work that makes this user, refuses to begin, or fails half-way."""

    async def write(tx):
        if refuse is not None:
            raise refuse
        await tx.execute(insert(users), {"name": name, "admin": False, "created": tx.now})
        tx.emit(Event(Kind.IDENTITY, name))
        if fail:
            raise Invalid("half-way")
        return name

    return write


async def names_of(store):
    async with store.read() as connection:
        return list((await connection.execute(select(users.c.name).order_by(users.c.name))).scalars())


async def times_of(store):
    """When transactions with events began."""
    async with store.read() as connection:
        return set((await connection.execute(select(outbox.c.at))).scalars())


async def all_of(store, *units):
    """All at once, while somebody else writes; what came of each."""
    async with store.transaction():
        asked = asyncio.gather(*(store.together(unit) for unit in units), return_exceptions=True)
        # The first is on its way to the lock; the others wait for it.
        await asyncio.sleep(0)
    return await asked


async def test_what_waits_is_one_transaction_and_each_gets_its_own_answer(store):
    assert await all_of(store, user("ann"), user("ben"), user("cy")) == ["ann", "ben", "cy"]
    assert await names_of(store) == ["ann", "ben", "cy"]
    assert len(await times_of(store)) == 1


async def test_one_that_is_refused_before_it_writes_leaves_the_others_in_their_transaction(store):
    refused = Conflict("no")
    assert await all_of(store, user("ann"), user("ben", refuse=refused), user("cy")) == ["ann", refused, "cy"]
    assert len(await times_of(store)) == 1


@pytest.mark.parametrize("bad", [user("ben", fail=True), user("ann")], ids=["half-way", "by the database"])
async def test_one_that_fails_half_way_is_undone_alone(store, bad):
    ann, error, cy = await all_of(store, user("ann"), bad, user("cy"))
    assert (ann, cy) == ("ann", "cy")
    assert isinstance(error, Invalid | Conflict)
    assert await names_of(store) == ["ann", "cy"]


async def test_one_whose_asker_is_gone_before_its_turn_leaves_no_trace(store):
    async with store.transaction():
        first = asyncio.create_task(store.together(user("ann")))
        await asyncio.sleep(0)
        second = asyncio.create_task(store.together(user("ben")))
        third = asyncio.create_task(store.together(user("cy")))
        await asyncio.sleep(0)
        second.cancel()
    assert await asyncio.gather(first, third) == ["ann", "cy"]
    assert await names_of(store) == ["ann", "cy"]


async def test_each_is_recorded_as_what_its_own_asker_asked(store):
    """The context of a request goes with its unit, whoever's task writes it."""

    async def ask(name):
        correlation_id.set(f"request-{name}")

        async def write(tx):
            await record(tx, "user.create", actor=name, subject=name)

        await store.together(write)

    await asyncio.gather(*(ask(name) for name in ("ann", "ben", "cy")))
    async with store.read() as connection:
        rows = await connection.execute(select(audit.c.actor, audit.c.correlation_id).order_by(audit.c.actor))
        assert [tuple(row) for row in rows] == [(name, f"request-{name}") for name in ("ann", "ben", "cy")]


async def test_whoever_waits_for_a_commit_goes_on_before_the_next_transaction_begins(store):
    """Killed or frozen there, they leave no lock behind in the database."""
    seen, begun = [], asyncio.Event()

    async def waits():
        async def write(tx):
            await user("ann")(tx)
            begun.set()

        await store.together(write)
        seen.append("went on")

    async def next_writer():
        await begun.wait()
        async with store.transaction():
            seen.append("next")

    await asyncio.gather(waits(), next_writer())
    assert seen == ["went on", "next"]
