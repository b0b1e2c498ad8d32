"""Which node a pod goes to: room, selectors, affinity to nodes, taints. No scores, no preemption."""

import random
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from decimal import Decimal

from perijove.testing.kube.api.options import WriteOptions, now
from perijove.testing.kube.api.store import Change, copied
from perijove.testing.kube.controllers.loop import Control, Name, name_of
from perijove.testing.kube.objects.quantities import amount
from perijove.testing.kube.objects.resources import Object
from perijove.testing.kube.objects.selectors import object_selector

SOURCE = "default-scheduler"


@dataclass
class Scheduler:
    control: Control
    # Who else schedules here; pods for other schedulers wait for them.
    names_served: frozenset[str] = frozenset({"default-scheduler"})
    serve_all: bool = True
    # Of each node, by its pods that have not ended.
    _taken: dict[str, dict[str, Decimal]] = field(default_factory=dict)

    def names(self, change: Change) -> list[Name]:
        if change.resource.plural == "pods":
            self._account(change)
        if change.resource.plural == "pods" and change.type != "DELETED" and _waits(change.item):
            return [name_of(change.item)]
        freed = change.resource.plural == "pods" and change.type == "DELETED"
        if freed or change.resource.plural in ("nodes", "persistentvolumeclaims"):
            return [name_of(pod) for pod in self.control.items("pods") if _waits(pod)]
        return []

    def _account(self, change: Change) -> None:
        after = change.item if change.type != "DELETED" else None
        for pod, sign in ((change.before, -1), (after, 1)):
            if pod is None or pod.get("status", {}).get("phase") in ("Succeeded", "Failed"):
                continue
            if node := pod["spec"].get("nodeName"):
                taken = self._taken.setdefault(node, {})
                for key, value in requests_of(pod).items():
                    taken[key] = taken.get(key, Decimal()) + sign * value

    def look(self, name: Name) -> None:
        pod = self.control.find("pods", name)
        if pod is None or not _waits(pod) or pod["metadata"].get("deletionTimestamp"):
            return
        if not self.serve_all and pod["spec"]["schedulerName"] not in self.names_served:
            return
        if pod["spec"].get("schedulingGates"):
            return
        if (why := self._claims(pod)) is not None:
            self._unschedulable(pod, why)
            return
        reasons: Counter[str] = Counter()
        fitting: list[str] = []
        nodes = self.control.items("nodes")
        for node in nodes:
            if found := next(self._obstacles(pod, node), None):
                reasons[found] += 1
            else:
                fitting.append(node["metadata"]["name"])
        if fitting:
            self._bind(pod, random.choice(fitting))  # noqa: S311 - any of them will do
        else:
            listed = ", ".join(f"{count} {reason}" for reason, count in sorted(reasons.items()))
            nothing = "no nodes available to schedule pods"
            tail = " preemption: 0/{0} nodes are available: {0} Preemption is not helpful for scheduling."
            told = f"0/{len(nodes)} nodes are available: {listed}.{tail.format(len(nodes))}"
            self._unschedulable(pod, told if nodes else nothing)

    def _obstacles(self, pod: Object, node: Object) -> Iterator[str]:
        yield from Fit(pod["spec"]).misplaced(node)
        free = {key: amount(value) for key, value in node["status"]["allocatable"].items()}
        for key, value in self._taken.get(node["metadata"]["name"], {}).items():
            free[key] = free.get(key, Decimal()) - value
        for key, value in requests_of(pod).items():
            if value > free.get(key, Decimal()):
                yield "Too many pods" if key == "pods" else f"Insufficient {key}"

    def _claims(self, pod: Object) -> str | None:
        for volume in pod["spec"].get("volumes") or ():
            name = (volume.get("persistentVolumeClaim") or {}).get("claimName")
            if name is None:
                continue
            claim = self.control.find("persistentvolumeclaims", (pod["metadata"]["namespace"], name))
            if claim is None:
                return f'persistentvolumeclaim "{name}" not found'
            if claim["metadata"].get("deletionTimestamp"):
                return f'persistentvolumeclaim "{name}" is being deleted'
            if claim["status"]["phase"] != "Bound" and not self._waits_for_pod(claim):
                return "pod has unbound immediate PersistentVolumeClaims"
        return None

    def _waits_for_pod(self, claim: Object) -> bool:
        name = claim["spec"].get("storageClassName") or ""
        found = self.control.find("storageclasses.storage.k8s.io", ("", name))
        return found is not None and found.get("volumeBindingMode") == "WaitForFirstConsumer"

    def _bind(self, pod: Object, node: str) -> None:
        # Past validation: only the binding endpoint may set the node.
        bound = copied(pod)
        bound["spec"]["nodeName"] = node
        condition = {"type": "PodScheduled", "status": "True", "lastProbeTime": None, "lastTransitionTime": now()}
        bound["status"]["conditions"] = [condition]
        self.control.store.put(self.control.resource("pods"), bound)
        namespace, name = name_of(pod)
        self.control.recorder.say(
            pod, "Scheduled", f"Successfully assigned {namespace}/{name} to {node}", source=self._source(pod)
        )

    def _unschedulable(self, pod: Object, why: str) -> None:
        conditions = [one for one in pod["status"].get("conditions") or () if one["type"] != "PodScheduled"]
        condition = {
            "type": "PodScheduled",
            "status": "False",
            "reason": "Unschedulable",
            "message": why,
            "lastProbeTime": None,
            "lastTransitionTime": now(),
        }
        known = [one for one in pod["status"].get("conditions") or () if one["type"] == "PodScheduled"]
        if known and known[0].get("message") == why:
            return
        status = pod["status"] | {"conditions": [*conditions, condition]}
        options = WriteOptions(manager="kube-scheduler", subresource="status")
        self.control.objects.replace(self.control.resource("pods"), *name_of(pod), pod | {"status": status}, options)
        self.control.recorder.say(pod, "FailedScheduling", why, kind="Warning", source=self._source(pod))

    def _source(self, pod: Object) -> str:
        return str(pod["spec"]["schedulerName"])


