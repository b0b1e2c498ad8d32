"""How far a Deployment or DaemonSet has come, from its object alone, in words to wait by."""

from dataclasses import dataclass

from perijove.kube.refs import Object, Ref


@dataclass(frozen=True, slots=True)
class Progress:
    """`text` is what is being waited for; `given_up` why the cluster itself no longer tries."""

    ref: Ref
    done: bool
    text: str
    given_up: str = ""


def progress(item: Object) -> Progress:
    ref = Ref.of(item)
    status = item.get("status") or {}
    if int(status.get("observedGeneration") or 0) < int(item["metadata"].get("generation") or 1):
        return Progress(ref, done=False, text="not noticed by the cluster yet")
    return _daemon_set(ref, status) if ref.kind == "DaemonSet" else _deployment(ref, item, status)


def _deployment(ref: Ref, item: Object, status: Object) -> Progress:
    wanted = int(item["spec"].get("replicas", 1))
    updated = int(status.get("updatedReplicas") or 0)
    total = int(status.get("replicas") or 0)
    available = int(status.get("availableReplicas") or 0)
    for condition in status.get("conditions") or ():
        if condition["type"] == "Progressing" and condition.get("reason") == "ProgressDeadlineExceeded":
            return Progress(ref, done=False, text="no progress", given_up=condition.get("message") or "no progress")
    if updated < wanted:
        return Progress(ref, done=False, text=f"{updated} of {wanted} new {_pods(wanted)} made")
    if available < wanted:
        return Progress(ref, done=False, text=f"{available} of {wanted} {_pods(wanted)} ready")
    if total > updated:
        return Progress(ref, done=False, text=f"{total - updated} old {_pods(total - updated)} to end")
    return Progress(ref, done=True, text=f"{available} of {wanted} {_pods(wanted)} ready")


def _daemon_set(ref: Ref, status: Object) -> Progress:
    wanted = int(status.get("desiredNumberScheduled") or 0)
    ready = int(status.get("numberReady") or 0)
    updated = int(status.get("updatedNumberScheduled") or 0)
    done = ready >= wanted and updated >= wanted
    return Progress(ref, done=done, text=f"{ready} of {wanted} {_nodes(wanted)} ready")


def _pods(count: int) -> str:
    return "pod" if count == 1 else "pods"


def _nodes(count: int) -> str:
    return "node" if count == 1 else "nodes"
