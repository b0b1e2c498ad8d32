"""What quotas report as used."""

from dataclasses import dataclass

from perijove.testing.kube.api.quota import Quotas
from perijove.testing.kube.api.store import Change
from perijove.testing.kube.controllers.loop import Control, Name, name_of
from perijove.testing.kube.objects.quantities import written

_RESOURCE = "resourcequotas"


@dataclass
class QuotaStatus:
    control: Control
    quotas: Quotas

    def names(self, change: Change) -> list[Name]:
        if change.resource.qualified == _RESOURCE:
            return [name_of(change.item)] if change.type != "DELETED" else []
        namespace = change.item["metadata"].get("namespace", "")
        if not namespace or (change.type == "MODIFIED" and change.resource.qualified != "pods"):
            return []
        return [name_of(item) for item in self.control.items(_RESOURCE, namespace)]

    def look(self, name: Name) -> None:
        item = self.control.find(_RESOURCE, name)
        if item is None:
            return
        hard = item["spec"].get("hard") or {}
        used = {key: written(value, hard[key]) for key, value in self.quotas.used(item).items()}
        status = {"hard": hard, "used": used}
        if status != item.get("status"):
            self.control.set_status(_RESOURCE, item, status)
