"""The machines that servers run on, and a spawner whose calls to them take time, fail and get lost.

Nothing here is kinder than a cluster: two things may carry one server's id at once, a request that was sent takes
effect though its sender died, and an answer may tell of what is no longer so. The spawner fences by the lease's
epoch, as those for processes and for pods do: it ends what earlier holders made, and refuses to start beside what
a later one made.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from random import Random
from typing import Any, Self, TypeVar

from perijove.domain.errors import SpawnFailed
from perijove.domain.ids import ServerId
from perijove.domain.ports import Exited, Found, Mishap, ServerName, ServerSpec, Storage
from perijove.testing.model.loop import Process, current

T = TypeVar("T")


@dataclass(slots=True)
class Thing:
    """What a start made."""

    uid: int
    server_id: ServerId
    generation: int
    epoch: int
    answers_at: float
    alive: bool = True

    @property
    def url(self) -> str:
        return f"http://thing-{self.uid}:8888"


@dataclass
class Machines:
    """All of the world; every change of it happens in its own process, at a moment of its own."""

    process: Process
    random: Random
    things: dict[int, Thing] = field(default_factory=dict)
    # How likely a call fails; the driver makes it calm before it looks whether all has settled.
    failing: float = 0.03
    slow: float = 0.02
    ended: list[ServerId] = field(default_factory=list)
    deleted: list[ServerId] = field(default_factory=list)
    made: int = 0

    def alive(self) -> list[Thing]:
        return [thing for thing in self.things.values() if thing.alive]

    def of(self, server_id: ServerId) -> list[Thing]:
        return [thing for thing in self.alive() if thing.server_id == server_id]

    def die(self, thing: Thing) -> None:
        if thing.alive:
            thing.alive = False
            self.ended.append(thing.server_id)
            self.things.pop(thing.uid)

    async def ask(self, effect: Callable[[], T]) -> T:
        """A request: it may arrive after its sender's death, and the answer after whatever came next."""
        await asyncio.sleep(self._latency())
        sender = current()
        if sender is not None and not sender.alive:
            raise SpawnFailed("The machines cannot be reached: the sender is dead.")
        answer: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self.process.begin(self._serve(effect, answer))
        result = await answer
        await asyncio.sleep(self._latency())
        return result

    async def _serve(self, effect: Callable[[], T], answer: "asyncio.Future[T]") -> None:
        await asyncio.sleep(self._latency())
        result = effect()
        if not answer.done():
            answer.set_result(result)

    def _latency(self) -> float:
        if self.random.random() < self.slow:
            return self.random.random() * 25
        return self.random.random() ** 3 * 0.5

    def trouble(self) -> bool:
        return self.random.random() < self.failing

    def create(self, spec: ServerSpec) -> Thing:
        self.made += 1
        boot = self.random.random() ** 2 * 6 if not self.trouble() else 100
        now = asyncio.get_running_loop().time()
        thing = Thing(self.made, spec.id, spec.generation, spec.lease_epoch, now + boot)
        self.things[thing.uid] = thing
        return thing


