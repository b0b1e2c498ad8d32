"""PodDisruptionBudgets: how many pods may go now."""

from dataclasses import dataclass

from perijove.testing.kube.api.options import now
from perijove.testing.kube.api.store import Change
from perijove.testing.kube.controllers import pods
from perijove.testing.kube.controllers.loop import Control, Name, name_of
from perijove.testing.kube.controllers.rollout import absolute
from perijove.testing.kube.objects.selectors import object_selector

_RESOURCE = "poddisruptionbudgets.policy"


@dataclass
class Budgets:
    control: Control

    def names(self, change: Change) -> list[Name]:
        if change.resource.qualified == _RESOURCE and change.type != "DELETED":
            return [name_of(change.item)]
        if change.resource.qualified == "pods":
            return [name_of(item) for item in self.control.items(_RESOURCE, change.item["metadata"]["namespace"])]
        return []

    def look(self, name: Name) -> None:
        item = self.control.find(_RESOURCE, name)
        if item is None:
            return
        spec = item["spec"]
        chosen = object_selector(spec.get("selector"))
        found = [
            pod
            for pod in pods.active(self.control.items("pods", name[0]))
            if chosen(pod["metadata"].get("labels") or {})
        ]
        healthy = sum(pods.is_ready(pod) for pod in found)
        if spec.get("maxUnavailable") is not None:
            desired = len(found) - absolute(spec["maxUnavailable"], len(found), up=True)
        else:
            desired = absolute(spec.get("minAvailable", 1), len(found), up=True)
        allowed = max(0, healthy - desired) if found else 0
        before = item.get("status") or {}
        reason = "SufficientPods" if allowed else "InsufficientPods"
        known = before.get("conditions") or ()
        made = {
            "type": "DisruptionAllowed",
            "status": "True" if allowed else "False",
            "reason": reason,
            "message": "",
            "lastTransitionTime": now(),
            "observedGeneration": item["metadata"]["generation"],
        }
        old = next((one for one in known if one["status"] == made["status"]), None)
        status = {
            "currentHealthy": healthy,
            "desiredHealthy": max(desired, 0),
            "disruptionsAllowed": allowed,
            "expectedPods": len(found),
            "observedGeneration": item["metadata"]["generation"],
            "conditions": [old or made],
        }
        if status != before:
            self.control.set_status(_RESOURCE, item, status)
