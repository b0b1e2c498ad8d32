"""Reading JupyterHub's database: whatever release wrote it, in one consistent look, never writing.

Columns came with releases, so those that are there are read and the others are as JupyterHub's own
migrations would fill them. The tables are small next to what they describe; they are read whole.
"""

import os
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from sqlalchemy import (
    Boolean,
    Column,
    Connection,
    DateTime,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    inspect,
    make_url,
    select,
    text,
)
from sqlalchemy.engine import URL
from sqlalchemy.exc import ArgumentError, DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine

from perijove.config.database import DatabaseURLError, async_url
from perijove.domain.errors import Invalid, Unavailable
from perijove.store.engines import connecting

SourceRow = Mapping[str, Any]

_metadata = MetaData()


def _table(name: str, *columns: str, **typed: Any) -> None:
    Table(
        name,
        _metadata,
        *(Column(column, Text) for column in columns),
        *(Column(column, kind) for column, kind in typed.items()),
    )


# Everything that is read, by JupyterHub's names. JSON is text there, and decoded by whoever wants it.
_table(
    "users",
    "name",
    "user_info",
    id=Integer,
    admin=Boolean,
    created=DateTime,
    last_activity=DateTime,
    encrypted_auth_state=LargeBinary,
)
_table("groups", "name", "properties", id=Integer)
_table("user_group_map", user_id=Integer, group_id=Integer)
_table("roles", "name", "description", "scopes", id=Integer, managed_by_auth=Boolean)
for _kind in ("user", "group", "service"):
    _table(f"{_kind}_role_map", **{f"{_kind}_id": Integer}, role_id=Integer, managed_by_auth=Boolean)
_table(
    "services",
    "name",
    "url",
    "info",
    "oauth_client_id",
    id=Integer,
    admin=Boolean,
    display=Boolean,
    oauth_no_confirm=Boolean,
    from_config=Boolean,
)
_table("servers", "proto", "ip", "base_url", id=Integer, port=Integer)
_table(
    "spawners",
    "state",
    "name",
    "display_name",
    "user_options",
    "oauth_client_id",
    id=Integer,
    user_id=Integer,
    server_id=Integer,
    started=DateTime,
    last_activity=DateTime,
)
_table("oauth_clients", "identifier", "description", "secret", "redirect_uri", "allowed_scopes", id=Integer)
_table("oauth_codes", id=Integer)
_table(
    "api_tokens",
    "hashed",
    "prefix",
    "client_id",
    "session_id",
    "note",
    "scopes",
    id=Integer,
    user_id=Integer,
    service_id=Integer,
    created=DateTime,
    expires_at=DateTime,
    last_activity=DateTime,
)
_table(
    "shares",
    "scopes",
    id=Integer,
    spawner_id=Integer,
    user_id=Integer,
    group_id=Integer,
    created_at=DateTime,
    expires_at=DateTime,
)
_table(
    "share_codes",
    "hashed",
    "prefix",
    "scopes",
    id=Integer,
    spawner_id=Integer,
    exchange_count=Integer,
    created_at=DateTime,
    expires_at=DateTime,
    last_exchanged_at=DateTime,
)

