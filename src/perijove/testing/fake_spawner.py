"""A spawner without plug-ins: servers are objects, and a test decides how long they take and how they fail.

It passes the same contract suite as the hosted JupyterHub classes. The `FakeWorld` stands for the machines
that servers run on: it outlives hosts, so a test restarts the hub by making a new host on the same world.
"""

import asyncio
import itertools
from collections.abc import AsyncIterator, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from perijove.domain.errors import Invalid, SpawnFailed
from perijove.domain.ids import ServerId
from perijove.domain.ports import Exited, Found, Mishap, ServerName, ServerSpec, Volume

_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}"


@dataclass(slots=True)
class FakeServer:
    """What a start made: alive until `code` is set."""

    server_id: ServerId
    generation: int
    api_token: str
    user_options: dict[str, Any]
    url: str = ""
    code: int | None = None
    lines: list[str] = field(default_factory=list)
    listener: asyncio.Server | None = None

    def die(self, code: int = 1, *lines: str) -> None:
        self.code = code
        self.lines += lines
        if self.listener is not None:
            self.listener.close()


@dataclass(slots=True)
class Behaviour:
    """How starts and stops go from now on; change it at any time."""

    # False: answer 200 on every path of the URL. True: give a URL that nothing listens on.
    silent: bool = False
    # The start takes until this is set. None: it returns at once.
    hold_start: asyncio.Event | None = None
    hold_stop: asyncio.Event | None = None
    # Raised by start, after the server was made (half-started) or before.
    fail_start: Exception | None = None
    half_started: bool = False
    fail_stop: Exception | None = None
    fail_poll: Exception | None = None
    # The process ends with this code as soon as it is started.
    exit_at_start: int | None = None
    progress: tuple[str, ...] = ("Starting the fake server",)
    recovered_token: str = ""
    will_resume: bool = False
    options_form: str = ""


@dataclass(slots=True)
class FakeWorld:
    servers: dict[ServerId, FakeServer] = field(default_factory=dict)
    # "start 3", "stop 3", …: what hubs asked for, in order.
    calls: list[str] = field(default_factory=list)
    # Of all servers ever run: closed at once when a server dies, waited for at the end.
    _listeners: list[asyncio.Server] = field(default_factory=list)
    _ports: Iterator[int] = field(default_factory=lambda: itertools.count(20_001))

    def alive(self) -> list[FakeServer]:
        return [server for server in self.servers.values() if server.code is None]

    async def run(self, spec: ServerSpec, *, silent: bool) -> FakeServer:
        """Exactly one server an id: one that lives already is ended."""
        if (old := self.servers.get(spec.id)) is not None and old.code is None:
            old.die(-9)
        server = FakeServer(spec.id, spec.generation, spec.api_token, dict(spec.user_options))
        server.lines.append(f"started generation {spec.generation}")
        if silent:
            # Only a label: nobody listens there, and tests of silence do not connect.
            server.url = f"http://127.0.0.1:{next(self._ports)}"
        else:
            server.listener = await asyncio.start_server(_answer, "127.0.0.1", 0)
            self._listeners.append(server.listener)
            server.url = f"http://127.0.0.1:{server.listener.sockets[0].getsockname()[1]}"
        # Only now alive: whoever waits for it may end its hub at once, and finds it listening.
        self.servers[spec.id] = server
        return server

    async def close(self) -> None:
        for server in self.alive():
            server.die(-15)
        for listener in self._listeners:
            await listener.wait_closed()


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(_ANSWER)
        await writer.drain()
    except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, ConnectionError):
        pass  # the client went away, which is its right
    finally:
        writer.close()


