"""The store: transactions, revisions, and what other writers on the same database make known."""

import asyncio
from pathlib import Path

import pytest
from sqlalchemy import create_engine, insert, inspect, select
from sqlalchemy.engine import make_url

from perijove.bus.memory import QUEUE_SIZE, Bus
from perijove.domain.events import Event, Kind, Lagged
from perijove.store import migrate, schema
from perijove.store.database import Store
from perijove.store.tail import tail_forever


@pytest.fixture
async def store(tmp_path: Path):
    store = await Store.open(f"sqlite:///{tmp_path}/hub.sqlite")
    yield store
    await store.close()


async def add_user(store: Store, name: str) -> None:
    async with store.transaction() as tx:
        await tx.execute(insert(schema.users), {"name": name, "admin": False, "created": tx.now})
        tx.emit(Event(Kind.IDENTITY, name))


async def test_events_are_published_after_the_commit_with_consecutive_revisions(store: Store):
    with store.bus.subscribe() as events:
        await add_user(store, "alice")
        await add_user(store, "bob")
        got = await events.take(5)
    assert [(e.key, e.revision) for e in got] == [("alice", 1), ("bob", 2)]
    assert await store.revision() == 2


async def test_a_transaction_that_fails_leaves_neither_rows_nor_events(store: Store):
    async def fail() -> None:
        async with store.transaction() as tx:
            await tx.execute(insert(schema.users), {"name": "eve", "admin": False, "created": tx.now})
            tx.emit(Event(Kind.IDENTITY, "eve"))
            raise RuntimeError

    with store.bus.subscribe() as events:
        with pytest.raises(RuntimeError):
            await fail()
        assert await events.take(0) == []
    async with store.read() as connection:
        assert (await connection.execute(select(schema.users.c.name))).all() == []
    assert await store.revision() == 0


async def test_a_cancelled_transaction_rolls_back_and_frees_the_writer(store: Store):
    inside = asyncio.Event()

    async def hang() -> None:
        async with store.transaction() as tx:
            await tx.execute(insert(schema.users), {"name": "eve", "admin": False, "created": tx.now})
            inside.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(hang())
    await inside.wait()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await add_user(store, "alice")
    async with store.read() as connection:
        assert (await connection.execute(select(schema.users.c.name))).scalars().all() == ["alice"]


async def test_what_another_process_commits_is_published_here(store: Store, tmp_path: Path):
    other = await Store.open(f"sqlite:///{tmp_path}/hub.sqlite")
    assert (other.epoch, other.hub_id, other.cookie_secret) == (
        store.epoch,
        store.hub_id,
        store.cookie_secret,
    )
    tail = asyncio.create_task(tail_forever(store, since=0, broken=lambda: None, mended=lambda: None))
    try:
        with store.bus.subscribe(Kind.IDENTITY) as events:
            await add_user(store, "mine")
            await add_user(other, "theirs")
            seen: list[str] = []
            while "theirs" not in seen:
                got = await events.take(10)
                assert got, "nothing arrived in ten seconds"
                seen += [e.key for e in got]
        assert seen.count("mine") == 1, "own events are told once"
    finally:
        tail.cancel()
        await asyncio.gather(tail, return_exceptions=True)
        await other.close()


async def test_nothing_of_others_is_passed_over_for_what_we_committed_before(store: Store, tmp_path: Path):
    """Our own commit was read already, or before the tail began: it does not count for one of theirs."""
    other = await Store.open(f"sqlite:///{tmp_path}/hub.sqlite")
    await add_user(store, "mine")
    since = await store.revision()
    tail = asyncio.create_task(tail_forever(store, since=since, broken=lambda: None, mended=lambda: None))
    try:
        with store.bus.subscribe(Kind.IDENTITY) as events:
            await add_user(other, "theirs")
            assert [event.key for event in await events.take(10)] == ["theirs"]
    finally:
        tail.cancel()
        await asyncio.gather(tail, return_exceptions=True)
        await other.close()


async def test_a_slow_subscriber_is_told_that_it_lagged():
    bus = Bus()
    with bus.subscribe() as events:
        bus.publish(Event(Kind.SERVER, str(n)) for n in range(QUEUE_SIZE + 1))
        assert await events.take(1) == [Lagged()]
        bus.publish([Event(Kind.SERVER, "after")])
        assert [e.key for e in await events.take(1)] == ["after"]


def shape(url) -> dict:
    engine = create_engine(url)
    look = inspect(engine)
    tables = {
        table: {
            "columns": sorted((c["name"], str(c["type"]), c["nullable"]) for c in look.get_columns(table)),
            "indexes": sorted((i["name"], tuple(i["column_names"]), i["unique"]) for i in look.get_indexes(table)),
            "unique": sorted(tuple(u["column_names"]) for u in look.get_unique_constraints(table)),
            "foreign": sorted(
                (tuple(f["constrained_columns"]), f["referred_table"]) for f in look.get_foreign_keys(table)
            ),
        }
        for table in look.get_table_names()
    }
    engine.dispose()
    return tables


def test_a_backup_is_a_complete_database_that_only_its_owner_reads(tmp_path: Path):
    url = make_url(f"sqlite:///{tmp_path}/hub.sqlite")
    migrate.upgrade(url)
    copy = migrate.backup(url)
    assert copy is not None
    assert copy.stat().st_mode & 0o777 == 0o600
    assert shape(make_url(f"sqlite:///{copy}")) == shape(url)
