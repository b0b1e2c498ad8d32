"""Containers as processes of this machine.

As root with the right to mount: each container gets a private mount and process namespace whose root is an overlay
over this machine's files, so that volumes are mounted where the pod wants them, what it writes elsewhere is gone with
it, and nothing it starts outlives it. The network is this machine's.

Without that right (no root, or a container without CAP_SYS_ADMIN) processes run as they are, and the paths of volumes
in arguments and variables are replaced by where the volumes are. Programs that know a path by heart do not find it.
"""

import asyncio
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from asyncio.subprocess import Process, create_subprocess_exec
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import IO, Protocol

import perijove
from perijove.testing.kube.kubelet.volumes import Mount

# Process 1 of a container, as tini is in the images of notebook servers: passes signals on, reaps, and exits as the
# program does. A program that is process 1 itself would ignore every signal it has no handler for.
_INIT = """
trap 'kill -TERM $child' TERM
trap 'kill -INT $child' INT
env --default-signal=INT,QUIT "$@" </dev/null &
child=$!
echo >&0
wait $child
code=$?
while kill -0 $child 2>/dev/null; do wait $child; code=$?; done
exit $code
"""
_TOOLS = ("unshare", "setpriv", "mount", "nsenter", "chroot")


@dataclass(frozen=True)
class ContainerSpec:
    """Everything a process needs, resolved."""

    command: Sequence[str]
    environment: Mapping[str, str]
    mounts: Sequence[Mount]
    working_directory: str = "/"
    user: int = 0
    group: int = 0
    groups: Sequence[int] = ()
    read_only_root: bool = False
    hosts: Path | None = None
    hostname: str = ""
    directory: Path = field(default_factory=Path)


@cache
def can_isolate() -> bool:
    """Whether namespaces and overlays may be made here; tried once, for real."""
    if os.geteuid() != 0 or any(shutil.which(tool) is None for tool in _TOOLS):
        return False
    with tempfile.TemporaryDirectory(prefix="perijove-kubelet-") as directory:
        script = _overlay(Path(directory))
        command = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-ec", f"{script}\ntrue"]
        return subprocess.run(command, check=False, capture_output=True).returncode == 0  # noqa: S603 - our own words


def _overlay(directory: Path) -> str:
    root, scratch = directory / "root", directory / "scratch"
    return f"""
mkdir -p {root} {scratch}
mount -t tmpfs -o mode=755 tmpfs {scratch}
mkdir {scratch}/upper {scratch}/work
mount -t overlay overlay -o lowerdir=/,upperdir={scratch}/upper,workdir={scratch}/work {root}
mount --rbind /dev {root}/dev
mount --rbind /sys {root}/sys
mount -t proc proc {root}/proc
"""


class Running(Protocol):
    """A container that has been started."""

    async def wait(self) -> int: ...

    def signal(self, number: signal.Signals) -> None: ...

    def first_process(self) -> int | None: ...

    async def run(self, command: Sequence[str]) -> Process: ...


class Hollow:
    """No process: ends when it is asked to."""

    def __init__(self) -> None:
        self._ended: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def wait(self) -> int:
        return await asyncio.shield(self._ended)

    def signal(self, number: signal.Signals) -> None:
        if not self._ended.done():
            self._ended.set_result(0 if number == signal.SIGTERM else 128 + number)

    def first_process(self) -> int | None:
        return None

    async def run(self, command: Sequence[str]) -> Process:
        raise OSError(f"a hollow container cannot run {' '.join(command)}")


class Sandbox:
    """One running container."""

    def __init__(self, spec: ContainerSpec, process: Process, *, isolated: bool) -> None:
        self.spec = spec
        self.process = process
        self.isolated = isolated
        self._killed = False

    @classmethod
    async def start(cls, spec: ContainerSpec, log: IO[bytes]) -> "Sandbox":
        """Raises `OSError` where the program cannot be started at all."""
        isolated = can_isolate()
        spec.directory.mkdir(parents=True, exist_ok=True)
        command = _isolated(spec) if isolated else list(_substituted(spec, spec.command))
        environment = spec.environment if isolated else _substituted_environment(spec)
        reader, writer = os.pipe()
        try:
            process = await create_subprocess_exec(
                *command,
                stdin=writer if isolated else subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=dict(environment),
                cwd="/" if isolated else spec.directory,
                start_new_session=True,
            )
        finally:
            os.close(writer)
        if isolated:
            # Process 1 writes to its standard input once it passes signals on: until then they would be lost.
            await asyncio.to_thread(os.read, reader, 1)
        os.close(reader)
        return cls(spec, process, isolated=isolated)

    async def wait(self) -> int:
        """The exit code as container runtimes tell it: 128 and the signal for one that was killed."""
        code = await self.process.wait()
        if self._killed:
            # `unshare` tells of its child's SIGKILL as a failure of its own.
            return 128 + signal.SIGKILL
        return code if code >= 0 else 128 - code

    def signal(self, number: signal.Signals) -> None:
        """To the container's first process; SIGKILL ends all of them."""
        self._killed = self._killed or (number == signal.SIGKILL and self.process.returncode is None)
        with suppress(ProcessLookupError):
            if not self.isolated:
                if number == signal.SIGKILL:
                    os.killpg(self.process.pid, number)
                else:
                    os.kill(self.process.pid, number)
            elif (inner := self.first_process()) is not None:
                os.kill(inner, number)
            else:
                os.kill(self.process.pid, signal.SIGKILL)

    def first_process(self) -> int | None:
        """Process 1 of the namespace, by its number here."""
        if not self.isolated:
            return self.process.pid
        pid = self.process.pid
        try:
            children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()
        except FileNotFoundError:
            return None
        return int(children[0]) if children else None

    async def run(self, command: Sequence[str]) -> Process:
        """Another process in the same container: hooks and probes."""
        words = list(command)
        if self.isolated and (inner := self.first_process()) is not None:
            words = ["nsenter", f"--target={inner}", "--mount", "--pid", "--root", *_identity(self.spec), *words]
        elif not self.isolated:
            words = list(_substituted(self.spec, words))
        return await create_subprocess_exec(
            *words,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=dict(self.spec.environment if self.isolated else _substituted_environment(self.spec)),
            start_new_session=True,
        )


