"""Looking at a database in a file without waking anybody: never an old answer, and none rather than a wait."""

import asyncio
import sqlite3
import subprocess
import sys
from contextlib import closing

import pytest

from perijove.domain.events import Event, Kind, Lagged
from perijove.store.database import Store
from perijove.store.glance import Glance
from perijove.store.tail import tail_forever
from perijove.testing.waiting import until

# As another hub's transaction ends, in a process of its own.
WRITE = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN IMMEDIATE")
connection.execute("UPDATE revision SET value = value + 1 WHERE id = 1")
connection.execute("INSERT INTO outbox (revision, kind, key, data, at) "
                   "SELECT value, 'identity', ?, '{}', '2026-01-01 00:00:00.000000' FROM revision", (sys.argv[2],))
connection.execute("COMMIT")
for statement in sys.argv[3:]:
    connection.execute(statement).fetchall()
"""


@pytest.fixture
async def store(tmp_path):
    store = await Store.open(f"sqlite:///{tmp_path / 'hub.sqlite'}")
    yield store
    await store.close()


def write(store, key, *afterwards):
    subprocess.run([sys.executable, "-c", WRITE, str(store.file), key, *afterwards], check=True)


@pytest.mark.parametrize("afterwards", [(), ("PRAGMA wal_checkpoint(TRUNCATE)",), ("PRAGMA wal_checkpoint(RESTART)",)])
async def test_the_next_look_sees_what_another_process_committed(store, afterwards):
    with Glance(store.file) as glance:
        for round_ in range(3):
            before = await store.revision()
            assert glance.revision() == before
            write(store, f"u{round_}", *afterwards)
            assert glance.revision() == before + 1 == await store.revision()


async def test_the_next_look_sees_what_this_process_committed(store):
    with Glance(store.file) as glance:
        for name in ("ann", "ben"):
            async with store.transaction() as tx:
                tx.emit(Event(Kind.IDENTITY, name))
            assert glance.revision() == await store.revision()


async def test_a_writer_at_work_is_not_waited_for(store):
    with Glance(store.file) as glance:
        before = glance.revision()
        async with store.transaction() as tx:
            tx.emit(Event(Kind.IDENTITY, "ann"))
            assert glance.revision() == before


async def test_what_cannot_be_told_at_once_is_not_told_and_can_be_later(tmp_path):
    path = tmp_path / "held.sqlite"
    with Glance(path) as glance:
        with closing(sqlite3.connect(path, isolation_level=None)) as holder:
            for statement in ("PRAGMA journal_mode=WAL", "PRAGMA locking_mode=EXCLUSIVE"):
                holder.execute(statement)
            assert glance.revision() is None, "there is no such table"
            holder.execute("CREATE TABLE revision (id INTEGER, value INTEGER)")
            holder.execute("INSERT INTO revision VALUES (1, 7)")
            assert glance.revision() is None, "somebody holds the file for themselves"
        assert glance.revision() == 7


async def test_nothing_is_made_where_there_is_no_database(tmp_path):
    with Glance(tmp_path / "none.sqlite") as glance:
        assert glance.revision() is None
    assert not list(tmp_path.iterdir())


async def test_databases_elsewhere_and_in_memory_have_no_file():
    store = await Store.open("sqlite://")
    assert store.file is None
    await store.close()


async def test_the_tail_tells_of_other_processes_commits_whatever_becomes_of_the_log(store):
    heard = []
    store.bus.listen(heard.append)
    tail = asyncio.create_task(
        tail_forever(store, since=await store.revision(), broken=lambda: None, mended=lambda: None)
    )
    try:
        for number, statement in enumerate(("SELECT 1", "PRAGMA wal_checkpoint(TRUNCATE)", "VACUUM", "SELECT 1")):
            await asyncio.to_thread(write, store, f"u{number}", statement)
            await until(lambda: heard and not isinstance(heard[-1], Lagged) and heard[-1].key == f"u{number}")  # noqa: B023 - awaited here
            # One of ours in between is not told twice.
            async with store.transaction() as tx:
                tx.emit(Event(Kind.IDENTITY, f"own{number}"))
    finally:
        tail.cancel()
        await asyncio.gather(tail, return_exceptions=True)
    assert [event.key for event in heard] == ["u0", "own0", "u1", "own1", "u2", "own2", "u3", "own3"]
