"""An event loop that is a machine of its own: simulated time, and processes that can be killed and frozen.

A `Process` is a context: every task begun in it, and every timer and socket of theirs, carries it along. So the loop
knows whose turn a step is, and does not run those of a frozen process until it is thawed: SIGSTOP, at any await.
Time stands still while there is something to do, or a database at work, and jumps to the next timer when there is
not: an hour of waiting costs nothing, and a slow computer changes no outcome.

Rests on parts of the standard loop that have no public name (`_ready`, `_scheduled`); nothing else can hold back one
process's steps and let another's run.
"""

# ruff: noqa: SLF001 - the standard loop's own parts, as said above

import asyncio
import heapq
import selectors
from collections import deque
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from contextvars import Context, ContextVar, copy_context
from enum import Enum
from typing import Any, TypeVar

T = TypeVar("T")
_PROCESS: ContextVar["Process | None"] = ContextVar("model_process", default=None)

# Real seconds to wait for a database at work, before time goes on without it.
PATIENCE_SECONDS = 0.25
# The same while somebody who is frozen may hold what all wait for.
STALLED_SECONDS = 0.002


class State(Enum):
    RUNNING = "running"
    FROZEN = "frozen"
    DEAD = "dead"


class Process:
    """What is killed or frozen as one. `begin` its tasks; whatever they begin is its own, too."""

    def __init__(self, loop: "ModelLoop", name: str) -> None:
        self.loop = loop
        self.name = name
        self.state = State.RUNNING
        # Reaches no database: connections are refused ("cut") or answer nothing ("silent").
        self.cut_off = ""
        # Blocks in which it waits for a database.
        self.waiting = 0
        self.died_at = 0.0
        self.thawed_at = 0.0
        # Called when it dies: what its system would close.
        self.closers: dict[object, Any] = {}
        self._held: deque[asyncio.Handle] = deque()
        self._sockets: list[selectors.SelectorKey] = []
        self._tasks: set[asyncio.Task[Any]] = set()
        self._context = copy_context()
        self._context.run(_PROCESS.set, self)

    @property
    def context(self) -> Context:
        return self._context

    @property
    def alive(self) -> bool:
        return self.state is not State.DEAD

    @property
    def running(self) -> bool:
        return self.state is State.RUNNING

    @property
    def stalled(self) -> bool:
        """May hold up others for as long as nobody ends its connections."""
        return self.waiting > 0 and (self.state is State.FROZEN or self.cut_off == "silent")

    def begin(self, work: Coroutine[Any, Any, T]) -> "asyncio.Task[T]":
        return self._context.copy().run(self.loop.create_task, work)

    def adopt(self, task: "asyncio.Task[Any]") -> None:
        self._tasks.add(task)
        task.add_done_callback(self._over)

    def _over(self, task: "asyncio.Task[Any]") -> None:
        self._tasks.discard(task)
        if not self.alive and not task.cancelled():
            task.exception()  # what becomes of the dead is nobody's business

    def hold(self, handle: asyncio.Handle) -> None:
        self._held.append(handle)

    def freeze(self) -> None:
        """SIGSTOP. Its sockets stay open, and nobody reads them."""
        assert self.running
        self.state = State.FROZEN
        self.loop.leave_unread(self)

    def thaw(self) -> None:
        """SIGCONT. It notices nothing of the time that has passed."""
        assert self.state is State.FROZEN
        self.state = State.RUNNING
        self.thawed_at = self.loop.time()
        self._resume()
        if self.cut_off == "silent":
            self.loop.leave_unread(self)

    def silence(self) -> None:
        """What the database answers does not arrive; what is sent to it does."""
        self.cut_off = "silent"
        self.loop.leave_unread(self)

    def cut(self) -> None:
        """Its connections to the database are reset, and new ones refused."""
        self.cut_off = "cut"
        self._read_again()
        self.loop.reset(self)

    def mend(self) -> None:
        """As before; connections that were silent are broken by now."""
        if self.cut_off == "silent":
            self._read_again()
            self.loop.reset(self)
        self.cut_off = ""

    def mend_if_alive(self) -> None:
        if self.alive:
            self.mend()

    def thaw_if_frozen(self) -> None:
        if self.state is State.FROZEN:
            self.thaw()

    def kill(self) -> None:
        """SIGKILL. From this call on nothing that it does has any effect outside.

        Its tasks are cancelled, for tidiness: what they do then reaches nobody, since all ways out are closed.
        """
        self.state = State.DEAD
        self.died_at = self.loop.time()
        self._read_again()
        for close in list(self.closers.values()):
            close()
        self.closers.clear()
        self.loop.reset(self)
        self._resume()
        for task in list(self._tasks):
            task.cancel()

    async def buried(self) -> None:
        while self._tasks:
            for task in list(self._tasks):
                task.cancel()
            await asyncio.wait(list(self._tasks), timeout=60)

    def unread(self, key: selectors.SelectorKey) -> None:
        self._sockets.append(key)

    def _resume(self) -> None:
        self._read_again()
        while self._held:
            self.loop.resume(self._held.popleft())

    def _read_again(self) -> None:
        for key in self._sockets:
            self.loop.read_again(key)
        self._sockets.clear()

    @contextmanager
    def at_database(self) -> Iterator[None]:
        self.waiting += 1
        try:
            yield
        finally:
            self.waiting -= 1


