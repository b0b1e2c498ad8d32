"""Engines: a URL as people write it for psycopg2 or PyMySQL, on our asynchronous drivers.

TLS and connection options keep the names that each database's blocking drivers gave them, and mean what they
mean there, but for one thing: where an authority is given, the server's certificate is verified with its name.
What only the blocking drivers know (keepalives, client_encoding, …) is left out.
"""

import asyncio
import logging
import ssl
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar
from urllib.parse import urlencode

import msgspec
from sqlalchemy import Connection, create_engine, event
from sqlalchemy.engine import URL
from sqlalchemy.exc import DisconnectionError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import AsyncAdaptedQueuePool

from perijove.domain.errors import DatabaseAway, Invalid
from perijove.store import sqlite

T = TypeVar("T")

# It tells each of the server's notes: that primary keys have no names there, when tables are made.
logging.getLogger("asyncmy").setLevel(logging.ERROR)
# That a connection could not be tidied up, with a traceback: it was broken, is thrown away, and its user was told.
logging.getLogger("sqlalchemy.pool").setLevel(logging.CRITICAL)

CONNECT_SECONDS: Final = 5
# A statement that waits or works longer is given up by the server; ours take milliseconds.
STATEMENT_SECONDS: Final = 12
# A transaction whose owner is silent for so long (frozen, or cut off) is rolled back by the server: it holds
# what all others wait for.
SILENCE_SECONDS: Final = 4

# asyncpg reads these, in libpq's names, from a DSN.
_LIBPQ: Final = frozenset({
    "sslmode", "sslrootcert", "sslcert", "sslkey", "sslpassword", "sslcrl", "ssl_min_protocol_version",
    "ssl_max_protocol_version", "sslnegotiation", "target_session_attrs", "krbsrvname", "gsslib", "passfile",
    "host", "port", "options", "search_path",
})  # fmt: skip
_CACHES: Final = ("statement_cache_size", "prepared_statement_cache_size")
_FALSE: Final = frozenset({"0", "false", "no", "off", "disabled"})


def connecting(url: URL) -> tuple[URL, dict[str, Any]]:
    """The URL without its options, and the options as `connect_args` of the driver. Raises `Invalid`."""
    match url.get_backend_name():
        case "postgresql":
            return _postgresql(url)
        case "mysql" | "mariadb":
            return _mysql(url)
        case _:
            return url, {}


async def listening(url: URL) -> Any:
    """An asyncpg connection of its own, outside of any pool, to hear what the server tells."""
    address, arguments = connecting(url)
    _, named = address.get_dialect()().create_connect_args(address)
    return await arguments.pop("async_creator_fn")(**named, **arguments)


def _last(value: str | tuple[str, ...]) -> str:
    return value if isinstance(value, str) else value[-1]


def _postgresql(url: URL) -> tuple[URL, dict[str, Any]]:
    query = {key: _last(value) for key, value in url.query.items()}
    if "ssl" in query:
        query.setdefault("sslmode", query.pop("ssl"))
    name = {key: query[key] for key in ("application_name",) if key in query}
    arguments: dict[str, Any] = {key: int(query[key]) for key in _CACHES if key in query}
    arguments["timeout"] = float(query.get("connect_timeout", CONNECT_SECONDS))
    arguments["server_settings"] = {"application_name": "perijove", **name}
    dsn = f"postgresql:///?{urlencode({key: query[key] for key in query if key in _LIBPQ})}"

    async def connect(**given: Any) -> Any:
        import asyncpg  # noqa: PLC0415 - a hub on SQLite needs none of it

        try:
            return await asyncpg.connect(dsn, **given)
        except (asyncpg.ClientConfigurationError, FileNotFoundError, ssl.SSLError) as error:
            raise Invalid(f"The options of the database's URL do not work: {error}") from error
        except asyncpg.PostgresError as error:
            # A wrong password, a missing database, a server that starts or is full: none of a visitor's business.
            raise DatabaseAway("The hub's database refuses the connection.") from error

    arguments["async_creator_fn"] = connect
    return url.set(drivername="postgresql+asyncpg", query={}), arguments


def _mysql(url: URL) -> tuple[URL, dict[str, Any]]:
    query = {key.lower().replace("-", "_"): _last(value) for key, value in url.query.items()}
    arguments: dict[str, Any] = {"charset": "utf8mb4", "connect_timeout": CONNECT_SECONDS}
    if "unix_socket" in query:
        arguments["unix_socket"] = query["unix_socket"]
    if "connect_timeout" in query:
        arguments["connect_timeout"] = int(float(query["connect_timeout"]))
    context = _mysql_tls(query)
    if context is not None:
        arguments["ssl"] = context

    async def connect(**given: Any) -> Any:
        import asyncmy  # noqa: PLC0415 - a hub on SQLite needs none of it

        try:
            return await asyncmy.connect(**given)
        except RuntimeError as error:
            # uvloop's word for a connection that was closed between being made and being used: a server that stops.
            raise DatabaseAway("The hub's database closed the connection; try again.") from error

    arguments["async_creator_fn"] = connect
    return url.set(drivername="mysql+asyncmy", query={}), arguments