@dataclass(frozen=True)
class Fit:
    """A pod's spec against nodes, room apart."""

    spec: Object

    def misplaced(self, node: Object) -> Iterator[str]:
        tolerations = self.spec.get("tolerations") or ()
        closed = {"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"}
        if node["spec"].get("unschedulable") and not _tolerated(closed, tolerations):
            yield "node(s) were unschedulable"
        labels = node["metadata"].get("labels") or {}
        selector = self.spec.get("nodeSelector") or {}
        if not (selector.items() <= labels.items() and _affine(self.spec, node)):
            yield "node(s) didn't match Pod's node affinity/selector"
        for taint in node["spec"].get("taints") or ():
            if taint["effect"] != "PreferNoSchedule" and not _tolerated(taint, tolerations):
                yield f"node(s) had untolerated taint {{{taint['key']}: {taint.get('value', '')}}}"


def _waits(pod: Object) -> bool:
    return not pod["spec"].get("nodeName") and pod.get("status", {}).get("phase", "Pending") == "Pending"


def requests_of(pod: Object) -> dict[str, Decimal]:
    """What it takes on a node, itself included."""
    total: dict[str, Decimal] = {"pods": Decimal(1)}
    for container in pod["spec"]["containers"]:
        for key, value in ((container.get("resources") or {}).get("requests") or {}).items():
            total[key] = total.get(key, Decimal()) + amount(value)
    for container in pod["spec"].get("initContainers") or ():
        for key, value in ((container.get("resources") or {}).get("requests") or {}).items():
            total[key] = max(total.get(key, Decimal()), amount(value))
    return total


def _affine(spec: Object, node: Object) -> bool:
    affinity = ((spec.get("affinity") or {}).get("nodeAffinity") or {}).get(
        "requiredDuringSchedulingIgnoredDuringExecution"
    )
    if not affinity:
        return True
    labels = node["metadata"].get("labels") or {}
    fields = {"metadata.name": node["metadata"]["name"]}
    return any(
        object_selector({"matchExpressions": term.get("matchExpressions")})(labels)
        and object_selector({"matchExpressions": term.get("matchFields")})(fields)
        for term in affinity.get("nodeSelectorTerms") or ()
    )


def _tolerated(taint: Object, tolerations: Iterable[Object]) -> bool:
    for toleration in tolerations:
        effect = toleration.get("effect") in (None, "", taint["effect"])
        anything = not toleration.get("key") and toleration.get("operator") == "Exists"
        key = toleration.get("key") == taint["key"]
        value = toleration.get("operator") == "Exists" or toleration.get("value", "") == taint.get("value", "")
        if effect and (anything or (key and value)):
            return True
    return False
