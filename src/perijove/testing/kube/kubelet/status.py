"""A pod's status from the states of its containers, as its node reports it."""

from typing import TYPE_CHECKING

from perijove.testing.kube.api.options import now
from perijove.testing.kube.objects.resources import Object

if TYPE_CHECKING:
    from perijove.testing.kube.kubelet.container import Container
    from perijove.testing.kube.kubelet.pod import PodRun

_KILLED = 137


def of_pod(pod: "PodRun", before: Object) -> Object:
    initialized = all(one.exit_code == 0 or (one.is_sidecar and one.started) for one in pod.inits)
    phase = _phase(pod, initialized=initialized)
    ended = phase in ("Succeeded", "Failed")
    ready = not ended and all(one.ready for one in pod.containers) and not pod.verdict
    names = [one.name for one in pod.containers if not one.ready]
    unready = ("ContainersNotReady", f"containers with unready status: [{' '.join(names)}]")
    if ended:
        unready = ("PodCompleted", "") if phase == "Succeeded" else ("PodFailed", "")
    waiting = [one.name for one in pod.inits if one.exit_code != 0 and not one.is_sidecar]
    incomplete = ("ContainersNotInitialized", f"containers with incomplete status: [{' '.join(waiting)}]")
    conditions = [
        ("PodReadyToStartContainers", not ended, ("", "")),
        ("Initialized", initialized, incomplete),
        ("Ready", ready, unready),
        ("ContainersReady", ready, unready),
        ("PodScheduled", True, ("", "")),
    ]
    status: Object = {
        "phase": phase,
        "qosClass": before.get("qosClass", "BestEffort"),
        "startTime": before.get("startTime") or now(),
        "hostIP": pod.kubelet.host_ip,
        "hostIPs": [{"ip": pod.kubelet.host_ip}],
        "podIP": pod.ip,
        "podIPs": [{"ip": pod.ip}],
        "conditions": [_condition(before, name, met=met, otherwise=why) for name, met, why in conditions],
        "containerStatuses": [one.status() for one in pod.containers],
    }
    if pod.inits:
        status["initContainerStatuses"] = [one.status() for one in pod.inits]
    return status | (pod.verdict or {})


def _condition(before: Object, name: str, *, met: bool, otherwise: tuple[str, str]) -> Object:
    condition: Object = {"type": name, "status": "True" if met else "False", "lastProbeTime": None}
    reason, message = otherwise
    if not met and reason:
        condition["reason"] = reason
    if not met and message:
        condition["message"] = message
    for old in before.get("conditions") or ():
        if old["type"] == name and old["status"] == condition["status"]:
            return condition | {"lastTransitionTime": old["lastTransitionTime"]}
    return condition | {"lastTransitionTime": now()}


def _phase(pod: "PodRun", *, initialized: bool) -> str:
    policy = pod.item["spec"]["restartPolicy"]
    failed_init = any(one.done.is_set() and one.exit_code not in (None, 0) for one in pod.inits)
    if failed_init:
        return "Failed"
    if not initialized:
        return "Pending"
    ended = [one for one in pod.containers if "terminated" in one.state]
    beside = any("running" in one.state for one in pod.inits if one.is_sidecar)
    if not beside and len(ended) == len(pod.containers):
        over, well = pod.ending or _all_done(pod), all(one.exit_code == 0 for one in ended)
        if well and (over or policy != "Always"):
            return "Succeeded"
        if over or policy == "Never":
            return "Failed"
    if all("waiting" in one.state and not one.restarts and not one.last_state for one in pod.containers):
        return "Pending"
    return "Running"


def _all_done(pod: "PodRun") -> bool:
    return all(one.done.is_set() for one in pod.containers)


def settle(pod: "PodRun") -> None:
    """After everything was cancelled: what has not ended by itself is told as ended."""
    for container in [*pod.inits, *pod.containers]:
        if "running" in container.state:
            container.state = {"terminated": _lost(container)}
        container.ready = container.started = False


def _lost(container: "Container") -> Object:
    return {
        "exitCode": _KILLED,
        "reason": "Error",
        "startedAt": container.state["running"]["startedAt"],
        "finishedAt": now(),
        "containerID": container.container_id,
    }
