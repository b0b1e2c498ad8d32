"""Connections and transactions.

A write is one short transaction that ends with its outbox rows and, last of all, the revision
counter. The counter row is what orders revisions by commit: a second writer waits on it, so nobody
who tails `revision > n` can miss a transaction that commits late (with a sequence they would).

SQLite has one writer at a time. Writers of this process queue on a lock instead of spinning in
`SQLITE_BUSY`; other processes (commands of the operator) are waited for by the busy timeout.
`synchronous=NORMAL` in WAL mode: a killed process loses nothing, a lost machine may lose the last
transactions but never the database.
"""

import asyncio
import secrets
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime
from typing import Any

import msgspec
from sqlalchemy import insert, select, text, update
from sqlalchemy.engine import URL, CursorResult, make_url
from sqlalchemy.exc import DBAPIError, IntegrityError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import AsyncAdaptedQueuePool
from sqlalchemy.sql.base import Executable

from perijove.bus.memory import Bus
from perijove.domain.errors import Conflict, Unavailable
from perijove.domain.events import Event
from perijove.lib.clock import Clock, SystemClock
from perijove.store import migrate, schema, sqlite

READERS = 4


@contextmanager
def mapped_errors() -> Iterator[None]:
    """A driver's errors as conditions of the domain, cause chained."""
    try:
        yield
    except IntegrityError as error:
        raise Conflict("This already exists, or changed meanwhile.") from error
    except (OperationalError, InterfaceError, PoolTimeout) as error:
        raise Unavailable("The hub's database does not answer; nothing was changed.") from error
    except DBAPIError as error:
        if error.connection_invalidated:
            raise Unavailable("The connection to the hub's database was lost.") from error
        raise


class Transaction:
    """One write transaction. `emit` collects events; they become outbox rows at commit."""

    def __init__(self, connection: AsyncConnection, now: datetime) -> None:
        self.connection = connection
        # The database's clock when the transaction began: what deadlines and leases are made of.
        self.now = now
        self.events: list[Event] = []

    async def execute(self, statement: Executable, parameters: Any = None) -> CursorResult[Any]:
        return await self.connection.execute(statement, parameters)

    def emit(self, *events: Event) -> None:
        self.events.extend(events)


