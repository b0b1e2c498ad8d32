"""What becomes of a pod that runs: restarted in place, out of touch with its machine, ended. Pure, as `kube_causes`.

Not all that befalls a server ends it. A container that was killed for its memory is started again in its pod, with
the same token at the same address; a machine that does not answer may be back in a minute. Such a mishap is told
and the server stays, until the cluster says that it is gone.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from perijove.domain.ports import Mishap

NOTEBOOK = "notebook"
# A container that loops, and whose last run was shorter than this, will not be a server again.
_HOPELESS_RUN_SECONDS = 60.0
_OOM = "OOMKilled"


def notebook_of(pod: Mapping[str, Any]) -> Mapping[str, Any]:
    """The status of its container; empty while there is none."""
    statuses = pod.get("status", {}).get("containerStatuses") or ()
    return next((one for one in statuses if one["name"] == NOTEBOOK), {})


def statuses_of(pod: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Of all its containers, in the order in which they begin."""
    status = pod.get("status") or {}
    return [*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())]


def is_over(pod: Mapping[str, Any]) -> bool:
    """Nothing of it will run again, and it holds nothing any more."""
    return (pod.get("status") or {}).get("phase") in ("Failed", "Succeeded")


def is_restarting(pod: Mapping[str, Any]) -> bool:
    """Its container has ended and the node will start it again, or waits before it does."""
    if "deletionTimestamp" in pod["metadata"] or is_over(pod):
        return False
    state = notebook_of(pod).get("state", {})
    ended = state.get("terminated")
    if ended is None:
        return bool(state.get("waiting", {}).get("reason") == "CrashLoopBackOff")
    policy = pod.get("spec", {}).get("restartPolicy", "Always")
    return bool(policy == "Always" or (policy == "OnFailure" and ended.get("exitCode") != 0))


def is_hopeless(ended: Mapping[str, Any]) -> bool:
    """Whether a run was so short that the next one will end as it did."""
    try:
        began, end = (datetime.fromisoformat(ended[key]) for key in ("startedAt", "finishedAt"))
    except (KeyError, TypeError, ValueError):
        return True
    return (end - began).total_seconds() < _HOPELESS_RUN_SECONDS


def mishap(pod: Mapping[str, Any]) -> Mishap | None:
    """The latest thing that befell it and did not end it."""
    if lost := _unreachable(pod):
        return lost
    status = notebook_of(pod)
    ended = status.get("state", {}).get("terminated") or status.get("lastState", {}).get("terminated")
    if not ended:
        return None
    why = "it used more memory than its limit" if ended.get("reason") == _OOM else "it had ended"
    code = ended.get("exitCode")
    return Mishap(
        mark=f"restart {ended.get('finishedAt', '')}",
        reason="oom" if ended.get("reason") == _OOM else "restarted",
        message=f"The server was restarted because {why} (exit code {code}). What it held in memory is lost.",
        details=f"Container {NOTEBOOK} terminated: exit code {code}, {ended.get('reason', '')} "
        f"{ended.get('message') or ''}, restarts {status.get('restartCount', 0)}",
    )


def _unreachable(pod: Mapping[str, Any]) -> Mishap | None:
    """The control plane took it out of service; its node, which would have told more, said that all is well."""
    ready = _condition(pod, "Ready")
    if ready.get("status") != "False" or pod.get("spec", {}).get("readinessGates"):
        return None
    if _condition(pod, "ContainersReady").get("status") != "True":
        return None
    return Mishap(
        mark=f"lost {ready.get('lastTransitionTime', '')}",
        reason="node",
        message="The machine of the server does not answer.",
        details=f"Node {pod.get('spec', {}).get('nodeName', '')} is not ready; the pod's containers are.",
    )


def _condition(pod: Mapping[str, Any], kind: str) -> Mapping[str, Any]:
    return next((one for one in pod.get("status", {}).get("conditions") or () if one["type"] == kind), {})


def run_of(pod: Mapping[str, Any]) -> str:
    """A name for this run of this pod, that nothing else will ever have: it changes with every mishap."""
    restarts = notebook_of(pod).get("restartCount", 0)
    return f"{pod['metadata']['uid']}/{restarts}/{_condition(pod, 'Ready').get('status')}"
