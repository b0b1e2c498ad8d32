"""Objects go when those that own them have gone, and namespaces when everything in them has."""

from collections import defaultdict
from dataclasses import dataclass, field

from perijove.testing.kube.api.deletion import FOREGROUND, ORPHAN
from perijove.testing.kube.api.options import DeleteOptions
from perijove.testing.kube.api.store import Change
from perijove.testing.kube.controllers.loop import Control, Name, name_of
from perijove.testing.kube.objects.failures import ApiFailure
from perijove.testing.kube.objects.resources import Object, Resource

_NOT_FOUND = 404


@dataclass
class GarbageCollector:
    """Names here are (resource, "namespace/name"): it looks at objects of every kind."""

    control: Control
    _alive: set[str] = field(default_factory=set)
    # uid of an owner -> its dependents, as (resource, place).
    _dependents: dict[str, dict[Name, None]] = field(default_factory=lambda: defaultdict(dict))
    # Owners that wait for their dependents to go first.
    _in_foreground: dict[str, Name] = field(default_factory=dict)

    def names(self, change: Change) -> list[Name]:
        if change.resource.plural == "events":
            return []
        metadata = change.item["metadata"]
        place = _place(change.resource, change.item)
        for reference in metadata.get("ownerReferences") or ():
            self._dependents[reference["uid"]][place] = None
        if change.type == "DELETED":
            self._alive.discard(metadata["uid"])
            self._in_foreground.pop(metadata["uid"], None)
            owners = [reference["uid"] for reference in metadata.get("ownerReferences") or ()]
            waiting = [self._in_foreground[uid] for uid in owners if uid in self._in_foreground]
            return [*self._dependents.pop(metadata["uid"], {}), *waiting]
        self._alive.add(metadata["uid"])
        if FOREGROUND in (metadata.get("finalizers") or ()):
            self._in_foreground[metadata["uid"]] = place
        if metadata.get("ownerReferences") or metadata.get("deletionTimestamp"):
            return [place]
        return []

    def look(self, name: Name) -> None:
        resource = self.control.resource(name[0])
        namespace, _, own = name[1].partition("/")
        item = self.control.store.get(resource, namespace, own)
        if item is None:
            return
        metadata = item["metadata"]
        if metadata.get("deletionTimestamp"):
            self._deleting(resource, item)
        references = metadata.get("ownerReferences") or ()
        if references and not any(reference["uid"] in self._alive for reference in references):
            self._delete(resource, item)

    def _deleting(self, resource: Resource, item: Object) -> None:
        finalizers = item["metadata"].get("finalizers") or []
        dependents = list(self._items_of(item))
        if ORPHAN in finalizers:
            for kind, one in dependents:
                self.control.change(kind.qualified, one, lambda latest: _disown(latest, item))
            self._finalize(resource, item, ORPHAN)
        elif FOREGROUND in finalizers:
            for kind, one in dependents:
                self._delete(kind, one, propagation="Foreground")
            if not list(self._items_of(item)):
                self._finalize(resource, item, FOREGROUND)

    def _items_of(self, item: Object) -> list[tuple[Resource, Object]]:
        found: list[tuple[Resource, Object]] = []
        for kind, place in self._dependents.get(item["metadata"]["uid"], {}):
            resource = self.control.resource(kind)
            namespace, _, own = place.partition("/")
            if (one := self.control.store.get(resource, namespace, own)) is not None:
                found.append((resource, one))
        return found

    def _delete(self, resource: Resource, item: Object, *, propagation: str = "Background") -> None:
        if item["metadata"].get("deletionTimestamp"):
            return
        options = DeleteOptions(propagation=propagation, uid=item["metadata"]["uid"])
        try:
            self.control.deletion.delete(resource, *name_of(item), options)
        except ApiFailure as failure:
            if failure.code != _NOT_FOUND:
                raise

    def _finalize(self, resource: Resource, item: Object, finalizer: str) -> None:
        def alter(latest: Object) -> None:
            metadata = latest["metadata"]
            metadata["finalizers"] = [one for one in metadata.get("finalizers") or () if one != finalizer]

        self.control.change(resource.qualified, item, alter)


def _place(resource: Resource, item: Object) -> Name:
    namespace, name = name_of(item)
    return resource.qualified, f"{namespace}/{name}"


def _disown(item: Object, owner: Object) -> None:
    references = item["metadata"].get("ownerReferences") or ()
    item["metadata"]["ownerReferences"] = [one for one in references if one["uid"] != owner["metadata"]["uid"]]


@dataclass
class Namespaces:
    control: Control

    def names(self, change: Change) -> list[Name]:
        if change.resource.qualified == "namespaces":
            return [name_of(change.item)] if change.item["metadata"].get("deletionTimestamp") else []
        namespace = change.item["metadata"].get("namespace", "")
        going = namespace and change.type == "DELETED"
        return [("", namespace)] if going else []

    def look(self, name: Name) -> None:
        item = self.control.find("namespaces", name)
        if item is None or not item["metadata"].get("deletionTimestamp"):
            return
        left = False
        for resource in self.control.objects.registry:
            if not resource.namespaced or "delete" not in resource.verbs or resource.stored_as:
                continue
            for one in self.control.store.items(resource, name[1]):
                self.control.deletion.delete(resource, *name_of(one), DeleteOptions())
            left = left or bool(self.control.store.items(resource, name[1]))
        if not left:
            self.control.store.remove(self.control.resource("namespaces"), item)
