"""The spawner half of a hub: a hosted stock KubeSpawner on a cluster, without database, pages or proxy.

For what happens between the hub and the API server. What users see of it is tested with whole hubs.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from kubespawner import KubeSpawner
from traitlets.config import Config

from perijove.domain.ids import ServerId, UserId
from perijove.domain.ports import Exited, ServerSpec, UserFacts
from perijove.plugins.host import ClassHost
from perijove.plugins.kube_pods import HostedPod
from perijove.plugins.load import HubFacts, load_spawner_host
from perijove.plugins.spawner import HostedSpawner
from perijove.testing.kube.stories import WAIT, Pods
from perijove.testing.kube.target import Target
from perijove.testing.waiting import until

ANN = UserFacts(id=UserId(4), name="ann")
SPEC = ServerSpec(id=ServerId(21), user=ANN, name="", generation=3, lease_epoch=5, api_token="fresh")  # noqa: S106 - of nobody
POD = "jupyter-ann"
# On a cluster of our own everything goes twenty times as fast, and so does giving up.
_IMPATIENCE = 0.05


@dataclass
class SpawnerHalf:
    """Set traits in `config` before the first start."""

    cluster: Target
    directory: Path
    config: Config = field(default_factory=Config)

    def __post_init__(self) -> None:
        self.pods = Pods(self.cluster)
        section: Any = self.config.KubeSpawner
        section.namespace = self.cluster.namespace
        section.image = "busybox:1.36"
        section.cmd = ["sh", "-c", WAIT]
        section.start_timeout = 60
        section.delete_grace_period = 0

    def host(self, cls: Any = "kubespawner.KubeSpawner") -> ClassHost:
        facts = HubFacts(hub_id="k", data_dir=self.directory, connect_url="http://hub:8081")
        logs = self.directory / "logs"
        return load_spawner_host(spawner_class=cls, traits=self.config, facts=facts, log_dir=logs)

    async def open(self, *, cls: Any = "kubespawner.KubeSpawner", **changes: Any) -> HostedSpawner:
        return await self.host(cls).open(replace(SPEC, **changes))

    async def running(self, **changes: Any) -> HostedSpawner:
        spawner = await self.open(**changes)
        await spawner.start()
        return spawner

    async def later(self, spawner: HostedSpawner, **changes: Any) -> HostedSpawner:
        """As the next hub, or the next poll, opens it: from what the row remembers."""
        return await self.open(state=spawner.state(), **changes)

    async def ended(self, spawner: HostedSpawner, *, seconds: float = 20) -> Exited:
        found = await until(spawner.poll, seconds=seconds, every=0.05)
        assert found is not None
        return found

    async def made(self, spawner: HostedSpawner, *, start: bool = True) -> Mapping[str, Any]:
        """The pod as the API server keeps it, in JSON's spelling."""
        if start:
            await spawner.start()
        path = f"/api/v1/namespaces/{spawner.plugin.namespace}/pods/{spawner.plugin.pod_name}"
        _, pod = await self.cluster.request("GET", path)
        return dict(pod)


@asynccontextmanager
async def open_spawner_half(cluster: Target, directory: Path, patch: pytest.MonkeyPatch) -> AsyncIterator[SpawnerHalf]:
    """KubeSpawner keeps watches and clients for a process: here they are of this one."""
    cluster.use_for_kubespawner(patch)
    patch.setattr(KubeSpawner, "reflectors", {})
    if not cluster.is_real:
        patch.setattr(HostedPod, "patience_factor", _IMPATIENCE)
    try:
        yield SpawnerHalf(cluster, directory)
    finally:
        await KubeSpawner._stop_all_reflectors()  # noqa: SLF001 - its own name for what its tests do
        clients = [task for task in asyncio.all_tasks() if "close_client_task" in repr(task)]
        for task in clients:
            task.cancel()
        await asyncio.gather(*clients, return_exceptions=True)
