"""Where the hubs under test keep their rows, and a way past their API for as many users as would take it an hour."""

import sqlite3
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from bench.rig import Hub
from perijove.testing.databases import USER, PostgreSQL

# Valid in SQLite and PostgreSQL. The time is that of somebody who was made by the hub, in whatever form it keeps it.
_NUMBERS = "WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < {count}) "
_CROWDS = {
    "perijove": (
        _NUMBERS + "INSERT INTO users (name, admin, created, auth_stale) "
        "SELECT 'crowd' || n, false, (SELECT min(created) FROM users), false FROM numbers",
    ),
    "jupyterhub": (
        _NUMBERS + "INSERT INTO users (name, admin, created, cookie_id, state) "
        "SELECT 'crowd' || n, false, (SELECT min(created) FROM users), 'cookie' || n, '{{}}' FROM numbers",
        """INSERT INTO user_role_map (user_id, role_id, managed_by_auth) SELECT users.id, roles.id, false
        FROM users, roles WHERE users.name LIKE 'crowd%' AND roles.name = 'user'""",
    ),
}


class Store(ABC):
    """A database server, or none."""

    name: str

    @abstractmethod
    def new_url(self) -> str:
        """Of an empty database; "" for a file in the hub's directory."""

    @abstractmethod
    def twin_url(self, hub: Hub, directory: Path) -> str:
        """As `new_url`, for another hub in that directory, with a copy of what this one has, which does not run."""

    @abstractmethod
    def execute(self, hub: Hub, statements: list[str]) -> None:
        """In the database of a hub that does not run."""

    def add_crowd(self, hub: Hub, count: int) -> None:
        """So many users who do nothing, beside those that it has."""
        self.execute(hub, [statement.format(count=count) for statement in _CROWDS[hub.name]])


class SQLite(Store):
    name = "sqlite"

    def new_url(self) -> str:
        return ""

    def twin_url(self, hub: Hub, directory: Path) -> str:
        directory.mkdir(parents=True)
        twin = directory / hub.file.name
        with closing(sqlite3.connect(hub.file)) as source, closing(sqlite3.connect(twin)) as target:
            source.backup(target)
        return ""

    def execute(self, hub: Hub, statements: list[str]) -> None:
        with closing(sqlite3.connect(hub.file)) as connection:
            for statement in statements:
                connection.execute(statement)
            connection.commit()


class Served(Store):
    name = "postgresql"

    def __init__(self, server: PostgreSQL) -> None:
        self._server = server

    def new_url(self) -> str:
        return self._server.create_database()

    def twin_url(self, hub: Hub, directory: Path) -> str:
        name = _name(hub)
        twin = f"{name}_twin"
        self._server.admin(f"CREATE DATABASE {twin} OWNER {USER} TEMPLATE {name}")
        return self._server.url(twin)

    def execute(self, hub: Hub, statements: list[str]) -> None:
        # What any server does by itself within a minute of so many new rows.
        self._server.admin(";\n".join([*statements, "ANALYZE"]), database=_name(hub))


def _name(hub: Hub) -> str:
    return urlsplit(hub.database).path.strip("/")


@contextmanager
def store(name: str) -> Iterator[Store]:
    if name == SQLite.name:
        yield SQLite()
        return
    # Beside the load, as the proxies, since children run where their parent does. It does not wait for the disk,
    # which is in favour of whoever commits more often.
    with PostgreSQL() as server:
        yield Served(server)
