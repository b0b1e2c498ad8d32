"""How objects go: preconditions, grace, finalizers, propagation."""

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from perijove.testing.kube.api.objects import Objects
from perijove.testing.kube.api.options import DeleteOptions
from perijove.testing.kube.api.store import copied
from perijove.testing.kube.objects import failures
from perijove.testing.kube.objects.resources import Object, Resource

FOREGROUND = "foregroundDeletion"
ORPHAN = "orphan"

# What a deletion answers: these kinds the object, all others a Status.
_ANSWER_OBJECT = frozenset(
    {"pods", "services", "persistentvolumeclaims", "persistentvolumes", "serviceaccounts", "resourcequotas"}
)


@dataclass
class Deletion:
    objects: Objects

    def delete(self, resource: Resource, namespace: str, name: str, options: DeleteOptions) -> Object:
        """The object as it is now, or a Status once it is gone. Raises 404 and 409."""
        item = self.objects.get(resource, namespace, name)
        self._check(resource, item, options)
        finalizers = list(item["metadata"].get("finalizers") or ())
        for wanted, finalizer in (("Foreground", FOREGROUND), ("Orphan", ORPHAN)):
            if options.propagation == wanted and finalizer not in finalizers:
                finalizers.append(finalizer)
        grace = _grace(resource, item, options)
        if resource.qualified == "namespaces":
            return self._end_namespace(resource, item, dry_run=options.dry_run)
        if not finalizers and not grace:
            return self._gone(resource, item, dry_run=options.dry_run)
        marked = _marked(item, finalizers, grace)
        if marked is None:
            return item
        return marked if options.dry_run else self.objects.store.put(resource, marked)

    def delete_all(self, resource: Resource, items: list[Object], options: DeleteOptions) -> list[Object]:
        for item in items:
            metadata = item["metadata"]
            self.delete(resource, metadata.get("namespace", ""), metadata["name"], replace(options, uid=""))
        return items

    def _check(self, resource: Resource, item: Object, options: DeleteOptions) -> None:
        metadata = item["metadata"]
        for asked, key, words in (
            (options.uid, "uid", "UID"),
            (options.resource_version, "resourceVersion", "ResourceVersion"),
        ):
            if asked and asked != metadata[key]:
                why = f"Precondition failed: {words} in precondition: {asked}, {words} in object meta: {metadata[key]}"
                raise failures.conflict(resource, metadata["name"], why)

    def _gone(self, resource: Resource, item: Object, *, dry_run: bool) -> Object:
        gone = item if dry_run else self.objects.store.remove(resource, item)
        if resource.qualified in _ANSWER_OBJECT:
            return gone
        details: Object = {"name": item["metadata"]["name"], "kind": resource.plural, "uid": item["metadata"]["uid"]}
        if resource.group:
            details["group"] = resource.group
        return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details}

    def _end_namespace(self, resource: Resource, item: Object, *, dry_run: bool) -> Object:
        """Marked; its controller empties it and takes its last finalizer away."""
        if item["metadata"].get("deletionTimestamp"):
            return item
        marked = copied(item)
        marked["metadata"]["deletionTimestamp"] = _in(0)
        marked["status"]["phase"] = "Terminating"
        ended: Object = marked if dry_run else self.objects.store.put(resource, marked)
        return ended


def _grace(resource: Resource, item: Object, options: DeleteOptions) -> int:
    """Only pods have any: their node ends them and then deletes them without grace."""
    if resource.qualified != "pods":
        return 0
    ended = item.get("status", {}).get("phase") in ("Succeeded", "Failed")
    if not item["spec"].get("nodeName") or ended:
        return 0
    if options.grace_seconds is not None:
        return max(options.grace_seconds, 0)
    return int(item["spec"].get("terminationGracePeriodSeconds", 30))


def _marked(item: Object, finalizers: list[str], grace: int) -> Object | None:
    """None where the object is marked already and nothing is shortened or added."""
    metadata = item["metadata"]
    shorter = grace < metadata.get("deletionGracePeriodSeconds", grace)
    if metadata.get("deletionTimestamp") and not shorter and finalizers == (metadata.get("finalizers") or []):
        return None
    marked: Object = copied(item)
    if finalizers:
        marked["metadata"]["finalizers"] = finalizers
    if not metadata.get("deletionTimestamp") or shorter:
        marked["metadata"] |= {"deletionTimestamp": _in(grace), "deletionGracePeriodSeconds": grace}
        if "generation" in metadata:
            marked["metadata"]["generation"] = metadata["generation"] + 1
    return marked


def _in(seconds: int) -> str:
    return (datetime.now(UTC) + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")
