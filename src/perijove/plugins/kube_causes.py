"""Why a pod does not run, read from what the cluster says about it. Pure: objects in, a cause out.

Not every trouble is the end: an autoscaler adds a node, a registry comes back, a volume is made. Each cause
says how long it must last before it is worth giving up a start; until then it is what a timeout is blamed on.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from perijove.plugins.kube_life import NOTEBOOK, is_hopeless, is_restarting, notebook_of, statuses_of

FOREVER = float("inf")


@dataclass(frozen=True, slots=True)
class Cause:
    reason: str
    # For the user.
    message: str
    # For the admin: the cluster's own words.
    details: str = ""
    patience_seconds: float = 0.0
    exit_code: int | None = None
    # Whose last lines say more.
    container: str = ""


DELETED = Cause("deleted", "The server's pod was deleted by somebody else than the hub.")

# Registries fail for moments, so the first failed pull is not the end.
_IMAGE_SECONDS = 8.0
_CONFIGURATION_SECONDS = 5.0
_VOLUME_SECONDS = 20.0
# Long enough for an autoscaler to say that it will help: it looks every ten seconds.
_SCHEDULING_SECONDS = 30.0
_PROVISIONING_SECONDS = 60.0

_IMAGE = "The server's image cannot be pulled."
_HOOK = "A step after the server's start fails (its postStart hook)."
_CONFIGURATION = "The server's pod refers to something that is missing or wrong in the cluster."
_WAITING: Mapping[str, tuple[str, str, float]] = {
    "ErrImagePull": ("image", _IMAGE, _IMAGE_SECONDS),
    "ImagePullBackOff": ("image", _IMAGE, _IMAGE_SECONDS),
    "RegistryUnavailable": ("image", _IMAGE, _IMAGE_SECONDS),
    "InvalidImageName": ("image", "The server's image has no valid name.", 0.0),
    "ErrImageNeverPull": ("image", "The server's image is not on the machine and may not be pulled.", 0.0),
    "CreateContainerConfigError": ("configuration", _CONFIGURATION, _CONFIGURATION_SECONDS),
    "CreateContainerError": ("configuration", _CONFIGURATION, _CONFIGURATION_SECONDS),
    "RunContainerError": ("configuration", "The server's container cannot be run.", _CONFIGURATION_SECONDS),
    "CrashLoopBackOff": ("crashed", "The server ends again and again as soon as it starts.", 0.0),
}
# Of initialisation: waiting for something by failing until it is there is common.
_INIT_CRASHES_SECONDS = 20.0

_HELP = frozenset({"TriggeredScaleUp", "Nominated"})
_NO_HELP = frozenset({"NotTriggerScaleUp"})
_MOUNTING = frozenset({"FailedMount", "FailedAttachVolume", "FailedMapVolume"})


def starting(pod: Mapping[str, Any], events: Iterable[Mapping[str, Any]]) -> Cause | None:
    """What keeps a pod from becoming ready; `events` are of this pod."""
    events = list(events)
    return end(pod, restarted_is_ended=True) or _waiting(pod) or _unscheduled(pod, events) or _unmounted(pod, events)


def end(pod: Mapping[str, Any], *, restarted_is_ended: bool = False) -> Cause | None:
    """Why its server does not run any more. A server that was up may be restarted in its pod: that is no end."""
    status = pod.get("status", {})
    if status.get("phase") == "Failed" and status.get("reason"):
        return _taken_away(status["reason"], status.get("message", ""))
    if last := _last_run(pod, restarted_is_ended=restarted_is_ended):
        return _terminated(last)
    if "deletionTimestamp" in pod["metadata"]:
        return _disrupted(status) or DELETED
    if status.get("phase") == "Failed":
        return Cause("failed", "The server's pod failed.", status.get("message", ""))
    return None


def _last_run(pod: Mapping[str, Any], *, restarted_is_ended: bool) -> Mapping[str, Any] | None:
    """How the container's last run ended, if no other will be a server."""
    container = notebook_of(pod)
    state = container.get("state", {})
    now, before = state.get("terminated"), container.get("lastState", {}).get("terminated")
    if restarted_is_ended:
        return now or (before if container.get("restartCount", 0) or is_restarting(pod) else None)
    if not is_restarting(pod):
        return now  # type: ignore[no-any-return]  # decoded JSON
    return before if "waiting" in state and before and is_hopeless(before) else None


def _terminated(last: Mapping[str, Any]) -> Cause:
    code, reason = last.get("exitCode"), last.get("reason", "")
    words = f"Container {NOTEBOOK} terminated: exit code {code}, {reason} {last.get('message') or ''}".rstrip()
    if reason == "OOMKilled":
        return Cause("oom", "The server was ended because it used more memory than its limit.", words, exit_code=code)
    return Cause("exited", f"The server's process ended by itself (exit code {code}).", words, exit_code=code)


def _taken_away(reason: str, message: str) -> Cause:
    words = f"{reason}: {message}"
    if reason == "Evicted":
        short = message.partition(". ")[0].rstrip(".")
        return Cause("evicted", f"The cluster took the server off its machine: {short or 'evicted'}.", words)
    return Cause("failed", f"The cluster ended the server's pod ({reason}).", words)


