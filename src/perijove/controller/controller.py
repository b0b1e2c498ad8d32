"""The loop: one attempt after another, whenever something changed, by one controller at a time.

Two leases. One, held for as long as this runs, makes a single controller of several pods (a rolling update, a node
that vanished and came back). The other is that of every deploy, held for each attempt that changes something, so that
a person's command and the controller never write at once.
"""

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import structlog

from perijove.controller import values
from perijove.controller.attempt import Attempts, Outcome
from perijove.controller.hub import attempt_of, failed_attempt
from perijove.controller.status import Teller
from perijove.controller.watching import Drift, follow_hub
from perijove.deploy.lock import Lock
from perijove.deploy.waiting import Deadline
from perijove.kube.client import Client
from perijove.kube.errors import ClusterUnavailable
from perijove.kube.refs import Object

_log = structlog.get_logger()
# Besides watches: for what belongs to the whole cluster, and for what they miss.
RESYNC_SECONDS: Final = 300.0
# Between two attempts, so that a crowd of changes is one.
SETTLE_SECONDS: Final = 0.5
_LOOK_SECONDS: Final = 1.0
_AGAIN_SECONDS: Final = 2.0


@dataclass(kw_only=True)
class Controller:
    client: Client
    namespace: str
    release: str
    directory: Path
    ready_file: Path | None = None
    deadline: Deadline = field(default_factory=Deadline)
    hub: Object | None = None
    # Something may have changed; and: it is the very thing that is asked for that did.
    _wake: asyncio.Event = field(default_factory=asyncio.Event)
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        client, namespace, release = self.client, self.namespace, self.release
        self.teller = Teller(client=client, namespace=namespace, release=release, ready_file=self.ready_file)
        self.drift = Drift(client=client, namespace=namespace, release=release, noticed=self._wake.set)
        self.attempts = Attempts(
            client=client,
            namespace=namespace,
            release=release,
            directory=self.directory,
            teller=self.teller,
            deadline=self.deadline,
        )

    async def run(self) -> None:
        """Until it is cancelled. Raises `LockLost` where another controller has taken over."""
        if self.ready_file is not None:
            self.ready_file.unlink(missing_ok=True)
        lock = Lock(
            client=self.client,
            namespace=self.namespace,
            release=f"{self.release}-controller",
            report=self.teller,
            wait_seconds=float("inf"),
        )
        _log.info("waiting to be the only controller", release=self.release, namespace=self.namespace)
        async with lock.held():
            _log.info("at work", release=self.release, namespace=self.namespace)
            work = [self.teller.write(), self._follow_hub(), values.watch(self.directory, self._ask), self._work(lock)]
            tasks = [asyncio.create_task(one) for one in work]
            try:
                done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    task.result()
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
                await self.drift.close()

    def _ask(self) -> None:
        self._changed.set()
        self._wake.set()

    async def _follow_hub(self) -> None:
        while True:
            try:
                await follow_hub(self.client, self.namespace, self.release, self._seen)
            except ClusterUnavailable as exc:
                _log.warning("the Hub cannot be followed", cause=str(exc))
                await asyncio.sleep(_AGAIN_SECONDS)

    def _seen(self, hub: Object | None) -> None:
        before, self.hub = self.hub, hub
        if hub is not None and (before is None or before["metadata"]["uid"] != hub["metadata"]["uid"]):
            self.teller.failed_attempt = failed_attempt(hub)
        if _asked(before) != _asked(hub):
            self._ask()

    async def _work(self, lock: Lock) -> None:
        while True:
            self._wake.clear()
            self._changed.clear()
            outcome = await self._attempt(lock, self.hub) if self.hub is not None else None
            if outcome is None and self._changed.is_set():
                continue
            await self._pause(lock, (outcome.again_seconds if outcome else None) or RESYNC_SECONDS)

    async def _attempt(self, lock: Lock, hub: Object) -> Outcome | None:
        """None where it was given up, because something else is asked for by now."""
        self.teller.about(hub)
        attempt = asyncio.create_task(self.attempts.make(hub))
        changed = asyncio.create_task(self._changed.wait())
        try:
            while not attempt.done() and not changed.done():
                lock.check()
                await asyncio.wait({attempt, changed}, timeout=_LOOK_SECONDS, return_when=asyncio.FIRST_COMPLETED)
            if not attempt.done():
                _log.info("something else is asked for: starting again")
                return None
            outcome = attempt.result()
        finally:
            # As if it had been killed: the next attempt goes on from there.
            for task in (attempt, changed):
                task.cancel()
            await asyncio.gather(attempt, changed, return_exceptions=True)
        self.teller.failed_attempt = outcome.failed_attempt
        self.teller.set(outcome.situation)
        self.drift.accept(outcome.expected)
        return outcome

    async def _pause(self, lock: Lock, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        while not self._wake.is_set() and loop.time() < end:
            lock.check()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), min(_LOOK_SECONDS, max(0.0, end - loop.time())))
        await asyncio.sleep(SETTLE_SECONDS)


def _asked(hub: Object | None) -> tuple[str, str]:
    return (hub["metadata"]["uid"], attempt_of(hub)) if hub is not None else ("", "")
