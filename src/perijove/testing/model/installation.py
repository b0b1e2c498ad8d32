"""The whole of a model: hubs, proxies, machines and a database, with what can befall each."""

import asyncio
from dataclasses import dataclass, field
from random import Random
from typing import Any

from perijove.store import engines
from perijove.testing.model.database import DirectConnection
from perijove.testing.model.loop import ModelLoop, Process
from perijove.testing.model.network import Place, Way
from perijove.testing.model.observer import Observer, PostgresObserver, SQLiteObserver
from perijove.testing.model.replicas import Hub, Proxy, run_hub, run_proxy
from perijove.testing.model.world import Machines

HUBS, PROXIES = 3, 2


@dataclass
class Installation:
    url: str
    random: Random
    options: dict[str, Any]
    loop: ModelLoop
    machines: Machines
    observer: Observer
    places: list[Place] = field(default_factory=lambda: [Place() for _ in range(HUBS)])
    hubs: list[Hub] = field(default_factory=list)
    proxies: list[Proxy] = field(default_factory=list)
    # By name, of all lives.
    processes: dict[str, Process] = field(default_factory=dict)
    tasks: list["asyncio.Task[Any]"] = field(default_factory=list)
    _lives: int = 0

    @property
    def remote(self) -> bool:
        return not self.url.startswith("sqlite")

    @classmethod
    def make(cls, url: str, random: Random, options: dict[str, Any]) -> "Installation":
        loop = asyncio.get_running_loop()
        assert isinstance(loop, ModelLoop)
        machines = Machines(loop.process("machines"), random)
        lite = url.startswith("sqlite")
        observer: Observer = SQLiteObserver(url) if lite else PostgresObserver(url, loop.process("observer"))
        made = cls(url, random, options, loop, machines, observer)
        for slot in range(HUBS):
            made.start_hub(slot)
        for slot in range(PROXIES):
            made.start_proxy(slot)
        return made

    def start_hub(self, slot: int) -> Hub:
        """In place of the one that died there."""
        hub = Hub(self._process(f"hub-{slot}"))
        self._put(self.hubs, slot, hub)
        self._run(hub.process, run_hub(hub, self.places[slot], self.url, self.machines, self.options))
        return hub

    def start_proxy(self, slot: int) -> Proxy:
        proxy = Proxy(self._process(f"proxy-{slot}"), [Way() for _ in self.places])
        self._put(self.proxies, slot, proxy)
        self._run(proxy.process, run_proxy(proxy, self.places, slot, self.random))
        return proxy

    def _process(self, name: str) -> Process:
        self._lives += 1
        process = self.loop.process(f"{name}-life-{self._lives}")
        self.processes[process.name] = process
        return process

    @staticmethod
    def _put(replicas: list[Any], slot: int, replica: Any) -> None:
        if slot < len(replicas):
            replicas[slot] = replica
        else:
            replicas.append(replica)

    def _run(self, process: Process, work: Any) -> None:
        task = process.begin(work)
        self.tasks.append(task)

        def ended(done: "asyncio.Task[Any]") -> None:
            self.tasks.remove(done)
            failed = None if done.cancelled() else done.exception()
            if failed is not None and process.alive:
                raise failed  # the loop's exception handler hands it to the driver

        task.add_done_callback(ended)

    def serving(self) -> list[Hub]:
        return [hub for hub in self.hubs if hub.serving]

    def living(self, replicas: list[Any]) -> list[Any]:
        return [replica for replica in replicas if replica.process.alive]

    def kill(self, process: Process) -> None:
        process.kill()
        self.loop.processes.discard(process)

    async def freeze(self, process: Process) -> bool:
        """False: not now. SQLite has nobody who would take the lock from a frozen writer, so none is frozen then."""
        for _ in range(100):
            held = [one for one in process.closers if isinstance(one, DirectConnection) and one.in_transaction]
            if not held:
                break
            await asyncio.sleep(0.01)
        else:
            return False
        if not process.running:
            return False
        process.freeze()
        self._end_when_silent(process)
        return True

    def silence(self, process: Process) -> None:
        process.silence()
        self._end_when_silent(process)

    def _end_when_silent(self, process: Process) -> None:
        """The server rolls back whoever holds a transaction and says nothing."""

        async def end() -> None:
            await asyncio.sleep(engines.SILENCE_SECONDS)
            if process.alive and (not process.running or process.cut_off == "silent"):
                await self.observer.end_silent(process.name)

        if self.remote:
            self.tasks.append(task := asyncio.get_running_loop().create_task(end()))
            task.add_done_callback(self.tasks.remove)

    def heal(self) -> None:
        """Everybody runs, and reaches everybody."""
        self.machines.failing = self.machines.slow = 0.0
        for process in [one.process for one in self.hubs] + [one.process for one in self.proxies]:
            process.mend_if_alive()
            process.thaw_if_frozen()
        for slot, hub in enumerate(self.hubs):
            if not hub.process.alive:
                self.start_hub(slot)
        for slot, proxy in enumerate(self.proxies):
            if not proxy.process.alive:
                self.start_proxy(slot)
            for way in self.proxies[slot].ways:
                way.mend()

    async def close(self) -> None:
        processes = [process for process in self.loop.processes if process.alive]
        for process in processes:
            self.kill(process)
        for process in [*self.processes.values(), *processes]:
            await process.buried()
        for task in self.tasks:
            task.cancel()
        await self.observer.close()
