"""The bus of one process, fed by its own commits and, with several replicas, by tailing the outbox.

Each subscriber has a bounded queue. When it is full the subscriber is told `Lagged`, once, and its
backlog is dropped: a slow watcher must neither grow without bound nor miss a change unknowingly.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import chain

from perijove.domain.events import Event, Lagged

QUEUE_SIZE = 1024


class Subscription:
    """An endless async iterator of events. Made by `Bus.subscribe`, ended by leaving its `with` block."""

    def __init__(self, kinds: frozenset[str] | None) -> None:
        self._kinds = kinds
        self._events: list[Event] = []
        self._lagged = False
        self._wake = asyncio.Event()

    def offer(self, event: Event) -> None:
        if self._kinds is not None and event.kind not in self._kinds:
            return
        if len(self._events) >= QUEUE_SIZE:
            self.lag()
            return
        self._events.append(event)
        self._wake.set()

    def lag(self) -> None:
        self._events.clear()
        self._lagged = True
        self._wake.set()

    async def take(self, timeout_seconds: float | None = None) -> list[Event | Lagged]:
        """What has come, waiting for at least one; empty after the timeout."""
        if not self._wake.is_set():
            try:
                async with asyncio.timeout(timeout_seconds):
                    await self._wake.wait()
            except TimeoutError:
                return []
        self._wake.clear()
        taken: list[Event | Lagged] = [*self._events]
        self._events = []
        if self._lagged:
            self._lagged = False
            return [Lagged()]
        return taken

    async def __aiter__(self) -> AsyncIterator[Event | Lagged]:
        while True:
            for item in await self.take():
                yield item


class Bus:
    """Publishes to subscriptions (queues) and to listeners (called at once, for cache invalidation)."""

    def __init__(self) -> None:
        self._subscriptions: set[Subscription] = set()
        # Those that wait for one thing: a storm of starts has as many, and an event must not wake them all.
        self._by_key: dict[str, set[Subscription]] = {}
        self._listeners: list[Callable[[Event | Lagged], None]] = []
        # The hub stops: whoever streams to a client ends, or the server would wait for clients that never leave.
        self.closed = False

    def close(self) -> None:
        self.closed = True
        self.lag()

    def publish(self, events: Iterable[Event]) -> None:
        for event in events:
            for listener in self._listeners:
                listener(event)
            for subscription in self._subscriptions:
                subscription.offer(event)
            for subscription in self._by_key.get(event.key, ()):
                subscription.offer(event)

    def lag(self) -> None:
        """The feed broke: everything anyone remembers may be stale."""
        for listener in self._listeners:
            listener(Lagged())
        for subscription in chain(self._subscriptions, *self._by_key.values()):
            subscription.lag()

    def listen(self, listener: Callable[[Event | Lagged], None]) -> None:
        """Call `listener` within `publish`, before the committing request goes on. It must not raise or wait."""
        self._listeners.append(listener)

    @contextmanager
    def subscribe(self, *kinds: str, key: str | None = None) -> Iterator[Subscription]:
        """Events of these kinds (all without any), about `key` where one is given, from now on."""
        subscription = Subscription(frozenset(kinds) or None)
        if self.closed:
            subscription.lag()
        among = self._subscriptions if key is None else self._by_key.setdefault(key, set())
        among.add(subscription)
        try:
            yield subscription
        finally:
            among.discard(subscription)
            if key is not None and not among:
                del self._by_key[key]
