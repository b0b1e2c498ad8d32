"""One controller: names of objects to look at, one task that looks at them, again later where that failed.

Changes only put names into the queue; what to do is decided from the store as it then is.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from perijove.lib.log import get_logger
from perijove.testing.kube.api.deletion import Deletion
from perijove.testing.kube.api.objects import Objects
from perijove.testing.kube.api.options import WriteOptions
from perijove.testing.kube.api.store import Change, Store, copied
from perijove.testing.kube.events import Recorder
from perijove.testing.kube.objects.failures import ApiFailure
from perijove.testing.kube.objects.resources import Object, Resource

Name = tuple[str, str]

_RETRY_SECONDS = 0.05
_NOT_FOUND = 404
log = get_logger(__name__)


@dataclass
class Control:
    """What controllers have in common: the API without the wire, and events."""

    objects: Objects
    deletion: Deletion
    recorder: Recorder

    @property
    def store(self) -> Store:
        return self.objects.store

    def resource(self, qualified: str) -> Resource:
        return self.objects.resource(qualified)

    def find(self, qualified: str, name: Name) -> Object | None:
        return self.store.get(self.resource(qualified), *name)

    def items(self, qualified: str, namespace: str = "") -> list[Object]:
        return self.store.items(self.resource(qualified), namespace)

    def create(self, qualified: str, namespace: str, body: Object, *, manager: str = "") -> Object:
        options = WriteOptions(manager=manager or "kube-controller-manager")
        return self.objects.create(self.resource(qualified), namespace, body, options)

    def set_status(self, qualified: str, item: Object, status: Object, *, manager: str = "") -> Object | None:
        """Over the latest version. None if it has gone."""
        options = WriteOptions(manager=manager or "kube-controller-manager", subresource="status")
        return self._changed(qualified, item, lambda latest: latest.update(status=status), options)

    def change(
        self, qualified: str, item: Object, alter: Callable[[Object], object], *, manager: str = ""
    ) -> Object | None:
        """`alter` gets a copy of the latest version. None if it has gone."""
        options = WriteOptions(manager=manager or "kube-controller-manager")
        return self._changed(qualified, item, alter, options)

    def _changed(
        self, qualified: str, item: Object, alter: Callable[[Object], object], options: WriteOptions
    ) -> Object | None:
        metadata = item["metadata"]
        namespace, name = metadata.get("namespace", ""), metadata["name"]
        live = self.find(qualified, (namespace, name))
        if live is None or live["metadata"]["uid"] != metadata["uid"]:
            return None
        latest = copied(live)
        alter(latest)
        return self.objects.replace(self.resource(qualified), namespace, name, latest, options)


class Controller(Protocol):
    """`names` are the objects to look at because of a change; `look` may say in how many seconds to look again."""

    def names(self, change: Change) -> list[Name]: ...

    def look(self, name: Name) -> float | None: ...


@dataclass
class Loop:
    controller: Controller
    _due: dict[Name, None] = field(default_factory=dict)
    _wake: asyncio.Event = field(default_factory=asyncio.Event)
    # Nothing is looked at until it is set again: a control plane that stands still.
    running: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.running.set()

    def notice(self, change: Change) -> None:
        for name in self.controller.names(change):
            self.enqueue(name)

    def enqueue(self, name: Name) -> None:
        self._due[name] = None
        self._wake.set()

    async def run(self) -> None:
        while True:
            await self._wake.wait()
            await self.running.wait()
            self._wake.clear()
            due, self._due = list(self._due), {}
            for name in due:
                self._look(name)
                # Between two objects others have their turn: HTTP above all.
                await asyncio.sleep(0)

    def _look(self, name: Name) -> None:
        again: float | None = None
        try:
            again = self.controller.look(name)
        except ApiFailure as failure:
            if failure.code != _NOT_FOUND:
                log.debug("controller will look again", controller=type(self.controller).__name__, reason=str(failure))
                again = _RETRY_SECONDS
        if again is not None:
            asyncio.get_running_loop().call_later(again, self.enqueue, name)


def name_of(item: Object) -> Name:
    metadata = item["metadata"]
    return metadata.get("namespace", ""), metadata["name"]


def owner(item: Object, kind: str) -> str:
    """The name of its controller of this kind, or ""."""
    for reference in item["metadata"].get("ownerReferences") or ():
        if reference["kind"] == kind and reference.get("controller"):
            return str(reference["name"])
    return ""


def owner_reference(resource: Resource, item: Object) -> Object:
    return {
        "apiVersion": resource.api_version,
        "kind": resource.kind,
        "name": item["metadata"]["name"],
        "uid": item["metadata"]["uid"],
        "controller": True,
        "blockOwnerDeletion": True,
    }
