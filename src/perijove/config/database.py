"""Database URLs as people write them for JupyterHub, as ours needs them.

JupyterHub opens databases with blocking drivers, we with asynchronous ones; the URL of the one is
turned into that of the other, so that a configuration need not change. Options of the URL keep the
names that the blocking drivers gave them: `store.engines` hands them on.
"""

import difflib
import re
from pathlib import Path
from typing import Final

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

_DRIVERS: Final = {
    "sqlite": "sqlite+aiosqlite",
    "postgresql": "postgresql+asyncpg",
    "postgres": "postgresql+asyncpg",
    "mysql": "mysql+asyncmy",
    "mariadb": "mysql+asyncmy",
}
_KNOWN: Final = (
    "sqlite", "postgresql", "postgres", "postgresql+psycopg2", "postgres+psycopg2",
    "postgresql+psycopg", "postgresql+asyncpg", "mysql", "mysql+pymysql", "mysql+mysqldb", "mysql+mysqlconnector",
    "mysql+asyncmy", "mariadb", "mariadb+pymysql", "mariadb+mariadbconnector", "sqlite+aiosqlite", "sqlite+pysqlite",
)  # fmt: skip
_SCHEME: Final = re.compile(r"([A-Za-z0-9+_.-]+)://(.*)", re.DOTALL)

_PASSWORD: Final = re.compile(r"^([^:/@]*):.*@")


class DatabaseURLError(ValueError):
    """Not a database URL that can be used. `corrected` is what was probably meant, or ""."""

    def __init__(self, message: str, corrected: str = "") -> None:
        super().__init__(message)
        self.corrected = corrected


def async_url(given: str, data_dir: Path, password: str = "") -> str:
    """The URL for our driver; "" for the database in the data directory. Raises `DatabaseURLError`."""
    if not given:
        return ""
    match = _SCHEME.fullmatch(given.strip())
    if match is None:
        raise DatabaseURLError("not a database URL: it has no `driver://` at its beginning")
    scheme, rest = match.groups()
    dialect = scheme.partition("+")[0].lower()
    if dialect not in _DRIVERS:
        raise DatabaseURLError(f"`{scheme}` is no database driver", _corrected(scheme, rest))
    try:
        url = make_url(f"{_DRIVERS[dialect]}://{rest}")
    except (ArgumentError, ValueError) as exc:
        # Not in the error's own words, which may be the password.
        text = "not a database URL: a port that is no number, or a password with `@`, `:` or `/` not written as %40, …"
        raise DatabaseURLError(text) from exc
    if dialect == "sqlite":
        return _sqlite(url, data_dir)
    if password and url.password is None:
        url = url.set(password=password)
    return url.render_as_string(hide_password=False)


def _sqlite(url: URL, data_dir: Path) -> str:
    name = url.database
    if not name or name == ":memory:":
        return "sqlite+aiosqlite://"
    if name == "jupyterhub.sqlite":
        # JupyterHub's own default: "wherever state is kept".
        return ""
    path = name if name.startswith(("/", "file:")) else str(data_dir / name)
    return f"sqlite+aiosqlite:///{path}"


def _corrected(scheme: str, rest: str) -> str:
    close = difflib.get_close_matches(scheme.lower(), _KNOWN, n=1, cutoff=0.6)
    if not close:
        return ""
    dialect = close[0].replace("postgres+", "postgresql+")
    shown = _PASSWORD.sub(r"\1:***@", rest)
    return f"{'postgresql' if dialect == 'postgres' else dialect}://{shown}"
