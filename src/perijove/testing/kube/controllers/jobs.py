"""Jobs: pods until enough of them have succeeded, or too many have failed."""

from dataclasses import dataclass

from perijove.testing.kube.api.options import DeleteOptions, WriteOptions, now
from perijove.testing.kube.api.store import Change
from perijove.testing.kube.controllers import pods
from perijove.testing.kube.controllers.loop import Control, Name, name_of, owner
from perijove.testing.kube.objects.resources import Object, Resource

_RESOURCE = "jobs.batch"


def admit(resource: Resource, item: Object, before: Object | None, _options: WriteOptions) -> None:
    """A job selects its pods by its own identity, unless told otherwise."""
    if resource.qualified != _RESOURCE or before is not None or item["spec"].get("manualSelector"):
        return
    uid, name = item["metadata"]["uid"], item["metadata"]["name"]
    labels = {
        "batch.kubernetes.io/controller-uid": uid,
        "batch.kubernetes.io/job-name": name,
        "controller-uid": uid,
        "job-name": name,
    }
    item["spec"]["selector"] = {"matchLabels": {"batch.kubernetes.io/controller-uid": uid}}
    item["spec"]["template"].setdefault("metadata", {}).setdefault("labels", {}).update(labels)


@dataclass
class Jobs:
    control: Control

    def names(self, change: Change) -> list[Name]:
        if change.resource.qualified == _RESOURCE and change.type != "DELETED":
            return [name_of(change.item)]
        if change.resource.qualified == "pods" and (name := owner(change.item, "Job")):
            return [(change.item["metadata"]["namespace"], name)]
        return []

    def look(self, name: Name) -> float | None:
        item = self.control.find(_RESOURCE, name)
        if item is None or item["metadata"].get("deletionTimestamp"):
            return None
        before = item.get("status") or {}
        if before.get("conditions"):
            return self._expire(item, before)
        found = pods.owned(self.control, "pods", item)
        running = pods.active(found)
        succeeded = sum(pod["status"].get("phase") == "Succeeded" for pod in found)
        failed = sum(pod["status"].get("phase") == "Failed" for pod in found)
        spec = item["spec"]
        ending = self._ending(item, before, succeeded, failed)
        if ending is not None:
            for pod in running:
                pods.end(self.control, item, pod)
        elif not spec["suspend"]:
            missing = min(spec["parallelism"], spec["completions"] - succeeded) - len(running)
            for _ in range(missing):
                pods.make(self.control, _RESOURCE, item, spec=spec["template"]["spec"])
                running = [*running, {}]
        status: Object = {
            "active": 0 if ending else len(running),
            "succeeded": succeeded,
            "failed": failed,
            "ready": sum(pods.is_ready(pod) for pod in running if pod),
            "startTime": before.get("startTime") or now(),
        }
        status = {key: value for key, value in status.items() if value}
        if ending is not None:
            status["conditions"] = [ending]
            if ending["type"] == "Complete":
                status["completionTime"] = now()
        if status != before:
            self.control.set_status(_RESOURCE, item, status)
        deadline: float | None = spec.get("activeDeadlineSeconds")
        return deadline

    def _ending(self, item: Object, before: Object, succeeded: int, failed: int) -> Object | None:
        spec = item["spec"]
        deadline = spec.get("activeDeadlineSeconds")
        late = deadline is not None and pods.age_seconds(before.get("startTime") or now()) >= deadline
        source = "job-controller"
        if succeeded >= spec["completions"]:
            self.control.recorder.say(item, "Completed", "Job completed", source=source)
            return _condition("Complete", "CompletionsReached", "Reached expected number of succeeded pods")
        if failed > spec["backoffLimit"]:
            message = "Job has reached the specified backoff limit"
            self.control.recorder.say(item, "BackoffLimitExceeded", message, kind="Warning", source=source)
            return _condition("Failed", "BackoffLimitExceeded", message)
        if late:
            message = "Job was active longer than specified deadline"
            self.control.recorder.say(item, "DeadlineExceeded", message, kind="Warning", source=source)
            return _condition("Failed", "DeadlineExceeded", message)
        return None

    def _expire(self, item: Object, status: Object) -> float | None:
        seconds = item["spec"].get("ttlSecondsAfterFinished")
        if seconds is None:
            return None
        age = pods.age_seconds(status["conditions"][0]["lastTransitionTime"])
        if age < seconds:
            return float(seconds - age)
        self.control.deletion.delete(
            self.control.resource(_RESOURCE), *name_of(item), DeleteOptions(propagation="Background")
        )
        return None


def _condition(kind: str, reason: str, message: str) -> Object:
    times = {"lastProbeTime": now(), "lastTransitionTime": now()}
    return {"type": kind, "status": "True", "reason": reason, "message": message, **times}
