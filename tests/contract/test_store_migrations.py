"""Migrations on each database: alone, at once, killed in the middle, and with two releases on one schema."""

import asyncio
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest
from alembic.migration import MigrationContext
from alembic.operations import Operations
from sqlalchemy import event, inspect, text, update
from sqlalchemy.engine import make_url

from perijove.store import engines, migrate, schema
from perijove.store.database import Store
from perijove.store.migrations.resuming import ResumingMySQL
from perijove.testing.waiting import until


@pytest.fixture
def url(database):
    return make_url(database)


def shape(connection) -> dict:
    look = inspect(connection)
    return {
        table: {
            "columns": sorted((c["name"], str(c["type"]), c["nullable"]) for c in look.get_columns(table)),
            "indexes": sorted((tuple(i["column_names"]), bool(i["unique"])) for i in look.get_indexes(table)),
            "primary": look.get_pk_constraint(table)["constrained_columns"],
            "foreign": sorted(
                (tuple(f["constrained_columns"]), f["referred_table"], f["options"].get("ondelete"))
                for f in look.get_foreign_keys(table)
            ),
        }
        for table in look.get_table_names()
        if table != "alembic_version"
    }


def test_tables_made_at_once_are_those_that_migrations_make_one_after_another(url, new_database):
    migrate.upgrade(url)
    stepwise = make_url(new_database())
    engines.blocking(stepwise, migrate.run)
    assert engines.blocking(stepwise, migrate.current) == migrate.HEAD
    assert engines.blocking(url, shape) == engines.blocking(stepwise, shape)
    assert migrate.upgrade(stepwise) == migrate.HEAD


def test_an_older_schema_is_upgraded_by_one_of_two_hubs_that_start_at_once(url):
    engines.blocking(url, lambda connection: migrate.run(connection, to="0001"))
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(migrate.upgrade, [url, url]))
    assert "0001" in found
    assert set(found) <= {"0001", migrate.HEAD}
    assert engines.blocking(url, migrate.current) == migrate.HEAD


def test_tables_half_made_by_a_hub_that_was_killed_are_completed(url, new_database):
    def begin(connection) -> None:
        schema.metadata.create_all(connection, tables=schema.metadata.sorted_tables[:12])
        for index in schema.audit.indexes:
            index.drop(connection)
        connection.commit()

    engines.blocking(url, begin)
    assert migrate.upgrade(url) == ""
    whole = make_url(new_database())
    migrate.upgrade(whole)
    assert engines.blocking(url, shape) == engines.blocking(whole, shape)


class Killed(Exception):
    """The hub is gone, right after a change that the database has made."""


def test_a_migration_killed_after_every_single_change_is_completed_by_the_next_hub(mariadb):
    url, whole = (make_url(mariadb.create_database()) for _ in range(2))
    engines.blocking(url, lambda connection: migrate.run(connection, to="0001"))

    def killed_after_one_change(connection) -> None:
        def kill(_connection, _cursor, statement: str, *_) -> None:
            if statement.lstrip().startswith(("ALTER", "CREATE")):
                raise Killed

        event.listen(connection, "after_cursor_execute", kill)
        migrate.run(connection)

    killed = 0
    while engines.blocking(url, migrate.current) != migrate.HEAD:
        with suppress(Killed):
            engines.blocking(url, killed_after_one_change)
            break
        killed += 1
        assert killed < 100, "no hub gets further than the one before"
    assert killed > 10
    migrate.upgrade(whole)
    assert engines.blocking(url, shape) == engines.blocking(whole, shape)


def test_a_contraction_killed_after_a_change_is_completed_too(mariadb):
    def contract(connection) -> None:
        context = MigrationContext.configure(connection)
        assert isinstance(context.impl, ResumingMySQL)
        operations = Operations(context)
        operations.drop_index("ix_share_codes_prefix", "share_codes")
        operations.drop_column("share_codes", "prefix")
        operations.drop_table("login_failures")

    url = make_url(mariadb.create_database())
    migrate.upgrade(url)
    for _ in range(2):
        engines.blocking(url, contract)
    left = engines.blocking(url, shape)
    assert "login_failures" not in left
    assert "prefix" not in {name for name, *_ in left["share_codes"]["columns"]}


async def test_a_hub_killed_in_the_middle_of_its_first_start_leaves_what_the_next_one_completes(url, database):
    code = "import asyncio, sys; from perijove.store.database import Store; asyncio.run(Store.open(sys.argv[1]))"
    first = await asyncio.create_subprocess_exec(sys.executable, "-c", code, database)

    async def has_begun() -> bool:
        tables = await asyncio.to_thread(engines.blocking, url, lambda found: inspect(found).get_table_names())
        return bool(tables) or first.returncode is not None

    await until(has_begun, seconds=30, every=0.02)
    with suppress(ProcessLookupError):
        first.kill()
    await first.wait()
    assert await epoch_of(database)


async def epoch_of(database: str) -> str:
    store = await Store.open(database)
    await store.close()
    return store.epoch


def stamp(url, version: str, words: str | None) -> None:
    def write(connection) -> None:
        connection.execute(text("UPDATE alembic_version SET version_num = :version"), {"version": version})
        if words is not None:
            meta = schema.meta
            connection.execute(update(meta).where(meta.c.key == "schema_serves").values(value=words))
        connection.commit()

    engines.blocking(url, write)


@pytest.mark.parametrize("words", [None, "9999 serves 9998", "9998 serves 0001"])
def test_a_database_of_a_newer_release_is_refused_and_left_alone(url, words):
    migrate.upgrade(url)
    stamp(url, "9999", words)
    with pytest.raises(migrate.SchemaTooNew, match="newer Perijove"):
        migrate.upgrade(url)
    assert engines.blocking(url, migrate.current) == "9999"


def test_this_release_goes_on_with_a_schema_that_a_newer_one_only_expanded(url, database):
    migrate.upgrade(url)
    stamp(url, "9999", f"9999 serves {migrate.HEAD}")

    def expand(connection) -> None:
        connection.execute(text("ALTER TABLE users ADD COLUMN of_the_future VARCHAR(8)"))
        connection.commit()

    engines.blocking(url, expand)
    assert asyncio.run(epoch_of(database))
    assert engines.blocking(url, migrate.current) == "9999"
