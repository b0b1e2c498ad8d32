"""`Link`: a TCP connection's way from here to there that a test can cut, make silent, or lead elsewhere.

    link = Link("127.0.0.1", 5432)     # listens on a free port of its own: link.host, link.port
    link.cut()                         # connections are reset, new ones refused: the machine is gone
    link.silence()                     # bytes go nowhere and nobody says so: the cable is pulled
    link.mend()                        # as before; connections that were open stay broken
    link.lead_to("127.0.0.1", 5433)    # from now on; what was open is reset: a fail-over

A way to a process (`follow`) refuses connections until that listens, and from its end on, as its machine would: who
asks has to see that nothing of their request got there. Accepted and then reset, it may have.
Links run in a thread with a loop of its own, so that they work between a test's event loops. Calls block until done.
"""

import asyncio
import os
import socket
import threading
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, TypeVar

from perijove.cli.listening import BACKLOG, free_port

T = TypeVar("T")
_CHUNK = 65536
_SECONDS = 10
_LOOK_SECONDS = 0.02


class _Thread:
    """The loop of all links of this process; a daemon, so that it ends with the process."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        threading.Thread(target=self.loop.run_forever, name="links", daemon=True).start()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(_SECONDS)


_thread: _Thread | None = None


def _here() -> _Thread:
    global _thread  # noqa: PLW0603 - one process, one thread of links
    if _thread is None:
        _thread = _Thread()
    return _thread


class Link:
    """One way. Close it at the end."""

    def __init__(self, host: str, port: int, *, listen: str = "127.0.0.1") -> None:
        self.host, self.port = listen, free_port(listen)
        self._target = (host, port)
        self._listener: socket.socket | None = None
        self._flowing: asyncio.Event | None = None
        # Open while nobody has cut it and its end is there.
        self._mended = self._there = True
        self._open: set[asyncio.Task[None]] = set()
        self._following: set[asyncio.Task[None]] = set()
        self._pid = 0
        self._thread = _here()
        self._thread.run(self._mend())

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"

    def cut(self) -> None:
        self._thread.run(self._cut())

    def silence(self) -> None:
        self._thread.run(self._silence())

    def mend(self) -> None:
        self._thread.run(self._mend())

    def lead_to(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._thread.run(self._reset())

    def follow(self, pid: int) -> None:
        """It leads to this process, which was just started: mended, and open from when that listens until it ends."""
        self._thread.run(self._follow(pid))

    def leads_to(self, pid: int) -> bool:
        """Whether this process has been seen to listen, and whoever comes gets there unless the way is cut."""
        return self._pid == pid and self._there and self._mended == (self._listener is not None)

    def close(self) -> None:
        self.cut()

    async def _change(self) -> None:
        """Listen or not, by what is true now."""
        if not (self._mended and self._there):
            self._close()
            await self._reset()
        elif self._listener is None:
            self._listen()

    def _listen(self) -> None:
        """Not by a server of asyncio's: one that is closed forgets, and never closes, what it was just accepting."""
        self._listener = socket.create_server((self.host, self.port), backlog=BACKLOG)
        self._listener.setblocking(False)
        self._thread.loop.add_reader(self._listener, self._accept, self._listener)

    def _close(self) -> None:
        if self._listener is not None:
            self._thread.loop.remove_reader(self._listener)
            self._listener.close()
            self._listener = None

    async def _cut(self) -> None:
        self._mended = False
        await self._change()

    async def _follow(self, pid: int) -> None:
        self._pid, self._there = pid, False
        await self._change()
        await self._mend()
        task = asyncio.get_running_loop().create_task(self._come_and_go(pid))
        self._following.add(task)
        task.add_done_callback(self._following.discard)

    async def _come_and_go(self, pid: int) -> None:
        """Of the process at the other end; of no interest any more once another one is followed."""
        try:
            descriptor = os.pidfd_open(pid)
        except ProcessLookupError:
            return
        ended, loop = asyncio.Event(), asyncio.get_running_loop()

        def end() -> None:
            loop.remove_reader(descriptor)
            os.close(descriptor)
            ended.set()

        loop.add_reader(descriptor, end)
        while self._pid == pid and not ended.is_set() and not await self._listens():
            with suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_SECONDS):
                    await ended.wait()
        if self._pid == pid and not ended.is_set():
            self._there = True
            await self._change()
        await ended.wait()
        if self._pid == pid:
            self._there = False
            await self._change()

    async def _listens(self) -> bool:
        try:
            _, writer = await asyncio.open_connection(*self._target)
        except OSError:
            return False
        writer.transport.abort()
        return True

    async def _silence(self) -> None:
        assert self._flowing is not None
        self._flowing.clear()

    async def _mend(self) -> None:
        if self._flowing is None:
            self._flowing = asyncio.Event()
            self._flowing.set()
        if not self._flowing.is_set():
            # What was in flight is lost, as after a pulled cable that was out for long.
            await self._reset()
            self._flowing.set()
        self._mended = True
        await self._change()

    async def _reset(self) -> None:
        tasks = list(self._open)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        # An aborted transport closes its socket at the loop's next turn.
        await asyncio.sleep(0)

    def _accept(self, listener: socket.socket) -> None:
        try:
            accepted, _ = listener.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return  # whoever came has gone again
        accepted.setblocking(False)
        task = self._thread.loop.create_task(self._serve(accepted))
        self._open.add(task)

        def ended(_: object) -> None:
            self._open.discard(task)
            # Not in the task: one that is cancelled before its first step would leave the socket open.
            accepted.close()

        task.add_done_callback(ended)

    async def _serve(self, accepted: socket.socket) -> None:
        reader, writer = await asyncio.open_connection(sock=accepted)
        try:
            await self._carry(reader, writer)
        finally:
            writer.transport.abort()
            # It closes the socket at the loop's next turn.
            await asyncio.sleep(0)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there: asyncio.StreamWriter | None = None
        try:
            await self._flow()
            back, there = await asyncio.open_connection(*self._target)
            async with asyncio.TaskGroup() as group:
                group.create_task(self._pump(reader, there))
                group.create_task(self._pump(back, writer))
        except (OSError, ExceptionGroup, asyncio.CancelledError):
            pass  # either end went away, or the way was cut; whoever is left is told by an abort
        finally:
            if there is not None:
                there.transport.abort()

    async def _flow(self) -> None:
        assert self._flowing is not None
        await self._flowing.wait()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(_CHUNK):
            await self._flow()
            writer.write(data)
            await writer.drain()
        await self._flow()
        with suppress(OSError):
            writer.write_eof()
