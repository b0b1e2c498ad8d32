"""Deployments: one ReplicaSet a template, the old ones given up as the new one becomes available."""

from collections.abc import Sequence
from dataclasses import dataclass

from perijove.testing.kube.api.options import DeleteOptions
from perijove.testing.kube.api.store import Change, copied
from perijove.testing.kube.controllers import pods
from perijove.testing.kube.controllers.loop import Control, Name, name_of, owner, owner_reference
from perijove.testing.kube.controllers.rollout import Bounds, report
from perijove.testing.kube.objects.resources import Object

_RESOURCE = "deployments.apps"
_SETS = "replicasets.apps"
_HASH = "pod-template-hash"
_REVISION = "deployment.kubernetes.io/revision"
_LOOK_SECONDS = 0.2


@dataclass
class Deployments:
    control: Control

    def names(self, change: Change) -> list[Name]:
        if change.resource.qualified == _RESOURCE and change.type != "DELETED":
            return [name_of(change.item)]
        if change.resource.qualified == _SETS and (name := owner(change.item, "Deployment")):
            return [(change.item["metadata"]["namespace"], name)]
        if change.resource.qualified == "pods" and change.type == "DELETED":
            # Recreate waits for the last one.
            namespace = change.item["metadata"]["namespace"]
            return [name_of(item) for item in self.control.items(_RESOURCE, namespace)]
        return []

    def look(self, name: Name) -> float | None:
        item = self.control.find(_RESOURCE, name)
        if item is None or item["metadata"].get("deletionTimestamp"):
            return None
        sets = pods.owned(self.control, _SETS, item)
        wanted = pods.template_hash(item["spec"]["template"])
        current = next((one for one in sets if one["metadata"]["labels"].get(_HASH) == wanted), None)
        old = [one for one in sets if one is not current]
        if item["spec"].get("paused"):
            report(self.control, item, current, sets)
            return None
        if item["spec"]["strategy"]["type"] == "Recreate":
            self._recreate(item, current, old, wanted)
        else:
            self._roll(item, current or self._make(item, old, wanted, replicas=0), old)
        return self._finish(item, wanted)

    def _recreate(self, item: Object, current: Object | None, old: Sequence[Object], wanted: str) -> None:
        for one in old:
            self._scale(item, one, 0)
        left = [pod for one in old for pod in pods.owned(self.control, "pods", one)]
        if any(pod["status"].get("phase") not in ("Succeeded", "Failed") for pod in left):
            return
        self._scale(item, current or self._make(item, old, wanted, replicas=0), item["spec"]["replicas"])

    def _roll(self, item: Object, current: Object, old: Sequence[Object]) -> None:
        replicas = item["spec"]["replicas"]
        bounds = Bounds.of(item)
        total = sum(one["spec"]["replicas"] for one in (current, *old))
        room = max(0, replicas + bounds.surge - total)
        have = current["spec"]["replicas"]
        self._scale(item, current, min(replicas, have + room) if have < replicas else replicas)
        ready = sum((one.get("status") or {}).get("availableReplicas", 0) for one in (current, *old))
        spare = max(0, ready - (replicas - bounds.unavailable))
        for one in old:
            present = one["spec"]["replicas"]
            # Those that never came up keep nobody waiting.
            broken = max(0, present - (one.get("status") or {}).get("availableReplicas", 0))
            fewer = min(present, broken + spare)
            spare -= max(0, fewer - broken)
            self._scale(item, one, present - fewer)

    def _make(self, item: Object, old: Sequence[Object], wanted: str, *, replicas: int) -> Object:
        template = copied(item["spec"]["template"])
        template["metadata"].setdefault("labels", {})[_HASH] = wanted
        selector = copied(item["spec"]["selector"])
        selector.setdefault("matchLabels", {})[_HASH] = wanted
        revision = str(1 + max((_revision(one) for one in old), default=0))
        body: Object = {
            "metadata": {
                "name": f"{item['metadata']['name']}-{wanted}",
                "labels": template["metadata"]["labels"],
                "annotations": {_REVISION: revision},
                "ownerReferences": [owner_reference(self.control.resource(_RESOURCE), item)],
            },
            "spec": {"replicas": replicas, "selector": selector, "template": template},
        }
        if seconds := item["spec"].get("minReadySeconds"):
            body["spec"]["minReadySeconds"] = seconds
        return self.control.create(_SETS, item["metadata"]["namespace"], body)

    def _scale(self, item: Object, one: Object, replicas: int) -> None:
        before = one["spec"]["replicas"]
        if before == replicas:
            return
        self.control.change(_SETS, one, lambda latest: latest["spec"].update(replicas=replicas))
        way = "up" if replicas > before else "down"
        message = f"Scaled {way} replica set {one['metadata']['name']} from {before} to {replicas}"
        self.control.recorder.say(item, "ScalingReplicaSet", message, source="deployment-controller")

    def _finish(self, item: Object, wanted: str) -> float | None:
        sets = pods.owned(self.control, _SETS, item)
        current = next((one for one in sets if one["metadata"]["labels"].get(_HASH) == wanted), None)
        if current is not None:
            self._number(item, current, [one for one in sets if one is not current])
        complete = report(self.control, item, current, sets)
        if complete:
            self._forget(item, [one for one in sets if one is not current])
        return None if complete else _LOOK_SECONDS

    def _number(self, item: Object, current: Object, old: Sequence[Object]) -> None:
        """A template that comes back is the newest revision again."""
        highest = max((_revision(one) for one in old), default=0)
        revision = _revision(current)
        if revision <= highest:
            revision = highest + 1
            self.control.change(_SETS, current, lambda latest: _annotate(latest, revision))
        live = self.control.find(_RESOURCE, name_of(item))
        if live is not None and _revision(live) != revision:
            self.control.change(_RESOURCE, live, lambda latest: _annotate(latest, revision))

    def _forget(self, item: Object, old: Sequence[Object]) -> None:
        limit = item["spec"]["revisionHistoryLimit"]
        ordered = sorted(old, key=_revision)
        for one in ordered[: max(0, len(ordered) - limit)]:
            self.control.deletion.delete(self.control.resource(_SETS), *name_of(one), DeleteOptions())


def _revision(item: Object) -> int:
    return int((item["metadata"].get("annotations") or {}).get(_REVISION, 0))


def _annotate(item: Object, revision: int) -> None:
    item["metadata"].setdefault("annotations", {})[_REVISION] = str(revision)
