"""Makes JupyterHub's local process spawners, and their subclasses, safe to lose sight of.

A class is derived from the configured one when it is loaded. It marks what it starts, gives it a session
and a log file, ends what the same row started before, tells a living process from another one that got
its pid, and explains the three failures that everybody meets first: no such account, no such command,
port taken. Traits, hooks and overridden methods of the configured class stay in force, and so does its
configuration, since the derived class inherits the sections of all its parents by name.
"""

import os
import pwd
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from jupyterhub.spawner import LocalProcessSpawner

from perijove.domain.errors import SpawnFailed
from perijove.domain.ids import ServerId
from perijove.plugins import processes
from perijove.plugins.calls import settle
from perijove.plugins.errors import details_of
from perijove.plugins.processes import ProcessTable, mark
from perijove.plugins.server_log import ServerLog

_SINCE = "perijove_started"
EPOCH = "perijove_epoch"


@dataclass(frozen=True, slots=True)
class Hosting:
    """What the derived class needs from its host."""

    table: ProcessTable
    server_id: ServerId
    generation: int
    # Of the lease under which this instance acts.
    epoch: int
    output: ServerLog


class MarkedProcess(LocalProcessSpawner):  # type: ignore[misc]  # jupyterhub ships no types
    """Mixed in front of a `LocalProcessSpawner`. `hosting` is set before any method is called."""

    hosting: Hosting
    proc: Any
    pid: Any
    popen_kwargs: Any
    # Start time of `pid`, to know it by, and the epoch in its mark.
    _since: int | None = None
    _epoch: int | None = None

    def load_state(self, state: dict[str, Any]) -> None:
        super().load_state(state)
        self._since = state.get(_SINCE)
        self._epoch = state.get(EPOCH)
        child = self.hosting.table.children.get(self.hosting.server_id)
        if child is not None and child.pid == self.pid:
            self.proc = child

    def get_state(self) -> dict[str, Any]:
        state: dict[str, Any] = super().get_state()
        if self.pid and self._since is not None:
            state[_SINCE] = self._since
            state[EPOCH] = self._epoch
        return state

    def clear_state(self) -> None:
        super().clear_state()
        self._since = self._epoch = None

    def get_env(self) -> dict[str, Any]:
        env: dict[str, Any] = super().get_env()
        hosting = self.hosting
        env[processes.MARK] = mark(hosting.table.hub_id, hosting.server_id, hosting.generation, hosting.epoch)
        # `perijove up` may run from a virtual environment that nobody activated: do as if somebody had.
        path = env.get("PATH") or os.defpath
        own = str(Path(sys.executable).parent)
        if own not in path.split(os.pathsep):
            path = f"{own}{os.pathsep}{path}"
        env["PATH"] = path
        return env

    async def start(self) -> Any:
        table, server_id = self.hosting.table, self.hosting.server_id
        if await self._end_ours():
            self.log.warning("ended processes of an earlier start of server %s first", server_id)
        await self._refuse_successor()
        table.forget(server_id)
        self._refuse_taken_port()
        with self._output() as popen_kwargs, self._explained():
            configured = self.popen_kwargs
            self.popen_kwargs = popen_kwargs
            try:
                result = await settle(super().start())
            finally:
                self.popen_kwargs = configured
                if self.proc is not None:
                    table.children[server_id] = self.proc
        self._since = processes.started(self.pid) if self.pid else None
        self._epoch = self.hosting.epoch
        return result

    async def poll(self) -> int | None:
        if self.proc is None and self.pid and not processes.alive(self.pid, self._since):
            self.clear_state()
            return 0
        status: int | None = await settle(super().poll())
        return status

    async def stop(self, now: bool = False) -> None:
        await settle(super().stop(now=now))
        await self.sweep()

    async def sweep(self) -> None:
        """End what outlived the server's own process, or was started by a hub that died before saying so."""
        await self._end_ours()
        self.hosting.table.forget(self.hosting.server_id)

    async def _end_ours(self) -> int:
        """End what was started for this server up to now, but nothing that another hub started since."""
        return await self.hosting.table.end(self.hosting.server_id, lambda process: process.epoch <= self.hosting.epoch)

    async def _refuse_successor(self) -> None:
        """A hub that slept past its lease must not start a second server beside the one of whoever took over."""
        if await self.hosting.table.of(self.hosting.server_id):
            raise SpawnFailed(
                "Another hub started this server meanwhile.",
                reason="superseded",
                details=f"A process with a later lease epoch than {self.hosting.epoch} runs.",
            )

    async def delete_forever(self) -> None:
        await settle(super().delete_forever())
        self.hosting.output.remove()

    def exit_code(self) -> int | None:
        """Of the process this or an earlier instance started, once it has ended."""
        return None if self.proc is None else self.proc.poll()

    def _refuse_taken_port(self) -> None:
        if self.port == 0:
            return
        family = socket.AF_INET6 if ":" in self.ip else socket.AF_INET
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((self.ip, self.port))
            except OSError as exc:
                raise SpawnFailed(
                    f"Port {self.port} on this machine is already in use.",
                    reason="port_taken",
                    details=f"Binding {self.ip or '*'}:{self.port} (Spawner.ip, Spawner.port) failed: {exc}. "
                    "Leave Spawner.port at 0 to give every server a free port.",
                ) from exc

    @contextmanager
    def _output(self) -> Iterator[dict[str, Any]]:
        """`popen_kwargs` with what the admin did not set: output to the log, no input, an own session
        (so that Ctrl-C in the hub's terminal does not reach servers)."""
        kwargs = {"stdin": subprocess.DEVNULL, "start_new_session": True, **self.popen_kwargs}
        file: BinaryIO | None = None
        if "stdout" not in kwargs:
            file = kwargs["stdout"] = self.hosting.output.open_fresh()
            kwargs.setdefault("stderr", subprocess.STDOUT)
        try:
            yield kwargs
        finally:
            if file is not None:
                file.close()

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except KeyError as exc:
            if _account_exists(self.user.name):
                raise
            raise _no_account(self.user.name, exc) from exc
        except (FileNotFoundError, PermissionError) as exc:
            command = (list(self.shell_cmd) or list(self.cmd or ()) or [None])[0]
            if exc.filename != command:
                raise
            if isinstance(exc, PermissionError):
                raise _not_permitted(exc, self.user.name, self.cmd) from exc
            raise _no_command(exc, self.cmd, os.environ.get("PATH", "")) from exc
        except subprocess.SubprocessError as exc:
            raise _not_permitted(exc, self.user.name, self.cmd) from exc


