"""`run_cluster()`: an API server, its controllers and a node, in this process, in one call.

Everything a test may want to do to it is an attribute: `server.faults`, `server.log`, `server.watches.disconnect()`,
`server.store.compact()`, `kubelet.images`, `kubelet.evict()`, `nodes.lose()`, `volumes.stuck_classes`.
"""

import asyncio
import base64
import json
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from perijove.testing.kube.addresses import Addresses
from perijove.testing.kube.api.admission import SystemAdmission
from perijove.testing.kube.api.identity import service_account
from perijove.testing.kube.api.options import WriteOptions
from perijove.testing.kube.api.quota import LimitRanges, Quotas
from perijove.testing.kube.api.server import ApiServer
from perijove.testing.kube.api.store import Change
from perijove.testing.kube.certificates import Authority
from perijove.testing.kube.controllers.budgets import Budgets
from perijove.testing.kube.controllers.daemonsets import DaemonSets
from perijove.testing.kube.controllers.definitions import Definitions
from perijove.testing.kube.controllers.deployments import Deployments
from perijove.testing.kube.controllers.garbage import GarbageCollector, Namespaces
from perijove.testing.kube.controllers.jobs import Jobs
from perijove.testing.kube.controllers.jobs import admit as admit_job
from perijove.testing.kube.controllers.loop import Control, Controller, Loop
from perijove.testing.kube.controllers.nodes import Nodes
from perijove.testing.kube.controllers.quotas import QuotaStatus
from perijove.testing.kube.controllers.replicasets import ReplicaSets
from perijove.testing.kube.controllers.scheduler import Scheduler
from perijove.testing.kube.controllers.services import Services
from perijove.testing.kube.controllers.statefulsets import StatefulSets
from perijove.testing.kube.controllers.volumes import VolumeBinder
from perijove.testing.kube.events import Recorder
from perijove.testing.kube.kubelet.images import Image
from perijove.testing.kube.kubelet.logs import LogEndpoint
from perijove.testing.kube.kubelet.node import Kubelet
from perijove.testing.kube.network import ServiceNetwork
from perijove.testing.kube.objects.resources import Object

NAMESPACE = "jhub"
_BOOTSTRAP = WriteOptions(manager="kube-apiserver")


