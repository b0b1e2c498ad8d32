"""How a write transaction begins, counts revisions and ends, where databases differ.

There is one writer at a time, on every database, as there is on SQLite by nature: a transaction begins by taking
the one lock, which ends with it. So a check and the write that rests on it (is a limit reached? is the name
free?) cannot be torn apart by another replica, and two of ours can neither deadlock nor fail to serialise:
there is nothing to run again. Readers wait for nobody. What it costs: docs/explanation/databases.md.

A holder that falls silent, frozen or cut off, is rolled back by the server after `engines.SILENCE_SECONDS`.
"""

import asyncio
from datetime import UTC, datetime
from typing import Final, Protocol

from sqlalchemy import select, text, update
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from perijove.bus.postgres import CHANNEL
from perijove.store.schema import revision as counter

# Any constant; advisory locks are each database's own.
_LOCK: Final = 0x7065726A6F7665
_FAREWELL_SECONDS: Final = 2
_COUNTER: Final = select(counter.c.value).where(counter.c.id == 1)


class Dialect(Protocol):
    """What `Store.transaction` asks of a database."""

    # Whether the database has a clock of its own, and may be out of reach.
    remote: bool

    async def begin(self, connection: AsyncConnection) -> datetime | None:
        """Wait to be the only writer; the database's time then, None where it is this process's."""

    async def advance(self, connection: AsyncConnection, count: int) -> int:
        """Add to the revision counter and return it."""

    async def commit(self, connection: AsyncConnection) -> None: ...
    async def rollback(self, connection: AsyncConnection) -> None: ...


class SQLite:
    remote = False
    _BEGIN, _COMMIT, _ROLLBACK = text("BEGIN IMMEDIATE"), text("COMMIT"), text("ROLLBACK")

    async def begin(self, connection: AsyncConnection) -> datetime | None:
        await connection.execute(self._BEGIN)
        return None

    async def advance(self, connection: AsyncConnection, count: int) -> int:
        add = update(counter).where(counter.c.id == 1).values(value=counter.c.value + count)
        return int((await connection.execute(add.returning(counter.c.value))).scalar_one())

    async def commit(self, connection: AsyncConnection) -> None:
        await connection.execute(self._COMMIT)

    async def rollback(self, connection: AsyncConnection) -> None:
        if connection.invalidated:
            # A cancellation in the middle of a statement closed it, which rolls back.
            return
        raw = await connection.get_raw_connection()
        if raw.driver_connection is not None and raw.driver_connection.in_transaction:
            await connection.execute(self._ROLLBACK)


class _Remote:
    remote = True

    async def commit(self, connection: AsyncConnection) -> None:
        await connection.commit()

    async def rollback(self, connection: AsyncConnection) -> None:
        try:
            async with asyncio.timeout(_FAREWELL_SECONDS):
                await connection.rollback()
        except (DBAPIError, OSError):
            # It rolls back by itself when the connection is gone, and what led here is what should be told.
            await connection.invalidate()


class PostgreSQL(_Remote):
    # In a subquery, since the clock must be read when the lock is had.
    _BEGIN = text("SELECT clock_timestamp() FROM (SELECT pg_advisory_xact_lock(:lock) OFFSET 0) AS taken")
    # Tells the other replicas at commit; they would see it at their next look anyway.
    _ADVANCE = text(
        "UPDATE revision SET value = value + :count WHERE id = 1 "  # noqa: S608 - a constant of ours
        f"RETURNING value, pg_notify('{CHANNEL}', '')"
    )

    async def begin(self, connection: AsyncConnection) -> datetime | None:
        now: datetime = (await connection.execute(self._BEGIN, {"lock": _LOCK})).scalar_one()
        return now.astimezone(UTC)

    async def advance(self, connection: AsyncConnection, count: int) -> int:
        return int((await connection.execute(self._ADVANCE, {"count": count})).scalar_one())


class MySQL(_Remote):
    # GET_LOCK would outlive the transaction; a row's lock does not. The row of the schema's version is always
    # there, once. SYSDATE is the time of looking, in the session's zone, UTC; NOW that of the statement's begin.
    _BEGIN = text("SELECT SYSDATE(6) FROM alembic_version FOR UPDATE")
    _ADVANCE = update(counter).where(counter.c.id == 1)

    async def begin(self, connection: AsyncConnection) -> datetime | None:
        now: datetime = (await connection.execute(self._BEGIN)).scalar_one()
        return now.replace(tzinfo=UTC)

    async def advance(self, connection: AsyncConnection, count: int) -> int:
        await connection.execute(self._ADVANCE.values(value=counter.c.value + count))
        return int((await connection.execute(_COUNTER)).scalar_one())


def dialect_of(name: str) -> Dialect:
    kinds: dict[str, type[SQLite | PostgreSQL | MySQL]]
    kinds = {"sqlite": SQLite, "postgresql": PostgreSQL, "mysql": MySQL, "mariadb": MySQL}
    return kinds[name]()
