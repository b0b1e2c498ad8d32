"""The data directory: private to its owner, and used by one `perijove up` at a time."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from perijove.cli.exits import CommandFailed, Exit

LOCK_NAME = "up.lock"


def prepare(data_dir: Path) -> Path:
    """Make it, mode 0700, and return it absolute."""
    path = data_dir.expanduser().absolute()
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as exc:
        raise CommandFailed(
            f"Cannot make the data directory {path}: {exc.strerror}.",
            remedy="Name another one with --data-dir.",
            code=Exit.UNAVAILABLE,
        ) from exc
    return path


@contextmanager
def locked(data_dir: Path) -> Iterator[None]:
    """Hold the directory, or fail at once and name who does.

    A lock of the kernel, not a pid file: it ends with the process however that ends, so nothing
    stale is ever left to clean up.
    """
    path = data_dir / LOCK_NAME
    try:
        # Not inheritable (Python's default), so that children and user servers do not keep the lock.
        file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as exc:
        raise CommandFailed(
            f"Cannot write to the data directory {data_dir}: {exc.strerror}.",
            remedy="Name another one with --data-dir, or mend its permissions.",
            code=Exit.UNAVAILABLE,
        ) from exc
    try:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as exc:
            holder = os.pread(file, 32, 0).decode("ascii", "replace").strip()
            raise CommandFailed(
                f"Another `perijove up` (process {holder or 'unknown'}) uses the data directory {data_dir}.",
                remedy="Stop that one first, or name another directory with --data-dir.",
                code=Exit.UNAVAILABLE,
            ) from exc
        os.ftruncate(file, 0)
        os.pwrite(file, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(file)
