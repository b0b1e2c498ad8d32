"""`Cluster`: N hubs and M proxies on one database, as an operator starts them, each to be hurt at will.

    with run_world() as world, run_cluster(directory, database=postgres.create_database(), world=world) as cluster:
        await cluster.ready()                              # everybody answers, every proxy has its routes
        status, answer = await cluster.api("POST", "/users/ada/server", at=cluster.hubs[1])
        async with cluster.browser(cluster.proxies[0]) as browser: ...

        one, two = cluster.hubs                            # and cluster.proxies
        one.kill(); await one.restart()                    # SIGKILL; the same port, the same data directory
        one.freeze(); one.wake()                           # SIGSTOP, SIGCONT: asleep, its leases run out
        await one.stop()                                   # SIGTERM; returns its exit code
        one.database.cut()                                 # the way from this hub to the database (see `Link`)
        proxy.links[0].silence()                           # the way from this proxy to the first hub

        cluster.arm("start.spawned", signal.SIGKILL)       # whichever hub comes to this step first (`lib.faults`)
        hurt = await cluster.hurt()                        # that hub, once it has died or frozen
        await cluster.expire_leases()                      # as if the time of a lease had passed
        await cluster.rows(select(servers))                # what is true, asked of the database past all hubs

Nothing restarts by itself. Users' servers are simulated (`World`) unless `config` names another spawner. Everything
is plain processes and threads, so a cluster may serve many tests, with an event loop each.
"""

import asyncio
import itertools
import json
import os
import secrets
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http import HTTPStatus
from pathlib import Path
from typing import Any

import aiohttp
import psutil
from sqlalchemy import update
from sqlalchemy.engine import make_url
from sqlalchemy.sql.base import Executable

from perijove.cli.hub import FAULT_VARIABLE
from perijove.cli.listening import free_port
from perijove.lib import faults
from perijove.store import engines
from perijove.store.schema import servers
from perijove.testing.browser import Browser
from perijove.testing.hub import config_for_tests, write_config
from perijove.testing.link import Link
from perijove.testing.network import Machine, Network
from perijove.testing.simulated_world import World
from perijove.testing.waiting import until

_LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)
START_SECONDS = 60.0
REQUEST_SECONDS = 30.0
# A proxy that is asked to stop waits so long for open requests, unless told otherwise.
DRAIN_SECONDS = 0
_POLL = aiohttp.ClientTimeout(total=3)


class ProcessFailed(Exception):
    """A process ended that should run; the message ends with its log."""