# Without these it is no JupyterHub's database; without scopes on tokens, one from before release 3.
_NEEDED: Final = ("users", "spawners", "servers", "roles", "api_tokens", "oauth_clients")
# The newest schema of each release that is known to be read rightly.
RELEASES: Final = {"0eee8c825d24": "4", "4621fec11365": "5", "f460b0348206": "6"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """What was read: rows by JupyterHub's table names, in the order of their ids."""

    url: str
    release: str
    tables: Mapping[str, Sequence[SourceRow]]
    # Who else has the database open: JupyterHub itself, usually.
    in_use_by: Sequence[str] = ()
    notes: Sequence[str] = field(default=())

    def rows(self, table: str) -> Sequence[SourceRow]:
        return self.tables.get(table, ())


def source_url(text_url: str, *, directory: Path | None = None) -> URL:
    """JupyterHub's `db_url` (or the path of a SQLite file) for our drivers. Raises `Invalid`."""
    where = directory or Path.cwd()
    if "://" not in text_url:
        text_url = f"sqlite:///{text_url}"
    try:
        if text_url.partition(":")[0].partition("+")[0].lower() != "sqlite":
            return make_url(async_url(text_url, where))
        path = Path(make_url(text_url).database or "")
    except (DatabaseURLError, ArgumentError) as error:
        hint = getattr(error, "corrected", "")
        raise Invalid(f"{error}{f'; did you mean {hint}?' if hint else ''}", field="url") from error
    path = (where / path.expanduser()).resolve()
    if not path.is_file():
        raise Invalid(f"There is no database at {path}.", field="url")
    return URL.create("sqlite+aiosqlite", database=str(path))


async def read(url: URL) -> Source:
    """Everything, as of one moment. Raises `Unavailable`, and `Invalid` when it is not JupyterHub's."""
    try:
        async with opened(url) as connection:
            return await connection.run_sync(_read, url)
    except (DBAPIError, OSError) as error:
        reason = getattr(error, "orig", None) or error
        raise Unavailable(f"JupyterHub's database cannot be read: {reason}") from error


@asynccontextmanager
async def opened(url: URL) -> AsyncIterator[AsyncConnection]:
    """A connection in a transaction that the database itself keeps from writing."""
    address, arguments = connecting(_read_only(url))
    engine = create_async_engine(address, connect_args={**arguments, **_read_only_session(url)})
    try:
        async with engine.connect() as connection:
            await connection.execute(text(_BEGINNINGS.get(url.get_backend_name(), "BEGIN")))
            yield connection
            await connection.rollback()
    finally:
        await engine.dispose()


# PostgreSQL's transaction is begun by the driver, as the settings of the connection say.
_BEGINNINGS: Final = {
    "mysql": "START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY",
    "postgresql": "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY",
}


def _read_only(url: URL) -> URL:
    if url.get_backend_name() != "sqlite":
        return url
    # An URI, since a file opened otherwise could be made, changed, or rolled back.
    quoted = (url.database or "").replace("%", "%25").replace("?", "%3f").replace("#", "%23")
    return url.set(database=f"file:{quoted}", query={"mode": "ro", "uri": "true"})


def _read_only_session(url: URL) -> dict[str, Any]:
    match url.get_backend_name():
        case "postgresql":
            settings = {"default_transaction_read_only": "on", "application_name": "perijove db import-jupyterhub"}
            return {"server_settings": settings}
        case "mysql":
            return {"init_command": "SET SESSION TRANSACTION READ ONLY"}
        case _:
            return {}


def _read(connection: Connection, url: URL) -> Source:
    inspector = inspect(connection)
    there = set(inspector.get_table_names())
    if missing := [name for name in _NEEDED if name not in there]:
        raise Invalid(f"This is not a database of JupyterHub: it has no table {missing[0]!r}.", field="url")
    tables: dict[str, Sequence[SourceRow]] = {}
    for table in _metadata.sorted_tables:
        if table.name not in there:
            continue
        columns = {column["name"] for column in inspector.get_columns(table.name)}
        tables[table.name] = _rows(connection, table, columns)
        if table.name == "api_tokens" and "scopes" not in columns:
            raise Invalid(
                "This database is of a JupyterHub before release 3. Upgrade it first, with `jupyterhub upgrade-db` "
                "of JupyterHub 4 or 5, on a copy if you like.",
                field="url",
            )
    release, notes = _release(connection, there)
    return Source(
        url=url.render_as_string(hide_password=True),
        release=release,
        tables=tables,
        in_use_by=_others(connection, url),
        notes=notes,
    )


def _rows(connection: Connection, table: Table, columns: set[str]) -> Sequence[SourceRow]:
    wanted = [column for column in table.columns if column.name in columns]
    statement = select(*wanted).order_by(*([table.c.id] if "id" in table.columns else wanted))
    absent = dict.fromkeys(column.name for column in table.columns if column.name not in columns)
    return [{**absent, **row._mapping} for row in connection.execute(statement)]  # noqa: SLF001 - the documented view


def _release(connection: Connection, there: set[str]) -> tuple[str, list[str]]:
    stamp = None
    if "alembic_version" in there:
        stamp = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    release = RELEASES.get(stamp or "", "")
    if release:
        return release, []
    return "", [f"the schema {stamp or 'without a version'} is of no release that this one was tested with"]


def _others(connection: Connection, url: URL) -> list[str]:
    """Who else has it open; what cannot be told is not there."""
    try:
        match url.get_backend_name():
            case "sqlite":
                return _holders(Path(url.database or ""))
            case "postgresql":
                rows = connection.execute(text(_POSTGRES_OTHERS))
            case _:
                rows = connection.execute(text(_MYSQL_OTHERS))
        return [f"a connection of {row[0] or 'a program'} from {row[1] or 'this machine'}" for row in rows]
    except DBAPIError:  # no right to look at others' connections
        return []


_POSTGRES_OTHERS: Final = (
    "SELECT coalesce(nullif(application_name, ''), usename::text), client_addr::text FROM pg_stat_activity"
    " WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'"
)
_MYSQL_OTHERS: Final = (
    "SELECT user, host FROM information_schema.processlist WHERE db = database() AND id <> connection_id()"
)


def _holders(path: Path) -> list[str]:
    """Processes of this machine that have the file open, as far as we may see."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        if int(entry.name) == os.getpid():
            continue
        try:
            if any(link.readlink() == path for link in (entry / "fd").iterdir()):
                command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace").strip()
                found.append(f"process {entry.name} ({command[:80]})")
        except OSError:  # gone meanwhile, or somebody else's
            continue
    return found
