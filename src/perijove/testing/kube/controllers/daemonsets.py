"""DaemonSets: one pod on every node that will have it."""

from dataclasses import dataclass

from perijove.testing.kube.api.store import Change, copied
from perijove.testing.kube.controllers import pods
from perijove.testing.kube.controllers.loop import Control, Name, name_of, owner
from perijove.testing.kube.controllers.rollout import absolute
from perijove.testing.kube.controllers.scheduler import Fit
from perijove.testing.kube.objects.resources import Object

_RESOURCE = "daemonsets.apps"
_HASH = "controller-revision-hash"
_TOLERATED = ("not-ready", "unreachable", "disk-pressure", "memory-pressure", "pid-pressure", "unschedulable")


@dataclass
class DaemonSets:
    control: Control

    def names(self, change: Change) -> list[Name]:
        if change.resource.qualified == _RESOURCE and change.type != "DELETED":
            return [name_of(change.item)]
        if change.resource.qualified == "pods" and (name := owner(change.item, "DaemonSet")):
            return [(change.item["metadata"]["namespace"], name)]
        if change.resource.qualified == "nodes":
            return [name_of(item) for item in self.control.items(_RESOURCE)]
        return []

    def look(self, name: Name) -> None:
        item = self.control.find(_RESOURCE, name)
        if item is None or item["metadata"].get("deletionTimestamp"):
            return
        wanted = pods.template_hash(item["spec"]["template"])
        nodes = {node["metadata"]["name"]: node for node in self.control.items("nodes") if _wanted(item, node)}
        by_node: dict[str, list[Object]] = {}
        for pod in pods.owned(self.control, "pods", item):
            if not pod["metadata"].get("deletionTimestamp"):
                by_node.setdefault(_node_of(pod), []).append(pod)
        for node, present in by_node.items():
            spare = present[1:] if node in nodes else present
            ended = [pod for pod in present if pod["status"].get("phase") in ("Succeeded", "Failed")]
            for pod in [*spare, *(one for one in ended if one not in spare)]:
                pods.end(self.control, item, pod)
        for node in sorted(nodes.keys() - by_node.keys()):
            spec = _bound_to(item["spec"]["template"]["spec"], node)
            pods.make(self.control, _RESOURCE, item, labels={_HASH: wanted}, spec=spec)
        self._renew(item, wanted)
        self._report(item, wanted, nodes)

    def _renew(self, item: Object, wanted: str) -> None:
        if item["spec"]["updateStrategy"]["type"] != "RollingUpdate":
            return
        running = pods.active(pods.owned(self.control, "pods", item))
        rolling = item["spec"]["updateStrategy"].get("rollingUpdate") or {}
        may_lack = max(1, absolute(rolling.get("maxUnavailable", 1), len(running), up=True))
        old = [pod for pod in running if pod["metadata"]["labels"].get(_HASH) != wanted]
        lacking = sum(not pods.is_ready(pod) for pod in running if pod not in old)
        broken = [pod for pod in old if not pods.is_ready(pod)]
        sound = [pod for pod in old if pod not in broken]
        for pod in [*broken, *sound[: max(0, may_lack - lacking - len(broken))]]:
            pods.end(self.control, item, pod)

    def _report(self, item: Object, wanted: str, nodes: dict[str, Object]) -> None:
        live = self.control.find(_RESOURCE, name_of(item))
        if live is None:
            return
        running = [pod for pod in pods.active(pods.owned(self.control, "pods", live)) if _node_of(pod) in nodes]
        ready = sum(pods.is_ready(pod) for pod in running)
        status = {
            "currentNumberScheduled": len(running),
            "desiredNumberScheduled": len(nodes),
            "numberMisscheduled": 0,
            "numberReady": ready,
            "numberAvailable": ready,
            "numberUnavailable": len(nodes) - ready,
            "updatedNumberScheduled": sum(pod["metadata"]["labels"].get(_HASH) == wanted for pod in running),
            "observedGeneration": live["metadata"]["generation"],
        }
        if status != live.get("status"):
            self.control.set_status(_RESOURCE, live, status)


def _wanted(item: Object, node: Object) -> bool:
    """Room is not asked: such a pod waits for it on its node."""
    spec = item["spec"]["template"]["spec"]
    tolerations = [*(spec.get("tolerations") or ()), *_tolerations()]
    return not list(Fit(spec | {"tolerations": tolerations}).misplaced(node))


def _tolerations() -> list[Object]:
    return [
        {"key": f"node.kubernetes.io/{name}", "operator": "Exists", "effect": effect}
        for name in _TOLERATED
        for effect in (("NoExecute",) if name in ("not-ready", "unreachable") else ("NoSchedule",))
    ]


def _bound_to(template: Object, node: str) -> Object:
    spec: Object = copied(template)
    spec["tolerations"] = [*(spec.get("tolerations") or ()), *_tolerations()]
    term = {"matchFields": [{"key": "metadata.name", "operator": "In", "values": [node]}]}
    affinity = spec.setdefault("affinity", {}).setdefault("nodeAffinity", {})
    affinity["requiredDuringSchedulingIgnoredDuringExecution"] = {"nodeSelectorTerms": [term]}
    return spec


def _node_of(pod: Object) -> str:
    terms = pod["spec"]["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    return str(terms["nodeSelectorTerms"][0]["matchFields"][0]["values"][0])
