"""Going back: a revision's manifests applied again, as they were."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from perijove.deploy import plan
from perijove.deploy.apply import Applier
from perijove.deploy.errors import NothingDeployed
from perijove.deploy.history import History, Revision, State
from perijove.deploy.inventory import Inventory
from perijove.deploy.plan import Action, Plan, Rights
from perijove.deploy.report import Report
from perijove.deploy.waiting import WAITED_FOR, Waiting
from perijove.deploy.wishes import Wishes
from perijove.kube.client import Client
from perijove.kube.refs import Ref

_WHATEVER_IT_TAKES: Final = Rights(force_conflicts=True)


@dataclass(kw_only=True)
class Stage:
    """Where deploying and going back happen: one release, under its lock."""

    client: Client
    wishes: Wishes
    report: Report
    applier: Applier
    inventory: Inventory

    async def put(self, planned: Plan, own: Sequence[Ref]) -> None:
        """Apply and wait. `own` is what the inventory names from now on, besides what it named before."""
        self.inventory = replace(self.inventory, deployer=self.wishes.deployer).adding(own)
        self.applier.lock.check()
        await self.inventory.save(self.client)
        await self.applier.apply(planned.steps)
        if self.wishes.wait:
            waiting = Waiting(
                client=self.client,
                namespace=self.wishes.namespace,
                report=self.report,
                deadline=self.wishes.deadline,
            )
            await waiting.until_up([step.ref for step in planned.steps if step.ref.kind in WAITED_FOR])

    async def forget_all_but(self, refs: Sequence[Ref]) -> None:
        self.applier.lock.check()
        self.inventory = replace(self.inventory, objects=tuple(refs))
        await self.inventory.save(self.client)


async def restore(stage: Stage, revision: Revision, *, rights: Rights = _WHATEVER_IT_TAKES) -> None:
    """Apply what a revision consisted of, and wait for it. Raises `DeployFailed`.

    What others hold by now is taken: going back has to work. Claims are not part of it.
    """
    planned = await plan_back(stage.client, revision, stage.inventory, rights)
    known = {ref.identity for ref in stage.inventory.objects}
    # What Helm made and we never managed stays nobody's, so that no later deploy deletes it unasked.
    own = [step.ref for step in planned.steps if step.action is Action.CREATE or step.ref.identity in known]
    stage.applier = replace(stage.applier, rights=rights)
    await stage.put(planned, own)
    await stage.applier.delete(planned.prune)
    await stage.forget_all_but([*own, *planned.kept])


async def plan_back(client: Client, revision: Revision, inventory: Inventory, rights: Rights) -> Plan:
    manifests = [one for one in revision.manifests if one["kind"] not in plan.PROTECTED]
    return await plan.plan(client, manifests, inventory, rights)


async def choose(history: History, number: int | None) -> Revision:
    """The revision of this number, or the last one that came up before the current. Raises `NothingDeployed`."""
    known = await history.all()
    if not known:
        raise NothingDeployed(
            f"nothing was deployed as {history.release} in the namespace {history.namespace}",
            remedy="`perijove status` shows what is there.",
        )
    if number is not None:
        if (found := next((one for one in known if one.number == number), None)) is None:
            numbers = ", ".join(str(one.number) for one in known)
            raise NothingDeployed(f"there is no revision {number}", remedy=f"There are {numbers}.")
        return found
    # Behind a deploy that failed or was interrupted, the last good one is where to go back to.
    good = [one for one in known if one.state in (State.DEPLOYED, State.SUPERSEDED)]
    if good and known[0].state is State.DEPLOYED:
        good = good[1:]
    if not good:
        raise NothingDeployed("there is no earlier revision to go back to", remedy="Deploy another configuration.")
    return good[0]