@dataclass
class Replica:
    """A process that can be started again in the same place."""

    slot: int
    host: str
    port: int
    command: Sequence[str]
    directory: Path
    environment: Mapping[str, str]
    base_url: str
    # In front of the command: another network namespace, another clock.
    prefix: Sequence[str] = ()
    process: "subprocess.Popen[bytes] | None" = None
    # Others' ways to it: open from when it listens until it ends.
    ways: list[Link] = field(default_factory=list)
    # Where it runs, on a network of machines.
    machine: Machine | None = None

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}{self.base_url}"

    @property
    def log_path(self) -> Path:
        return self.directory / "output.log"

    @property
    def log(self) -> str:
        """Of all its lives."""
        return self.log_path.read_text(encoding="utf-8", errors="replace") if self.log_path.exists() else ""

    @property
    def ended(self) -> bool:
        return self.process is None or self.process.poll() is not None

    @property
    def frozen(self) -> bool:
        if self.process is None or self.ended:
            return False
        return bool(psutil.Process(self.process.pid).status() == psutil.STATUS_STOPPED)

    def start(self, *, python: str = sys.executable) -> None:
        """Start it; returns at once. `python`: of another environment, for another version."""
        with self.log_path.open("ab") as log:
            # As `perijove up` does: the single-user server of this environment is the one that fits.
            path = os.pathsep.join([str(Path(python).parent), os.environ.get("PATH", os.defpath)])
            self.process = subprocess.Popen(  # noqa: S603 - our own command line
                [*self.prefix, python, "-P", "-m", "perijove.cli", *self.command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, "PATH": path, **self.environment},
                cwd=self.directory,
                start_new_session=True,
            )
        for way in self.ways:
            way.follow(self.process.pid)

    async def restart(self, *, python: str = sys.executable) -> None:
        """Start it again after its end, and wait until it answers."""
        assert self.ended, "it runs"
        self.start(python=python)
        await self.ready()

    async def ready(self, *, seconds: float = START_SECONDS) -> None:
        """Wait until it answers. Raises `ProcessFailed` when it ends instead."""
        async with aiohttp.ClientSession(timeout=_POLL) as session:

            async def answers() -> bool:
                if self.ended:
                    code = self.process.returncode if self.process else None
                    raise ProcessFailed(f"{self.command[0]} {self.slot} ended with exit code {code}:\n{self.log}")
                with suppress(aiohttp.ClientError, OSError, TimeoutError):
                    return await self._answers(session) and self._is_reached()
                return False

            await until(answers, seconds=seconds, every=0.02)

    def _is_reached(self) -> bool:
        process = self.process
        return process is not None and all(way.leads_to(process.pid) for way in self.ways)

    async def _answers(self, session: aiohttp.ClientSession) -> bool:
        async with session.get(f"{self.url}hub/health") as response:
            return response.status == HTTPStatus.OK

    def kill(self) -> None:
        """SIGKILL, whatever state it is in, with what its prefix put between."""
        if self.process is not None:
            # `faketime` starts the hub as a child, which would live on.
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()

    def freeze(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    def wake(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)

    async def stop(self, *, seconds: float = 30) -> int:
        """SIGTERM, and its exit code."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        await until(lambda: self.ended, seconds=seconds)
        return int(self.process.returncode)

    def browser(self) -> Browser:
        """One person who comes here."""
        return Browser(self.url)


@dataclass
class HubReplica(Replica):
    """One `perijove hub`."""

    # Its way to the database; None with SQLite, and with `links=False`.
    database: Link | None = None


@dataclass
class ProxyReplica(Replica):
    """One `perijove proxy`."""

    # Its ways to the hubs, in their order; empty with `links=False`.
    links: list[Link] = field(default_factory=list)

    async def _answers(self, session: aiohttp.ClientSession) -> bool:
        # Not the hub's health: that answers before the proxy has read any routes.
        async with session.get(self.url, allow_redirects=False) as response:
            return response.status == HTTPStatus.FOUND


@dataclass
class Cluster:
    """Make one with `run_cluster()`."""

    directory: Path
    # Past all links.
    database_url: str
    token: str
    base_url: str
    world: World | None
    fault_file: Path
    network: Network | None = None
    hubs: list[HubReplica] = field(default_factory=list)
    proxies: list[ProxyReplica] = field(default_factory=list)

    @property
    def replicas(self) -> list[Replica]:
        return [*self.hubs, *self.proxies]

    def start(self) -> None:
        """Start whatever does not run; returns at once."""
        for replica in self.replicas:
            if replica.ended:
                replica.start()

    async def ready(self, *, hubs: int | None = None) -> None:
        """Everybody runs, is awake and reachable, and answers; for the beginning of a test.

        `hubs`: so many are enough to go on; the others are on their way.
        """
        for replica in self.replicas:
            if replica.frozen:
                replica.wake()
        self.disarm()
        self.start()
        for hub in self.hubs:
            if hub.database is not None:
                hub.database.mend()
        await self._enough(len(self.hubs) if hubs is None else hubs)
        for proxy in self.proxies:
            for link in proxy.links:
                link.mend()
        for proxy in self.proxies:
            await proxy.ready()

    async def _enough(self, wanted: int) -> None:
        tasks = [asyncio.create_task(hub.ready()) for hub in self.hubs]
        try:
            for answered in itertools.islice(asyncio.as_completed(tasks), wanted):
                await answered
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def links(self) -> Iterator[Link]:
        for hub in self.hubs:
            if hub.database is not None:
                yield hub.database
        for proxy in self.proxies:
            yield from proxy.links

    def end(self) -> None:
        for replica in self.replicas:
            replica.kill()
        for link in self.links():
            link.close()

    # -- faults

    def arm(self, point: str, number: signal.Signals = signal.SIGKILL) -> None:
        """The hub that comes to this step first gets the signal there; once."""
        faults.arm(self.fault_file, point, number)

    def disarm(self) -> None:
        self.fault_file.unlink(missing_ok=True)

    async def hurt(self, *, seconds: float = 30) -> HubReplica:
        """The hub that an armed step has killed or frozen. For clusters whose other hubs all run."""

        def found() -> HubReplica | None:
            return next((hub for hub in self.hubs if hub.ended or hub.frozen), None)

        hub = await until(found, seconds=seconds)
        assert hub is not None
        return hub

    async def expire_leases(self) -> None:
        """As if the time of a lease had passed, for everybody's servers."""
        await self.execute(update(servers).where(servers.c.lease_expires.is_not(None)).values(lease_expires=_LONG_AGO))

    # -- what users and programs see

    async def api(
        self, method: str, path: str, body: Any = None, *, token: str = "", at: Replica | None = None
    ) -> tuple[int, Any]:
        """A REST call at a proxy (the first) or past them at a hub: status and decoded answer."""
        headers = {"Authorization": f"token {token or self.token}"}
        place = at or self.proxies[0]
        async with (
            aiohttp.ClientSession(headers=headers, timeout=aiohttp.ClientTimeout(total=REQUEST_SECONDS)) as session,
            session.request(method, f"{place.url}hub/api{path}", json=body) as response,
        ):
            text = await response.text()
            decoded = response.content_type == "application/json" and text
            return response.status, json.loads(text) if decoded else text

    def browser(self, at: Replica | None = None) -> Browser:
        return (at or self.proxies[0]).browser()

    # -- what is true

    async def rows(self, statement: Executable) -> list[Any]:
        """Of the database itself, past hubs and links."""
        engine = engines.engine(make_url(self.database_url), pool_size=1, writer=False)
        try:
            async with engine.connect() as connection:
                return list((await connection.execute(statement)).all())
        finally:
            await engine.dispose()

    async def execute(self, statement: Executable) -> None:
        """Change rows behind the hubs' backs, in a transaction."""
        engine = engines.engine(make_url(self.database_url), pool_size=1, writer=True)
        try:
            async with engine.connect() as connection:
                await connection.execute(statement)
                await connection.commit()
        finally:
            await engine.dispose()


@contextmanager
def run_cluster(
    directory: Path,
    config: Mapping[str, Any] | None = None,
    *,
    database: str = "",
    hubs: int = 2,
    proxies: int = 2,
    world: World | None = None,
    links: bool = True,
    base_url: str = "/",
    drain_seconds: float = DRAIN_SECONDS,
    hub_urls: Sequence[str] = (),
    network: Network | None = None,
    start: bool = True,
) -> Iterator[Cluster]:
    """Hubs and proxies, started but not waited for (`await cluster.ready()`), and gone at the end.

    `config` is what a `config.yaml` would say, over `OPEN_TO_ALL`. `database`: a URL; none is a SQLite file that all
    hubs share. `links=False`: everybody talks to everybody directly, for measuring. `hub_urls`: where proxies look
    for hubs instead, a balancer's address. `network`: each is on a machine of its own, without links;
    database and world have to listen on `network.ip`.
    """
    links = links and network is None
    database = database or f"sqlite:///{directory}/hub.sqlite"
    cluster = Cluster(directory, database, secrets.token_hex(16), base_url, world, directory / "fault", network)
    with ExitStack() as stack:
        stack.callback(cluster.end)
        own = world
        if own is None and "spawner_class" not in json.dumps(config or {}):
            from perijove.testing.simulated_world import run_world  # noqa: PLC0415 - only where nobody brought one

            own = cluster.world = stack.enter_context(run_world())
        layers = [
            write_config(directory / "open.yaml", OPEN_TO_ALL),
            write_config(directory / "testing.yaml", config_for_tests(cluster.token, "/", homes=directory / "homes")),
            write_config(directory / "cluster.yaml", _cluster_config(own, base_url)),
            write_config(directory / "config.yaml", config or {}),
        ]
        cluster.hubs = [_hub(cluster, slot, layers, links=links) for slot in range(hubs)]
        cluster.proxies = [
            _proxy(cluster, slot, links=links and not hub_urls, hub_urls=hub_urls, drain=drain_seconds)
            for slot in range(proxies)
        ]
        if cluster.proxies:
            # Servers reach whichever hub lives, by a proxy.
            first = cluster.proxies[0]
            url = f"http://{first.host}:{first.port}"
            write_config(layers[2], _cluster_config(own, base_url, connect_url=url))
        if start:
            cluster.start()
        yield cluster


# Anybody may log in, with any password; `admin` is one.
OPEN_TO_ALL: Mapping[str, Any] = {
    "hub": {
        "allowNamedServers": True,
        "config": {
            "JupyterHub": {"authenticator_class": "dummy"},
            "Authenticator": {"allow_all": True, "admin_users": ["admin"]},
        },
    }
}


def _cluster_config(world: World | None, base_url: str, *, connect_url: str = "") -> dict[str, Any]:
    hub: dict[str, Any] = {"baseUrl": base_url, "config": {}}
    if world is not None:
        hub["config"] = {
            "JupyterHub": {"spawner_class": "perijove.testing.simulated_spawner.SimulatedSpawner"},
            "SimulatedSpawner": {"world_url": world.url},
        }
    if connect_url:
        hub["config"].setdefault("JupyterHub", {})["hub_connect_url"] = connect_url
    return {"hub": hub}


def _hub(cluster: Cluster, slot: int, layers: Sequence[Path], *, links: bool) -> HubReplica:
    directory = cluster.directory / f"hub-{slot}"
    directory.mkdir(parents=True)
    url, link = make_url(cluster.database_url), None
    if links and url.get_backend_name() != "sqlite":
        assert url.host is not None
        assert url.port is not None
        link = Link(url.host, url.port)
        url = url.set(host=link.host, port=link.port)
    kind = {"sqlite": "other", "postgresql": "postgres"}.get(url.get_backend_name(), "mysql")
    place = {"hub": {"db": {"type": kind, "url": url.render_as_string(hide_password=False)}}}
    machine, host, port = _place(cluster, 8081)
    command = ["hub", "--hub-ip", host, "--hub-port", str(port), "--data-dir", str(directory / "data")]
    for file in (*layers, write_config(directory / "own.yaml", place)):
        command += ["-f", str(file)]
    environment = {FAULT_VARIABLE: str(cluster.fault_file), "CONFIGPROXY_AUTH_TOKEN": cluster.token}
    hub = HubReplica(slot, host, port, command, directory, environment, cluster.base_url, database=link)
    _settle(hub, machine)
    return hub


def _place(cluster: Cluster, port: int) -> tuple[Machine | None, str, int]:
    """Where a process listens: on a machine of its own any port is free."""
    if cluster.network is None:
        return None, "127.0.0.1", free_port()
    machine = cluster.network.machine()
    return machine, machine.ip, port


def _settle(replica: Replica, machine: Machine | None) -> None:
    if machine is not None:
        replica.machine, replica.prefix = machine, machine.prefix


def _proxy(cluster: Cluster, slot: int, *, links: bool, hub_urls: Sequence[str], drain: float) -> ProxyReplica:
    directory = cluster.directory / f"proxy-{slot}"
    directory.mkdir(parents=True)
    ways = [Link(hub.host, hub.port) for hub in cluster.hubs] if links else []
    for hub, way in zip(cluster.hubs, ways, strict=False):
        hub.ways.append(way)
    urls = [link.url for link in ways] or list(hub_urls) or [f"http://{hub.host}:{hub.port}" for hub in cluster.hubs]
    # Each asks another hub first, as proxies behind a Service would.
    urls = [*urls[slot % len(urls) :], *urls[: slot % len(urls)]]
    machine, host, port = _place(cluster, 8000)
    command = [
        "proxy",
        "--ip",
        host,
        "--port",
        str(port),
        "--base-url",
        cluster.base_url,
        "--drain-timeout",
        str(drain),
    ]
    command += ["--table", str(directory / "routes.json")]
    command += [argument for url in urls for argument in ("--hub-url", url)]
    environment = {"CONFIGPROXY_AUTH_TOKEN": cluster.token}
    proxy = ProxyReplica(slot, host, port, command, directory, environment, cluster.base_url, links=ways)
    _settle(proxy, machine)
    return proxy
