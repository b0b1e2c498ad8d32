"""The two hubs under test, as processes: each on CPU 0, what loads them on CPU 1."""

import asyncio
import http.client
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from perijove.cli.listening import free_port
from perijove.testing.npm import chp_command

HERE = Path(__file__).parent
HUB_CPU = "0"
LOAD_CPU = "1"
START_SECONDS = 120
POLL_SECONDS = 0.002
SETTLE_SECONDS = 60
SETTLED_PERCENT = 10
# The address is in the kept database of the peer, so it is the same in every run.
STUB_PORT = 9797
# What hub and proxy share.
PROXY_TOKEN = "bench"
OUR_DATABASE = "perijove.sqlite"
PEER_DATABASE = "jupyterhub.sqlite"
COMMON = {
    "PYTHONPATH": os.pathsep.join([str(HERE.parent), *filter(None, [os.environ.get("PYTHONPATH")])]),
    "BENCH_STUB_PORT": str(STUB_PORT),
}


def cache_dir() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    path = Path(base) / "perijove-bench"
    path.mkdir(parents=True, exist_ok=True)
    return path


@dataclass
class Hub:
    """A hub that runs. `base` is its own port: no proxy is between it and the load."""

    name: str
    command: Callable[["Hub"], list[str]]
    directory: Path
    port: int = field(default_factory=free_port)
    public_port: int = field(default_factory=free_port)
    token: str = field(default_factory=lambda: secrets.token_hex(16))
    # What this hub needs beyond what every hub gets.
    environment: dict[str, str] = field(default_factory=dict)
    # Of the proxy that it keeps informed; runs beside the load, and on while the hub restarts.
    proxy_command: list[str] = field(default_factory=list)
    cpu: str = HUB_CPU
    # The URL of its database, or its file in the directory.
    database: str = ""
    file: Path = Path()
    process: subprocess.Popen[bytes] | None = None
    proxy: subprocess.Popen[bytes] | None = None
    # Seconds from exec to the first answer.
    started_after: float = 0.0

    @property
    def base(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        if self.proxy is None and self.proxy_command:
            self.proxy = self._run(self.proxy_command, cpu=LOAD_CPU, log="proxy.txt")
        began = time.perf_counter()
        self.process = self._run(self.command(self), cpu=self.cpu, log="log.txt")
        self._wait_healthy()
        self.started_after = time.perf_counter() - began

    def _run(self, command: list[str], *, cpu: str, log: str) -> subprocess.Popen[bytes]:
        with (self.directory / log).open("ab") as output:
            return subprocess.Popen(
                ["taskset", "-c", cpu, *command],
                env={**os.environ, **COMMON, **self.environment},
                cwd=self.directory,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    def _wait_healthy(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            try:
                if self.get("/hub/health").status == 200:
                    return
            except OSError:
                pass  # not listening yet
            if self.process.poll() is not None:
                tail = (self.directory / "log.txt").read_text(errors="replace")[-3000:]
                raise SystemExit(f"{self.name} ended during its start:\n{tail}")
            time.sleep(POLL_SECONDS)
        raise SystemExit(f"{self.name} did not answer within {START_SECONDS} s")

    def settle(self) -> None:
        """Wait until it has done what a start with running servers makes it do: what is measured comes after."""
        process = psutil.Process(self.process.pid)
        deadline = time.monotonic() + SETTLE_SECONDS
        while process.cpu_percent(1) > SETTLED_PERCENT and time.monotonic() < deadline:
            pass

    @contextmanager
    def alone(self, *others: "Hub") -> Iterator[None]:
        """Stop the others meanwhile: they share a processor, and what they do by themselves comes in bursts."""
        for other in others:
            other.process.send_signal(signal.SIGSTOP)
        try:
            # It was stopped itself, and has something to make up for.
            self.settle()
            yield
        finally:
            for other in others:
                other.process.send_signal(signal.SIGCONT)

    def get(self, path: str) -> http.client.HTTPResponse:
        return self._request("GET", path)[0]

    def call(self, method: str, path: str, body: object = None) -> object:
        """A REST call with the administrator's token."""
        response, data = self._request(method, "/hub/api" + path, body)
        if response.status >= 300:
            raise SystemExit(f"{self.name}: {method} {path} answered {response.status}: {data[:300]!r}")
        return json.loads(data) if data else None

    def _request(self, method: str, path: str, body: object = None) -> tuple[http.client.HTTPResponse, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request(
                method,
                path,
                body=None if body is None else json.dumps(body),
                headers={"Authorization": f"token {self.token}", "Content-Type": "application/json"},
            )
            response = connection.getresponse()
            return response, response.read()
        finally:
            connection.close()

    def close(self) -> None:
        """Stop it, and its proxy."""
        self.stop()
        if self.proxy is not None:
            self.proxy.kill()
            self.proxy.wait()
            self.proxy = None

    def stop(self) -> None:
        if self.process is None:
            return
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.process = None


def processor_seconds(pid: int) -> float:
    """Of a process and its children, all threads; finer than the ticks of the kernel's clock."""
    used = 0
    for process in (top := psutil.Process(pid), *top.children(recursive=True)):
        for file in Path(f"/proc/{process.pid}/task").glob("*/schedstat"):
            with suppress(FileNotFoundError):  # a thread that has just ended
                used += int(file.read_text().split()[0])
    return used / 1e9


def ours(directory: Path, database: str = "") -> Hub:
    """`database`: a URL; SQLite in the directory when empty."""

    def command(hub: Hub) -> list[str]:
        secret = hub.directory / "secret.yaml"
        values = {"services": {"bench": {"apiToken": hub.token}}}
        if database:
            values["db"] = {"type": "postgres", "url": database}
        secret.write_text(json.dumps({"hub": values}))
        return [
            *(sys.executable, "-P", "-m", "perijove.cli", "hub"),
            *("-f", str(HERE / "our_config.yaml"), "-f", str(secret)),
            *("--data-dir", str(hub.directory), "--hub-port", str(hub.port), "--port", str(hub.public_port)),
        ]

    hub = Hub("perijove", command, directory, database=database, file=directory / OUR_DATABASE)
    hub.environment = {"CONFIGPROXY_AUTH_TOKEN": PROXY_TOKEN}
    hub.proxy_command = [
        *(sys.executable, "-P", "-m", "perijove.cli", "proxy"),
        *("--hub-url", hub.base, "--port", str(hub.public_port)),
    ]
    return hub


def peer(directory: Path, database: str = "") -> Hub:
    python = _peer_environment()
    hub = Hub(
        "jupyterhub",
        lambda _: [str(python.parent / "jupyterhub"), "-f", str(HERE / "peer_config.py")],
        directory,
        database=database,
        file=directory / PEER_DATABASE,
    )
    api_port = free_port()
    # The driver that its chart has.
    url = database.replace("postgresql://", "postgresql+psycopg2://")
    hub.environment = {
        "BENCH_PUBLIC_PORT": str(hub.public_port),
        "BENCH_HUB_PORT": str(hub.port),
        "BENCH_DATABASE": url or f"sqlite:///{hub.file}",
        "BENCH_TOKEN": hub.token,
        "BENCH_PROXY_API": f"http://127.0.0.1:{api_port}",
        "CONFIGPROXY_AUTH_TOKEN": PROXY_TOKEN,
    }
    hub.proxy_command = [
        *(*asyncio.run(chp_command()), "--ip", "127.0.0.1", "--port", str(hub.public_port), "--log-level", "error"),
        *("--api-ip", "127.0.0.1", "--api-port", str(api_port), "--default-target", hub.base),
    ]
    return hub


@contextmanager
def stub() -> Iterator[None]:
    """The one server that every user's server is."""
    with suppress(OSError), socket.create_connection(("127.0.0.1", STUB_PORT), 1):
        # Its server would do, until it ends.
        raise SystemExit(f"something listens on port {STUB_PORT} already: another benchmark?")
    process = subprocess.Popen(
        ["taskset", "-c", LOAD_CPU, sys.executable, "-m", "bench.stub", str(STUB_PORT)], cwd=HERE.parent
    )
    try:
        yield
    finally:
        process.kill()
        process.wait()


def _peer_environment() -> Path:
    """A virtual environment with the peer alone, made once for each version of its lock."""
    lock = HERE.parent / "requirements" / "peer.txt"
    venv = cache_dir() / "peer"
    stamp = venv / "lock.txt"
    python = venv / "bin" / "python"
    if not stamp.exists() or stamp.read_bytes() != lock.read_bytes():
        print(f"Installing the peer into {venv}", file=sys.stderr)
        shutil.rmtree(venv, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", str(venv)], check=True)
        pip = [str(python), "-m", "pip", "install", "-qq", "--no-input", "--require-hashes", "--no-deps"]
        subprocess.run([*pip, "-r", str(lock)], check=True)
        stamp.write_bytes(lock.read_bytes())
    return python


def peer_version() -> str:
    code = "import jupyterhub; print(jupyterhub.__version__)"
    return subprocess.run(
        [str(_peer_environment()), "-c", code], check=True, capture_output=True, text=True
    ).stdout.strip()
