"""The last table, on disk: what a proxy that starts while every hub is down serves from.

Written beside the old file, synced and renamed, so that a crash or a full disk leaves the old one. 0600: it names
users and where their servers are.
"""

import asyncio
import os
from collections.abc import Iterable
from functools import partial
from pathlib import Path

import msgspec

from perijove.lib.log import get_logger
from perijove.proxy.routing import Routing, WireTable
from perijove.proxy.table import Route

log = get_logger(__name__)

_PAUSE_SECONDS = 1.0
_FAILED_PAUSE_SECONDS = 15.0


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


def load(path: Path) -> WireTable | None:
    """None where nothing was saved. Raises ValueError for a file that is not ours or damaged, OSError."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=WireTable)
    except FileNotFoundError:
        return None
    except msgspec.MsgspecError as error:
        raise ValueError(f"{path}: {error}") from error


class SavedTable:
    """Keeps the file equal to the table, a moment later."""

    def __init__(self, path: Path, routing: Routing) -> None:
        self._path = path
        self._routing = routing
        self._failing = False

    async def use(self) -> None:
        """Route by what was saved, if anything was."""
        try:
            found = load(self._path)
        except (OSError, ValueError) as error:
            log.warning("the saved routes cannot be read", path=str(self._path), problem=str(error))
            return
        if found is None:
            return
        table = await self._routing.build(found.routes)
        if found.routes and not len(table):
            log.warning("the saved routes cannot be read", path=str(self._path), problem="not one is usable")
            return
        # Not its revision: whoever fills the table has to list it again, and nobody may wait for less.
        self._routing.replace(table, epoch="", revision=-1)
        self._routing.changed.clear()
        log.warning("serving the saved routes", routes=len(table), path=str(self._path))

    async def keep(self) -> None:
        """Write the table some time after it changed. Never returns."""
        while True:
            await self._routing.changed.wait()
            await asyncio.sleep(_FAILED_PAUSE_SECONDS if self._failing else _PAUSE_SECONDS)
            await self.save_now()

    async def save_now(self) -> None:
        routing = self._routing
        if not routing.changed.is_set():
            return
        routing.changed.clear()
        routes = list(routing.table.routes.values())
        write = partial(save, self._path, epoch=routing.epoch, revision=routing.revision, routes=routes)
        try:
            await asyncio.to_thread(write)
        except OSError as error:
            # Once a row: a disk stays full for hours.
            if not self._failing:
                text = "the routes cannot be saved; the last saved ones stay"
                log.warning(text, path=str(self._path), problem=str(error))
            self._failing = True
            routing.changed.set()
        else:
            if self._failing:
                log.info("the routes are saved again", path=str(self._path))
            self._failing = False
