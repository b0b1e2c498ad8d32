"""Finds and ends the local processes that carry this hub's mark.

Every server is started with `PERIJOVE_SERVER=<hub id>/<server id>/<generation>/<lease epoch>` in its
environment, and so is everything it starts. The mark survives the hub, so it is what adoption and the orphan
sweep go by; a pid alone is not, since pids are reused. Reading it needs the right to read the process: a hub
that starts servers as other users runs as root, and root may.

The lease epoch, which only grows, orders what was started for one server. Whoever ends processes ends those of
its own epoch and before: a hub that slept past its lease finds its successor's server untouchable.

Linux only: it reads /proc, in a thread, because a busy machine has thousands of processes.
"""

import asyncio
import logging
import os
import signal
import subprocess
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import psutil

from perijove.domain.ids import ServerId

log = logging.getLogger(__name__)

MARK = "PERIJOVE_SERVER"
GRACE_SECONDS = 10.0
KILL_SECONDS = 5.0
_NUMBERS = ("server", "generation", "epoch")
_PROC = Path("/proc")
_CHECK_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class Process:
    """A marked process. `started` (clock ticks since boot) tells it from a later one with its pid."""

    pid: int
    parent: int
    started: int
    server_id: ServerId
    generation: int
    # Of the lease under which it was started.
    epoch: int = 0
    url: str = ""


def mark(hub_id: str, server_id: ServerId, generation: int, epoch: int) -> str:
    return f"{hub_id}/{server_id}/{generation}/{epoch}"


def started(pid: int) -> int | None:
    """When it started, or None if it is gone. A zombie is gone: only its exit code is left."""
    fields = _stat(pid)
    return None if fields is None or fields[0] in "ZX" else int(fields[19])


def alive(pid: int, since: int | None) -> bool:
    """Whether `pid` is still the process that started at `since` (None: not known, any will do)."""
    now = started(pid)
    return now is not None and since in (None, now)


def _stat(pid: int) -> list[str] | None:
    try:
        text = (_PROC / str(pid) / "stat").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The second field is the command's name in parentheses and may hold anything; the rest is numbers.
    return text.rpartition(")")[2].split()


def marked(hub_id: str) -> list[Process]:
    """All living processes with a mark of this hub, except this one. Blocking."""
    needle = f"{MARK}={hub_id}/".encode()
    found = (_read_marked(int(entry.name), needle) for entry in _PROC.iterdir() if entry.name.isdigit())
    return [process for process in found if process is not None]


def _read_marked(pid: int, needle: bytes) -> Process | None:
    if pid == os.getpid():
        return None
    try:
        environment = (_PROC / str(pid) / "environ").read_bytes()
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        # Gone meanwhile, or of a user whose processes are none of ours.
        return None
    if needle not in environment:
        return None
    variables = dict(item.partition(b"=")[::2] for item in environment.split(b"\0"))
    numbers = variables.get(MARK.encode(), b"").removeprefix(needle.partition(b"=")[2]).split(b"/")
    fields = _stat(pid)
    if fields is None or fields[0] in "ZX" or len(numbers) != len(_NUMBERS) or not all(map(bytes.isdigit, numbers)):
        return None
    server, generation, epoch = map(int, numbers)
    url = variables.get(b"JUPYTERHUB_SERVICE_URL", b"").decode("utf-8", "replace")
    return Process(pid, int(fields[1]), int(fields[19]), ServerId(server), generation, epoch, url)


def roots(processes: Collection[Process]) -> list[Process]:
    """Those of one server that no other of them started, oldest first: the server itself, usually alone."""
    pids = {process.pid for process in processes}
    return sorted((p for p in processes if p.parent not in pids), key=lambda p: p.started)


