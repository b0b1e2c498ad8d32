"""The node agent: takes the pods bound to its node and runs them until they have ended or are deleted.

It reads the store and never remembers what it could look up; only processes are its own.
"""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from perijove.lib.log import get_logger
from perijove.testing.kube.addresses import Addresses
from perijove.testing.kube.api.identity import Tokens
from perijove.testing.kube.api.objects import Objects
from perijove.testing.kube.api.options import WriteOptions, now
from perijove.testing.kube.api.store import Change
from perijove.testing.kube.events import Recorder
from perijove.testing.kube.kubelet.container import Container
from perijove.testing.kube.kubelet.images import Images
from perijove.testing.kube.kubelet.logs import ContainerLog
from perijove.testing.kube.kubelet.pace import Pace
from perijove.testing.kube.kubelet.pod import PodRun
from perijove.testing.kube.objects.resources import Object

log = get_logger(__name__)
_CAPACITY = {"cpu": "8", "memory": "32Gi", "ephemeral-storage": "100Gi", "pods": "110"}


@dataclass
class Kubelet:
    objects: Objects
    tokens: Tokens
    recorder: Recorder
    addresses: Addresses
    directory: Path
    # Where containers find the API server.
    api_environment: Mapping[str, str] = field(default_factory=dict)
    images: Images = field(default_factory=Images)
    pace: Pace = field(default_factory=Pace)
    name: str = "node-1"
    labels: Mapping[str, str] = field(default_factory=dict)
    capacity: Mapping[str, str] = field(default_factory=lambda: dict(_CAPACITY))
    runs: dict[str, PodRun] = field(default_factory=dict)
    # Without new pods: a node that has lost touch.
    deaf: bool = False
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.pods = self.objects.resource("pods")
        self.host_ip = self.addresses.node

    def register(self) -> None:
        labels = {
            "kubernetes.io/hostname": self.name,
            "kubernetes.io/os": "linux",
            "kubernetes.io/arch": "amd64",
            "topology.kubernetes.io/zone": "zone-1",
            **self.labels,
        }
        item = {
            "metadata": {"name": self.name, "labels": labels},
            "spec": {},
            "status": {
                "capacity": dict(self.capacity),
                "allocatable": dict(self.capacity),
                "addresses": [
                    {"type": "InternalIP", "address": self.host_ip},
                    {"type": "Hostname", "address": self.name},
                ],
                "conditions": [
                    {
                        "type": "Ready",
                        "status": "True",
                        "reason": "KubeletReady",
                        "message": "kubelet is posting ready status",
                        "lastTransitionTime": now(),
                    }
                ],
            },
        }
        self.objects.create(self.objects.resource("nodes"), "", item, WriteOptions(manager="kubelet"))

    def notice(self, change: Change) -> None:
        """A change in the store; must not wait."""
        if change.resource.qualified in ("configmaps", "secrets") and change.type == "MODIFIED":
            self._refresh(change.item["metadata"]["namespace"])
        if change.resource.qualified != "pods" or self.deaf:
            return
        pod, uid = change.item, change.item["metadata"]["uid"]
        run = self.runs.get(uid)
        if change.type == "DELETED":
            if run is not None:
                del self.runs[uid]
                self._task(self._clear(run))
        elif run is not None:
            run.update(pod)
        elif pod["spec"].get("nodeName") == self.name and pod["status"]["phase"] in ("Pending", "Running"):
            self._start(pod)

    def _start(self, pod: Object) -> None:
        run = PodRun(self, pod, self.addresses.pod())
        self.runs[pod["metadata"]["uid"]] = run
        run.spawn(run.run())
        if pod["metadata"].get("deletionTimestamp"):
            run.end()

    async def _clear(self, run: PodRun) -> None:
        await run.kill()
        run.remove_files()

    def _refresh(self, namespace: str) -> None:
        for run in self.runs.values():
            if run.namespace == namespace and any("running" in one.state for one in run.containers):
                run.volumes.refresh()

    def _task(self, work: object) -> None:
        task = asyncio.ensure_future(work)  # type: ignore[call-overload]  # a coroutine of None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def find(self, run: PodRun) -> Object | None:
        """The pod's object, if it is still the same pod."""
        item = self.objects.store.get(self.pods, run.namespace, run.name)
        return item if item is not None and item["metadata"]["uid"] == run.uid else None

    def run_of(self, namespace: str, name: str) -> PodRun:
        for run in self.runs.values():
            if (run.namespace, run.name) == (namespace, name):
                return run
        raise LookupError(f"no pod {namespace}/{name} on {self.name}")

    def container(self, namespace: str, name: str, container: str = "") -> Container:
        run = self.run_of(namespace, name)
        return next(one for one in run.containers if container in ("", one.name))

    def kill_for_memory(self, namespace: str, name: str, container: str = "") -> None:
        self.container(namespace, name, container).kill("OOMKilled")

    async def evict(self, namespace: str, name: str, message: str = "") -> None:
        why = message or (
            "The node was low on resource: memory. Threshold quantity: 100Mi, available: 52Mi. "
            "Container notebook was using 1Gi, request is 0, has larger consumption of memory. "
        )
        await self.run_of(namespace, name).evict(why)

    def log(self, pod: Object, container: str) -> tuple[ContainerLog, int, bool] | None:
        run = self.runs.get(pod["metadata"]["uid"])
        if run is None:
            return None
        for one in [*run.inits, *run.containers]:
            if one.name == container:
                return run.log_of(container), one.restarts, one.sandbox is not None
        return None

    def hosts_file(self, namespace: str) -> Path | None:
        """Names of services, for containers that have a file system of their own."""
        path = self.directory / "hosts" / namespace
        return path if path.exists() else None

    async def close(self) -> None:
        self.deaf = True
        runs, self.runs = list(self.runs.values()), {}
        await asyncio.gather(*(run.kill() for run in runs))
        with suppress(asyncio.CancelledError):
            await asyncio.gather(*self._tasks, return_exceptions=True)
