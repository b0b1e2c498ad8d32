"""One pod on its node: from its binding to its last container's end."""

import asyncio
import shutil
from collections.abc import Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from perijove.testing.kube.api.identity import service_account
from perijove.testing.kube.api.options import WriteOptions
from perijove.testing.kube.kubelet import status as statuses
from perijove.testing.kube.kubelet.container import Container
from perijove.testing.kube.kubelet.environment import Resolver
from perijove.testing.kube.kubelet.hooks import Target
from perijove.testing.kube.kubelet.logs import ContainerLog
from perijove.testing.kube.kubelet.volumes import MountFailed, Volumes
from perijove.testing.kube.objects.failures import ApiFailure
from perijove.testing.kube.objects.resources import Object

if TYPE_CHECKING:
    from perijove.testing.kube.kubelet.node import Kubelet

_NOT_FOUND = 404


@dataclass
class PodRun:
    kubelet: "Kubelet"
    item: Object
    ip: str
    # Set as soon as it is to end: nothing is restarted from then on.
    ending: bool = False
    # The status that outlasts whatever its containers do: evicted, deadline exceeded.
    verdict: Object | None = None
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)
    _end: asyncio.Task[None] | None = None

    def __post_init__(self) -> None:
        metadata = self.item["metadata"]
        self.namespace, self.name, self.uid = metadata["namespace"], metadata["name"], metadata["uid"]
        self.hostname = str(self.item["spec"].get("hostname") or self.name)
        self.directory: Path = self.kubelet.directory / "pods" / self.uid
        self.resolver = Resolver(self.kubelet.objects, self.item, self.ip, self.kubelet.host_ip)
        self.volumes = Volumes(
            self.kubelet.objects,
            self.item,
            self.directory / "volumes",
            self.kubelet.directory / "persistent",
            self.resolver,
            self._token,
        )
        spec = self.item["spec"]
        self.inits = [Container(self, one, init=True) for one in spec.get("initContainers") or ()]
        self.containers = [Container(self, one) for one in spec["containers"]]

    def _token(self) -> str:
        account = self.item["spec"].get("serviceAccountName", "default")
        return self.kubelet.tokens.mint(service_account(self.namespace, account))

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def run(self) -> None:
        if self.inits:
            for container in self.containers:
                container.state = {"waiting": {"reason": "PodInitializing"}}
        self.publish()
        self._look_for_pull_secrets()
        if not all(self.kubelet.images.find(one.spec["image"]).hollow for one in [*self.inits, *self.containers]):
            await self._mount()
        if not await self._initialize():
            self.publish()
            return
        for container in self.containers:
            self.spawn(container.run())
        for container in self.containers:
            await container.done.wait()
        # Sidecars end with what they were beside.
        await asyncio.gather(*(container.stop(self.grace) for container in self.inits if container.is_sidecar))
        self.publish()

    def _look_for_pull_secrets(self) -> None:
        secrets = self.kubelet.objects.resource("secrets")
        named = [one.get("name", "") for one in self.item["spec"].get("imagePullSecrets") or ()]
        missing = [one for one in named if self.kubelet.objects.store.get(secrets, self.namespace, one) is None]
        if missing:
            words = f"Unable to retrieve some image pull secrets ({', '.join(missing)})"
            self.say(
                "FailedToRetrieveImagePullSecret",
                f"{words}; attempting to pull the image may not succeed.",
                warning=True,
            )

    @property
    def grace(self) -> float:
        asked = self.item["metadata"].get("deletionGracePeriodSeconds")
        return float(self.item["spec"]["terminationGracePeriodSeconds"] if asked is None else asked)

    async def _mount(self) -> None:
        """As long as it takes for what is mounted to appear."""
        while True:
            try:
                self.volumes.prepare()
            except MountFailed as failed:
                self.say("FailedMount", str(failed), warning=True)
                await asyncio.sleep(self.kubelet.pace.step_seconds)
            else:
                return

    async def _initialize(self) -> bool:
        for container in self.inits:
            self.spawn(container.run())
            if container.is_sidecar:
                await container.up.wait()
                continue
            await container.done.wait()
            if container.exit_code != 0 or self.ending:
                return False
        return True

    def publish(self) -> None:
        """Write the status, if it is another."""
        live = self.kubelet.find(self)
        if live is None:
            return
        status = statuses.of_pod(self, live.get("status") or {})
        if status == live.get("status"):
            return
        options = WriteOptions(manager="kubelet", subresource="status")
        self.kubelet.objects.replace(self.kubelet.pods, self.namespace, self.name, live | {"status": status}, options)

    def update(self, item: Object) -> None:
        """Its object was changed: by now it may have to end."""
        self.item = item
        self.resolver.pod = item
        if item["metadata"].get("deletionTimestamp"):
            self.end()

    def end(self) -> None:
        """With the grace its deletion gives; again with less while it is under way."""
        self.ending = True
        if self._end is not None and not self._end.done():
            self._end.cancel()
        self._end = asyncio.create_task(self._end_all())

    async def _end_all(self) -> None:
        await self.stop_containers(self.grace)
        self.publish()
        self._delete()

    async def stop_containers(self, grace_seconds: float) -> None:
        self.ending = True
        for container in self.containers:
            container.stopping = True
        await asyncio.gather(*(container.stop(grace_seconds) for container in [*self.containers, *self.inits]))
        # Whatever is not a process yet: pulls, mounts, back-off.
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        statuses.settle(self)

    def _delete(self) -> None:
        """Its node has the last word on a pod's deletion."""
        live = self.kubelet.find(self)
        if live is None or not live["metadata"].get("deletionTimestamp"):
            return
        metadata = live["metadata"] | {"deletionGracePeriodSeconds": 0}
        if metadata.get("finalizers"):
            self.kubelet.objects.store.put(self.kubelet.pods, live | {"metadata": metadata})
        else:
            self.kubelet.objects.store.remove(self.kubelet.pods, live | {"metadata": metadata})

    async def kill(self) -> None:
        """Deleted without grace, or the node is going: nobody waits for it."""
        if self._end is not None:
            self._end.cancel()
        await self.stop_containers(0)

    async def evict(self, message: str, reason: str = "Evicted") -> None:
        """Failed, by its node's doing."""
        self.verdict = {"phase": "Failed", "reason": reason, "message": message}
        self.say(reason, message, warning=True)
        await self.stop_containers(min(self.grace, 1.0))
        self.publish()

    def remove_files(self) -> None:
        shutil.rmtree(self.directory, ignore_errors=True)

    def say(self, reason: str, message: str, *, warning: bool = False, field_path: str = "") -> None:
        try:
            self.kubelet.recorder.say(
                self.item, reason, message, kind="Warning" if warning else "Normal", source="kubelet",
                field_path=field_path,
            )  # fmt: skip
        except ApiFailure as failure:
            if failure.code != _NOT_FOUND:
                raise

    def log_of(self, container: str) -> ContainerLog:
        return ContainerLog(self.directory / "logs", container)

    def probe_target(self, container: Object) -> Target:
        ports = {port["name"]: port["containerPort"] for port in container.get("ports") or () if port.get("name")}
        return Target(self.ip, ports)