def current() -> Process | None:
    return _PROCESS.get()


class ModelLoop(asyncio.SelectorEventLoop):
    """Use with `asyncio.Runner(loop_factory=ModelLoop)`."""

    # Of the standard loop, which does not declare them.
    _ready: deque[asyncio.Handle]
    _scheduled: list[Any]
    _stopping: bool
    _timer_cancelled_count: int
    _process_events: Any

    def __init__(self) -> None:
        self._now = 0.0
        self._loop_selector = selectors.DefaultSelector()
        super().__init__(self._loop_selector)
        self.processes: set[Process] = set()
        self.set_task_factory(_task)

    def time(self) -> float:
        return self._now

    def process(self, name: str) -> Process:
        process = Process(self, name)
        self.processes.add(process)
        return process

    # -- processes

    def resume(self, handle: asyncio.Handle) -> None:
        self._ready.append(handle)

    def _keys_of(self, process: Process) -> Iterator[selectors.SelectorKey]:
        for key in list(self._loop_selector.get_map().values()):
            handles = [handle for handle in key.data if handle is not None] if isinstance(key.data, tuple) else []
            if any(_owner(handle) is process for handle in handles):
                yield key

    def leave_unread(self, process: Process) -> None:
        for key in self._keys_of(process):
            self._loop_selector.unregister(key.fileobj)
            process.unread(key)

    def read_again(self, key: selectors.SelectorKey) -> None:
        # Its owner may have closed it meanwhile, and the number may be another's by now.
        open_still = any(not transport.is_closing() for transport in _transports(key))
        if open_still and key.fileobj not in self._loop_selector.get_map():
            self._loop_selector.register(key.fileobj, key.events, key.data)

    def reset(self, process: Process) -> None:
        """Break its connections, as a system does whose process has died."""
        for key in self._keys_of(process):
            for transport in _transports(key):
                transport.abort()

    async def create_connection(self, *args: Any, **kwargs: Any) -> Any:
        """To a database: nothing else connects here."""
        process = current()
        if process is not None and process.cut_off == "silent":
            await asyncio.sleep(kwargs.get("timeout") or 3600)
        if process is not None and (not process.alive or process.cut_off):
            raise ConnectionRefusedError(f"{process.name} is cut off")
        return await super().create_connection(*args, **kwargs)

    # -- steps

    def _run_once(self) -> None:
        while self._scheduled and self._scheduled[0]._cancelled:
            handle = heapq.heappop(self._scheduled)
            handle._scheduled = False
            self._timer_cancelled_count = max(0, self._timer_cancelled_count - 1)
        self._process_events(self._loop_selector.select(self._real_wait()))
        self._pass_time()
        for _ in range(len(self._ready)):
            handle = self._ready.popleft()
            if handle._cancelled:
                continue
            owner = _owner(handle)
            if owner is not None and owner.state is State.FROZEN:
                owner.hold(handle)
            else:
                handle._run()

    def _real_wait(self) -> float:
        if self._ready or self._stopping or not self._busy():
            return 0
        return STALLED_SECONDS if any(process.stalled for process in self.processes) else PATIENCE_SECONDS

    def _busy(self) -> bool:
        """Whether a database works for somebody who will hear of it."""
        return any(p.waiting and p.state is not State.FROZEN and p.cut_off != "silent" for p in self.processes)

    def _pass_time(self) -> None:
        if not self._ready and self._scheduled:
            self._now = max(self._now, self._scheduled[0]._when)
        while self._scheduled and self._scheduled[0]._when <= self._now:
            handle = heapq.heappop(self._scheduled)
            handle._scheduled = False
            self._ready.append(handle)


def _transports(key: selectors.SelectorKey) -> Iterator[asyncio.Transport]:
    for handle in key.data:
        transport = getattr(getattr(handle, "_callback", None), "__self__", None)
        if isinstance(transport, asyncio.Transport):
            yield transport


def _owner(handle: asyncio.Handle) -> Process | None:
    context: Context = handle._context  # type: ignore[attr-defined]  # undeclared, too
    return context.get(_PROCESS)


def _task(loop: asyncio.AbstractEventLoop, work: Any, **kwargs: Any) -> "asyncio.Task[Any]":
    task: asyncio.Task[Any] = asyncio.Task(work, loop=loop, **kwargs)
    process = current()
    if process is not None:
        process.adopt(task)
    return task
