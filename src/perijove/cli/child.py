"""One process under `perijove up`: started, listened to, stopped."""

import asyncio
import json
import os
import signal
import socket
from collections.abc import Sequence
from typing import Any

from perijove.cli.control import GO, VARIABLE, encode

# From the first to the longest pause before a crashed child is started again.
FIRST_DELAY_SECONDS = 0.25
LONGEST_DELAY_SECONDS = 30.0
# A child that ran this long was healthy: its next crash is a first one.
HEALTHY_AFTER_SECONDS = 60.0


class Backoff:
    """Pauses between restarts: double from crash to crash, begin anew after a healthy run."""

    def __init__(self) -> None:
        self._next = FIRST_DELAY_SECONDS

    def after(self, ran_seconds: float) -> float:
        if ran_seconds >= HEALTHY_AFTER_SECONDS:
            self._next = FIRST_DELAY_SECONDS
        delay = self._next
        self._next = min(self._next * 2, LONGEST_DELAY_SECONDS)
        return delay


class ChildEnded(Exception):
    """A child ended before it was ready."""

    def __init__(self, name: str, code: int) -> None:
        super().__init__(f"{name}: {describe(code)}")
        self.name = name
        self.code = code


def describe(code: int) -> str:
    """An exit code as a person says it."""
    if code < 0:
        try:
            return f"killed by {signal.Signals(-code).name}"
        except ValueError:
            return f"killed by signal {-code}"
    return f"exit code {code}"


class Child:
    """A supervised process. It may be started again after it ended."""

    def __init__(self, name: str, argv: Sequence[str], env: dict[str, str] | None = None) -> None:
        self.name = name
        self._argv = list(argv)
        self._env = env or {}
        self._process: asyncio.subprocess.Process | None = None
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    @property
    def pid(self) -> int:
        return self._process.pid if self._process else 0

    async def start(self) -> None:
        self._hang_up()
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = await asyncio.create_subprocess_exec(
                *self._argv,
                stdin=asyncio.subprocess.DEVNULL,
                env={**os.environ, **self._env, VARIABLE: str(theirs.fileno())},
                pass_fds=(theirs.fileno(),),
                # A session of its own: the terminal's Ctrl-C reaches `up` alone, which then stops
                # the children once and in order.
                start_new_session=True,
            )
        self._reader, self._writer = await asyncio.open_connection(sock=ours)

    async def expect(self, event: str) -> dict[str, Any]:
        """The next message, which must be `event`. Raises `ChildEnded` when it ends instead."""
        assert self._reader is not None
        while line := await self._reader.readline():
            message: dict[str, Any] = json.loads(line)
            if message.pop("event") == event:
                return message
        raise ChildEnded(self.name, await self.wait())

    async def said(self, event: str) -> dict[str, Any] | None:
        """What came with `event` among the last words of a child that has ended; None: it did not say it."""
        assert self._reader is not None
        while line := await self._reader.readline():
            message: dict[str, Any] = json.loads(line)
            if message.pop("event") == event:
                return message
        return None

    def go(self) -> None:
        assert self._writer is not None
        self._writer.write(encode(GO))

    async def wait(self) -> int:
        assert self._process is not None
        return await self._process.wait()

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.returncode is None

    def signal(self, number: signal.Signals) -> None:
        if self._process is not None and self.running:
            self._process.send_signal(number)

    async def stop(self, grace_seconds: float) -> bool:
        """SIGTERM, then SIGKILL after the grace. False: it had to be killed."""
        clean = True
        if self.running:
            self.signal(signal.SIGTERM)
            try:
                async with asyncio.timeout(grace_seconds):
                    await self.wait()
            except TimeoutError:
                clean = False
                self.signal(signal.SIGKILL)
                await self.wait()
        self._hang_up()
        return clean

    def _hang_up(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None
