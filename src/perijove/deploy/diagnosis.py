"""Why a pod does not come up, from its status, its events and its last lines.

A condition that only says "not ready" sends people to `kubectl describe` and `kubectl logs`; this is what they
would find there.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from perijove.kube.refs import Object

# Another look a minute later finds the same.
_HOPELESS_REASONS: Final = frozenset({"InvalidImageName", "ErrImageNeverPull", "ImageInspectError"})
_PULLING: Final = frozenset({"ErrImagePull", "ImagePullBackOff", "ErrImageNeverPull", "InvalidImageName"})
_UNSTARTED: Final = frozenset({"CreateContainerConfigError", "CreateContainerError", "RunContainerError"})
_HOPELESS_WORDS: Final = (
    "not found",
    "manifest unknown",
    "denied",
    "unauthorized",
    "no such host",
    "invalid reference",
)
_HOPELESS_RESTARTS: Final = 3
_MOUNTS: Final = frozenset({"FailedMount", "FailedAttachVolume", "FailedScheduling"})


@dataclass(frozen=True, slots=True)
class Trouble:
    """`kind` is stable, for programs; `text` the cause in the cluster's words.

    `wants_logs` names the container whose last lines tell more; `hopeless` says that waiting will not help.
    """

    pod: str
    kind: str
    text: str
    wants_logs: str = ""
    previous_logs: bool = False
    hopeless: bool = False

    @property
    def line(self) -> str:
        return f"{self.pod}: {self.text}"


def of_pod(pod: Object, events: Sequence[Object] = ()) -> Trouble | None:
    """None for a pod that is ready, or is simply not there yet."""
    name, status = pod["metadata"]["name"], pod.get("status") or {}
    if status.get("phase") == "Failed" and status.get("reason"):
        return Trouble(name, "failed", f"{status['reason']}: {status.get('message') or 'no message'}")
    for condition in status.get("conditions") or ():
        if condition["type"] == "PodScheduled" and condition["status"] == "False":
            return Trouble(name, "scheduling", f"no node takes it: {condition.get('message') or 'no reason given'}")
    statuses = [*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())]
    for container in statuses:
        if (found := _of_container(name, pod, container)) is not None:
            return found
    return _of_events(name, statuses, events)


def _of_container(pod_name: str, pod: Object, container: Object) -> Trouble | None:
    state, name = container.get("state") or {}, container["name"]
    restarts = int(container.get("restartCount") or 0)
    waiting = state.get("waiting") or {}
    reason, message = waiting.get("reason") or "", waiting.get("message") or ""
    if reason in _PULLING:
        text = f"the image {container.get('image')} of container {name} cannot be pulled ({reason}): {message}"
        hopeless = reason in _HOPELESS_REASONS or any(word in message.lower() for word in _HOPELESS_WORDS)
        return Trouble(pod_name, "image", text, hopeless=hopeless)
    if reason in _UNSTARTED:
        return Trouble(
            pod_name, "container", f"container {name} cannot be started ({reason}): {message}", hopeless=True
        )
    ended = state.get("terminated") or (container.get("lastState") or {}).get("terminated") or {}
    restarting = reason == "CrashLoopBackOff" or restarts > 0
    if ended and (ended.get("exitCode") or restarting) and not container.get("ready"):
        hopeless = restarts >= _HOPELESS_RESTARTS or (pod["spec"].get("restartPolicy") == "Never")
        times = f", restarted {restarts} times" if restarts > 1 else ", restarted once" if restarts else ""
        text = f"container {name} ended with {_exit(ended)}{times}"
        # What it runs now may have said nothing yet.
        previous = bool(restarts) and "running" in state
        return Trouble(pod_name, "crash", text, wants_logs=name, previous_logs=previous, hopeless=hopeless)
    return None


def _exit(ended: Object) -> str:
    reason, code = ended.get("reason") or "", ended.get("exitCode")
    if reason == "OOMKilled":
        return "OOMKilled: it needed more memory than its limit"
    words = f"exit code {code}"
    if reason not in ("", "Error", "Completed"):
        words += f" ({reason})"
    message = str(ended.get("message") or "").strip()
    return f"{words}: {message}" if message else words


def _of_events(pod_name: str, statuses: Sequence[Object], events: Sequence[Object]) -> Trouble | None:
    """What only events tell: volumes that are not attached, probes that fail."""
    warnings = sorted((event for event in events if event.get("type") == "Warning"), key=event_time, reverse=True)
    started = bool(statuses) and all("running" in (one.get("state") or {}) for one in statuses[-1:])
    for event in warnings:
        reason, message = event.get("reason") or "", str(event.get("message") or "").strip()
        if reason in _MOUNTS and not started:
            return Trouble(pod_name, "volume", f"{reason}: {message}")
        if reason == "Unhealthy" and started and any(not one.get("ready") for one in statuses):
            container = next(one["name"] for one in statuses if not one.get("ready"))
            return Trouble(pod_name, "probe", f"container {container} does not answer: {message}", wants_logs=container)
        if reason == "FailedCreatePodSandBox":
            return Trouble(pod_name, "sandbox", message)
    return None


def of_workload(item: Object) -> Trouble | None:
    """Pods that cannot even be made: quota, admission, a missing service account."""
    for condition in (item.get("status") or {}).get("conditions") or ():
        if condition["type"] == "ReplicaFailure" and condition["status"] == "True":
            message = condition.get("message") or condition.get("reason") or ""
            kind = "quota" if "exceeded quota" in message else "admission"
            return Trouble(item["metadata"]["name"], kind, f"its pods cannot be made: {message}")
    return None


def of_claim(claim: Object, events: Sequence[Object]) -> Trouble | None:
    """A volume that is not there yet."""
    if (claim.get("status") or {}).get("phase") == "Bound":
        return None
    said = sorted(events, key=event_time, reverse=True)
    message = str(said[0].get("message") or "").strip() if said else "no provisioner has answered"
    name = claim["metadata"]["name"]
    return Trouble(name, "volume", f"the PersistentVolumeClaim {name} is not bound: {message}")


def event_time(event: Object) -> str:
    series: dict[str, Any] = event.get("series") or {}
    metadata = event.get("metadata") or {}
    return str(
        series.get("lastObservedTime")
        or event.get("lastTimestamp")
        or event.get("eventTime")
        or metadata.get("creationTimestamp")
        or ""
    )