class Cluster:
    """A running one; made by `run_cluster`."""

    def __init__(self, directory: Path, *, images: Mapping[str, Image], namespace: str = NAMESPACE) -> None:
        # Users of containers pass through it to their volumes.
        directory.chmod(0o755)
        self.directory = directory
        self.namespace = namespace
        self.addresses = Addresses.reserve()
        self.authority = Authority()
        self.server = ApiServer(host=self.addresses.node)
        self.objects = self.server.objects
        self.recorder = Recorder(self.objects)
        control = Control(self.objects, self.server.deletion, self.recorder)
        self.control = control
        self.kubelet = Kubelet(self.objects, self.server.tokens, self.recorder, self.addresses, directory / "node")
        self.kubelet.images.known.update(images)
        self.nodes = Nodes(control, self.kubelet)
        self.scheduler = Scheduler(control)
        self.volumes = VolumeBinder(control)
        self.services = Services(control, self.addresses.balancer)
        self.network = ServiceNetwork(control, self.kubelet.directory / "hosts", self.addresses.node)
        quotas = Quotas(self.objects)
        controllers: list[Controller] = [
            self.scheduler,
            self.volumes,
            self.services,
            Deployments(control),
            ReplicaSets(control),
            DaemonSets(control),
            StatefulSets(control),
            Jobs(control),
            Budgets(control),
            GarbageCollector(control),
            Namespaces(control),
            Definitions(control),
            QuotaStatus(control, quotas),
        ]
        # By class name: a test holds one back with `loops["Deployments"].running.clear()`.
        self.loops = {type(one).__name__: Loop(one) for one in controllers}
        system = SystemAdmission(self.objects, self.addresses.service)
        self.objects.admissions += [system, admit_job, LimitRanges(self.objects), quotas]
        self.server.dispatch.logs = LogEndpoint(self.kubelet.log)
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def url(self) -> str:
        return self.server.url

    @property
    def admin_token(self) -> str:
        return self.server.admin_token

    def token_for(self, account: str, namespace: str = "") -> str:
        """A bearer token of a service account, whether or not that is there yet."""
        return self.server.tokens.mint(service_account(namespace or self.namespace, account))

    def kubeconfig(self, token: str = "", *, name: str = "kubeconfig") -> Path:
        """A file for clients, by default the administrator's."""
        authority = base64.b64encode(self.authority.pem.encode()).decode()
        content = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "test", "cluster": {"server": self.url, "certificate-authority-data": authority}}],
            "users": [{"name": "test", "user": {"token": token or self.admin_token}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test", "namespace": self.namespace}}],
            "current-context": "test",
        }
        path = self.directory / name
        path.touch(mode=0o600)
        # JSON is YAML.
        path.write_text(json.dumps(content), encoding="utf-8")
        return path

    async def start(self) -> None:
        self.server.store.listeners.append(self._notice)
        self.server.tls = self.authority.server_context([self.addresses.node, "127.0.0.1"], self.directory)
        await self.server.start()
        self.kubelet.api_environment = {
            "KUBERNETES_SERVICE_HOST": self.server.host,
            "KUBERNETES_SERVICE_PORT": str(self.server.port),
            "KUBERNETES_SERVICE_PORT_HTTPS": str(self.server.port),
        }
        self._tasks = [asyncio.create_task(loop.run()) for loop in self.loops.values()]
        self._tasks.append(asyncio.create_task(self.network.run()))
        self._bootstrap()

    def _notice(self, change: Change) -> None:
        for loop in self.loops.values():
            loop.notice(change)
        self.kubelet.notice(change)
        self.network.notice(change)
        if change.resource.qualified == "namespaces" and change.type == "ADDED":
            self.network.write_hosts(change.item["metadata"]["name"])
            self._furnish(change.item["metadata"]["name"])

    def _furnish(self, namespace: str) -> None:
        """What every namespace has from the start."""
        account = {"metadata": {"name": "default"}}
        self.objects.create(self.objects.resource("serviceaccounts"), namespace, account, _BOOTSTRAP)
        root = {"metadata": {"name": "kube-root-ca.crt"}, "data": {"ca.crt": self.authority.pem}}
        self.objects.create(self.objects.resource("configmaps"), namespace, root, _BOOTSTRAP)

    def _bootstrap(self) -> None:
        for name in ("default", "kube-system", self.namespace):
            self.objects.create(self.objects.resource("namespaces"), "", {"metadata": {"name": name}}, _BOOTSTRAP)
        standard: Object = {
            "metadata": {
                "name": "standard",
                "annotations": {"storageclass.kubernetes.io/is-default-class": "true"},
            },
            "provisioner": "perijove.test/directory",
            "volumeBindingMode": "Immediate",
            "allowVolumeExpansion": True,
        }
        self.objects.create(self.objects.resource("storageclasses.storage.k8s.io"), "", standard, _BOOTSTRAP)
        for name, value in (("system-cluster-critical", 2_000_000_000), ("system-node-critical", 2_000_001_000)):
            body = {"metadata": {"name": name}, "value": value}
            self.objects.create(self.objects.resource("priorityclasses.scheduling.k8s.io"), "", body, _BOOTSTRAP)
        self.kubelet.register()

    async def stop(self) -> None:
        """Everything it ever started has ended afterwards. Raises what a controller died of."""
        for task in self._tasks:
            task.cancel()
        ends = await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.kubelet.close()
        await self.network.close()
        await self.server.stop()
        self.addresses.close()
        if failures := [end for end in ends if isinstance(end, Exception)]:
            raise ExceptionGroup("controllers failed", failures)


@asynccontextmanager
async def run_cluster(
    *, images: Mapping[str, Image] | None = None, namespace: str = NAMESPACE
) -> AsyncIterator[Cluster]:
    """A cluster of its own, gone with all its processes at the end."""
    with tempfile.TemporaryDirectory(prefix="perijove-kube-") as directory:
        cluster = Cluster(Path(directory), images=images or {}, namespace=namespace)
        try:
            await cluster.start()
            yield cluster
        finally:
            await cluster.stop()
