"""Going back on purpose: an earlier revision, applied as a new one."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from perijove.deploy import existing
from perijove.deploy.deployment import Deployment
from perijove.deploy.errors import DeployFailed, NothingDeployed
from perijove.deploy.history import Revision, State
from perijove.deploy.inventory import Inventory
from perijove.deploy.report import Report
from perijove.deploy.restoring import choose, restore
from perijove.deploy.wishes import Wishes
from perijove.kube.client import Client
from perijove.kube.errors import KubeError

Confirm = Callable[[Revision], Awaitable[bool]]


@dataclass(kw_only=True)
class Rollback:
    client: Client
    wishes: Wishes
    report: Report

    async def run(self, number: int | None, confirm: Confirm) -> Revision | None:
        """None where it was not confirmed. Raises `DeployFailed` and `KubeError`."""
        deployment = Deployment(client=self.client, wishes=self.wishes, report=self.report)
        name = await existing.find_release(self.client, self.wishes.namespace, self.wishes.release)
        if name is None:
            raise NothingDeployed(f"nothing is deployed in the namespace {self.wishes.namespace}")
        history = deployment.history(name)
        async with deployment.locked(name) as lock:
            inventory = await Inventory.load(self.client, self.wishes.namespace, name)
            deployment.check_deployer(inventory)
            chosen = await choose(history, number)
            if not await confirm(chosen):
                return None
            lock.check()
            revision = await history.begin(chosen.manifests, f"rollback to {chosen.number}")
            try:
                await restore(deployment.stage(lock, inventory), chosen)
            except (DeployFailed, KubeError) as exc:
                if revision.state is not State.DEPLOYED:
                    await history.mark(revision, State.FAILED, str(exc))
                raise
            await history.settle(revision)
            return revision
