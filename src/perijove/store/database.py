"""Connections and transactions.

A write is one short transaction that ends with its outbox rows and, last of all, the revision
counter. The counter row is what orders revisions by commit: a second writer waits on it, so nobody
who tails `revision > n` can miss a transaction that commits late (with a sequence they would).

There is one writer at a time (see `dialects`). Writers of this process queue on a lock instead of
spinning in `SQLITE_BUSY` or holding connections; other processes are waited for in the database.
`synchronous=NORMAL` in SQLite's WAL mode: a killed process loses nothing, a lost machine may lose the last
transactions but never the database.
"""

import asyncio
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager, nullcontext
from contextvars import Context, copy_context
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Table, insert, select
from sqlalchemy.engine import CursorResult, make_url
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from sqlalchemy.sql.base import Executable

from perijove.bus.memory import Bus
from perijove.domain.errors import Conflict, DatabaseAway, HubError, Invalid
from perijove.domain.events import Event
from perijove.lib.clock import Clock, SystemClock
from perijove.store import engines, migrate, schema
from perijove.store.dialects import dialect_of
from perijove.store.gathering import Answer, Gathering

T = TypeVar("T")

READERS = 4


# How long anybody waits for a database over the network, in this process's queue and there together.
PATIENCE_SECONDS = 15.0
# And once it has been silent to the tail for as long as this: nobody need find out for themselves.
DOUBT_SECONDS = 3.0
# PostgreSQL's classes of conditions that pass: connection, rollback (a deadlock with somebody else's client),
# resources, intervention, system; lock not available; a standby that was promoted elsewhere.
_PASSING = ("08", "40", "53", "57", "58", "55P03", "25006")
_NOT_TEXT = "22"


@contextmanager
def mapped_errors() -> Iterator[None]:
    """A driver's errors as conditions of the domain, cause chained."""
    try:
        yield
    except IntegrityError as error:
        raise Conflict("This already exists, or changed meanwhile.") from error
    except DataError as error:
        raise Invalid("A value is too long for the database, or has characters that it cannot keep.") from error
    except (OperationalError, InterfaceError, PoolTimeout) as error:
        raise DatabaseAway("The hub's database does not answer; try again.") from error
    except OSError as error:  # a time-out too, and a name that is not known
        raise DatabaseAway("The hub's database cannot be reached; try again.") from error
    except DBAPIError as error:
        state = getattr(error.orig, "sqlstate", None) or ""
        if state.startswith(_NOT_TEXT):
            raise Invalid("A value is too long for the database, or has characters that it cannot keep.") from error
        if error.connection_invalidated or state.startswith(_PASSING):
            raise DatabaseAway("The connection to the hub's database was lost; try again.") from error
        raise


class Transaction:
    """One write transaction. `emit` collects events; they become outbox rows at commit."""

    def __init__(self, connection: AsyncConnection, now: datetime) -> None:
        self.connection = connection
        # The database's clock when the transaction began: what deadlines and leases are made of.
        self.now = now
        self.events: list[Event] = []
        # Rows to come, by table.
        self._appended: dict[Table, list[Mapping[str, Any]]] = {}
        # Called when it is committed and published.
        self.committed: list[Callable[[], None]] = []
        # How often something was written, or will be.
        self.writes = 0

    async def execute(self, statement: Executable, parameters: Any = None) -> CursorResult[Any]:
        self.writes += not statement.is_select
        return await self.connection.execute(statement, parameters)

    def append(self, table: Table, row: Mapping[str, Any]) -> None:
        """A row for a table that this transaction does not read: written at its end, with the others of the table."""
        self.writes += 1
        self._appended.setdefault(table, []).append(row)

    def emit(self, *events: Event) -> None:
        """Of several with one key the last is told."""
        self.writes += 1
        self.events.extend(events)

    async def finish(self) -> None:
        for table, rows in self._appended.items():
            await self.connection.execute(insert(table), rows)


_Unit = tuple[Callable[[Transaction], Awaitable[Any]], Context]