class Store:
    """The hub's database. Made by `Store.open`."""

    def __init__(self, engine: AsyncEngine, writer: AsyncEngine, bus: Bus, clock: Clock) -> None:
        self._readers = engine
        self._writer = writer
        self._bus = bus
        self._clock = clock
        self._sqlite = engine.dialect.name == "sqlite"
        self._write_lock = asyncio.Lock()
        # Random, made with the database: revisions of another epoch mean nothing.
        self.epoch = ""
        # Random, made with the database: marks what hubs on this database start.
        self.hub_id = ""
        self.cookie_secret = b""
        self.proxy_token = ""
        # Revisions that this process committed and published itself; the tail skips them.
        self._own: set[int] = set()

    @classmethod
    async def open(
        cls, url: str, *, bus: Bus | None = None, clock: Clock | None = None, migrations: bool = True
    ) -> "Store":
        """Connect, bring the schema to this version (see `migrate`), read what names this database.

        `url` is any SQLAlchemy URL; `sqlite:///path` gets the async driver. Raises `Unavailable`
        when nothing answers and `migrate.SchemaTooNew` when another release made the database newer.
        """
        parsed = make_url(url)
        if parsed.get_backend_name() == "sqlite":
            parsed = parsed.set(drivername="sqlite+aiosqlite")
        memory = parsed.get_backend_name() == "sqlite" and parsed.database in (None, "", ":memory:")
        with mapped_errors():
            if migrations and not memory:
                await asyncio.to_thread(migrate.upgrade, parsed)
            writer = _engine(parsed, pool_size=1, writer=True)
            readers = writer if memory else _engine(parsed, pool_size=READERS, writer=False)
            store = cls(readers, writer, bus or Bus(), clock or SystemClock())
            if memory:
                async with writer.connect() as connection:
                    await connection.run_sync(schema.metadata.create_all)
            await store._name_yourself()
        return store

    async def close(self) -> None:
        await self._readers.dispose()
        await self._writer.dispose()

    @property
    def bus(self) -> Bus:
        return self._bus

    @property
    def dialect(self) -> str:
        return self._readers.dialect.name

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncConnection]:
        """A connection for SELECTs, each of which sees what is committed at its time."""
        with mapped_errors():
            if self._readers is self._writer:
                async with self._write_lock, self._readers.connect() as connection:
                    yield connection
            else:
                async with self._readers.connect() as connection:
                    yield connection

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Transaction]:
        """Everything or nothing. Publishes the events after the commit. Await no network inside.

        A waiter that is cancelled before its turn leaves no trace. The transaction itself is short
        and not shielded: a cancellation inside rolls back.
        """
        with mapped_errors():
            async with self._write_lock, self._writer.connect() as connection:
                if self._sqlite:
                    await connection.execute(_BEGIN)
                transaction = Transaction(connection, await self._now(connection))
                try:
                    yield transaction
                    published = await self._write_outbox(transaction)
                    await self._commit(connection)
                except BaseException:
                    await self._rollback(connection)
                    raise
        if published:
            self._own.update(item.revision for item in published)
            self._bus.publish(published)

    def forget_own(self, up_to: int) -> set[int]:
        """Take out the revisions up to `up_to` that this process made."""
        taken = {number for number in self._own if number <= up_to}
        self._own -= taken
        return taken

    async def _commit(self, connection: AsyncConnection) -> None:
        if self._sqlite:
            await connection.execute(_COMMIT)
        else:
            await connection.commit()

    async def _rollback(self, connection: AsyncConnection) -> None:
        if self._sqlite:
            raw = await connection.get_raw_connection()
            if raw.driver_connection is not None and raw.driver_connection.in_transaction:
                await connection.execute(_ROLLBACK)
        else:
            await connection.rollback()

    async def _now(self, connection: AsyncConnection) -> datetime:
        if self._sqlite:  # in this process, so its clock is ours
            return self._clock.now()
        value: datetime = (await connection.execute(select(text("CURRENT_TIMESTAMP(6)")))).scalar_one()
        return value if value.tzinfo else value.replace(tzinfo=UTC)

    def now(self) -> datetime:
        """This process's clock, for reads where a few seconds do not matter."""
        return self._clock.now()

    async def _write_outbox(self, transaction: Transaction) -> list[Event]:
        events = list(dict.fromkeys((e.kind, e.key) for e in transaction.events))
        if not events:
            return []
        by_key = {(e.kind, e.key): e for e in transaction.events}
        counter = schema.revision
        last = (
            await transaction.execute(
                update(counter)
                .where(counter.c.id == 1)
                .values(value=counter.c.value + len(events))
                .returning(counter.c.value)
            )
        ).scalar_one()
        numbered = [
            Event(kind=kind, key=key, data=by_key[kind, key].data, revision=last - len(events) + 1 + index)
            for index, (kind, key) in enumerate(events)
        ]
        rows = [
            {"revision": e.revision, "kind": str(e.kind), "key": e.key, "data": e.data, "at": transaction.now}
            for e in numbered
        ]
        await transaction.execute(insert(schema.outbox), rows)
        return numbered

    async def revision(self) -> int:
        """Of the last committed transaction that emitted events."""
        async with self.read() as connection:
            return int((await connection.execute(select(schema.revision.c.value))).scalar_one())

    async def _name_yourself(self) -> None:
        async with self.read() as connection:
            rows = await connection.execute(select(schema.meta.c.key, schema.meta.c.value))
            known = {row.key: row.value for row in rows}
        wanted = {
            "epoch": secrets.token_hex(8),
            "hub_id": secrets.token_hex(8),
            "cookie_secret": secrets.token_hex(32),
            "proxy_token": secrets.token_hex(32),
        }
        missing = {key: value for key, value in wanted.items() if key not in known}
        if missing:
            try:
                async with self.transaction() as tx:
                    if not (await tx.execute(select(schema.revision.c.id))).first():
                        await tx.execute(insert(schema.revision), {"id": 1, "value": 0})
                    await tx.execute(insert(schema.meta), [{"key": k, "value": v} for k, v in missing.items()])
                known |= missing
            except Conflict:  # another replica was first: its values are the database's
                await self._name_yourself()
                return
        self.epoch, self.hub_id = known["epoch"], known["hub_id"]
        self.cookie_secret, self.proxy_token = bytes.fromhex(known["cookie_secret"]), known["proxy_token"]


_BEGIN, _COMMIT, _ROLLBACK = text("BEGIN IMMEDIATE"), text("COMMIT"), text("ROLLBACK")


def _engine(url: URL, *, pool_size: int, writer: bool) -> AsyncEngine:
    lite = url.get_backend_name() == "sqlite"
    options: dict[str, Any] = {}
    if lite:
        path = url.database or ":memory:"
        options = {"async_creator": lambda: sqlite.connect(path), "pool_reset_on_return": None}
    if lite or not writer:
        # Each SELECT for itself; a write transaction on SQLite begins by an own statement.
        options |= {"isolation_level": "AUTOCOMMIT", "skip_autocommit_rollback": True}
    return create_async_engine(
        url,
        poolclass=AsyncAdaptedQueuePool,
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=sqlite.BUSY_TIMEOUT_SECONDS,
        json_serializer=_dump_json,
        json_deserializer=_load_json,
        **options,
    )


def _dump_json(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def _load_json(value: str | bytes) -> Any:
    return msgspec.json.decode(value)
