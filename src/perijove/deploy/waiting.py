"""Until what was applied has come up, or it is clear that it will not.

It looks once a second (sooner at first: what changes little is up at once) instead of watching: a deploy is one client
for a few minutes, and what it must not do is miss something.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from perijove.deploy import diagnosis
from perijove.deploy.diagnosis import Trouble
from perijove.deploy.errors import RolloutFailed
from perijove.deploy.report import Report
from perijove.deploy.rollout import Progress, progress
from perijove.kube.client import Client
from perijove.kube.errors import KubeError, ObjectInvalid, ObjectNotFound
from perijove.kube.refs import Object, Ref
from perijove.lib.clock import Clock, SystemClock

_REVISION: Final = "deployment.kubernetes.io/revision"
_LOG_LINES: Final = 20
_FIRST_LOOK_SECONDS: Final = 0.1
WAITED_FOR: Final = frozenset({"Deployment"})


@dataclass(frozen=True, kw_only=True)
class Deadline:
    """`hopeless_seconds`: how long something must look as if waiting could not help."""

    timeout_seconds: float = 600
    hopeless_seconds: float = 30
    look_seconds: float = 1.0


@dataclass(kw_only=True)
class Waiting:
    client: Client
    namespace: str
    report: Report
    deadline: Deadline = field(default_factory=Deadline)
    clock: Clock = field(default_factory=SystemClock)
    _told: dict[Ref, str] = field(default_factory=dict)
    _troubled: dict[str, str] = field(default_factory=dict)
    _hopeless: dict[str, float] = field(default_factory=dict)

    async def until_up(self, refs: Sequence[Ref]) -> None:
        """Raises `RolloutFailed` with the cause and the last lines of what failed."""
        start = self.clock.monotonic()
        left = list(refs)
        pause = min(_FIRST_LOOK_SECONDS, self.deadline.look_seconds)
        while left:
            looks = [await self._look(ref) for ref in left]
            for found, _ in looks:
                if found.done:
                    self.report.done(f"{found.ref}: {found.text}")
            left = [found.ref for found, _ in looks if not found.done]
            if not left:
                return
            self._tell([found for found, _ in looks if not found.done])
            troubles = [trouble for _, found in looks for trouble in found]
            now = self.clock.monotonic()
            hopeless = self._hopeless_by(troubles, now)
            given_up = next((f"{found.ref}: {found.given_up}" for found, _ in looks if found.given_up), "")
            late = now - start > self.deadline.timeout_seconds
            if hopeless or given_up or late:
                text = given_up or ("" if hopeless else f"not up after {self.deadline.timeout_seconds:g} s")
                raise await self._failure([found for found, _ in looks if not found.done], troubles, text)
            await self.clock.sleep(pause)
            pause = min(pause * 2, self.deadline.look_seconds)

    def _tell(self, waiting: Sequence[Progress]) -> None:
        self.report.waiting("waiting for " + "; ".join(f"{found.ref}: {found.text}" for found in waiting))

    async def _look(self, ref: Ref) -> tuple[Progress, list[Trouble]]:
        item = await self.client.find(ref)
        if item is None:
            return Progress(ref, done=False, text="not there", given_up="somebody deleted it"), []
        found = progress(item)
        if found.done:
            return found, []
        troubles = await self.troubles(item)
        for trouble in troubles:
            if self._troubled.get(trouble.pod) != trouble.text:
                self._troubled[trouble.pod] = trouble.text
                self.report.trouble(trouble.line)
        return found, troubles

    async def troubles(self, item: Object) -> list[Trouble]:
        """What keeps the newest pods of a workload from coming up."""
        found = [trouble] if (trouble := diagnosis.of_workload(item)) else []
        for pod in await self._newest_pods(item):
            if _is_ready(pod):
                continue
            events = await self._events("Pod", pod["metadata"])
            if (trouble := diagnosis.of_pod(pod, events)) is None:
                continue
            found.append(await self._claim_of(pod) or trouble if trouble.kind == "scheduling" else trouble)
        return found

    async def _claim_of(self, pod: Object) -> Trouble | None:
        """Pods wait for nodes because claims wait for volumes: that is the cause then."""
        for volume in pod["spec"].get("volumes") or ():
            name = (volume.get("persistentVolumeClaim") or {}).get("claimName")
            if name is None:
                continue
            claim = await self.client.find(Ref("v1", "PersistentVolumeClaim", name, self.namespace))
            if claim is None:
                return None
            events = await self._events("PersistentVolumeClaim", claim["metadata"])
            if (trouble := diagnosis.of_claim(claim, events)) is not None:
                return Trouble(pod["metadata"]["name"], trouble.kind, trouble.text)
        return None

    async def _newest_pods(self, item: Object) -> list[Object]:
        """Not those of the version before, which may be broken for reasons of their own."""
        owner = item["metadata"]["uid"]
        if item["kind"] == "Deployment":
            sets = await self.client.list("apps/v1", "ReplicaSet", self.namespace, labels=_selector(item))
            mine = [one for one in sets.items if _owner(one) == owner]
            if not mine:
                return []
            owner = max(mine, key=_revision)["metadata"]["uid"]
        pods = await self.client.list("v1", "Pod", self.namespace, labels=_selector(item))
        return [pod for pod in pods.items if _owner(pod) == owner and not pod["metadata"].get("deletionTimestamp")]

    async def _events(self, kind: str, metadata: Object) -> list[Object]:
        fields = f"involvedObject.kind={kind},involvedObject.name={metadata['name']}"
        listing = await self.client.list("v1", "Event", self.namespace, fields=fields)
        return [event for event in listing.items if event["involvedObject"].get("uid") in (None, metadata["uid"])]

    def _hopeless_by(self, troubles: Sequence[Trouble], now: float) -> bool:
        """Whether something has been hopeless for long enough; a pod that got over it starts anew."""
        current = {trouble.pod for trouble in troubles if trouble.hopeless}
        self._hopeless = {pod: self._hopeless.get(pod, now) for pod in current}
        return any(now - since >= self.deadline.hopeless_seconds for since in self._hopeless.values())

    async def _failure(self, waiting: Sequence[Progress], troubles: Sequence[Trouble], text: str) -> RolloutFailed:
        lines = [f"{found.ref} does not come up: {found.text}" for found in waiting]
        if text:
            lines.append(text)
        for trouble in troubles:
            lines.append(trouble.line)
            lines += [f"    | {line}" for line in await self.last_lines(trouble)]
        return RolloutFailed("\n".join(lines), remedy=_remedy(troubles))

    async def last_lines(self, trouble: Trouble) -> list[str]:
        """Of the container that failed; none where there are none to be had.

        It may have been started again since it was looked at, and have said nothing yet: then those of the run before.
        """
        if not trouble.wants_logs:
            return []
        for previous in (trouble.previous_logs, not trouble.previous_logs):
            try:
                text = await self.client.logs(
                    self.namespace, trouble.pod, trouble.wants_logs, tail_lines=_LOG_LINES, previous=previous
                )
            except (ObjectNotFound, ObjectInvalid):
                # 400 where there was no such run.
                continue
            except KubeError as exc:
                return [f"(its log cannot be read: {exc})"]
            if lines := text.splitlines()[-_LOG_LINES:]:
                return lines
        return []


_REMEDIES: Final = {
    "image": "Check the image's name and tag, and imagePullSecret(s) if its registry asks for a login.",
    "scheduling": "Add a node that fits, ask for less, or change node selectors and tolerations.",
    "quota": "Raise the namespace's quota, or ask for less.",
    "volume": "Check the storage class: `kubectl get storageclass`; hub.db.pvc.storageClassName names another.",
    "crash": "The lines above are the container's last words.",
}


def _remedy(troubles: Sequence[Trouble]) -> str:
    return " ".join(dict.fromkeys(_REMEDIES[trouble.kind] for trouble in troubles if trouble.kind in _REMEDIES))


def _is_ready(pod: Object) -> bool:
    conditions = (pod.get("status") or {}).get("conditions") or ()
    return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)


def _selector(item: Object) -> str:
    return ",".join(f"{key}={value}" for key, value in item["spec"]["selector"]["matchLabels"].items())


def _owner(item: Object) -> str:
    references = item["metadata"].get("ownerReferences") or ()
    return next((reference["uid"] for reference in references if reference.get("controller")), "")


def _revision(item: Object) -> int:
    return int((item["metadata"].get("annotations") or {}).get(_REVISION) or 0)
