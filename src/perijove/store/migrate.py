"""Brings a database to this release's schema, online, at start.

A database without tables gets them from `schema` at once and the newest stamp (a test compares this
with the migrations run one after another). One with an older stamp is upgraded by Alembic, for SQLite
after a copy of the file was made beside it. Several hubs may start at once: a lock lets one of them work
and the others find the work done.

One with a stamp that this release does not know was made by a newer release. During a rolling upgrade
that is how it should be: the newer release leaves in `meta` which older schema's code may go on with what
it made, and this release goes on if that is its own or an older one. Otherwise it is refused, since an
older release could write what the newer one forbids.

Killed in the middle, it is run again. PostgreSQL and SQLite take all of a migration or nothing; MySQL
commits each change of a table, so there only what is not there yet is made (`migrations.resuming`).
"""

import fcntl
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from sqlalchemy import Connection, column, create_engine, inspect, select, table, text
from sqlalchemy.engine import URL

from perijove.domain.errors import Unavailable
from perijove.store import engines, schema

# The newest migration. A constant, because Alembic takes 0.1 s to import and most starts need none of it.
HEAD: Final = "0003"
# The oldest schema whose code may run on this one: it was only expanded since.
SERVES: Final = "0001"
_SERVES_KEY: Final = "schema_serves"
_VERSION = table("alembic_version", column("version_num"))
_LOCK_NUMBER: Final = 0x7065726A6D6967
_LOCK_SECONDS: Final = 600


class JupyterHubsDatabase(Unavailable):
    """The tables are JupyterHub's, some by the names of ours."""


class SchemaTooNew(Unavailable):
    """The database was upgraded by a newer release of Perijove."""


def upgrade(url: URL) -> str:
    """Upgrade if needed; returns the revision found before, "" for a new database.

    Blocking: call it in a thread. Raises `SchemaTooNew`.
    """
    with _file_lock(url):
        return engines.blocking(url, lambda connection: _upgrade(connection, url))


def _upgrade(connection: Connection, url: URL) -> str:
    # Almost every start ends here, without any lock.
    found = current(connection)
    if found == HEAD:
        return found
    with _server_lock(connection):
        found = current(connection)
        if not found:
            _create(connection)
        elif found != HEAD and _is_known(connection, found):
            backup(url)
            run(connection)
        return found


def current(connection: Connection) -> str:
    """The stamp in the database; "" when there is none."""
    if not inspect(connection).has_table("alembic_version"):
        return ""
    return connection.execute(select(_VERSION.c.version_num)).scalar() or ""


def _create(connection: Connection) -> None:
    # MySQL may have been left with a table whose indexes were still to come.
    left = set(inspect(connection).get_table_names())
    schema.metadata.create_all(connection)
    for made in schema.metadata.sorted_tables:
        for index in made.indexes if made.name in left else ():
            index.create(connection, checkfirst=True)
    if "alembic_version" not in left:
        connection.execute(text("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL PRIMARY KEY)"))
    connection.execute(_VERSION.insert().values(version_num=HEAD))
    _say_whom_it_serves(connection)
    connection.commit()


def _say_whom_it_serves(connection: Connection) -> None:
    meta = schema.meta
    connection.execute(meta.delete().where(meta.c.key == _SERVES_KEY))
    # With the schema it speaks of: a stamp without these words, of a migration that was killed, serves nobody.
    connection.execute(meta.insert().values(key=_SERVES_KEY, value=f"{HEAD} serves {SERVES}"))


def _is_known(connection: Connection, found: str) -> bool:
    """Whether it is older than this release; False for a newer one that this release may use. Raises `SchemaTooNew`,
    `JupyterHubsDatabase`."""
    from alembic.script import ScriptDirectory  # noqa: PLC0415 - slow to import, rarely needed

    if found in {script.revision for script in ScriptDirectory(str(_directory())).walk_revisions()}:
        return True
    if inspect(connection).has_table("spawners"):
        raise JupyterHubsDatabase(
            "This is JupyterHub's own database, which this hub does not write to. Make an empty one for it, name that "
            "in hub.db.url, and take this one over with `perijove db import-jupyterhub` and its URL."
        )
    words = connection.execute(select(schema.meta.c.value).where(schema.meta.c.key == _SERVES_KEY)).scalar() or ""
    of, _, serves = words.partition(" serves ")
    if of == found and serves <= HEAD:
        return False
    raise SchemaTooNew(
        f"The database has schema {found!r}, which this release (schema {HEAD!r}) does not know: it was upgraded "
        "by a newer Perijove. Run that release, or restore the backup that was made before upgrading."
    )


def run(connection: Connection, *, to: str = "head") -> None:
    """All migrations that this database has not had, one after another; tests stop at `to`."""
    from alembic import command  # noqa: PLC0415 - slow to import, rarely needed
    from alembic.config import Config  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", str(_directory()))
    config.attributes["connection"] = connection
    command.upgrade(config, to)
    _say_whom_it_serves(connection)
    connection.commit()


def _directory() -> Path:
    return Path(__file__).parent / "migrations"


def backup(url: URL) -> Path | None:
    """Copy a SQLite file beside itself, consistently even while a hub writes; None for other databases."""
    if url.get_backend_name() != "sqlite" or not url.database:
        return None
    source = Path(url.database)
    target = source.with_name(f"{source.name}.backup-{datetime.now(UTC):%Y%m%dT%H%M%S}")
    engine = create_engine(url.set(drivername="sqlite"))
    with closing(engine.raw_connection()) as connection:
        connection.cursor().execute("VACUUM INTO ?", (str(target),))
    engine.dispose()
    target.chmod(0o600)
    return target


@contextmanager
def _server_lock(connection: Connection) -> Iterator[None]:
    """One migrator at a time on a server. It ends with its connection, however that goes."""
    match connection.dialect.name:
        case "postgresql":
            connection.execute(text(f"SELECT pg_advisory_lock({_LOCK_NUMBER})"))
            connection.commit()
            yield
            connection.execute(text(f"SELECT pg_advisory_unlock({_LOCK_NUMBER})"))
        case "mysql" | "mariadb":
            # Named for the whole server, in at most 64 characters.
            name = "CONCAT('perijove ', MD5(DATABASE()))"
            if connection.scalar(text(f"SELECT GET_LOCK({name}, {_LOCK_SECONDS})")) != 1:
                raise Unavailable("Another hub is upgrading the database and does not come to an end.")
            # What was seen before the lock is over: a transaction here goes on seeing it.
            connection.commit()
            yield
            connection.execute(text(f"SELECT RELEASE_LOCK({name})"))
        case _:
            yield


@contextmanager
def _file_lock(url: URL) -> Iterator[None]:
    if url.get_backend_name() != "sqlite" or not url.database:
        yield
        return
    path = Path(url.database)
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        path.touch(mode=0o600)
    # Beside the database, not on it: SQLite has locks of its own on that file.
    with path.with_name(f"{path.name}.lock").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
