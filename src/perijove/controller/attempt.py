"""One attempt to have in the cluster what the values ask for, from whatever is there.

An attempt that finds nothing to do changes nothing, so it is made whenever something may have changed. What failed to
come up is not tried again by itself once an earlier revision serves: each try would stop a hub that owns its
database.
"""

import asyncio
import json
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import structlog

from perijove.config.loaded import Loaded, load
from perijove.config.problems import ConfigError
from perijove.controller import values
from perijove.controller.hub import Phase, Situation, attempt_of, checksum_of
from perijove.controller.status import Teller
from perijove.controller.watching import Expected, digest_of
from perijove.deploy.deployment import Deployment, Prepared
from perijove.deploy.errors import AlreadyRunning, Blocked, DeployFailed, LockLost, OtherDeployer, RolloutFailed
from perijove.deploy.history import Revision, State
from perijove.deploy.inventory import Inventory
from perijove.deploy.plan import Action, Plan, Rights
from perijove.deploy.restoring import plan_back, restore
from perijove.deploy.rollout import progress
from perijove.deploy.waiting import WAITED_FOR, Deadline
from perijove.deploy.wishes import Wishes
from perijove.kube.client import Client
from perijove.kube.errors import ClusterUnavailable, KubeError
from perijove.kube.refs import Object, Ref
from perijove.lib.clock import Clock, SystemClock

_log = structlog.get_logger()
# Somebody who changes an object so often, so soon after it was put back, is a program: it would go on for ever.
_MOST_REPAIRS: Final = 3
_REPAIRS_SECONDS: Final = 600.0
_LOOK_SECONDS: Final = 2.0


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """`again_seconds`: when to try again by oneself; None for when something changes."""

    situation: Situation
    again_seconds: float | None = None
    # What the objects look like now, where that is as it should be.
    expected: Expected = field(default_factory=dict, repr=False)
    # What is not to be tried again by itself.
    failed_attempt: str = ""


