"""ReplicaSets: as many pods as are wanted."""

from dataclasses import dataclass

from perijove.testing.kube.api.options import now
from perijove.testing.kube.api.store import Change
from perijove.testing.kube.controllers import pods
from perijove.testing.kube.controllers.loop import Control, Name, name_of, owner
from perijove.testing.kube.objects.failures import ApiFailure
from perijove.testing.kube.objects.resources import Object

_RESOURCE = "replicasets.apps"
_RETRY_SECONDS = 0.2


@dataclass
class ReplicaSets:
    control: Control

    def names(self, change: Change) -> list[Name]:
        if change.resource.qualified == _RESOURCE and change.type != "DELETED":
            return [name_of(change.item)]
        if change.resource.qualified == "pods" and (name := owner(change.item, "ReplicaSet")):
            return [(change.item["metadata"]["namespace"], name)]
        return []

    def look(self, name: Name) -> float | None:
        item = self.control.find(_RESOURCE, name)
        if item is None or item["metadata"].get("deletionTimestamp"):
            return None
        running = pods.active(pods.owned(self.control, "pods", item))
        wanted = item["spec"]["replicas"]
        failure: ApiFailure | None = None
        try:
            for _ in range(wanted - len(running)):
                pods.make(self.control, _RESOURCE, item, spec=item["spec"]["template"]["spec"])
        except ApiFailure as caught:
            failure = caught
        youngest_unready_first = [
            pod for ready in (False, True) for pod in running[::-1] if pods.is_ready(pod) is ready
        ]
        for pod in youngest_unready_first[: max(0, len(running) - wanted)]:
            pods.end(self.control, item, pod)
        self._report(item, failure)
        waits = any(pods.is_ready(pod) and not self._available(item, pod) for pod in running)
        return _RETRY_SECONDS if failure is not None or waits else None

    def _available(self, item: Object, pod: Object) -> bool:
        return pods.is_available(pod, item["spec"].get("minReadySeconds", 0))

    def _report(self, item: Object, failure: ApiFailure | None) -> None:
        running = pods.active(pods.owned(self.control, "pods", item))
        before = item.get("status") or {}
        status: Object = {
            "replicas": len(running),
            "fullyLabeledReplicas": len(running),
            "readyReplicas": sum(pods.is_ready(pod) for pod in running),
            "availableReplicas": sum(self._available(item, pod) for pod in running),
            "observedGeneration": item["metadata"]["generation"],
        }
        if failure is not None:
            known = before.get("conditions") or ()
            status["conditions"] = [
                pods.condition(
                    known, "ReplicaFailure", status=True, reason="FailedCreate", message=str(failure), now=now()
                )
            ]
        if status != before:
            self.control.set_status(_RESOURCE, item, status)