def _disrupted(status: Mapping[str, Any]) -> Cause | None:
    for condition in status.get("conditions") or ():
        if condition["type"] == "DisruptionTarget" and condition["status"] == "True":
            words = f"{condition.get('reason', '')}: {condition.get('message', '')}"
            return Cause("evicted", "The cluster took the server off its machine.", words)
    return None


def _waiting(pod: Mapping[str, Any]) -> Cause | None:
    for one in statuses_of(pod):
        waiting = one.get("state", {}).get("waiting") or {}
        if waiting.get("reason") not in _WAITING:
            continue
        container = ""
        reason, message, patience = _WAITING[waiting["reason"]]
        words = f"Container {one['name']}: {waiting['reason']}: {waiting.get('message', '')}"
        if reason == "image":
            message = f"{message[:-1]}: {one.get('image', '')}"
        elif reason == "crashed" and one["name"] != NOTEBOOK:
            container = one["name"]
            message, patience = f"A step before the server's start fails ({one['name']}).", _INIT_CRASHES_SECONDS
            words += f"\n{one.get('lastState', {}).get('terminated', '')}"
        return Cause(reason, message, words, patience, container=container)
    return None


def _unscheduled(pod: Mapping[str, Any], events: list[Mapping[str, Any]]) -> Cause | None:
    for condition in pod.get("status", {}).get("conditions") or ():
        if (condition["type"], condition["status"], condition.get("reason")) == (
            "PodScheduled",
            "False",
            "Unschedulable",
        ):
            return _no_place(condition.get("message", ""), pod, {str(event.get("reason")) for event in events})
    return None


def _no_place(words: str, pod: Mapping[str, Any], said: set[str]) -> Cause:
    if claim := re.search(r'persistentvolumeclaim "([^"]+)" (not found|is being deleted)', words):
        message = f"The volume {claim[1]} of this server {'is missing' if claim[2] == 'not found' else claim[2]}."
        return Cause("volume", message, words, _CONFIGURATION_SECONDS)
    if "unbound immediate PersistentVolumeClaims" in words:
        return Cause("volume", "The server's volume is not provided by the cluster.", words, _PROVISIONING_SECONDS)
    patience = _SCHEDULING_SECONDS
    if said & _HELP or pod["status"].get("nominatedNodeName"):
        patience = FOREVER
    elif said & _NO_HELP:
        patience = _CONFIGURATION_SECONDS
    return Cause("unschedulable", f"No machine of the cluster can take the server{_lacking(words)}.", words, patience)


def _lacking(words: str) -> str:
    lacking = sorted(set(re.findall(r"Insufficient ([\w./-]+[\w])", words)))
    return f": not enough {', '.join(lacking)}" if lacking else ""


def _unmounted(pod: Mapping[str, Any], events: list[Mapping[str, Any]]) -> Cause | None:
    if pod.get("status", {}).get("phase") != "Pending":
        return None
    words = [event.get("message", "") for event in events if event.get("reason") in _MOUNTING]
    if not words:
        return None
    return Cause("volume", "A volume of the server cannot be mounted.", words[-1], _VOLUME_SECONDS)


def in_the_light_of(cause: Cause, events: Iterable[Mapping[str, Any]]) -> Cause:
    """What only events tell: a container whose hook failed looks as if it had been killed by nobody."""
    for event in events:
        if cause.reason == "exited" and event.get("reason") == "FailedPostStartHook":
            words = f"{cause.details}\n{event.get('message', '')}"
            return replace(cause, reason="hook", message=_HOOK, details=words)
    return cause


def refusal(status: int | None, words: str) -> Cause:
    """The API server's answer to making a pod or a volume."""
    if "exceeded quota" in words:
        return Cause("quota", "The server does not fit into what is left of the quota.", words)
    if "is forbidden: User" in words:
        return Cause("not_permitted", "The hub lacks a permission in the cluster.", words)
    return Cause("refused", f"The cluster refuses the server's pod or volume (status {status}).", words)


def described(pod: Mapping[str, Any]) -> str:
    """For admins: where it stands, in a few lines."""
    status, metadata = pod.get("status", {}), pod["metadata"]
    node = pod.get("spec", {}).get("nodeName") or "no node"
    lines = [f"Pod {metadata.get('namespace')}/{metadata['name']} on {node}: {status.get('phase', 'Unknown')}"]
    for one in statuses_of(pod):
        last = f", before: {one['lastState']}" if one.get("lastState") else ""
        lines.append(f"  {one['name']}: {one.get('state')}, restarts {one.get('restartCount', 0)}{last}")
    lines += [
        f"  {condition['type']}: {condition['message']}"
        for condition in status.get("conditions") or ()
        if condition.get("status") != "True" and condition.get("message")
    ]
    return "\n".join(lines)


def told(events: Iterable[Mapping[str, Any]]) -> str:
    lines = [
        f"  {event.get('lastTimestamp') or event.get('eventTime') or ''} {event.get('type')} {event.get('reason')}"
        f" (x{event.get('count') or 1}): {event.get('message')}"
        for event in events
    ]
    return "\n".join(["Events:", *lines]) if lines else ""