class Store:
    """The hub's database. Made by `Store.open`."""

    def __init__(self, readers: AsyncEngine, writer: AsyncEngine, tail: AsyncEngine, bus: Bus, clock: Clock) -> None:
        self._readers = readers
        self._writer = writer
        # For looking at what others commit: must not queue behind this process's own readers.
        self._tail = tail
        self._bus = bus
        self._clock = clock
        self._dialect = dialect_of(readers.dialect.name)
        self._url = readers.url
        # What the database's clock was ahead of ours when last seen.
        self._ahead = timedelta(0)
        self._write_lock = asyncio.Lock()
        self._units: Gathering[_Unit, Any] = Gathering()
        self._silent_since: float | None = None
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
        cls,
        url: str,
        *,
        bus: Bus | None = None,
        clock: Clock | None = None,
        migrations: bool = True,
        options: Mapping[str, Any] | None = None,
    ) -> "Store":
        """Connect, bring the schema to this version (see `migrate`), read what names this database.

        `url` is any SQLAlchemy URL; it gets our driver. `options`: of the pool, as for `create_engine`.
        Raises `Unavailable` when nothing answers and `migrate.SchemaTooNew` when another release made
        the database newer.
        """
        parsed = make_url(url)
        lite = parsed.get_backend_name() == "sqlite"
        if lite:
            parsed = parsed.set(drivername="sqlite+aiosqlite")
        memory = lite and parsed.database in (None, "", ":memory:")
        with mapped_errors():
            if migrations and not memory:
                await asyncio.to_thread(migrate.upgrade, parsed)
            writer = engines.engine(parsed, pool_size=1, writer=True)
            readers = writer if memory else engines.engine(parsed, pool_size=READERS, writer=False, options=options)
            tail = readers if lite else engines.engine(parsed, pool_size=1, writer=False)
            store = cls(readers, writer, tail, bus or Bus(), clock or SystemClock())
            store._url = parsed
            if memory:
                async with writer.connect() as connection:
                    await connection.run_sync(schema.metadata.create_all)
            await store._name_yourself()
        return store

    async def close(self) -> None:
        await self._tail.dispose()
        await self._readers.dispose()
        await self._writer.dispose()

    @property
    def bus(self) -> Bus:
        return self._bus

    @property
    def dialect(self) -> str:
        return self._readers.dialect.name

    @property
    def remote(self) -> bool:
        """Whether it is reached over a network, with other hubs on it."""
        return self._dialect.remote

    @property
    def file(self) -> Path | None:
        """Where it is on this machine; None: elsewhere, or in memory alone."""
        path = self._url.database
        return Path(path) if self.dialect == "sqlite" and path not in (None, "", ":memory:") else None

    async def listener(self) -> Any:
        """A connection of the driver's own, outside of any pool, for listening to what the server tells."""
        return await engines.listening(self._url)

    def _patience(self) -> AbstractAsyncContextManager[Any]:
        """SQLite has a time-out of its own; a server may be frozen, or the network gone, and nobody says so."""
        if not self._dialect.remote:
            return nullcontext()
        silent = 0.0 if self._silent_since is None else self._clock.monotonic() - self._silent_since
        return asyncio.timeout(DOUBT_SECONDS if silent > DOUBT_SECONDS else PATIENCE_SECONDS)

    def heard(self, *, answering: bool) -> None:
        """What the tail, which looks all the time, knows of the database."""
        self._silent_since = None if answering else self._silent_since or self._clock.monotonic()

    @property
    def silent(self) -> bool:
        """Whether the database did not answer when it was last looked at."""
        return self._silent_since is not None

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncConnection]:
        """A connection for SELECTs, each of which sees what is committed at its time."""
        with mapped_errors():
            if self._readers is self._writer:
                async with self._write_lock, self._readers.connect() as connection:
                    yield connection
            else:
                async with self._patience(), self._readers.connect() as connection:
                    yield connection

    @asynccontextmanager
    async def read_aside(self) -> AsyncIterator[AsyncConnection]:
        """As `read`, on the connection kept for the tail, which does not wait for other readers."""
        if self._tail is self._readers:
            async with self.read() as connection:
                yield connection
        else:
            with mapped_errors():
                async with self._tail.connect() as connection:
                    yield connection

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Transaction]:
        """Everything or nothing. Publishes the events after the commit. Await no network inside.

        A waiter that is cancelled before its turn leaves no trace. The transaction itself is short
        and not shielded: a cancellation inside rolls back.
        """
        with mapped_errors():
            async with self._patience(), self._write_lock, self._writer.connect() as connection:
                transaction = Transaction(connection, await self._begin(connection))
                try:
                    yield transaction
                    await transaction.finish()
                    published = await self._write_outbox(transaction)
                    await self._dialect.commit(connection)
                except BaseException:
                    await self._dialect.rollback(connection)
                    raise
                self._own.update(item.revision for item in published)
                self._bus.publish(published)
                # Whoever waits for this commit goes on before the next writer begins: where it is killed or frozen
                # then, it does not leave the database locked.
                for tell in transaction.committed:
                    tell()

    async def together(self, unit: Callable[[Transaction], Awaitable[T]]) -> T:
        """What `unit` returns, or raises, run in a transaction that it may share with others that wait for one.

        `unit` writes through its transaction alone: it is run again when it or another of them failed half-way.
        """
        result: T = await self._units.add((unit, copy_context()), self._write_units)
        return result

    async def _write_units(self, units: Sequence[_Unit], answer: Answer[Any]) -> None:
        results: list[Any] = []
        async with self.transaction() as tx:
            tx.committed.append(partial(answer, results))
            for unit, context in units:
                before = tx.writes
                try:
                    # In the context of whoever asked: whom the audit trail names.
                    results.append(await asyncio.create_task(_run(unit, tx), context=context))
                except HubError as error:
                    # It refused before it wrote anything: the others need not care.
                    if tx.writes != before:
                        raise
                    results.append(error)

    async def _begin(self, connection: AsyncConnection) -> datetime:
        now = await self._dialect.begin(connection)
        if now is None:
            return self._clock.now()
        self._ahead = now - self._clock.now()
        return now

    def forget_own(self, up_to: int) -> set[int]:
        """Take out the revisions up to `up_to` that this process made."""
        taken = {number for number in self._own if number <= up_to}
        self._own -= taken
        return taken

    def now(self) -> datetime:
        """About the database's time, without asking: hubs whose own clocks differ agree on what has expired."""
        return self._clock.now() + self._ahead

    async def _write_outbox(self, transaction: Transaction) -> list[Event]:
        events = list(dict.fromkeys((e.kind, e.key) for e in transaction.events))
        if not events:
            return []
        by_key = {(e.kind, e.key): e for e in transaction.events}
        last = await self._dialect.advance(transaction.connection, len(events))
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
        async with self.read_aside() as connection:
            return int((await connection.execute(_REVISION)).scalar_one())

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


async def _run(unit: Callable[[Transaction], Awaitable[T]], tx: Transaction) -> T:
    return await unit(tx)


_REVISION = select(schema.revision.c.value).where(schema.revision.c.id == 1)
