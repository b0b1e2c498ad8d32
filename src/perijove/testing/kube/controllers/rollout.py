"""How far a Deployment's rollout has come: its counts and conditions, in the words that people wait for."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from perijove.testing.kube.api.options import now
from perijove.testing.kube.controllers import pods
from perijove.testing.kube.controllers.loop import Control, name_of
from perijove.testing.kube.objects.resources import Object

_RESOURCE = "deployments.apps"


@dataclass(frozen=True)
class Bounds:
    """How many more, and how many fewer, there may be while rolling."""

    surge: int
    unavailable: int

    @classmethod
    def of(cls, item: Object) -> "Bounds":
        replicas = item["spec"]["replicas"]
        rolling = item["spec"]["strategy"].get("rollingUpdate") or {}
        surge = absolute(rolling.get("maxSurge", 0), replicas, up=True)
        unavailable = absolute(rolling.get("maxUnavailable", 0), replicas, up=False)
        return cls(surge, unavailable if surge or unavailable else 1)


def absolute(value: int | str, total: int, *, up: bool) -> int:
    """A number, or a share of `total`."""
    if isinstance(value, int):
        return value
    share = total * int(value.rstrip("%")) / 100
    return math.ceil(share) if up else math.floor(share)


def report(control: Control, item: Object, current: Object | None, sets: Sequence[Object]) -> bool:
    """Write the status. True once everything is as wanted."""
    live = control.find(_RESOURCE, name_of(item))
    if live is None:
        return True
    counts = _counts(live, current, sets)
    replicas = live["spec"]["replicas"]
    complete: bool = (
        counts["updatedReplicas"] == replicas
        and counts["replicas"] == replicas
        and counts["availableReplicas"] >= replicas - _may_lack(live)
    )
    before = live.get("status") or {}
    conditions = [_available(live, before, counts), _progressing(live, before, counts, current, complete=complete)]
    failures = [one for each in sets for one in (each.get("status") or {}).get("conditions") or ()]
    conditions += [one for one in failures if one["type"] == "ReplicaFailure"][:1]
    status = {
        **{key: value for key, value in counts.items() if value},
        "observedGeneration": live["metadata"]["generation"],
        "conditions": conditions,
    }
    if status != before:
        control.set_status(_RESOURCE, live, status)
    return complete and counts["availableReplicas"] == int(replicas)


def _may_lack(item: Object) -> int:
    return Bounds.of(item).unavailable if item["spec"]["strategy"]["type"] == "RollingUpdate" else 0


def _counts(item: Object, current: Object | None, sets: Sequence[Object]) -> dict[str, int]:
    def total(key: str, among: Sequence[Object]) -> int:
        return sum((one.get("status") or {}).get(key, 0) for one in among)

    available = total("availableReplicas", sets)
    return {
        "replicas": total("replicas", sets),
        "updatedReplicas": total("replicas", [current]) if current else 0,
        "readyReplicas": total("readyReplicas", sets),
        "availableReplicas": available,
        "unavailableReplicas": max(0, item["spec"]["replicas"] - available),
    }


def _available(item: Object, before: Object, counts: dict[str, int]) -> Object:
    enough = counts["availableReplicas"] >= item["spec"]["replicas"] - _may_lack(item)
    return pods.condition(
        before.get("conditions") or (),
        "Available",
        status=enough,
        reason="MinimumReplicasAvailable" if enough else "MinimumReplicasUnavailable",
        message=f"Deployment {'has' if enough else 'does not have'} minimum availability.",
        now=now(),
    )


def _progressing(
    item: Object, before: Object, counts: dict[str, int], current: Object | None, *, complete: bool
) -> Object:
    known = before.get("conditions") or ()
    name = current["metadata"]["name"] if current else ""
    if complete:
        message = f'ReplicaSet "{name}" has successfully progressed.'
        return pods.condition(
            known, "Progressing", status=True, reason="NewReplicaSetAvailable", message=message, now=now()
        )
    old = next((one for one in known if one["type"] == "Progressing"), None)
    another = before.get("observedGeneration") != item["metadata"]["generation"]
    moved = another or any(before.get(key, 0) != counts[key] for key in ("updatedReplicas", "availableReplicas"))
    late = (
        old is not None
        and not moved
        and old["reason"] != "NewReplicaSetAvailable"
        and pods.age_seconds(old["lastUpdateTime"]) >= item["spec"]["progressDeadlineSeconds"]
    )
    if late or (old is not None and old["reason"] == "ProgressDeadlineExceeded" and not moved):
        message = f'ReplicaSet "{name}" has timed out progressing.'
        return pods.condition(
            known, "Progressing", status=False, reason="ProgressDeadlineExceeded", message=message, now=now()
        )
    message = f'ReplicaSet "{name}" is progressing.'
    return pods.condition(
        known, "Progressing", status=True, reason="ReplicaSetUpdated", message=message, now=now(), moved=moved
    )