@dataclass(kw_only=True)
class Attempts:
    client: Client
    namespace: str
    release: str
    directory: Path
    teller: Teller
    deadline: Deadline = field(default_factory=Deadline)
    clock: Clock = field(default_factory=SystemClock)
    _prepared: Prepared | None = None
    _conflict: str = ""
    _failures: int = 0
    _repairs: dict[Ref, deque[float]] = field(default_factory=dict)

    async def make(self, hub: Object) -> Outcome:
        """Raises nothing of the cluster's or the configuration's."""
        try:
            outcome = await self._make(hub)
        except ConfigError as exc:
            # Of rendering. Nothing was changed.
            outcome = await self._invalid(exc)
        except ClusterUnavailable as exc:
            outcome = self._again("ClusterUnavailable", str(exc))
        except Blocked as exc:
            outcome = self._again("Blocked", _said(exc))
        except OtherDeployer as exc:
            outcome = self._again("OtherDeployer", _said(exc))
        except (AlreadyRunning, LockLost) as exc:
            outcome = self._again("Deploying", str(exc), phase=Phase.PROGRESSING)
        except RolloutFailed as exc:
            outcome = await self._rollout_failed(hub, exc)
        except (DeployFailed, KubeError) as exc:
            outcome = self._again("DeployFailed", _said(exc))
        if outcome.situation.phase in (Phase.READY, Phase.STALLED):
            self._failures = 0
        return outcome

    async def _make(self, hub: Object) -> Outcome:
        found = values.read(self.directory)
        if found.checksum != checksum_of(hub):
            words = "the newest values have not arrived in this pod yet"
            return Outcome(situation=Situation(Phase.PROGRESSING, "ValuesPending", words))
        if self.teller.failed_attempt == attempt_of(hub):
            return await self._held(hub)
        try:
            loaded = await asyncio.to_thread(load, [found.file])
        except ConfigError as exc:
            return await self._invalid(exc)
        deployment = self._deployment(found.image)
        self._prepared = None
        revision = await deployment.run(loaded, self._confirm)
        if revision is not None or self._prepared is None:
            # Seen once more: what is there now is what has to stay.
            self._prepared = await deployment.prepare(loaded)
        return self._judged(loaded, self._prepared, revision)

    def _deployment(self, image: str = "") -> Deployment:
        wishes = Wishes(
            namespace=self.namespace,
            release=self.release,
            image=image,
            # Only what Helm has forgotten can be here when a chart of this name is installed; and then to be taken.
            rights=Rights(take_over=True, undo_edits=True),
            deadline=self.deadline,
            deployer="controller",
            by="controller",
        )
        return Deployment(client=self.client, wishes=wishes, report=self.teller)

    # -- whether there is anything to do

    async def _confirm(self, prepared: Prepared) -> bool:
        self._prepared = prepared
        self._conflict = "; ".join(prepared.plan.warnings)
        history = self._deployment().history(self.release)
        latest = next(iter(await history.all()), None)
        is_deployed = latest is not None and latest.state is State.DEPLOYED and _same(latest, prepared)
        listed = {ref.identity for ref in prepared.inventory.objects}
        is_listed = listed == {step.ref.identity for step in prepared.plan.steps}
        if is_deployed and is_listed and prepared.inventory.deployer == "controller":
            if prepared.plan.is_nothing:
                return False
            if not self._is_to_repair(prepared.plan):
                return False
        else:
            what = f"{len(prepared.plan.of(Action.CREATE, Action.CHANGE, Action.REPLACE))} objects to change"
            self.teller.set(Situation(Phase.PROGRESSING, "Deploying", what, self._conflict))
        return True

    def _is_to_repair(self, plan: Plan) -> bool:
        """Says what is put back; False where somebody puts it back again and again."""
        now = self.clock.monotonic()
        drifted = [step.ref for step in plan.of(Action.CREATE, Action.CHANGE, Action.REPLACE)]
        left: list[Ref] = []
        fought: list[Ref] = []
        for ref in drifted:
            times = self._repairs.setdefault(ref, deque())
            while times and now - times[0] > _REPAIRS_SECONDS:
                times.popleft()
            (fought if len(times) >= _MOST_REPAIRS else left).append(ref)
        if drifted and not left:
            text = f"{_listed(fought)} changed by others again and again; left alone for a while"
            self._conflict = "; ".join(filter(None, (self._conflict, text)))
            return False
        for ref in drifted:
            self._repairs[ref].append(now)
        self.teller.event("Normal", "Repaired", f"put back what others changed: {_listed(drifted)}")
        return True

    # -- how it ends

    def _judged(self, loaded: Loaded, prepared: Prepared, revision: Revision | None) -> Outcome:
        expected = _expected(prepared.plan)
        waiting = [found for found in map(progress, _workloads(prepared.plan)) if not found.done]
        if waiting:
            words = "; ".join(f"{found.ref}: {found.text}" for found in waiting)
            situation = Situation(Phase.PROGRESSING, "NotAvailable", words, self._conflict)
            return Outcome(situation=situation, again_seconds=_LOOK_SECONDS, expected=expected)
        notes = [str(note) for note in (*loaded.notes, *prepared.notes)]
        number = f"revision {revision.number} " if revision is not None else ""
        if prepared.obsolete:
            left = _listed([Ref.of(item) for item in prepared.obsolete])
            notes.append(f"made by Helm's chart before, and of no use now; delete them when you like: {left}")
        words = "\n".join([f"{number}deployed; {len(prepared.plan.steps)} objects", *notes])
        again = None
        if not prepared.plan.is_nothing:
            again = _REPAIRS_SECONDS if revision is None else _LOOK_SECONDS
        situation = Situation(Phase.READY, "Deployed", words, self._conflict)
        return Outcome(situation=situation, again_seconds=again, expected=expected)

    def _again(self, reason: str, message: str, *, phase: Phase = Phase.FAILED) -> Outcome:
        self._failures += 1
        pause = min(2.0 ** min(self._failures, 6), 60.0)
        return Outcome(situation=Situation(phase, reason, message, self._conflict), again_seconds=pause)

    async def _invalid(self, exc: ConfigError) -> Outcome:
        names = {problem.position.file for problem in exc.problems if problem.position}
        text = str(exc)
        for name in names:
            text = text.replace(str(name), name.name)
        expected = await self._keep_previous()
        return Outcome(situation=Situation(Phase.STALLED, "ValuesInvalid", text), expected=expected)

    async def _rollout_failed(self, hub: Object, exc: RolloutFailed) -> Outcome:
        try:
            good = await self._last_good()
        except KubeError as other:
            return self._again("RolloutFailed", f"{_said(exc)}\n{other}")
        if good is None:
            # Nobody is served by anything yet, and what was missing (a node, a quota) may come.
            return self._again("RolloutFailed", _said(exc))
        expected = await self._keep_previous()
        situation = Situation(Phase.STALLED, "RolloutFailed", _said(exc))
        return Outcome(situation=situation, expected=expected, failed_attempt=attempt_of(hub))

    async def _held(self, hub: Object) -> Outcome:
        """Failed before, perhaps in another life of this pod: the revision before is kept as it is."""
        known = (hub.get("status") or {}).get("conditions") or ()
        said: Object = next((one for one in known if one["type"] == "Stalled" and one["status"] == "True"), {})
        situation = self.teller.situation
        if situation is None or situation.phase is not Phase.STALLED:
            words = said.get("message") or "did not come up; annotate the Hub with perijove.io/retry to try again"
            situation = Situation(Phase.STALLED, said.get("reason") or "RolloutFailed", words)
        expected = await self._keep_previous()
        return Outcome(situation=situation, expected=expected, failed_attempt=attempt_of(hub))

    # -- the revision before

    async def _last_good(self) -> Revision | None:
        history = self._deployment().history(self.release)
        return next((one for one in await history.all() if one.state is State.DEPLOYED), None)

    async def _keep_previous(self) -> Expected:
        """While the values cannot be had: drift from what serves is repaired all the same."""
        try:
            return await self._put_back_previous()
        except (DeployFailed, KubeError) as exc:
            # Why the values cannot be had is what has to be said; this is tried again at the next look.
            _log.warning("the revision before cannot be looked after", cause=str(exc))
            return {}

    async def _put_back_previous(self) -> Expected:
        good = await self._last_good()
        if good is None:
            return {}
        deployment, rights = self._deployment(), Rights(undo_edits=True)
        inventory = await Inventory.load(self.client, self.namespace, self.release)
        planned = await plan_back(self.client, good, inventory, rights)
        if not planned.is_nothing and self._is_to_repair(planned):
            async with deployment.locked(self.release) as lock:
                inventory = await Inventory.load(self.client, self.namespace, self.release)
                deployment.check_deployer(inventory)
                await restore(deployment.stage(lock, inventory), good, rights=rights)
            planned = await plan_back(self.client, good, inventory, rights)
        return _expected(planned)


def _said(exc: DeployFailed | KubeError) -> str:
    return f"{exc}\n{exc.remedy}" if exc.remedy else str(exc)


def _same(revision: Revision, prepared: Prepared) -> bool:
    wanted = json.dumps(list(prepared.manifests), sort_keys=True)
    return json.dumps(revision.manifests, sort_keys=True) == wanted


def _listed(refs: Sequence[Ref]) -> str:
    return ", ".join(sorted(map(str, refs)))


def _workloads(plan: Plan) -> list[Object]:
    return [step.before for step in plan.steps if step.before is not None and step.ref.kind in WAITED_FOR]


def _expected(plan: Plan) -> Expected:
    return {step.ref: digest_of(step.before) for step in plan.steps if step.before is not None}
