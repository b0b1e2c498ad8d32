"""The newest revision of a database in a file, in microseconds.

The tail asks for it all the time, and nearly always learns that nothing happened. Through the pool that is a thread
woken and waited for, a hundred times what SQLite itself does for it; for an idle hub it was most of its work. Here the
statement runs where it is asked for, on a connection of its own. That does not hold the event loop up: a reader waits
for no writer in WAL mode, and waiting for locks is turned off; two pages that are in memory are read. Whatever is not
an answer at once is none, and the caller asks the ordinary way.

Not the file's size and time instead, which cost less still: a writer that is stopped between writing its frames and
publishing them changes neither when it goes on, and its commit would be missed.
"""

import sqlite3
from pathlib import Path
from typing import Self

from perijove.store.schema import revision

_NEWEST = f"SELECT {revision.c.value.name} FROM {revision.name} WHERE {revision.c.id.name} = 1"  # noqa: S608 - ours


class Glance:
    """Belongs to the thread that uses it first. Use it as `with`."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._connection: sqlite3.Connection | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        self._close()

    def revision(self) -> int | None:
        """None: cannot be told like this, now."""
        try:
            if self._connection is None:
                # Not made where there is none: a database is made by whoever migrates it.
                where = f"{self._file.absolute().as_uri()}?mode=rw"
                self._connection = sqlite3.connect(where, uri=True, timeout=0, isolation_level=None)
            rows = self._connection.execute(_NEWEST).fetchall()
        except sqlite3.Error:
            # Busy, or broken: the ordinary way says which. A connection that met an error is not used again.
            self._close()
            return None
        return int(rows[0][0]) if rows else None

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
