"""The database of a model: the real one, by the model's clock, and known for whom it works.

SQLite without threads: each statement runs at its own moment of simulated time, so that a seed says all that happens.
PostgreSQL is the real server, over sockets that the loop can cut. A trigger keeps every change of a server's row and
who made it, which is what the checker reads.
"""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any
from unittest import mock

import aiosqlite
from sqlalchemy import text
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import AsyncConnection

from perijove.store import migrate, sqlite
from perijove.store.database import Store, Transaction
from perijove.testing.model.loop import Process, current

START = datetime(2026, 1, 1, tzinfo=UTC)
# The leases under which this task acts, "server:epoch server:epoch"; known to the triggers of SQLite.
acting: ContextVar[str] = ContextVar("model_acting", default="")
_BUSY_SECONDS = 0.01


class ModelClock:
    """`lib.clock.Clock` of everybody, the database too."""

    def now(self) -> datetime:
        return START + timedelta(seconds=self.monotonic())

    def monotonic(self) -> float:
        return asyncio.get_running_loop().time()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class ModelStore(Store):
    """`Store`, whose database has the model's time."""

    async def _begin(self, connection: AsyncConnection) -> datetime:
        await self._dialect.begin(connection)
        return self._clock.now()

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncConnection]:
        with _at_database(self.remote):
            async with super().read() as connection:
                yield connection

    @asynccontextmanager
    async def read_aside(self) -> AsyncIterator[AsyncConnection]:
        with _at_database(self.remote):
            async with super().read_aside() as connection:
                yield connection

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Transaction]:
        with _at_database(self.remote):
            async with super().transaction() as tx:
                yield tx

    async def listener(self) -> Any:
        with _at_database(self.remote):
            return await super().listener()


@contextmanager
def _at_database(remote: bool) -> Iterator[None]:
    """Statements of SQLite are over at once."""
    process = current()
    if process is None or not remote:
        yield
        return
    with process.at_database():
        yield


# -- SQLite


class _Inline:
    """In place of aiosqlite's queue to its thread."""

    @staticmethod
    def put_nowait(item: tuple["asyncio.Future[Any] | None", Any]) -> None:
        future, function = item
        try:
            result = function()
        except Exception as error:  # noqa: BLE001 - handed on
            if future is not None and not future.done():
                future.set_exception(error)
        else:
            if future is not None and not future.done():
                future.set_result(result)


class DirectConnection(sqlite.WholeConnection):
    """A connection without a thread. A busy database is waited for in simulated time."""

    def __init__(self, connector: Any, latency: Any) -> None:
        aiosqlite.Connection.__init__(self, connector, 64)
        self._tx = _Inline()  # type: ignore[assignment]
        self._latency = latency

    def __await__(self) -> Any:
        return self._connect().__await__()

    async def close(self) -> None:
        """Always possible, as for the system of a process that has died."""
        self.end()

    def end(self) -> None:
        raw, self._connection = self._connection, None
        if raw is not None:
            raw.close()

    @property
    def in_transaction(self) -> bool:
        return self._connection is not None and self._connection.in_transaction

    async def _execute(self, fn: Any, *args: Any, **kwargs: Any) -> Any:
        deadline = asyncio.get_running_loop().time() + sqlite.BUSY_TIMEOUT_SECONDS
        while True:
            await asyncio.sleep(self._latency())
            if self._connection is None:
                raise ValueError("Connection closed")
            process = current()
            # To roll back is always possible: a killed process's transaction is over, too.
            if process is not None and process.cut_off and "ROLLBACK" not in args:
                raise sqlite3.OperationalError("disk I/O error: cut off")
            try:
                return fn(*args, **kwargs)
            except sqlite3.OperationalError as error:
                if "locked" not in str(error) or asyncio.get_running_loop().time() > deadline:
                    raise
            await asyncio.sleep(_BUSY_SECONDS)


@contextmanager
def direct_sqlite(random: Random) -> Iterator[None]:
    """All SQLite connections made meanwhile are direct ones, whose statements take a random moment."""

    def latency() -> float:
        return random.random() ** 4 * 0.05

    async def connect(path: str) -> DirectConnection:
        process = current()
        if process is not None and (not process.alive or process.cut_off):
            raise sqlite3.OperationalError("unable to open database file: cut off")
        made: DirectConnection = await DirectConnection(lambda: _open(path, process), latency)
        if process is not None:
            process.closers[made] = made.end
        return made

    with mock.patch.object(sqlite, "connect", connect):
        yield


