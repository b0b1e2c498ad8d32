"""StatefulSets: pods by number, each after the one before it, with claims of their own."""

from dataclasses import dataclass

from perijove.testing.kube.api.store import Change, copied
from perijove.testing.kube.controllers import pods
from perijove.testing.kube.controllers.loop import Control, Name, name_of, owner
from perijove.testing.kube.objects.failures import ApiFailure
from perijove.testing.kube.objects.resources import Object

_RESOURCE = "statefulsets.apps"
_HASH = "controller-revision-hash"
_CONFLICT = 409


@dataclass
class StatefulSets:
    control: Control

    def names(self, change: Change) -> list[Name]:
        if change.resource.qualified == _RESOURCE and change.type != "DELETED":
            return [name_of(change.item)]
        if change.resource.qualified == "pods" and (name := owner(change.item, "StatefulSet")):
            return [(change.item["metadata"]["namespace"], name)]
        return []

    def look(self, name: Name) -> None:
        item = self.control.find(_RESOURCE, name)
        if item is None or item["metadata"].get("deletionTimestamp"):
            return
        wanted = f"{name[1]}-{pods.template_hash(item['spec']['template'])}"
        by_name = {pod["metadata"]["name"]: pod for pod in pods.owned(self.control, "pods", item)}
        self._move(item, by_name, wanted)
        self._report(item, wanted)

    def _move(self, item: Object, by_name: dict[str, Object], wanted: str) -> None:
        """One step, or all of them where the order does not matter."""
        ordered = item["spec"]["podManagementPolicy"] == "OrderedReady"
        own, count = item["metadata"]["name"], item["spec"]["replicas"]
        for number in range(count):
            pod = by_name.get(f"{own}-{number}")
            if pod is None:
                self._make(item, number, wanted)
            elif pod["status"].get("phase") in ("Succeeded", "Failed"):
                pods.end(self.control, item, pod)
            if ordered and (pod is None or not pods.is_ready(pod)):
                break
        spare = [pod for name, pod in by_name.items() if int(name.rpartition("-")[2]) >= count]
        old = [pod for pod in by_name.values() if pod["metadata"]["labels"].get(_HASH) != wanted]
        rolling = item["spec"]["updateStrategy"]["type"] == "RollingUpdate"
        for pod in (spare or (old if rolling else []))[::-1]:
            if pod["metadata"].get("deletionTimestamp"):
                return
            pods.end(self.control, item, pod)
            if ordered:
                return

    def _make(self, item: Object, number: int, wanted: str) -> None:
        own, namespace = item["metadata"]["name"], item["metadata"]["namespace"]
        spec = copied(item["spec"]["template"]["spec"])
        spec["hostname"] = f"{own}-{number}"
        for template in item["spec"].get("volumeClaimTemplates") or ():
            volume = template["metadata"]["name"]
            claim = f"{volume}-{own}-{number}"
            body = {"metadata": template["metadata"] | {"name": claim}, "spec": template["spec"]}
            try:
                self.control.create("persistentvolumeclaims", namespace, copied(body))
            except ApiFailure as failure:
                if failure.code != _CONFLICT:
                    raise
            spec.setdefault("volumes", []).append({"name": volume, "persistentVolumeClaim": {"claimName": claim}})
        labels = {
            _HASH: wanted,
            "statefulset.kubernetes.io/pod-name": f"{own}-{number}",
            "apps.kubernetes.io/pod-index": str(number),
        }
        pods.make(self.control, _RESOURCE, item, name=f"{own}-{number}", labels=labels, spec=spec)

    def _report(self, item: Object, wanted: str) -> None:
        live = self.control.find(_RESOURCE, name_of(item))
        if live is None:
            return
        running = pods.active(pods.owned(self.control, "pods", live))
        ready = sum(pods.is_ready(pod) for pod in running)
        updated = sum(pod["metadata"]["labels"].get(_HASH) == wanted for pod in running)
        before = live.get("status") or {}
        complete = updated == len(running) == live["spec"]["replicas"]
        status = {
            "replicas": len(running),
            "readyReplicas": ready,
            "availableReplicas": ready,
            "currentReplicas": updated if complete else len(running) - updated,
            "updatedReplicas": updated,
            "updateRevision": wanted,
            "currentRevision": wanted if complete else before.get("currentRevision", wanted),
            "observedGeneration": live["metadata"]["generation"],
            "collisionCount": 0,
        }
        if status != before:
            self.control.set_status(_RESOURCE, live, status)