def _mysql_tls(query: Mapping[str, str]) -> ssl.SSLContext | None:
    """From options of PyMySQL (ssl_ca, …), Connector/Python (ssl_disabled) and mysqlclient (ssl_mode)."""
    mode = query.get("ssl_mode", "").upper()
    asked = any(key.startswith("ssl") for key in query) and query.get("ssl", "true").lower() not in _FALSE
    if not asked or mode == "DISABLED" or query.get("ssl_disabled", "no").lower() in {"1", "true", "yes", "on"}:
        return None
    authority = query.get("ssl_ca"), query.get("ssl_capath")
    verify = any(authority) or mode.startswith("VERIFY") or "ssl_verify_cert" in query
    if query.get("ssl_verify_cert", "true").lower() in _FALSE or mode in {"REQUIRED", "PREFERRED"}:
        verify = False
    names = (query.get("ssl_check_hostname", "true"), query.get("ssl_verify_identity", "true"))
    try:
        context = ssl.create_default_context(cafile=authority[0], capath=authority[1])
        context.check_hostname = verify and mode != "VERIFY_CA" and not {name.lower() for name in names} & _FALSE
        context.verify_mode = ssl.CERT_REQUIRED if verify else ssl.CERT_NONE
        if "ssl_cert" in query:
            context.load_cert_chain(query["ssl_cert"], query.get("ssl_key"))
        if "ssl_cipher" in query:
            context.set_ciphers(query["ssl_cipher"])
    except (OSError, ssl.SSLError) as error:
        raise Invalid(f"The TLS options of the database's URL do not work: {error}") from error
    return context


# What JupyterHub hands to create_engine (`c.JupyterHub.db_kwargs`) and also makes sense here.
_POOL: Final = ("max_overflow", "pool_timeout", "pool_recycle", "pool_pre_ping", "echo")


def engine(url: URL, *, pool_size: int, writer: bool, options: Mapping[str, Any] | None = None) -> AsyncEngine:
    """An engine for transactions (`writer`) or for single SELECTs, each of which sees what is committed by then."""
    given = options or {}
    extra = given.get("connect_args") or {}
    lite = url.get_backend_name() == "sqlite"
    if lite:
        path = url.database or ":memory:"
        chosen: dict[str, Any] = {
            "async_creator": lambda: sqlite.connect(path),
            "pool_reset_on_return": None,
            "pool_timeout": sqlite.BUSY_TIMEOUT_SECONDS,
            # Each is a thread with pages of the file in memory: while one suffices, the others have neither.
            "pool_use_lifo": True,
        }
    else:
        # An option in `connect_args` is one in the URL: `sslmode`, or PyMySQL's nested `ssl: {ca: …}`.
        flat = {key: str(value) for key, value in extra.items() if not isinstance(value, dict)}
        flat |= (
            {f"ssl_{key}": str(value) for key, value in dict(extra.get("ssl", {})).items()}
            if (isinstance(extra.get("ssl"), dict))
            else {}
        )
        url, arguments = connecting(url.update_query_dict(flat))
        _session(url, arguments, writer=writer)
        chosen = {"connect_args": arguments, "pool_timeout": STATEMENT_SECONDS}
        if writer:
            chosen["isolation_level"] = "READ COMMITTED"
            # Before the server's own limit on silence, which MySQL applies to idle connections too.
            chosen["pool_recycle"] = SILENCE_SECONDS if url.get_backend_name() == "mysql" else -1
        else:
            chosen |= {key: given[key] for key in _POOL if key in given}
            pool_size = int(given.get("pool_size", pool_size))
    if lite or not writer:
        # Each SELECT for itself; a write transaction on SQLite begins by an own statement.
        chosen |= {"isolation_level": "AUTOCOMMIT", "skip_autocommit_rollback": True}
    made = create_async_engine(
        url,
        poolclass=AsyncAdaptedQueuePool,
        pool_size=pool_size,
        json_serializer=_dump_json,
        json_deserializer=_load_json,
        **{"max_overflow": 0, **chosen},
    )
    if not lite:
        event.listen(made.sync_engine, "checkout", _discard_closed)
    return made


def _session(url: URL, arguments: dict[str, Any], *, writer: bool) -> None:
    """What a session says about itself: time in UTC, strictness, and how long it may hold others up."""
    if url.get_backend_name() == "postgresql":
        arguments["server_settings"] |= {
            "timezone": "UTC",
            "statement_timeout": str(STATEMENT_SECONDS * 1000),
            "idle_in_transaction_session_timeout": str(SILENCE_SECONDS * 1000),
        }
        return
    settings = [
        "time_zone = '+00:00'",
        # Also says that a backslash escapes, which the driver relies on when it quotes.
        "sql_mode = 'STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION'",
        f"innodb_lock_wait_timeout = {STATEMENT_SECONDS}",
    ]
    if writer:
        # The one limit on silence that MySQL and MariaDB share.
        settings.append(f"wait_timeout = {2 * SILENCE_SECONDS}")
    arguments["init_command"] = f"SET SESSION {', '.join(settings)}"


def _discard_closed(connection: Any, _record: Any, _proxy: Any) -> None:
    """A connection that the server closed meanwhile (a restart) is replaced before anybody notices.

    It is known without asking: the end of the stream has arrived. A question would cost a round trip each time.
    """
    driver = connection.driver_connection
    # asyncmy has no public name for it.
    closed = driver.is_closed() if hasattr(driver, "is_closed") else driver._stream_broken  # noqa: SLF001
    if closed:
        raise DisconnectionError("closed by the server")


def blocking(url: URL, work: Callable[[Connection], T]) -> T:
    """Run `work` on one connection, in order, and wait: for commands and migrations, in a thread of their own."""
    if url.get_backend_name() == "sqlite":
        plain = create_engine(url.set(drivername="sqlite"))
        try:
            with plain.connect() as connection:
                return work(connection)
        finally:
            plain.dispose()

    async def run() -> T:
        address, arguments = connecting(url)
        if address.get_backend_name() == "mysql":
            arguments["init_command"] = "SET SESSION time_zone = '+00:00'"
        made = create_async_engine(address, connect_args=arguments)
        try:
            async with made.connect() as connection:
                return await connection.run_sync(work)
        finally:
            await made.dispose()

    return asyncio.run(run())


def _dump_json(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def _load_json(value: str | bytes) -> Any:
    return msgspec.json.decode(value)