def _account_exists(name: str) -> bool:
    try:
        pwd.getpwnam(name)
    except KeyError:
        return False
    return True


def _no_account(name: str, exc: Exception) -> SpawnFailed:
    return SpawnFailed(
        f"There is no system account named {name!r} on this machine.",
        reason="no_account",
        details="This spawner runs each server as the system account with the user's name. Create the "
        f"account (`useradd -m {name}`), let the authenticator do that (create_system_users), or use the "
        "spawner `simple` to run all servers as the hub's own account, for tests only.\n"
        f"{details_of(exc)}",
    )


def _no_command(exc: FileNotFoundError, cmd: Any, path: str) -> SpawnFailed:
    command = exc.filename or (cmd or ["?"])[0]
    return SpawnFailed(
        f"The server's command {command!r} was not found on this machine.",
        reason="command_not_found",
        details=f"Spawner.cmd is {cmd!r}; the hub's PATH is {path!r}. Install it where the hub runs "
        f"(pip install jupyterhub jupyterlab), or set Spawner.cmd to its full path.\n{details_of(exc)}",
    )


def _not_permitted(exc: Exception, name: str, cmd: Any) -> SpawnFailed:
    command = shutil.which((cmd or ["?"])[0]) or (cmd or ["?"])[0]
    return SpawnFailed(
        f"The hub may not run the server's command as {name!r}.",
        reason="not_permitted",
        details=f"The hub runs as uid {os.getuid()}. Starting servers as other accounts needs root, and the "
        f"account must be able to read and execute {command}.\n{details_of(exc)}",
    )


def hosted_class(cls: type) -> type:
    """`cls` with `MarkedProcess` in front, if it is a local process spawner; else `cls` itself.

    The name differs from the configured class's: with two classes of one name, traitlets would read that
    section twice and append configured lists twice.
    """
    if not issubclass(cls, LocalProcessSpawner):
        return cls
    return type(f"Marked{cls.__name__}", (MarkedProcess, cls), {"__module__": cls.__module__, "__doc__": cls.__doc__})
