"""Looks at a model's database from outside, past all hubs, and hurts PostgreSQL's sessions."""

import asyncio
import sqlite3
from datetime import UTC, datetime
from typing import Any, Protocol

from sqlalchemy.engine import make_url

from perijove.testing.model.loop import Process

Rows = list[dict[str, Any]]


class Observer(Protocol):
    async def rows(self, statement: str) -> Rows: ...
    async def end_silent(self, name: str) -> None:
        """As the server does to a session that holds a transaction and says nothing."""

    async def close(self) -> None: ...


class SQLiteObserver:
    """Statements take no time."""

    def __init__(self, url: str) -> None:
        self._connection = sqlite3.connect(make_url(url).database or "", isolation_level=None)
        self._connection.row_factory = sqlite3.Row

    async def rows(self, statement: str) -> Rows:
        return [dict(row) for row in self._connection.execute(statement)]

    async def end_silent(self, name: str) -> None:
        del name  # nobody freezes in the middle of a transaction there

    async def close(self) -> None:
        self._connection.close()


class PostgresObserver:
    def __init__(self, url: str, process: Process) -> None:
        self._url = make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
        self._process = process
        self._connection: Any = None
        self._turn = asyncio.Lock()

    async def rows(self, statement: str) -> Rows:
        return await self._process.begin(self._rows(statement))

    async def _rows(self, statement: str) -> Rows:
        async with self._turn:
            return await self._ask(statement)

    async def _ask(self, statement: str) -> Rows:
        with self._process.at_database():
            if self._connection is None:
                import asyncpg  # noqa: PLC0415 - a model on SQLite needs none of it

                self._connection = await asyncpg.connect(self._url, ssl=False)
            return [dict(row) for row in await self._connection.fetch(statement)]

    async def end_silent(self, name: str) -> None:
        await self.rows(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()"  # noqa: S608 - our own name
            f" AND application_name = '{name}' AND state LIKE 'idle in transaction%'"
        )

    async def close(self) -> None:
        if self._connection is not None:
            self._connection.terminate()


def moment(value: Any) -> datetime:
    """A time as the driver gave it."""
    at = datetime.fromisoformat(value) if isinstance(value, str) else value
    assert isinstance(at, datetime)
    return at if at.tzinfo else at.replace(tzinfo=UTC)
