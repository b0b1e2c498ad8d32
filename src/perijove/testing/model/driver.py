"""The driver: one thing after another happens, chosen by a seed, and after each the checker looks.

Each hundred steps everything is healed and left alone, until all has settled as it should or fifteen minutes of the
model's time are over.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from random import Random, seed
from typing import Any

from perijove.domain.errors import HubError, Unavailable
from perijove.services.removal import remove_user
from perijove.services.servers import request_start, request_stop
from perijove.services.users import create_users
from perijove.testing.model import database
from perijove.testing.model.credentials import Credentials
from perijove.testing.model.installation import Installation
from perijove.testing.model.invariants import Checker, Expected, Key, Violation
from perijove.testing.model.loop import ModelLoop, Process
from perijove.testing.model.replicas import Hub, model_time

USERS = [f"user{number}" for number in range(10)]
SERVERS = ["", "", "gpu", "big"]
ACTIVE_LIMIT, PENDING_LIMIT = 14, 5
SETTLE_EVERY = 100
LAST_HUB_DIES = 0.2
SETTLE_SECONDS = 900.0

# How often each happens.
WEIGHTS = {
    "start": 26,
    "stop": 12,
    "remove": 5,
    "cancel": 4,
    "end_by_itself": 6,
    "kill_hub": 2,
    "start_hub": 5,
    "freeze_hub": 2,
    "kill_holder": 2,
    "freeze_holder": 4,
    "cut_database": 3,
    "silence_database": 2,
    "restart_database": 1,
    "kill_proxy": 2,
    "start_proxy": 3,
    "freeze_proxy": 1,
    "cut_proxy": 3,
    "make_credential": 6,
    "revoke": 5,
    "use_credential": 12,
    "remove_user": 2,
    "add_users": 3,
    "wait": 4,
}


class ModelFailed(AssertionError):
    """The seed, what was violated, and what led there."""


@dataclass
class Outcome:
    """Of a run that went well."""

    seed: int
    steps: int
    changes: int
    starts: int
    settled: int
    model_seconds: float
    happened: dict[str, int]


@dataclass
class Driver:
    installation: Installation
    random: Random
    checker: Checker
    credentials: Credentials
    faults: frozenset[str]
    trace: list[str] = field(default_factory=list)
    happened: dict[str, int] = field(default_factory=dict)
    settled: int = 0
    _failure: BaseException | None = None
    _asked: dict[Key, int] = field(default_factory=dict)
    _open: dict[Key, int] = field(default_factory=dict)
    _requests: set["asyncio.Task[Any]"] = field(default_factory=set)

    async def run(self, steps: int) -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(self._note_exception)
        names = [name for name in WEIGHTS if name in self.faults]
        await self._ready()
        await self._add_users()
        for step in range(1, steps + 1):
            [name] = self.random.choices(names, [WEIGHTS[name] for name in names])
            self.happened[name] = self.happened.get(name, 0) + 1
            await getattr(self, f"_{name}")()
            await asyncio.sleep(self.random.random() ** 3 * 2)
            await self._look()
            if step % SETTLE_EVERY == 0 or step == steps:
                await self._settle()

    def _note_exception(self, _loop: Any, context: dict[str, Any]) -> None:
        error = context.get("exception")
        if isinstance(error, Exception) and self._failure is None:
            error.add_note(f"{context['message']}: {context.get('task') or context.get('future')}")
            self._failure = error

    async def _look(self) -> None:
        if self._failure is not None:
            raise self._failure
        await self.checker.instant()

    async def _ready(self) -> None:
        while len(self.installation.serving()) < len(self.installation.hubs):
            await asyncio.sleep(0.1)
            await self._look()

    async def _settle(self) -> None:
        self._say("settling")
        installation = self.installation
        failing, slow = installation.machines.failing, installation.machines.slow
        installation.heal()
        loop = asyncio.get_running_loop()
        deadline = loop.time() + SETTLE_SECONDS
        await self._ready()
        while self._requests:
            await asyncio.wait(list(self._requests), timeout=5)
            await self._look()
            if loop.time() > deadline:
                raise Violation(f"{len(self._requests)} requests have no answer")
        while True:
            await self._look()
            try:
                await self.checker.settled(installation.proxies)
                break
            except Violation as violation:
                if loop.time() > deadline:
                    raise Violation(f"not settled: {violation}", server=violation.server) from violation
            await asyncio.sleep(5)
        for hub in installation.serving():
            for one in self.credentials.known:
                await hub.process.begin(self.credentials.check(hub, one))
        self.credentials.forget_old()
        self.settled += 1
        self._say("settled")
        installation.machines.failing, installation.machines.slow = failing, slow

    def _say(self, text: str) -> None:
        self.trace.append(f"{asyncio.get_running_loop().time():9.2f} {text}")

    # -- requests

    def _key(self) -> Key:
        return self.random.choice(USERS), self.random.choice(SERVERS)

    def _hub(self) -> Hub | None:
        serving = self.installation.serving()
        return self.random.choice(serving) if serving else None

    def _ask(self, what: str, hub: Hub, work: Callable[[], Awaitable[Any]]) -> "asyncio.Task[Any]":
        """A request at this hub. What comes of it is noted; nobody waits."""
        self._say(f"{hub.process.name}: {what}")

        async def ask() -> Any:
            try:
                return await work()
            except HubError as error:
                self._say(f"  {what}: {type(error).__name__} {error}"[:150])
                raise

        task = hub.process.begin(ask())
        self._requests.add(task)
        task.add_done_callback(partial(self._answered, hub))
        return task

    def _answered(self, hub: Hub, task: "asyncio.Task[Any]") -> None:
        self._requests.discard(task)
        if task.cancelled() or not hub.process.alive:
            return
        if (error := task.exception()) is not None and not isinstance(error, HubError):
            self._failure = self._failure or error

    def _intend(self, key: Key, kind: str, task: "asyncio.Task[Any]", *, whole: bool = True) -> None:
        """Remember what was asked for, if it is known to be the last thing asked for.

        `whole`: a refusal means that nothing was done.
        """
        expected = self.checker.expected
        number = self._asked[key] = self._asked.get(key, 0) + 1
        alone = not self._open.get(key)
        self._open[key] = self._open.get(key, 0) + 1
        before = expected.intent.pop(key, None)

        def answered(done: "asyncio.Task[Any]") -> None:
            self._open[key] -= 1
            if not alone or self._asked[key] != number or done.cancelled():
                return
            error = done.exception()
            if error is None:
                expected.intent[key] = kind
                if kind == "start":
                    expected.may_vanish.discard(key)
            elif isinstance(error, HubError) and not isinstance(error, Unavailable) and before and whole:
                expected.intent[key] = before  # refused: as it was

        task.add_done_callback(answered)

    async def _start(self) -> None:
        if (hub := self._hub()) is None:
            return
        context, (user, name) = hub.context, self._key()
        assert context is not None

        work = self._ask(f"start {user}/{name}", hub, lambda: request_start(context, user=user, name=name, actor=user))
        self._intend((user, name), "start", work)

    async def _stop(self, *, remove: bool = False, key: Key | None = None) -> None:
        if (hub := self._hub()) is None:
            return
        context, (user, name) = hub.context, key or self._key()
        assert context is not None
        remove = remove and bool(name)
        if remove:
            self.checker.expected.may_vanish.add((user, name))

        async def stop() -> None:
            await request_stop(context, user=user, name=name, actor=user, remove=remove)

        word = "remove" if remove else "stop"
        self._intend((user, name), "stop", self._ask(f"{word} {user}/{name}", hub, stop))

    async def _remove(self) -> None:
        await self._stop(remove=True, key=(self.random.choice(USERS), self.random.choice(["gpu", "big"])))

    async def _cancel(self) -> None:
        """Start, and stop a moment later, perhaps elsewhere."""
        key = self._key()
        if (hub := self._hub()) is None:
            return
        context = hub.context
        assert context is not None
        work = self._ask(
            f"start {key[0]}/{key[1]}", hub, lambda: request_start(context, user=key[0], name=key[1], actor="")
        )
        self._intend(key, "start", work)
        await asyncio.sleep(self.random.random() ** 3 * 8)
        await self._stop(key=key)

    async def _remove_user(self) -> None:
        if (hub := self._hub()) is None:
            return
        user, context = self.random.choice(USERS), hub.context
        assert context is not None
        expected = self.checker.expected
        expected.users_may_vanish.add(user)

        async def remove() -> None:
            await self.credentials.end_of(user, lambda: remove_user(context, user, actor="admin"))

        task = self._ask(f"remove {user}", hub, remove)
        for name in dict.fromkeys(SERVERS):
            self._intend((user, name), "stop", task, whole=False)

    async def _add_users(self) -> None:
        if (hub := self._hub()) is None:
            return
        context = hub.context
        assert context is not None

        async def add() -> None:
            await create_users(context, USERS, actor="admin")

        await asyncio.wait([self._ask("add all users", hub, add)], timeout=30)

    # -- credentials

    async def _make_credential(self) -> None:
        if (hub := self._hub()) is not None:
            user = self.random.choice(USERS)
            self._ask(f"credential of {user}", hub, lambda: self.credentials.make(hub, user))

    async def _revoke(self) -> None:
        valid = [one for one in self.credentials.known if not one.doubtful]
        if valid and (hub := self._hub()) is not None:
            one = self.random.choice(valid)
            self._ask(f"revoke a {one.kind} of {one.user}", hub, lambda: self.credentials.revoke(hub, one))

    async def _use_credential(self) -> None:
        known = self.credentials.known
        for hub in self.installation.serving():
            if known:
                one = self.random.choice(known[-30:])
                self._ask(f"use a {one.kind} of {one.user}", hub, partial(self.credentials.check, hub, one))

    # -- faults

    async def _end_by_itself(self) -> None:
        alive = self.installation.machines.alive()
        if alive:
            thing = self.random.choice(alive)
            self._say(f"thing {thing.uid} of server {thing.server_id} ends")
            self.installation.machines.die(thing)

    async def _kill_hub(self) -> None:
        living = self.installation.living(self.installation.hubs)
        if len(living) > 1 or (living and self.random.random() < LAST_HUB_DIES):
            self._kill(self.random.choice(living).process)

    async def _kill_proxy(self) -> None:
        if living := self.installation.living(self.installation.proxies):
            self._kill(self.random.choice(living).process)

    def _kill(self, process: Process) -> None:
        self._say(f"kill {process.name}")
        self.installation.kill(process)

    async def _start_hub(self) -> None:
        for slot, hub in enumerate(self.installation.hubs):
            if not hub.process.alive:
                self._say(f"start {self.installation.start_hub(slot).process.name}")
                return

    async def _start_proxy(self) -> None:
        for slot, proxy in enumerate(self.installation.proxies):
            if not proxy.process.alive:
                self._say(f"start {self.installation.start_proxy(slot).process.name}")
                return

    async def _freeze_hub(self) -> None:
        if serving := self.installation.serving():
            await self._freeze(self.random.choice(serving).process)

    async def _holder(self) -> Process | None:
        """Of a hub that is in the middle of a start or a stop, as soon as there is one."""
        for _ in range(20):
            rows = await self.checker.observer.rows(
                "SELECT lease_owner FROM servers WHERE lease_owner IS NOT NULL AND desired != observed ORDER BY id"
            )
            names = {row["lease_owner"] for row in rows}
            found = [hub.process for hub in self.installation.serving() if hub.process.name in names]
            if found:
                return self.random.choice(found)
            await asyncio.sleep(0.1)
        return None

    async def _freeze_holder(self) -> None:
        """Until long after its lease, while others can take over."""
        if len(self.installation.serving()) > 1 and (process := await self._holder()) is not None:
            await self._freeze(process, seconds=15 + self.random.random() * 40)

    async def _kill_holder(self) -> None:
        if (process := await self._holder()) is not None:
            self._kill(process)

    async def _freeze_proxy(self) -> None:
        running = [proxy for proxy in self.installation.proxies if proxy.process.running]
        if running:
            await self._freeze(self.random.choice(running).process)

    async def _freeze(self, process: Process, *, seconds: float = 0) -> None:
        seconds = seconds or self.random.choice([1, 10, 30, 90]) * self.random.random()
        if await self.installation.freeze(process):
            self._say(f"freeze {process.name} for {seconds:.1f} s")
            self._later(seconds, process.thaw_if_frozen)

    def _later(self, seconds: float, work: Callable[[], object]) -> None:
        asyncio.get_running_loop().call_later(seconds, work)

    async def _cut_database(self) -> None:
        if serving := self.installation.serving():
            process, seconds = self.random.choice(serving).process, self.random.random() * 40
            self._say(f"cut {process.name} off the database for {seconds:.1f} s")
            process.cut()
            self._later(seconds, process.mend_if_alive)

    async def _silence_database(self) -> None:
        serving = self.installation.serving()
        if serving and self.installation.remote:
            process, seconds = self.random.choice(serving).process, self.random.random() * 40
            self._say(f"the database is silent for {process.name} for {seconds:.1f} s")
            self.installation.silence(process)
            self._later(seconds, process.mend_if_alive)

    async def _restart_database(self) -> None:
        seconds = self.random.random() * 60
        self._say(f"no database for {seconds:.1f} s")
        away = [hub.process for hub in self.installation.hubs if hub.process.running]
        for process in away:
            process.cut()
            self._later(seconds, process.mend_if_alive)

    async def _cut_proxy(self) -> None:
        living = self.installation.living(self.installation.proxies)
        if living:
            proxy, slot = self.random.choice(living), self.random.randrange(len(self.installation.places))
            way, seconds, silent = proxy.ways[slot], self.random.random() * 40, self.random.choice([True, False])
            self._say(f"{'silence' if silent else 'cut'} {proxy.process.name} to place {slot} for {seconds:.1f} s")
            (way.silence if silent else way.cut)()
            self._later(seconds, way.mend)

    async def _wait(self) -> None:
        seconds = self.random.random() * 20
        self._say(f"wait {seconds:.1f} s")
        await asyncio.sleep(seconds)


def run_model(
    url: str, *, seed_number: int, steps: int, faults: frozenset[str] = frozenset(WEIGHTS), options: Any = None
) -> Outcome:
    """Raises `ModelFailed`. `url`: of an empty database."""
    database.prepare(url)
    with asyncio.Runner(loop_factory=ModelLoop) as runner:
        return runner.run(_run(url, seed_number, steps, faults, options or {}))


async def _run(url: str, seed_number: int, steps: int, faults: frozenset[str], options: dict[str, Any]) -> Outcome:
    # The driver's choices hang on nothing but the seed; how long things take has numbers of its own.
    random, chance = Random(seed_number), Random(seed_number + 1)  # noqa: S311 - repeatable is the point
    seed(seed_number)  # what the product draws, too
    loop = asyncio.get_running_loop()
    assert isinstance(loop, ModelLoop)
    with ExitStack() as stack:
        for patch in model_time(loop):
            stack.enter_context(patch)
        if url.startswith("sqlite"):
            stack.enter_context(database.direct_sqlite(chance))
        limits = {"active_server_limit": ACTIVE_LIMIT, "concurrent_spawn_limit": PENDING_LIMIT}
        installation = Installation.make(url, chance, limits | options)
        expected = Expected()
        checker = Checker(
            installation.observer, installation.machines, expected, ACTIVE_LIMIT, PENDING_LIMIT, installation.processes
        )
        driver = Driver(installation, random, checker, Credentials(random), faults)
        try:
            await driver.run(steps)
        except Exception as error:
            raise ModelFailed(await _told(driver, error, seed_number)) from error
        finally:
            await installation.close()
        return Outcome(
            seed_number,
            steps,
            checker.changes,
            installation.machines.made,
            driver.settled,
            loop.time(),
            driver.happened,
        )


async def _told(driver: Driver, error: Exception, seed_number: int) -> str:
    """The seed, the violation, and the part of the story that bears on it."""
    server = getattr(error, "server", None)
    lines = [f"seed {seed_number}, step {sum(driver.happened.values())}: {type(error).__name__}: {error}"]
    lines += getattr(error, "__notes__", ())
    key = driver.checker.keys.get(server) if server is not None else None
    story = driver.trace
    if key is not None:
        lines.append(f"server {server} is {key[0]}/{key[1]}")
        words = (f"{key[0]}/{key[1]}", f"remove {key[0]}", f"server {server} ")
        faults = ("kill", "freeze", "cut", "silen", "no database", "settl", "start hub", "start proxy")
        story = [line for line in story if any(word in line for word in (*words, *faults)) or line.endswith(words[0])]
        log = await driver.checker.observer.rows(
            f"SELECT * FROM model_log WHERE server_id = {int(server or 0)} ORDER BY id DESC LIMIT 12"  # noqa: S608 - a number
        )
        lines += [
            f"  row: {row['desired']}/{row['observed']} (was {row['observed_was']}) phase {row['phase']!r} "
            f"generation {row['generation']} epoch {row['lease_epoch']} by {row['writer']} {row['acting']}"
            for row in reversed(log)
        ]
    return "\n".join([*lines, *story[-40:]])