def _isolated(spec: ContainerSpec) -> list[str]:
    # The test process may be killed at any time: the outer process dies with it, and the namespace with that.
    outer = ["setpriv", "--pdeathsig", "KILL", "unshare", "--mount", "--pid", "--fork", "--kill-child"]
    return [*outer, "sh", "-ec", _script(spec)]


def _script(spec: ContainerSpec) -> str:
    root = spec.directory / "root"
    lines = [_overlay(spec.directory)]
    if spec.user != 0:
        # Interpreters often lie below a home directory that only root may enter.
        closed = [one for one in Path(sys.executable).resolve().parents if not one.stat().st_mode & 0o001]
        lines += [f"chmod o+x {shlex.quote(f'{root}{parent}')}" for parent in closed]
    if spec.hosts is not None:
        lines.append(f"mount --bind {spec.hosts} {_inside(root, '/etc/hosts')}")
    for mount in spec.mounts:
        lines += _bind(mount, root)
    lines += _keep_interpreter(spec, root)
    home = spec.environment.get("HOME", "/")
    lines.append(_make_directory(root, home, spec))
    lines.append(_make_directory(root, spec.working_directory, spec))
    if spec.read_only_root:
        lines.append(f"mount -o remount,ro {root}")
    command = " ".join(shlex.quote(word) for word in spec.command)
    init = " ".join(shlex.quote(word) for word in (*_identity(spec), "/bin/sh", "-c", _INIT, "init"))
    enter = f"cd {shlex.quote(spec.working_directory)} && exec {init} {command}"
    lines.append(f"exec chroot {root} /bin/sh -c {shlex.quote(enter)}")
    return "\n".join(lines)


def _keep_interpreter(spec: ContainerSpec, root: Path) -> list[str]:
    """What runs in containers is installed on this machine, perhaps below a directory that a mount covers (/tmp)."""
    needed = {Path(sys.prefix), Path(sys.base_prefix), Path(perijove.__file__).parents[1]}
    covered = [path for path in needed if any(path.is_relative_to(mount.target) for mount in spec.mounts)]
    return [
        f"mkdir -p {_inside(root, str(path))} && mount --bind {path} {_inside(root, str(path))}" for path in covered
    ]


def _inside(root: Path, path: str) -> str:
    """A path below the root, past links: an absolute one (/var/run) would lead out of it, onto this machine's files."""
    return shlex.quote(f"{root}{os.path.realpath(path)}")


def _make_directory(root: Path, path: str, spec: ContainerSpec) -> str:
    place = _inside(root, path)
    return f"[ -e {place} ] || {{ mkdir -p {place}; chown {spec.user}:{spec.group} {place}; }}"


def _bind(mount: Mount, root: Path) -> list[str]:
    source, target = shlex.quote(str(mount.source)), _inside(root, mount.target)
    if mount.source.is_dir():
        lines = [f"mkdir -p {target}"]
    else:
        lines = [f"mkdir -p $(dirname {target})", f"[ -e {target} ] || touch {target}"]
    lines.append(f"mount --bind {source} {target}")
    if mount.read_only:
        lines.append(f"mount -o remount,bind,ro {target}")
    return lines


def _identity(spec: ContainerSpec) -> list[str]:
    if spec.user == 0 and spec.group == 0 and not spec.groups:
        return []
    groups = f"--groups={','.join(map(str, spec.groups))}" if spec.groups else "--clear-groups"
    return ["setpriv", f"--reuid={spec.user}", f"--regid={spec.group}", groups]


def _substituted(spec: ContainerSpec, words: Sequence[str]) -> Sequence[str]:
    return [_replaced(spec, word) for word in words]


def _replaced(spec: ContainerSpec, text: str) -> str:
    for mount in reversed(spec.mounts):
        text = text.replace(mount.target, str(mount.source))
    return text


def _substituted_environment(spec: ContainerSpec) -> dict[str, str]:
    return {name: value if name == "PATH" else _replaced(spec, value) for name, value in spec.environment.items()}