class ModelSpawner:
    """`ports.Spawner` for one operation."""

    server_token_scopes: Sequence[str] = ()
    oauth_client_allowed_scopes: Sequence[str] = ()
    start_timeout_seconds = 20.0
    http_timeout_seconds = 10.0
    poll_interval_seconds = 30.0
    will_resume = False

    def __init__(self, spec: ServerSpec, machines: Machines) -> None:
        self.spec = spec
        self._machines = machines
        self._state: dict[str, Any] = dict(spec.state)

    async def start(self) -> str:
        try:
            async with asyncio.timeout(self.start_timeout_seconds):
                return await self._start()
        except TimeoutError as error:
            raise SpawnFailed("The server did not start in time.", reason="timeout") from error

    async def _start(self) -> str:
        machines = self._machines
        await self._end_ours()
        if await machines.ask(lambda: machines.of(self.spec.id)):
            raise SpawnFailed("Another hub started this server meanwhile.", reason="superseded")
        if machines.trouble():
            raise SpawnFailed("No machine is free.")
        thing = await machines.ask(lambda: machines.create(self.spec))
        self._state = {"uid": thing.uid}
        if machines.trouble():
            raise SpawnFailed("The machine was lost half-way.")
        return thing.url

    async def _end_ours(self) -> None:
        machines, epoch = self._machines, self.spec.lease_epoch
        for thing in await machines.ask(lambda: machines.of(self.spec.id)):
            if thing.epoch <= epoch:
                await machines.ask(partial(machines.die, thing))

    async def poll(self) -> Exited | None:
        machines = self._machines
        if machines.trouble():
            raise SpawnFailed("The machine cannot be asked.")
        uid = self._state.get("uid")
        if uid is None:
            return Exited(None)
        alive = await machines.ask(lambda: uid in machines.things)
        return None if alive else Exited(1, ("it ended",))

    async def stop(self, *, now: bool = False) -> None:
        del now
        if self._machines.trouble():
            raise SpawnFailed("The machine refuses.")
        await self._end_ours()
        self._state = {}

    async def delete_forever(self) -> None:
        if self._machines.trouble():
            raise SpawnFailed("The storage is in use.")
        await self._machines.ask(lambda: self._machines.deleted.append(self.spec.id))

    async def progress(self) -> AsyncIterator[dict[str, Any]]:
        yield {"progress": 50, "message": "Starting"}

    async def ready_event(self, event: dict[str, Any]) -> dict[str, Any]:
        return event

    def state(self) -> dict[str, Any]:
        return dict(self._state)

    async def log_lines(self, count: int = 30) -> tuple[str, ...]:
        return ()[:count]

    @property
    def mishap(self) -> Mishap | None:
        return None

    def recovered_token(self) -> str:
        return ""

    def close(self) -> None: ...


@dataclass
class ModelSpawnerHost:
    """`ports.SpawnerHost` of one hub."""

    machines: Machines
    host_bound: bool = False
    class_path: str = "perijove.testing.model.world.ModelSpawner"
    version: str = "1"
    storage: Storage | None = None
    _told: int = 0

    async def open(self, spec: ServerSpec) -> ModelSpawner:
        return ModelSpawner(spec, self.machines)

    async def open_to_poll(self, spec: ServerSpec) -> ModelSpawner:
        return await self.open(spec)

    async def options_form(self, _spec: ServerSpec) -> str:
        return ""

    async def options_from_form(self, _spec: ServerSpec, form: Mapping[str, list[Any]]) -> dict[str, Any]:
        return dict(form)

    async def options_from_query(self, _spec: ServerSpec, query: Mapping[str, list[str]]) -> dict[str, Any]:
        return dict(query)

    async def find(self) -> Sequence[Found]:
        def look() -> list[Found]:
            return [
                Found(one.server_id, one.generation, f"thing {one.uid}", {"uid": one.uid}, one.url)
                for one in self.machines.alive()
            ]

        if self.machines.trouble():
            raise SpawnFailed("The machines cannot be listed.")
        return await self.machines.ask(look)

    async def destroy(self, found: Found) -> None:
        def end() -> None:
            thing = self.machines.things.get(found.state["uid"])
            if thing is not None:
                self.machines.die(thing)

        await self.machines.ask(end)

    def seen(self, server_id: ServerId) -> float | None:  # noqa: ARG002 - everything is polled
        return None

    async def ended(self) -> Collection[ServerId | ServerName]:
        told, self._told = self.machines.ended[self._told :], len(self.machines.ended)
        # A hint: now and then it is lost.
        return [one for one in told if self.machines.random.random() > 0.3]  # noqa: PLR2004


class Answer:
    """A response to a look whether a server is ready."""

    def __init__(self, status: int) -> None:
        self.status = status

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None: ...


class Http:
    """What the reconciler asks of an `aiohttp.ClientSession`."""

    def __init__(self, machines: Machines) -> None:
        self._machines = machines

    def get(self, url: str, **_: Any) -> Answer:
        name = url.removeprefix("http://thing-").partition(":")[0]
        thing = self._machines.things.get(int(name))
        ready = thing is not None and thing.answers_at <= asyncio.get_running_loop().time()
        if not ready:
            raise ConnectionRefusedError(url)
        return Answer(200)