def _open(path: str, process: Process | None) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=0, isolation_level=None)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=OFF")
    connection.execute("PRAGMA foreign_keys=ON")
    connection.create_function("model_writer", 0, lambda: process.name if process else "observer")
    connection.create_function("model_acting", 0, acting.get)
    return connection


# -- triggers

_WATCHED = ("observed", "phase", "url", "desired", "generation", "observed_generation", "lease_epoch")
_COLUMNS = ", ".join(f"{column} TEXT, {column}_was TEXT" for column in _WATCHED)
_NAMES = ", ".join(f"{column}, {column}_was" for column in _WATCHED)
_PENDING = "(SELECT count(*) FROM servers WHERE desired = 'running' AND observed IN ('stopped', 'starting'))"
_ACTIVE = "(SELECT count(*) FROM servers WHERE observed != 'stopped' OR desired = 'running')"


def _table(serial: str) -> str:
    return (
        f"CREATE TABLE model_log (id {serial}, server_id BIGINT, user_id BIGINT, name TEXT, writer TEXT, acting TEXT,"
        f" owner_was TEXT, pending BIGINT, active BIGINT, gone INTEGER DEFAULT 0, {_COLUMNS})"
    )


def _insert(writer: str, acting_by: str) -> str:
    values = ", ".join(f"NEW.{column}, OLD.{column}" for column in _WATCHED)
    return (
        f"INSERT INTO model_log (server_id, writer, acting, owner_was, pending, active, {_NAMES}) VALUES"  # noqa: S608 - all our own
        f" (NEW.id, {writer}, {acting_by}, OLD.lease_owner, {_PENDING}, {_ACTIVE}, {values});"
    )


_GONE = (
    "INSERT INTO model_log (server_id, user_id, name, writer, acting, owner_was, gone, desired, observed)"
    " VALUES (OLD.id, OLD.user_id, OLD.name, {writer}, {acting}, OLD.lease_owner, 1, OLD.desired, OLD.observed);"
)


def prepare(url: str) -> None:
    """The schema, and the triggers. Before the loop runs: migrations have one of their own."""
    parsed = make_url(url)
    if parsed.get_backend_name() == "sqlite":
        migrate.upgrade(parsed)
        connection = sqlite3.connect(parsed.database or "")
        connection.execute("PRAGMA journal_mode=WAL")
        connection.executescript(
            _table("INTEGER PRIMARY KEY AUTOINCREMENT") + ";"
            f"CREATE TRIGGER model_updated AFTER UPDATE ON servers BEGIN "
            f"{_insert('model_writer()', 'model_acting()')} END;"
            f"CREATE TRIGGER model_deleted AFTER DELETE ON servers BEGIN "
            f"{_GONE.format(writer='model_writer()', acting='model_acting()')} END;"
        )
        connection.close()
        return
    migrate.upgrade(parsed)
    from perijove.store import engines  # noqa: PLC0415 - only here

    writer = "current_setting('application_name')"

    def make(connection: Any) -> None:
        connection.execute(text(_table("BIGSERIAL PRIMARY KEY")))
        for name, body, row in (
            ("updated", _insert(writer, "''"), "UPDATE"),
            ("deleted", _GONE.format(writer=writer, acting="''"), "DELETE"),
        ):
            connection.execute(
                text(
                    f"CREATE FUNCTION model_{name}() RETURNS trigger LANGUAGE plpgsql AS "
                    f"$$ BEGIN {body} RETURN NULL; END $$"
                )
            )
            connection.execute(
                text(f"CREATE TRIGGER model_{name} AFTER {row} ON servers FOR EACH ROW EXECUTE FUNCTION model_{name}()")
            )
        connection.commit()

    engines.blocking(parsed, make)


def url_for(url: str, process: Process) -> str:
    """The URL by which this process says its name to PostgreSQL."""
    parsed = make_url(url)
    if parsed.get_backend_name() == "sqlite":
        return url
    named = parsed.update_query_dict({"application_name": process.name, "sslmode": "disable"})
    return named.render_as_string(hide_password=False)
