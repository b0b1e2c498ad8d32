"""Objects with revisions, and the history that watches read.

Everything runs in one event loop and nothing here awaits, so that every change is atomic without a lock. Stored
objects are never altered in place: readers may keep what they got.
"""

import asyncio
from bisect import bisect_right
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import msgspec

from perijove.testing.kube.objects.resources import Object, Resource

Key = tuple[str, str]


@dataclass(slots=True)
class Change:
    """One line of a watch."""

    revision: int
    type: str
    resource: Resource
    item: Object
    before: Object | None
    _line: bytes = b""

    def line(self) -> bytes:
        """Encoded once, however many watch."""
        if not self._line:
            self._line = msgspec.json.encode({"type": self.type, "object": self.item}) + b"\n"
        return self._line


@dataclass
class Store:
    revision: int = 1000
    # Watches from before this revision get 410.
    compacted: int = 0
    _kinds: dict[str, dict[Key, Object]] = field(default_factory=dict)
    _history: list[Change] = field(default_factory=list)
    _moved: asyncio.Event = field(default_factory=asyncio.Event)
    # Controllers; called at once, must only take notes.
    listeners: list[Callable[[Change], None]] = field(default_factory=list)
    # More than any watch lags behind; a test that runs for hours must not eat the machine.
    history_limit: int = 50_000

    def get(self, resource: Resource, namespace: str, name: str) -> Object | None:
        return self._kinds.get(resource.key, {}).get((namespace if resource.namespaced else "", name))

    def items(self, resource: Resource, namespace: str = "") -> list[Object]:
        """By namespace and name; all namespaces for ""."""
        found = self._kinds.get(resource.key, {})
        if not namespace or not resource.namespaced:
            return [found[key] for key in sorted(found)]
        return [found[key] for key in sorted(key for key in found if key[0] == namespace)]

    def put(self, resource: Resource, item: Object) -> Object:
        """Store as the next revision; returns what is stored."""
        metadata = item["metadata"]
        key = (metadata.get("namespace", "") if resource.namespaced else "", metadata["name"])
        kind = self._kinds.setdefault(resource.key, {})
        before = kind.get(key)
        self.revision += 1
        stored = item | {"metadata": metadata | {"resourceVersion": str(self.revision)}}
        kind[key] = stored
        self._record("ADDED" if before is None else "MODIFIED", resource, stored, before)
        return stored

    def remove(self, resource: Resource, item: Object) -> Object:
        metadata = item["metadata"]
        key = (metadata.get("namespace", "") if resource.namespaced else "", metadata["name"])
        before = self._kinds[resource.key].pop(key)
        self.revision += 1
        gone = item | {"metadata": metadata | {"resourceVersion": str(self.revision)}}
        self._record("DELETED", resource, gone, before)
        return gone

    def drop_kind(self, resource: Resource) -> None:
        for item in self.items(resource):
            self.remove(resource, item)

    def _record(self, change: str, resource: Resource, item: Object, before: Object | None) -> None:
        entry = Change(self.revision, change, resource, item, before)
        self._history.append(entry)
        if len(self._history) > self.history_limit:
            half = self.history_limit // 2
            self.compacted = self._history[half - 1].revision
            del self._history[:half]
        self._moved.set()
        self._moved = asyncio.Event()
        for listener in self.listeners:
            listener(entry)

    def since(self, resource: Resource, revision: int) -> Iterator[Change]:
        start = bisect_right(self._history, revision, key=lambda entry: entry.revision)
        for entry in self._history[start:]:
            if entry.resource.key == resource.key:
                yield entry

    async def moved(self, revision: int) -> None:
        """Until there is a revision after this one."""
        while self.revision <= revision:
            await self._moved.wait()

    def compact(self, revision: int | None = None) -> None:
        """Forget history up to a revision, by default all of it, as etcd does every five minutes."""
        self.compacted = self.revision if revision is None else revision
        self._history = [entry for entry in self._history if entry.revision > self.compacted]


def copied(item: Object) -> Any:
    """To be altered: stored objects are shared."""
    return msgspec.json.decode(msgspec.json.encode(item))
