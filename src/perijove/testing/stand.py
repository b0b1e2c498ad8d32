"""`Stand`: one database, one proxy, and as many hubs as a test starts, kills and freezes.

`run_hub()` runs what an operator runs, and `perijove up` mends what a test breaks. Here nothing restarts by
itself: a test says which hub runs when, and at which fault point (`perijove.lib.faults`) it ends. Everything is
plain processes, so that a stand may serve many tests with an event loop each.
"""

import json
import os
import secrets
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Any

import aiohttp
import psutil

from perijove.cli.hub import FAULT_VARIABLE
from perijove.cli.listening import free_port
from perijove.compose import DATABASE
from perijove.lib import faults
from perijove.plugins.processes import MARK
from perijove.testing.browser import Browser
from perijove.testing.hub import OPEN, config_for_tests, is_alive, write_config
from perijove.testing.waiting import until

HUB_SECONDS = 30.0
# In the environment of everything that a stand's users run.
STAND = "TEST_STAND"


@dataclass
class HubProcess:
    """One `perijove hub`."""

    url: str
    process: subprocess.Popen[bytes]
    log_path: Path
    slot: int

    @property
    def log(self) -> str:
        return self.log_path.read_text(encoding="utf-8", errors="replace")

    @property
    def ended(self) -> bool:
        return self.process.poll() is not None

    @property
    def frozen(self) -> bool:
        return bool(psutil.Process(self.process.pid).status() == psutil.STATUS_STOPPED)

    def wake(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    async def ready(self, url: str = "") -> None:
        """Wait until it answers at its own URL, or at this one."""
        url = url or self.url
        async with aiohttp.ClientSession() as session:

            async def answers() -> bool:
                if self.ended:
                    raise RuntimeError(f"the hub ended with exit code {self.process.returncode}:\n{self.log}")
                with suppress(aiohttp.ClientError, OSError):
                    async with session.get(f"{url}hub/health") as response:
                        return response.status == HTTPStatus.OK
                return False

            await until(answers, seconds=HUB_SECONDS, every=0.02)

    async def killed_itself(self, *, seconds: float = HUB_SECONDS) -> None:
        """Wait for a fault point to end it."""
        await until(lambda: self.ended, seconds=seconds)
        if self.process.returncode != -signal.SIGKILL:
            raise RuntimeError(f"the hub ended with exit code {self.process.returncode}:\n{self.log}")

    async def froze_itself(self, *, seconds: float = HUB_SECONDS) -> None:
        """Wait for a fault point to freeze it."""
        await until(lambda: self.frozen, seconds=seconds)


@dataclass
class Stand:
    """What hubs share. Make one with `run_stand()`."""

    directory: Path
    files: Sequence[Path]
    hub_ports: Sequence[int]
    port: int
    token: str
    name: str
    base_url: str = "/"
    hubs: list[HubProcess] = field(default_factory=list)
    _proxy: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """The proxy's."""
        return f"http://127.0.0.1:{self.port}{self.base_url}"

    def browser(self) -> Browser:
        return Browser(self.url)

    # -- hubs

    async def hub(
        self, *, kill_at: str = "", freeze_at: str = "", slot: int = 0, through_proxy: bool = True
    ) -> HubProcess:
        """A hub that answers, on the port of this `slot`: the one that runs there, or a new one.

        It ends or freezes itself at the fault point.
        """
        hub = next((hub for hub in self.hubs if hub.slot == slot and not hub.ended), None)
        if hub is None:
            hub = self._start_hub(slot)
            await hub.ready()
        if through_proxy:
            await hub.ready(self.url)
        if kill_at or freeze_at:
            faults.arm(self._fault_file, kill_at or freeze_at, signal.SIGKILL if kill_at else signal.SIGSTOP)
        return hub

    def _start_hub(self, slot: int) -> HubProcess:
        arguments = ["hub", "--hub-port", str(self.hub_ports[slot]), "--port", str(self.port)]
        arguments += [argument for file in self.files for argument in ("-f", str(file))]
        arguments += ["--data-dir", str(self.directory)]
        log = self.directory / f"hub-{len(self.hubs)}.log"
        process = self._run(arguments, log, {FAULT_VARIABLE: str(self._fault_file)})
        hub = HubProcess(f"http://127.0.0.1:{self.hub_ports[slot]}{self.base_url}", process, log, slot)
        self.hubs.append(hub)
        return hub

    @property
    def _fault_file(self) -> Path:
        return self.directory / "fault"

    def start_proxy(self, *, slots: Sequence[int] = ()) -> None:
        """Start the proxy, or another in its place, that asks the hubs of these slots, the first one first.

        A proxy gives up a hub that froze after some silence; a test that has no time for that starts another.
        """
        self._end_proxy()
        ports = [self.hub_ports[slot] for slot in slots] or self.hub_ports
        arguments = ["proxy", "--port", str(self.port), "--base-url", self.base_url, "--drain-seconds", "0"]
        arguments += [argument for port in ports for argument in ("--hub-url", f"http://127.0.0.1:{port}")]
        self._proxy = self._run(arguments, self.directory / "proxy.log", {})

    def _run(self, arguments: Sequence[str], log: Path, extra: Mapping[str, str]) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-P", "-m", "perijove.cli", *arguments]
        # As `perijove up` does: the single-user server of this environment is the one that fits.
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
        env = {**os.environ, "PATH": path, "CONFIGPROXY_AUTH_TOKEN": self.token, **extra}
        with log.open("wb") as file:
            return subprocess.Popen(  # noqa: S603 - our own command line
                command,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                env=env,
                cwd=self.directory,
                start_new_session=True,
            )

    # -- what users see

    async def api(self, method: str, path: str, body: Any = None, *, token: str = "") -> tuple[int, Any]:
        """A REST call through the proxy: status and decoded answer."""
        headers = {"Authorization": f"token {token or self.token}"}
        async with (
            aiohttp.ClientSession(headers=headers, timeout=aiohttp.ClientTimeout(total=HUB_SECONDS)) as session,
            session.request(method, f"{self.url}hub/api{path}", json=body) as response,
        ):
            text = await response.text()
            decoded = response.content_type == "application/json" and text
            return response.status, json.loads(text) if decoded else text

    async def end_of_progress(self, user: str, server: str = "") -> dict[str, Any]:
        """Follow a start's stream to its last event."""
        path = f"/users/{user}/servers/{server}/progress" if server else f"/users/{user}/server/progress"
        headers = {"Authorization": f"token {self.token}"}
        last: dict[str, Any] = {}
        timeout = aiohttp.ClientTimeout(total=HUB_SECONDS)
        async with (
            aiohttp.ClientSession(headers=headers, timeout=timeout) as session,
            session.get(f"{self.url}hub/api{path}") as response,
        ):
            async for line in response.content:
                if line.startswith(b"data:"):
                    last = json.loads(line[5:])
        return last

    # -- what is true

    def row(self, user: str, server: str = "") -> dict[str, Any] | None:
        """The server's row as the database has it."""
        statement = "SELECT s.* FROM servers s JOIN users u ON u.id = s.user_id WHERE u.name = ? AND s.name = ?"
        with self._database() as connection:
            connection.row_factory = sqlite3.Row
            found = connection.execute(statement, (user, server)).fetchone()
        return dict(found) if found else None

    def expire_leases(self) -> None:
        """As if the time of a lease had passed, for everybody."""
        with self._database() as connection:
            connection.execute("UPDATE servers SET lease_expires = '2000-01-01 00:00:00.000000'")

    def is_at_rest(self) -> bool:
        """One hub runs and has nothing to do."""
        living = [hub for hub in self.hubs if not hub.ended]
        if len(living) != 1 or living[0].frozen or self._fault_file.exists():
            return False
        with self._database() as connection:
            [pending] = connection.execute("SELECT count(*) FROM servers WHERE desired != observed").fetchone()
        return bool(pending == 0)

    def forget_servers(self) -> None:
        """No hub that comes now has anything to do: every server is stopped, and meant to be."""
        with self._database() as connection:
            connection.execute(
                "UPDATE servers SET desired = 'stopped', observed = 'stopped', phase = '', url = '',"
                " lease_owner = NULL, lease_expires = NULL"
            )

    @contextmanager
    def _database(self) -> Iterator[sqlite3.Connection]:
        connection = sqlite3.connect(self.directory / DATABASE, timeout=10)
        try:
            with connection:
                yield connection
        finally:
            connection.close()

    def processes(self, user: str = "", server: str = "") -> list[psutil.Process]:
        """What runs for this server, or for anybody: everything with a mark, children too."""
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                environment = process.environ()
                if environment.get(STAND) != self.name or MARK not in environment or not is_alive(process):
                    continue
                owner = (environment.get("JUPYTERHUB_USER"), environment.get("JUPYTERHUB_SERVER_NAME", ""))
                if not user or owner == (user, server):
                    found.append(process)
        return found

    def end_hubs(self) -> None:
        """Kill the hubs, and what runs for users."""
        for hub in self.hubs:
            if not hub.ended:
                hub.kill()
        self._fault_file.unlink(missing_ok=True)
        # Until a look finds nothing: one may have been starting another while it was killed. Not by waiting
        # for process ids to go: what is init here may take its time to collect them.
        while victims := self.processes():
            for victim in victims:
                with suppress(psutil.NoSuchProcess):
                    victim.kill()

    def end(self) -> None:
        """Kill everything that was started here."""
        self.end_hubs()
        self._end_proxy()

    def _end_proxy(self) -> None:
        if self._proxy is not None:
            self._proxy.kill()
            self._proxy.wait()


@contextmanager
def run_stand(
    directory: Path, config: Mapping[str, Any] = OPEN, *, files: Sequence[Path] = (), hubs: int = 1
) -> Iterator[Stand]:
    """A stand with its proxy started and no hub yet. `config` and `files` as for `run_hub()`."""
    token, name, port = secrets.token_hex(16), secrets.token_hex(8), free_port()
    own: dict[str, Any] = {
        "singleuser": {"extraEnv": {STAND: name}},
        # Servers reach whichever hub lives, by the proxy.
        "hub": {"config": {"JupyterHub": {"hub_connect_url": f"http://127.0.0.1:{port}"}}},
    }
    layers = [
        write_config(directory / "config.yaml", config),
        *files,
        write_config(directory / "testing.yaml", config_for_tests(token, "/", homes=directory / "homes")),
        write_config(directory / "stand.yaml", own),
    ]
    stand = Stand(directory, layers, [free_port() for _ in range(hubs)], port, token, name)
    try:
        stand.start_proxy()
        yield stand
    finally:
        stand.end()
