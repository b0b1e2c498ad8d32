"""What a deploy would do, object by object, found out by asking the server for a dry run of each.

So what it refuses (a conflict, a missing permission, a field that can never change) is known, all of it, before
anything is changed.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from perijove.deploy import adopt, diff, names
from perijove.deploy.errors import Blocked, Obstacle
from perijove.deploy.inventory import Inventory
from perijove.kube.client import Client
from perijove.kube.errors import FieldConflict, HeldField, KindUnknown, NotPermitted, ObjectInvalid, ObjectNotFound
from perijove.kube.refs import Object, Ref
from perijove.lib.concurrently import all_of

# Never deleted, whatever the configuration says: there is somebody's work in them.
PROTECTED: Final = frozenset({"PersistentVolumeClaim", "PersistentVolume", "Pod", "Namespace"})
# Hold nothing and serve nobody: made anew where a field that can never change is to change.
_REPLACEABLE: Final = frozenset(
    {"Job", "DaemonSet", "StatefulSet", "RoleBinding", "ClusterRoleBinding", "PriorityClass", "PodDisruptionBudget"}
)
_IMMUTABLE: Final = ("immutable", "cannot change roleRef", "may not be changed", "Forbidden: updates to")
_AT_ONCE: Final = 8
_REPLICAS: Final = ".spec.replicas"
_TAKE_OVER: Final = (
    "If this release was installed by Helm and Perijove is to have it now, add --take-over: volumes, the load "
    "balancer's address and users' pods stay."
)
_FORCE: Final = "To set these fields all the same, add --force-conflicts."
_CHANGE_BACK: Final = "Change the configuration back, or delete the object yourself if nothing in it is needed."


class Action(StrEnum):
    CREATE = "create"
    CHANGE = "change"
    KEEP = "keep"
    # Deleted and made anew.
    REPLACE = "replace"
    # Cannot be changed, and stays as it is.
    LEAVE = "leave"


@dataclass(frozen=True, slots=True)
class Step:
    """One rendered object. `after` is what the server would make of it, where that is known."""

    ref: Ref
    action: Action
    manifest: Object = field(repr=False)
    before: Object | None = field(default=None, repr=False)
    after: Object | None = field(default=None, repr=False)
    # Whose entries in managedFields become ours first.
    managers: frozenset[str] = frozenset()
    note: str = ""

    @property
    def diff(self) -> str:
        return "" if self.action in (Action.KEEP, Action.LEAVE) else diff.text(self.before, self.after or self.manifest)


@dataclass(frozen=True, slots=True)
class Plan:
    """`prune` is deleted once everything else has come up; `kept` is no longer asked for and stays."""

    steps: tuple[Step, ...]
    prune: tuple[Ref, ...] = ()
    kept: tuple[Ref, ...] = ()
    warnings: tuple[str, ...] = ()

    def of(self, *actions: Action) -> list[Step]:
        return [step for step in self.steps if step.action in actions]

    @property
    def is_nothing(self) -> bool:
        return not self.of(Action.CREATE, Action.CHANGE, Action.REPLACE) and not self.prune


@dataclass(frozen=True, kw_only=True)
class Rights:
    """What may be taken from others."""

    take_over: bool = False
    force_conflicts: bool = False
    # Take back what somebody edited by hand, and leave to others what they declared as theirs.
    undo_edits: bool = False


def marked(manifest: Object, namespace: str) -> Object:
    """What belongs to the whole cluster says which release it is for."""
    metadata = manifest["metadata"]
    if metadata.get("namespace"):
        return manifest
    annotations = {**(metadata.get("annotations") or {}), names.NAMESPACE: namespace}
    return {**manifest, "metadata": {**metadata, "annotations": annotations}}


async def plan(
    client: Client, manifests: Sequence[Object], inventory: Inventory, rights: Rights, *, new_namespace: bool = False
) -> Plan:
    """Raises `Blocked` with everything that stands in the way."""
    if new_namespace:
        return Plan(tuple(Step(Ref.of(manifest), Action.CREATE, manifest) for manifest in manifests))
    planner = _Planner(client, inventory, rights)
    found = await all_of((planner.step(manifest) for manifest in manifests), at_once=_AT_ONCE)
    if planner.obstacles:
        raise Blocked(sorted(planner.obstacles, key=lambda obstacle: obstacle.ref))
    steps = tuple(step for step in found if step is not None)
    prune, kept = await planner.leftovers([step.ref for step in steps])
    return Plan(steps, tuple(prune), tuple(kept), tuple(dict.fromkeys(planner.warnings)))


@dataclass
class _Planner:
    client: Client
    inventory: Inventory
    rights: Rights
    obstacles: list[Obstacle] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    async def step(self, manifest: Object) -> Step | None:
        ref = Ref.of(manifest)
        try:
            before = await self.client.find(ref)
            if before is not None and (owner := self._other_owner(before)):
                self.obstacles.append(Obstacle(ref, owner, remedy="Give this one another name with --release."))
                return None
            managers = self._taken(before)
            try:
                return await self._tried(ref, manifest, before, managers)
            except FieldConflict as exc:
                return await self._conflicting(ref, manifest, before, exc.conflicts)
        except (KindUnknown, NotPermitted) as exc:
            self.obstacles.append(Obstacle(ref, str(exc), remedy=exc.remedy))
        except ObjectNotFound as exc:
            # The namespace, or what an admission webhook looked for.
            self.obstacles.append(Obstacle(ref, str(exc)))
        return None

    async def _tried(self, ref: Ref, manifest: Object, before: Object | None, managers: frozenset[str]) -> Step | None:
        force = self.rights.force_conflicts or bool(managers)
        try:
            written = await self.client.apply(manifest, manager=names.MANAGER, force=force, dry_run=True)
        except ObjectInvalid as exc:
            return self._invalid(ref, manifest, before, managers, str(exc))
        self.warnings += [f"{ref}: {warning}" for warning in written.warnings]
        if before is None:
            return Step(ref, Action.CREATE, manifest, None, written.item)
        same = not managers and not diff.is_changed(before, written.item)
        return Step(ref, Action.KEEP if same else Action.CHANGE, manifest, before, written.item, managers)

    def _invalid(
        self, ref: Ref, manifest: Object, before: Object | None, managers: frozenset[str], words: str
    ) -> Step | None:
        never = any(mark in words for mark in _IMMUTABLE)
        if before is None or not (never or managers):
            self.obstacles.append(Obstacle(ref, words))
        elif ref.kind in PROTECTED:
            return Step(ref, Action.LEAVE, manifest, before, before, note=f"{ref} stays as it is: {words}")
        elif never and ref.kind in _REPLACEABLE:
            return Step(ref, Action.REPLACE, manifest, before)
        elif never:
            self.obstacles.append(Obstacle(ref, words, remedy=_CHANGE_BACK))
        else:
            # Ours and Helm's fields together make no sense; without Helm's they will.
            return Step(ref, Action.CHANGE, manifest, before, None, managers)
        return None

    async def _conflicting(
        self, ref: Ref, manifest: Object, before: Object | None, conflicts: tuple[HeldField, ...]
    ) -> Step | None:
        managers = frozenset(held.manager for held in conflicts)
        if self.rights.take_over and not self._is_known(ref):
            return await self._tried(ref, manifest, before, managers | self._taken(before))
        if self.rights.undo_edits and before is not None:
            if managers <= adopt.editors(before):
                return await self._tried(ref, manifest, before, managers | self._taken(before))
            if {held.field for held in conflicts} == {_REPLICAS} and "replicas" in manifest["spec"]:
                # An autoscaler's. Leaving the field out gives it up; what it was set to stays.
                self.warnings.append(f"{ref}: its replicas are left to {', '.join(sorted(managers))}")
                spec = {key: value for key, value in manifest["spec"].items() if key != "replicas"}
                return await self._tried(ref, {**manifest, "spec": spec}, before, self._taken(before))
        by_helm = managers & adopt.HELM_MANAGERS
        reason = "others manage fields of it:"
        remedy = _TAKE_OVER if by_helm else _FORCE
        self.obstacles.append(Obstacle(ref, reason, conflicts, remedy))
        return None

    def _taken(self, before: Object | None) -> frozenset[str]:
        """Helm's managers on this object, where they may be taken over."""
        if before is None or not self.rights.take_over:
            return frozenset()
        entries = before["metadata"].get("managedFields") or ()
        return frozenset(entry.get("manager", "") for entry in entries) & adopt.HELM_MANAGERS

    def _is_known(self, ref: Ref) -> bool:
        return any(known.identity == ref.identity for known in self.inventory.objects)

    def _other_owner(self, before: Object) -> str:
        """Why an object of the whole cluster is another release's, or ""."""
        metadata = before["metadata"]
        if metadata.get("namespace"):
            return ""
        annotations = metadata.get("annotations") or {}
        for key in (names.NAMESPACE, names.HELM_NAMESPACE):
            if (namespace := annotations.get(key)) not in (None, self.inventory.namespace):
                return f"it belongs to a release of the same name in the namespace {namespace}"
        return ""

    async def leftovers(self, rendered: Collection[Ref]) -> tuple[list[Ref], list[Ref]]:
        """What the last deploy made and this one does not ask for: to delete, and to keep."""
        prune, kept = [], []
        for ref in self.inventory.missing_from(rendered):
            try:
                item = await self.client.find(ref)
            except KindUnknown:
                # Its definition was deleted, and all objects of it.
                continue
            if item is None:
                continue
            if ref.kind in PROTECTED or _is_to_keep(item) or not adopt.is_ours(item):
                kept.append(ref)
            else:
                prune.append(ref)
        return prune, kept


def _is_to_keep(item: Object) -> bool:
    annotations = item["metadata"].get("annotations") or {}
    return annotations.get(names.KEEP) == "true" or annotations.get(names.HELM_KEEP) == "keep"
