"""`run_hub()`: a real hub and proxy, as an operator starts them, in one call.

They run as processes on free ports with a data directory of their own, so that tests can kill them
at will and nothing of one test is left for the next: what users' servers were started is found by
the port of the hub in their environment, and ended.
"""

import asyncio
import json
import os
import secrets
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Any

import aiohttp
import psutil

from perijove.cli.listening import free_port
from perijove.testing.browser import TIMEOUT, Browser
from perijove.testing.waiting import until

START_SECONDS = 30.0
HEALTH_TIMEOUT = aiohttp.ClientTimeout(total=2)
STOP_SECONDS = 30.0

# Anybody may log in; servers run as whoever runs the tests, each in a directory of its own.
OPEN: Mapping[str, Any] = {
    "hub": {
        "config": {
            "JupyterHub": {"authenticator_class": "dummy", "spawner_class": "simple"},
            "Authenticator": {"allow_all": True, "admin_users": ["admin"]},
            # In a container tests run as root, which Jupyter refuses unless told.
            "Spawner": {"args": ["--allow-root"]},
        }
    }
}


class HubDidNotStart(Exception):
    """`perijove up` ended, or nothing answered in time; the message ends with its log."""


@dataclass
class RunningHub:
    """A hub under test."""

    data_dir: Path
    files: Sequence[Path]
    port: int
    hub_port: int
    # A service that may do everything the REST API offers.
    token: str
    base_url: str = "/"
    arguments: Sequence[str] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    process: asyncio.subprocess.Process | None = None

    @property
    def url(self) -> str:
        """What people open: the proxy."""
        return f"http://127.0.0.1:{self.port}{self.base_url}"

    @property
    def hub_url(self) -> str:
        """The hub itself, past the proxy."""
        return f"http://127.0.0.1:{self.hub_port}{self.base_url}"

    @property
    def log(self) -> str:
        path = self.data_dir / "up.log"
        return path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""

    def browser(self) -> Browser:
        return Browser(self.url)

    async def start(self, *, seconds: float = START_SECONDS) -> None:
        """`perijove up`, until its hub answers through its proxy. May be called again after `stop` or `kill`."""
        command = [sys.executable, "-P", "-m", "perijove.cli", "up", "--data-dir", str(self.data_dir)]
        command += ["--port", str(self.port), "--hub-port", str(self.hub_port), *self.arguments]
        command += [argument for file in self.files for argument in ("-f", str(file))]
        said_before = len(self.log)
        with (self.data_dir / "up.log").open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                *command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, **self.environment},
                cwd=self.data_dir,
                start_new_session=True,
            )
        await self.until_healthy(seconds=seconds)
        await until(lambda: "running at" in self.log[said_before:])

    async def until_healthy(self, *, seconds: float = START_SECONDS) -> None:
        try:
            await until(self._healthy, seconds=seconds, every=0.05)
        except TimeoutError as error:
            raise HubDidNotStart(f"nothing answered within {seconds} s:\n{self.log}") from error

    async def _healthy(self) -> bool:
        if self.process is not None and self.process.returncode is not None:
            raise HubDidNotStart(f"`perijove up` ended with exit code {self.process.returncode}:\n{self.log}")
        try:
            async with (
                aiohttp.ClientSession(timeout=HEALTH_TIMEOUT) as session,
                # Not the hub's health: that answers before the proxy has read any routes.
                session.get(self.url, allow_redirects=False) as response,
            ):
                return response.status == HTTPStatus.FOUND
        except (aiohttp.ClientError, OSError, TimeoutError):
            return False

    async def api(self, method: str, path: str, body: Any = None, *, token: str = "") -> tuple[int, Any]:
        """A REST call through the proxy: status and decoded answer."""
        headers = {"Authorization": f"token {token or self.token}"}
        async with (
            aiohttp.ClientSession(headers=headers, timeout=TIMEOUT) as session,
            session.request(method, f"{self.url}hub/api{path}", json=body) as response,
        ):
            text = await response.text()
            return response.status, json.loads(text) if text else None

    def hub_process(self) -> psutil.Process:
        """The process of the hub alone, for killing it under the proxy."""
        return self._child("hub")

    async def until_hub_is_back(self, before: psutil.Process, *, seconds: float = START_SECONDS) -> None:
        """`before` has ended and another hub answers in its place."""

        def replaced() -> bool:
            with suppress(LookupError):
                return self.hub_process() != before
            return False

        await until(replaced, seconds=seconds)
        await self.until_healthy(seconds=seconds)

    def proxy_process(self) -> psutil.Process:
        return self._child("proxy")

    def _child(self, command: str) -> psutil.Process:
        assert self.process is not None
        for child in psutil.Process(self.process.pid).children():
            with suppress(psutil.NoSuchProcess):
                if command in child.cmdline()[:6]:
                    return child
        raise LookupError(f"no {command} under process {self.process.pid}:\n{self.log}")

    async def stop(self, *, number: signal.Signals = signal.SIGTERM, seconds: float = STOP_SECONDS) -> int:
        """Ask `perijove up` to stop and return its exit code. Users' servers keep running."""
        assert self.process is not None
        if self.process.returncode is None:
            self.process.send_signal(number)
        async with asyncio.timeout(seconds):
            return await self.process.wait()

    async def kill(self) -> None:
        """SIGKILL for `up`, hub and proxy at once: what a lost machine leaves, but for users' servers."""
        assert self.process is not None
        if self.process.returncode is not None:
            return
        parent = psutil.Process(self.process.pid)
        # Stopped first, so that it restarts nobody in between.
        parent.suspend()
        family = [*parent.children(), parent]
        for process in family:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        await self.process.wait()
        await until(lambda: not any(is_alive(process) for process in family))

    def user_processes(self) -> list[psutil.Process]:
        """Everything that this hub started for users, wherever it was reparented to."""
        mark = f":{self.hub_port}/"
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                if mark in process.environ().get("JUPYTERHUB_API_URL", ""):
                    found.append(process)
        return found

    async def clean_up(self) -> None:
        await self.kill()
        for process in self.user_processes():
            with suppress(psutil.NoSuchProcess):
                process.kill()
        await until(lambda: not any(is_alive(process) for process in self.user_processes()))


