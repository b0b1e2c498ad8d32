"""SQLite under asyncio, one thread hop a statement.

aiosqlite hops to its thread for each of cursor, execute, fetch and close: four times for one SELECT, which
is most of what a small query costs. This cursor does the four in one call. It rests on aiosqlite's
connection (its thread, its queue) and on `async_creator`, SQLAlchemy's documented seam for a driver
connection of one's own. Results are read whole: nothing here streams, and pages of rows are small.
"""

import sqlite3
from collections.abc import Sequence
from typing import Any, Self

import aiosqlite

BUSY_TIMEOUT_SECONDS = 15
_PRAGMAS = (
    "PRAGMA journal_mode=WAL",
    # A killed process loses nothing; a lost machine may lose the last transactions, never the database.
    "PRAGMA synchronous=NORMAL",
    "PRAGMA foreign_keys=ON",
    "PRAGMA temp_store=MEMORY",
    # KiB for each connection, of which there are six: the operating system keeps the file's pages, once for all.
    "PRAGMA cache_size=-1000",
)


class WholeCursor:
    """The part of a cursor that SQLAlchemy's adapter uses."""

    def __init__(self, connection: "WholeConnection") -> None:
        self._connection = connection
        self._rows: list[Any] = []
        self.description: Any = None
        self.rowcount = -1
        self.lastrowid: int | None = None
        self.arraysize = 1

    async def __aenter__(self) -> Self:
        return self

    async def execute(self, sql: str, parameters: Sequence[Any] = ()) -> Self:
        await self._connection.in_thread(self._run, sql, parameters, False)
        return self

    async def executemany(self, sql: str, parameters: Sequence[Sequence[Any]]) -> Self:
        await self._connection.in_thread(self._run, sql, parameters, True)
        return self

    def _run(self, sql: str, parameters: Any, many: bool) -> None:
        cursor = self._connection.raw.cursor()
        try:
            if many:
                cursor.executemany(sql, parameters)
            else:
                cursor.execute(sql, parameters)
            self.description = cursor.description
            self._rows = cursor.fetchall() if cursor.description else []
            self.rowcount, self.lastrowid = cursor.rowcount, cursor.lastrowid
        finally:
            cursor.close()

    async def fetchall(self) -> list[Any]:
        rows, self._rows = self._rows, []
        return rows

    async def close(self) -> None:
        """Closed already, with the statement."""


class WholeConnection(aiosqlite.Connection):
    """An aiosqlite connection that gives such cursors."""

    @property
    def raw(self) -> Any:
        return self._conn

    async def in_thread(self, function: Any, *args: Any) -> Any:
        return await self._execute(function, *args)  # type: ignore[no-untyped-call]  # aiosqlite leaves it untyped

    # aiosqlite's own is awaitable and a context manager; the adapter calls it and enters the result.
    def cursor(self) -> WholeCursor:  # type: ignore[override]
        return WholeCursor(self)


async def connect(path: str) -> WholeConnection:
    """Open `path` with the pragmas of a hub's database.

    Transactions are ours to begin (`isolation_level=None`): the driver's own begin would be a deferred
    one, which fails with SQLITE_BUSY at its first write instead of waiting its turn.
    """

    def connector() -> sqlite3.Connection:
        connection = sqlite3.connect(path, timeout=BUSY_TIMEOUT_SECONDS, isolation_level=None)
        for pragma in _PRAGMAS:
            connection.execute(pragma)
        return connection

    opening = WholeConnection(connector, 64)
    # Its thread must not keep a process alive whose event loop has ended.
    opening._thread.daemon = True  # noqa: SLF001 - as SQLAlchemy's own dialect does
    return await opening  # type: ignore[return-value]
