"""The last table, on disk: what a proxy that starts while every hub is down serves from.

Written beside the old file, synced and renamed, so that a crash or a full disk leaves the old one. 0600: it names
users and where their servers are.
"""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec

from perijove.proxy.paths import BadTarget
from perijove.proxy.table import Route, RouteTable


class SavedRoute(msgspec.Struct):
    """A route on the wire and on disk."""

    prefix: str
    target: str
    data: dict[str, Any] = {}

    def route(self) -> Route:
        return Route(self.prefix, self.target, self.data)


class SavedTable(msgspec.Struct):
    """Also the body of a list."""

    epoch: str
    revision: int
    routes: list[SavedRoute]


def save(path: Path, *, epoch: str, revision: int, routes: Iterable[Route]) -> None:
    """Blocks. Raises OSError."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
    try:
        with os.fdopen(os.open(beside, flags, 0o600), "wb") as file:
            file.write(b'{"epoch":%s,"revision":%d,"routes":[' % (msgspec.json.encode(epoch), revision))
            for number, route in enumerate(routes):
                file.write((b"," if number else b"") + msgspec.json.encode(route.as_json()))
            file.write(b"]}")
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def load(path: Path, base_url: str) -> RouteTable | None:
    """None where nothing was saved. Raises ValueError for a file that is not ours or damaged, OSError."""
    try:
        saved = msgspec.json.decode(path.read_bytes(), type=SavedTable)
    except FileNotFoundError:
        return None
    except msgspec.MsgspecError as error:
        raise ValueError(f"{path}: {error}") from error
    try:
        return RouteTable((item.route() for item in saved.routes), base_url=base_url)
    except BadTarget as error:
        raise ValueError(f"{path}: {error}") from error