def is_alive(process: psutil.Process) -> bool:
    with suppress(psutil.NoSuchProcess):
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    return False


@asynccontextmanager
async def run_hub(
    config: Mapping[str, Any] | str | None = OPEN,
    *,
    files: Sequence[Path] = (),
    arguments: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
    base_url: str = "/",
    data_dir: Path | None = None,
    start: bool = True,
) -> AsyncIterator[RunningHub]:
    """A hub on free ports, gone with all its users' servers at the end.

    `config` is what a `config.yaml` would say: a mapping, or its text; by default anybody may log
    in. `files` are merged over it. None: no configuration at all, as on a new machine.
    """
    with tempfile.TemporaryDirectory(prefix="perijove-test-") as temporary:
        directory = data_dir or Path(temporary) / "data"
        directory.mkdir(parents=True, exist_ok=True)
        token = secrets.token_hex(16)
        layers: list[Path] = []
        if config is not None:
            layers = [write_config(Path(temporary) / "config.yaml", config)]
            layers += [
                *files,
                write_config(
                    Path(temporary) / "testing.yaml", config_for_tests(token, base_url, homes=Path(temporary) / "homes")
                ),
            ]
        hub = RunningHub(
            data_dir=directory,
            files=layers,
            port=free_port(),
            hub_port=free_port(),
            token=token,
            base_url=base_url,
            arguments=arguments,
            environment=environment or {},
        )
        try:
            if start:
                await hub.start()
            yield hub
        finally:
            if hub.process is not None:
                await hub.clean_up()


def write_config(path: Path, config: Mapping[str, Any] | str) -> Path:
    # JSON is YAML.
    path.write_text(config if isinstance(config, str) else json.dumps(config), encoding="utf-8")
    path.chmod(0o600)
    return path


def config_for_tests(token: str, base_url: str, *, homes: Path) -> dict[str, Any]:
    scopes = [
        "admin:users",
        "admin:servers",
        "admin:groups",
        "admin-ui",
        "tokens",
        "proxy",
        "read:hub",
        "access:servers",
    ]
    return {
        "hub": {
            "baseUrl": base_url,
            "config": {"SimpleLocalProcessSpawner": {"home_dir_template": f"{homes}/{{username}}"}},
            "services": {"testing": {"apiToken": token}},
            "loadRoles": {"testing": {"scopes": scopes, "services": ["testing"]}},
        }
    }