class ProcessTable:
    """This hub process's children by server, and the scan for marks, shared by whoever needs it."""

    def __init__(self, hub_id: str) -> None:
        self.hub_id = hub_id
        # Popen objects outlive the plug-in instances that made them: only they know the exit code.
        self.children: dict[ServerId, subprocess.Popen[bytes]] = {}
        self._scanning = asyncio.Lock()
        self._next: asyncio.Task[dict[ServerId, list[Process]]] | None = None

    async def scan(self) -> dict[ServerId, list[Process]]:
        """A scan that begins after this call. A hundred starts at once share two scans, not a hundred:
        one may be under way and have passed by what the caller looks for, so all wait for the next."""
        if self._next is None:
            self._next = asyncio.create_task(self._scan_after_current())
        return await asyncio.shield(self._next)

    async def _scan_after_current(self) -> dict[ServerId, list[Process]]:
        async with self._scanning:
            self._next = None
            by_server: dict[ServerId, list[Process]] = defaultdict(list)
            for process in await asyncio.to_thread(marked, self.hub_id):
                by_server[process.server_id].append(process)
            return by_server

    async def of(self, server_id: ServerId) -> list[Process]:
        """What runs of this server now."""
        return (await self.scan()).get(server_id, [])

    async def end(
        self,
        server_id: ServerId,
        wanted: Callable[[Process], bool] = lambda _: True,
        *,
        grace_seconds: float = GRACE_SECONDS,
    ) -> int:
        """End what of this server is `wanted` ended; how many processes that were.

        The roots get SIGTERM and time to end their own children in order; what is left is killed.
        Repeated, because a process may start another while it is being looked at.
        """
        ended = 0
        for _ in range(5):
            members = [process for process in await self.of(server_id) if wanted(process)]
            if not members:
                break
            ended += len(members)
            first = roots(members)
            await asyncio.to_thread(_signal_all, first, signal.SIGTERM)
            await _gone(first, grace_seconds)
            tree = await asyncio.to_thread(_with_descendants, members)
            await asyncio.to_thread(_signal_all, tree, signal.SIGKILL)
            await _gone(tree, KILL_SECONDS)
            grace_seconds = 0
        self.reap(server_id)
        return ended

    def reap(self, server_id: ServerId) -> None:
        """Collect the exit code of a child that ended, so that it is no zombie."""
        child = self.children.get(server_id)
        if child is not None and child.poll() is not None:
            with child:
                pass  # closes its pipes, if the admin asked for any

    def forget(self, server_id: ServerId) -> None:
        self.reap(server_id)
        self.children.pop(server_id, None)


def _with_descendants(processes: Iterable[Process]) -> list[Process]:
    """Also children that dropped the mark (`env -i`, `sudo`). Blocking."""
    tree = {process.pid: process for process in processes if alive(process.pid, process.started)}
    for process in list(tree.values()):
        with suppress(psutil.NoSuchProcess):
            for child in psutil.Process(process.pid).children(recursive=True):
                since = started(child.pid)
                if since is not None and child.pid != os.getpid():
                    tree.setdefault(
                        child.pid,
                        replace(process, pid=child.pid, parent=process.pid, started=since),
                    )
    return list(tree.values())


def _signal_all(processes: Iterable[Process], number: signal.Signals) -> None:
    for process in processes:
        if not alive(process.pid, process.started):
            continue
        try:
            os.kill(process.pid, number)
        except ProcessLookupError:
            continue
        except PermissionError:
            log.warning(
                "not allowed to send %s to process %d of server %d",
                number.name,
                process.pid,
                process.server_id,
            )


async def _gone(processes: Iterable[Process], timeout_seconds: float) -> None:
    """Wait until all are gone or time is up. No waitpid here: it would steal exit codes from `Popen`."""
    deadline = asyncio.get_running_loop().time() + timeout_seconds
    left = list(processes)
    while left and asyncio.get_running_loop().time() < deadline:
        left = [process for process in left if alive(process.pid, process.started)]
        if left:
            await asyncio.sleep(_CHECK_SECONDS)
