"""Deploying: look, render, plan; then apply, wait, and tidy up. One that fails goes back.

    lock -> read release and secrets -> render -> dry run of every object -> (show, ask)
         -> pull images -> revision "pending" -> inventory -> apply -> wait -> prune -> revision "deployed"

Up to the revision nothing that serves anybody is touched. Whatever comes after is repeated by the next deploy
if this one is interrupted. A rollout that fails is undone by applying the revision before it: a hub that owns
its database file (`Recreate`) has already been stopped by then, so leaving things alone would not do.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from perijove.config.loaded import Loaded
from perijove.config.problems import Note
from perijove.deploy import existing, images, plan
from perijove.deploy.apply import Applier
from perijove.deploy.diff import cleaned
from perijove.deploy.errors import DeployFailed, LockLost, NamespaceMissing, OtherDeployer
from perijove.deploy.existing import HelmObjects
from perijove.deploy.history import History, Revision, State
from perijove.deploy.inventory import Inventory
from perijove.deploy.lock import Lock
from perijove.deploy.plan import Plan
from perijove.deploy.release import Release
from perijove.deploy.render import APPLY, render
from perijove.deploy.report import Report
from perijove.deploy.restoring import Stage, restore
from perijove.deploy.wishes import Wishes
from perijove.kube.client import Client
from perijove.kube.errors import KubeError
from perijove.kube.refs import Object, Ref


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """Everything that is known before anything is changed."""

    release: Release
    # Those to pull images with, and all others.
    before: Sequence[Object] = field(repr=False)
    manifests: Sequence[Object] = field(repr=False)
    notes: tuple[Note, ...]
    plan: Plan
    inventory: Inventory
    helm: HelmObjects
    # What Helm made and this rendering has no use for.
    obsolete: tuple[Object, ...]
    new_namespace: bool = False


# Shows what would be done; False is no.
Confirm = Callable[[Prepared], Awaitable[bool]]


@dataclass(kw_only=True)
class Deployment:
    """One deploy of one release."""

    client: Client
    wishes: Wishes
    report: Report

    async def run(self, loaded: Loaded, confirm: Confirm) -> Revision | None:
        """None where it was not confirmed. Raises what `prepare` and `carry_out` raise."""
        namespace = self.wishes.namespace
        if not await existing.namespace_exists(self.client, namespace):
            prepared = await self.prepare(loaded)
            if not await confirm(prepared):
                return None
            await self._make_namespace(prepared)
            async with self.locked(prepared.release.name) as lock:
                # Again, now that the server can be asked about every object.
                return await self.carry_out(await self.prepare(loaded), lock)
        name = await existing.find_release(self.client, namespace, self.wishes.release)
        async with self.locked(name or self.wishes.release or namespace) as lock:
            prepared = await self.prepare(loaded)
            if not await confirm(prepared):
                return None
            return await self.carry_out(prepared, lock)

    async def prepare(self, loaded: Loaded) -> Prepared:
        """Raises `ConfigError`, `DeployFailed`, `KubeError`; changes nothing."""
        namespace = self.wishes.namespace
        is_new = not await existing.namespace_exists(self.client, namespace)
        if is_new and not self.wishes.create_namespace:
            raise NamespaceMissing(
                f"there is no namespace {namespace}; nothing was changed",
                remedy=f"Add --create-namespace, or `kubectl create namespace {namespace}`.",
            )
        found = await existing.read(self.client, loaded, namespace, self.wishes.release, image=self.wishes.image)
        name = found.release.name
        rendered = render(loaded, found.release, found.secrets)
        before = [manifest for manifest in rendered.manifests if is_before(manifest)]
        manifests = [plan.marked(one, namespace) for one in rendered.manifests if not is_before(one)]
        inventory = await Inventory.load(self.client, namespace, name)
        self.check_deployer(inventory)
        planned = await plan.plan(self.client, manifests, inventory, self.wishes.rights, new_namespace=is_new)
        helm = HelmObjects() if is_new else await existing.of_helm(self.client, namespace, name)
        refs = [Ref.of(manifest) for manifest in (*manifests, *before)]
        return Prepared(
            release=found.release,
            before=before,
            manifests=manifests,
            notes=rendered.notes,
            plan=planned,
            inventory=inventory,
            helm=helm,
            obsolete=tuple(existing.obsolete(helm, refs)),
            new_namespace=is_new,
        )

    def check_deployer(self, inventory: Inventory) -> None:
        """Raises `DeployFailed`."""
        if not inventory.exists or inventory.deployer == self.wishes.deployer:
            return
        if inventory.deployer == "controller":
            raise OtherDeployer(
                f"the release {inventory.release} is deployed by its controller, which would undo this",
                remedy="Change the values of its Helm release or GitOps application instead.",
            )
        raise OtherDeployer(
            f"the release {inventory.release} is deployed with `perijove deploy`, and nothing of it was changed",
            remedy=f"To hand it over: kubectl -n {inventory.namespace} patch configmap {inventory.ref.name} "
            """--type merge -p '{"data": {"deployer": "controller"}}'""",
        )

    async def _make_namespace(self, prepared: Prepared) -> None:
        namespace = self.wishes.namespace
        await existing.make_namespace(self.client, namespace)
        self.report.done(f"Namespace {namespace} created for the release {prepared.release.name}")

    @asynccontextmanager
    async def locked(self, release: str) -> AsyncIterator[Lock]:
        lock = Lock(
            client=self.client,
            namespace=self.wishes.namespace,
            release=release,
            report=self.report,
            wait_seconds=self.wishes.deadline.timeout_seconds,
        )
        async with lock.held():
            yield lock

    def history(self, release: str) -> History:
        return History(client=self.client, namespace=self.wishes.namespace, release=release, by=self.wishes.by)

    def stage(self, lock: Lock, inventory: Inventory) -> Stage:
        applier = Applier(client=self.client, lock=lock, report=self.report, rights=self.wishes.rights)
        return Stage(client=self.client, wishes=self.wishes, report=self.report, applier=applier, inventory=inventory)

    async def carry_out(self, prepared: Prepared, lock: Lock) -> Revision:
        """Raises `DeployFailed` and `KubeError`; what served before then serves again, or still."""
        stage = self.stage(lock, prepared.inventory)
        if prepared.before:
            await images.pull(stage.applier, self.wishes, prepared.before, prepared.manifests)
        history = self.history(prepared.release.name)
        if prepared.helm.objects and not prepared.inventory.exists:
            await self._remember_helm(history, prepared)
        lock.check()
        revision = await history.begin(prepared.manifests, "deploy")
        try:
            await stage.put(prepared.plan, [step.ref for step in prepared.plan.steps])
        except (DeployFailed, KubeError) as exc:
            await self._fail(stage, history, revision, exc)
            raise
        await self._tidy(stage, prepared)
        await history.settle(revision)
        return revision

    async def _tidy(self, stage: Stage, prepared: Prepared) -> None:
        """Everything serves: now what is not needed any more."""
        for ref in prepared.plan.kept:
            self.report.note(f"{ref} is no longer asked for, and stays; delete it yourself once nobody needs it")
        await stage.applier.delete(prepared.plan.prune)
        if self.wishes.remove_obsolete:
            refs = [Ref.of(item) for item in prepared.obsolete]
            await stage.applier.delete([ref for ref in refs if ref.kind not in plan.PROTECTED], why="obsolete")
            await stage.applier.delete([Ref.of(item) for item in prepared.helm.records], why="Helm's record")
        await stage.forget_all_but([step.ref for step in prepared.plan.steps])

    async def _remember_helm(self, history: History, prepared: Prepared) -> None:
        """How Helm left things, as a revision to go back to. Claims are not part of going back."""
        if await history.all():
            return
        items = [cleaned(item) for item in prepared.helm.objects if item["kind"] not in plan.PROTECTED]
        await history.remember(items, "as Helm left it")

    async def _fail(self, stage: Stage, history: History, revision: Revision, exc: DeployFailed | KubeError) -> None:
        """Say so in the history and go back, where going back can be done and is ours to do."""
        if isinstance(exc, LockLost) or revision.state is State.DEPLOYED:
            # Somebody else is at it; or nothing was to change, so there is nothing to go back from.
            return
        try:
            await history.mark(revision, State.FAILED, str(exc))
        except KubeError as other:
            # It stays pending, which the next deploy takes for an interruption. It is one.
            self.report.note(f"the failure could not be recorded: {other}")
            return
        good = next((one for one in await history.all() if one.state is State.DEPLOYED), None)
        if not self.wishes.go_back or good is None or isinstance(exc, KubeError):
            return
        self.report.trouble(str(exc))
        self.report.note(f"going back to revision {good.number} ({good.note}, {good.at})")
        try:
            await restore(stage, good)
        except (DeployFailed, KubeError) as other:
            raise DeployFailed(
                f"{exc}\n\nGoing back to revision {good.number} failed as well: {other}",
                remedy="Mend the cause and deploy again, or `perijove rollback`.",
            ) from other
        self.report.done(f"revision {good.number} serves again")


def is_before(manifest: Object) -> bool:
    """Whether it is to be applied and waited for before everything else, and deleted afterwards."""
    return bool((manifest["metadata"].get("annotations") or {}).get(APPLY) == "before")
