"""Brings a database to this release's schema, online, at start.

A database without tables gets them from `schema` at once and the newest stamp (a test compares this
with the migrations run one after another). One with an older stamp is upgraded by Alembic, for SQLite
after a copy of the file was made beside it. One with a stamp that this release does not know was made
by a newer release: it is refused, since an older release could write what the newer one forbids.
Several hubs may start at once: a lock lets one of them work and the others find the work done.
"""

import fcntl
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import Connection, column, create_engine, inspect, select, table, text
from sqlalchemy.engine import URL

from perijove.domain.errors import Unavailable
from perijove.store import schema

# The newest migration. A constant, because Alembic takes 0.1 s to import and most starts need none of it.
HEAD = "0002"
_VERSION = table("alembic_version", column("version_num"))


class SchemaTooNew(Unavailable):
    """The database was upgraded by a newer release of Perijove."""


def upgrade(url: URL) -> str:
    """Upgrade if needed; returns the revision found before, "" for a new database.

    Blocking: call it in a thread. Raises `SchemaTooNew`.
    """
    sync = url.set(drivername=url.get_backend_name())
    engine = create_engine(sync)
    try:
        with _lock(sync), engine.connect() as connection:
            found = current(connection)
            if found == HEAD:
                return found
            if not found:
                _create(connection)
                return ""
            _check_known(found)
            backup(sync)
            run(connection)
            return found
    finally:
        engine.dispose()


def current(connection: Connection) -> str:
    """The stamp in the database; "" when there is none."""
    if not inspect(connection).has_table("alembic_version"):
        return ""
    return connection.execute(select(_VERSION.c.version_num)).scalar() or ""


def _create(connection: Connection) -> None:
    schema.metadata.create_all(connection)
    connection.execute(text("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL PRIMARY KEY)"))
    connection.execute(_VERSION.insert().values(version_num=HEAD))
    connection.commit()


def _check_known(found: str) -> None:
    from alembic.script import ScriptDirectory  # noqa: PLC0415 - slow to import, rarely needed

    if found not in {script.revision for script in ScriptDirectory(str(_directory())).walk_revisions()}:
        raise SchemaTooNew(
            f"The database has schema {found!r}, which this release (schema {HEAD!r}) does not know: it was upgraded "
            "by a newer Perijove. Run that release, or restore the backup that it made before upgrading."
        )


def run(connection: Connection) -> None:
    """All migrations that this database has not had, one after another."""
    from alembic import command  # noqa: PLC0415 - slow to import, rarely needed
    from alembic.config import Config  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", str(_directory()))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
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
def _lock(url: URL) -> Iterator[None]:
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
