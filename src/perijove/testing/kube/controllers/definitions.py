"""CustomResourceDefinitions: kinds that come and go while the server runs."""

from dataclasses import dataclass

from perijove.testing.kube.api.options import now
from perijove.testing.kube.api.store import Change
from perijove.testing.kube.controllers.loop import Control, Name, name_of
from perijove.testing.kube.objects.resources import Object, Resource

_RESOURCE = "customresourcedefinitions.apiextensions.k8s.io"


@dataclass
class Definitions:
    control: Control

    def names(self, change: Change) -> list[Name]:
        if change.resource.qualified != _RESOURCE:
            return []
        if change.type == "DELETED":
            for resource in _resources(change.item):
                self.control.store.drop_kind(resource)
                self.control.objects.registry.remove(resource)
            return []
        return [name_of(change.item)]

    def look(self, name: Name) -> None:
        item = self.control.find(_RESOURCE, name)
        if item is None or (item.get("status") or {}).get("acceptedNames") == item["spec"]["names"]:
            if item is not None:
                self._serve(item)
            return
        self._serve(item)
        conditions = [
            {"type": kind, "status": "True", "reason": reason, "message": message, "lastTransitionTime": now()}
            for kind, reason, message in (
                ("NamesAccepted", "NoConflicts", "no conflicts found"),
                ("Established", "InitialNamesAccepted", "the initial names have been accepted"),
            )
        ]
        stored = [one["name"] for one in item["spec"]["versions"] if one.get("storage")]
        status = {"conditions": conditions, "acceptedNames": item["spec"]["names"], "storedVersions": stored}
        self.control.set_status(_RESOURCE, item, status)

    def _serve(self, item: Object) -> None:
        for resource in _resources(item):
            self.control.objects.registry.add(resource)


def _resources(item: Object) -> list[Resource]:
    spec = item["spec"]
    return [
        Resource(
            spec["group"],
            version["name"],
            spec["names"]["plural"],
            spec["names"]["kind"],
            namespaced=spec["scope"] == "Namespaced",
            status="status" in (version.get("subresources") or {}),
            short_names=tuple(spec["names"].get("shortNames") or ()),
            schema=(version.get("schema") or {}).get("openAPIV3Schema"),
        )
        for version in spec["versions"]
        if version.get("served")
    ]
