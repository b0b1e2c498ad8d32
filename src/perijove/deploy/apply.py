"""Carrying out a plan: each write checks the lock first, and may be repeated without harm.

The order makes an interruption harmless at every point. The inventory names objects before they are made; what
is no longer asked for is deleted only after everything else has come up.
"""

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from perijove.deploy import adopt, names
from perijove.deploy.errors import DeployFailed
from perijove.deploy.lock import Lock
from perijove.deploy.plan import PROTECTED, Action, Rights, Step
from perijove.deploy.report import Report
from perijove.kube.client import Client
from perijove.kube.errors import FieldConflict, KindUnknown, KubeError
from perijove.kube.refs import Ref

_GONE_SECONDS: Final = 60.0
_LOOK_SECONDS: Final = 0.2
_VERBS: Final = {Action.CREATE: "created", Action.CHANGE: "changed", Action.REPLACE: "replaced"}


@dataclass(kw_only=True)
class Applier:
    client: Client
    lock: Lock
    report: Report
    rights: Rights = field(default_factory=Rights)

    async def apply(self, steps: Sequence[Step]) -> None:
        """In order. Objects that stay the same are applied too: it makes us their manager."""
        for step in steps:
            if step.action is Action.LEAVE:
                self.report.note(step.note)
                continue
            try:
                await self._apply(step)
            except KubeError as exc:
                raise DeployFailed(f"{step.ref} cannot be applied: {exc}", remedy=exc.remedy) from exc

    async def _apply(self, step: Step) -> None:
        if step.action is Action.REPLACE and step.before is not None:
            # By identity: after an interruption the new one is there already, and stays.
            await self.delete([step.ref], uids={step.ref: step.before["metadata"]["uid"]}, quietly=True)
        if step.managers:
            self.lock.check()
            if await adopt.adopt(self.client, step.ref, step.managers):
                self.report.done(f"{step.ref} taken over from {', '.join(sorted(step.managers))}")
        self.lock.check()
        force = self.rights.force_conflicts or bool(step.managers)
        try:
            await self.client.apply(step.manifest, manager=names.MANAGER, force=force)
        except FieldConflict as exc:
            # Somebody was quicker than our plan.
            held = ", ".join(f"{one.field} ({one.manager})" for one in exc.conflicts)
            raise DeployFailed(f"{step.ref}: others changed it meanwhile: {held}", remedy="Deploy again.") from exc
        if step.action in _VERBS:
            self.report.done(f"{step.ref} {_VERBS[step.action]}")

    async def delete(
        self, refs: Iterable[Ref], *, uids: dict[Ref, str] | None = None, quietly: bool = False, why: str = ""
    ) -> None:
        """And wait until they are gone: what comes next may want their names."""
        marked: dict[Ref, str] = {}
        for ref in refs:
            assert ref.kind not in PROTECTED or why, f"{ref} is not to be deleted"
            self.lock.check()
            try:
                uid = (uids or {}).get(ref) or await self._uid(ref)
                if uid and await self.client.delete(ref, uid=uid, propagation="Foreground"):
                    marked[ref] = uid
            except KindUnknown:
                continue
            except KubeError as exc:
                raise DeployFailed(f"{ref} cannot be deleted: {exc}", remedy=exc.remedy) from exc
        # Afterwards, and not one by one: a volume goes when the last pod that uses it has gone.
        for ref, uid in marked.items():
            is_gone = await self._until_gone(ref, uid)
            if is_gone and not quietly:
                self.report.done(f"{ref} deleted{f' ({why})' if why else ''}")

    async def _uid(self, ref: Ref) -> str:
        item = await self.client.find(ref)
        return str(item["metadata"]["uid"]) if item is not None else ""

    async def _until_gone(self, ref: Ref, uid: str) -> bool:
        """A finalizer of somebody else may keep it for ever: then it is said, and not waited for."""
        try:
            async with asyncio.timeout(_GONE_SECONDS):
                while await self._uid(ref) == uid:
                    self.lock.check()
                    self.report.waiting(f"waiting for the end of {ref}")
                    await asyncio.sleep(_LOOK_SECONDS)
        except TimeoutError:
            self.report.note(f"{ref} is marked as deleted, and something still keeps it (its finalizers)")
            return False
        return True