class FakeSpawner:
    """One operation, as `ports.Spawner`."""

    server_token_scopes: Sequence[str] = ()
    oauth_client_allowed_scopes: Sequence[str] = ()

    def __init__(self, spec: ServerSpec, world: FakeWorld, behaviour: Behaviour) -> None:
        self.spec = spec
        self.start_timeout_seconds = 5.0
        self.http_timeout_seconds = 5.0
        self.poll_interval_seconds = 30.0
        self._world = world
        self._behaviour = behaviour
        self._state = dict(spec.state)
        self._ended = asyncio.Event()

    async def start(self) -> str:
        behaviour = self._behaviour
        self._world.calls.append(f"start {self.spec.id}")
        try:
            if behaviour.fail_start is not None and not behaviour.half_started:
                raise _as_failure(behaviour.fail_start)
            server = await self._world.run(self.spec, silent=behaviour.silent)
            self._state = {"fake": server.generation}
            if behaviour.fail_start is not None:
                raise _as_failure(behaviour.fail_start)
            if behaviour.exit_at_start is not None:
                server.die(behaviour.exit_at_start, "cannot start: told to fail")
            if behaviour.hold_start is not None:
                try:
                    async with asyncio.timeout(self.start_timeout_seconds):
                        await behaviour.hold_start.wait()
                except TimeoutError as exc:
                    raise SpawnFailed("The fake server did not start in time.", reason="timeout") from exc
            return server.url
        finally:
            self._ended.set()

    async def poll(self) -> Exited | None:
        if self._behaviour.fail_poll is not None:
            raise _as_failure(self._behaviour.fail_poll)
        server = self._server()
        if server is None:
            return Exited(None)
        return None if server.code is None else Exited(server.code, tuple(server.lines))

    async def stop(self, *, now: bool = False) -> None:
        self._world.calls.append(f"stop {self.spec.id}")
        if self._behaviour.hold_stop is not None and not now:
            await self._behaviour.hold_stop.wait()
        if self._behaviour.fail_stop is not None:
            raise _as_failure(self._behaviour.fail_stop)
        server = self._world.servers.get(self.spec.id)
        if server is not None and server.code is None:
            server.die(0)
        self._state = {}

    async def delete_forever(self) -> None:
        self._world.calls.append(f"delete {self.spec.id}")
        self._world.servers.pop(self.spec.id, None)

    async def progress(self) -> AsyncIterator[dict[str, Any]]:
        count = len(self._behaviour.progress)
        for number, message in enumerate(self._behaviour.progress, 1):
            yield {"progress": 90 * number // count, "message": message}
        await self._ended.wait()

    async def ready_event(self, event: dict[str, Any]) -> dict[str, Any]:
        return event

    def state(self) -> dict[str, Any]:
        return dict(self._state)

    async def log_lines(self, count: int = 30) -> tuple[str, ...]:
        server = self._world.servers.get(self.spec.id)
        return () if server is None else tuple(server.lines[-count:])

    @property
    def mishap(self) -> Mishap | None:
        return None

    def recovered_token(self) -> str:
        return self._behaviour.recovered_token

    @property
    def will_resume(self) -> bool:
        return self._behaviour.will_resume

    def close(self) -> None:
        self._ended.set()

    def _server(self) -> FakeServer | None:
        """The server this instance's state speaks of; another generation is not it."""
        server = self._world.servers.get(self.spec.id)
        return server if server is not None and server.generation == self._state.get("fake") else None


class FakeStorage:
    """`ports.Storage` with the volumes that a test puts into it, by user."""

    def __init__(self) -> None:
        self.kept: dict[str, list[Volume]] = {}

    async def volumes(self, specs: Sequence[ServerSpec]) -> Sequence[Volume]:
        return list(self.kept.get(specs[0].user.name, ()))

    async def delete_volume(self, volume: Volume) -> None:
        for volumes in self.kept.values():
            volumes[:] = [one for one in volumes if one.uid != volume.uid]


class FakeSpawnerHost:
    """`ports.SpawnerHost` over a `FakeWorld`."""

    class_path = "perijove.testing.fake_spawner.FakeSpawner"
    version = "1"

    def __init__(self, world: FakeWorld | None = None, *, host_bound: bool = False) -> None:
        self.world = world or FakeWorld()
        self.behaviour = Behaviour()
        self.host_bound = host_bound
        # None for a spawner without volumes; fill `volumes` with some.
        self.storage: FakeStorage | None = None

    async def open(self, spec: ServerSpec) -> FakeSpawner:
        return FakeSpawner(spec, self.world, self.behaviour)

    async def open_to_poll(self, spec: ServerSpec) -> FakeSpawner:
        return await self.open(spec)

    async def options_form(self, _spec: ServerSpec) -> str:
        return self.behaviour.options_form

    async def options_from_form(self, _spec: ServerSpec, form: Mapping[str, list[Any]]) -> dict[str, Any]:
        if "refuse" in form:
            raise Invalid(str(form["refuse"][0]))
        return {key: values[0] if len(values) == 1 else list(values) for key, values in form.items()}

    async def options_from_query(self, spec: ServerSpec, query: Mapping[str, list[str]]) -> dict[str, Any]:
        return await self.options_from_form(spec, query)

    async def find(self) -> Sequence[Found]:
        return [
            Found(server.server_id, server.generation, "a fake server", {"fake": server.generation}, server.url)
            for server in self.world.alive()
        ]

    def seen(self, server_id: ServerId) -> float | None:  # noqa: ARG002 - everything is polled
        return None

    async def ended(self) -> Collection[ServerId | ServerName]:
        return ()

    async def destroy(self, found: Found) -> None:
        server = self.world.servers.get(found.server_id)
        if server is not None and server.generation == found.generation and server.code is None:
            self.world.calls.append(f"destroy {found.server_id}")
            server.die(-9)


def _as_failure(error: Exception) -> SpawnFailed:
    """Plug-in exceptions never leave a spawner raw."""
    if isinstance(error, SpawnFailed):
        return error
    return SpawnFailed(f"The fake spawner failed: {error}", details=repr(error))
