"""How the controller tells: conditions of the `Hub`, Events, and a file for the pod's own readiness probe.

Telling never stops the work: what is to be said is put down here, and a task writes it when the cluster answers.
"""

import asyncio
import secrets
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final, Literal

import structlog

from perijove.controller.hub import Phase, Situation, conditions, hub_ref
from perijove.deploy import names
from perijove.kube.client import Client
from perijove.kube.errors import ClusterUnavailable, KubeError, ObjectNotFound
from perijove.kube.refs import Object
from perijove.lib.clock import Clock, SystemClock

_log = structlog.get_logger()
# Not more often than this while something is only being waited for.
_PAUSE_SECONDS: Final = 0.5
_AGAIN_SECONDS: Final = 2.0
_MOST_EVENTS: Final = 100
_LONGEST_NOTE: Final = 1000

EventType = Literal["Normal", "Warning"]


@dataclass(frozen=True, slots=True)
class _Event:
    type: EventType
    reason: str
    message: str
    uid: str


@dataclass(kw_only=True)
class Teller:
    """`perijove.deploy.report.Report`, and the state of the release as others see it."""

    client: Client
    namespace: str
    release: str
    ready_file: Path | None = None
    clock: Clock = field(default_factory=SystemClock)
    situation: Situation | None = None
    # Of the object `Hub` that the situation is about.
    generation: int = 0
    uid: str = ""
    failed_attempt: str = ""
    _events: asyncio.Queue[_Event] = field(default_factory=lambda: asyncio.Queue(_MOST_EVENTS))
    _dirty: asyncio.Event = field(default_factory=asyncio.Event)

    # -- what is to be said

    def about(self, hub: Object) -> None:
        """Conditions are about this version of the object from now on."""
        self.generation = int(hub["metadata"].get("generation") or 1)
        self.uid = str(hub["metadata"]["uid"])

    def set(self, situation: Situation) -> None:
        before = self.situation
        self.situation = situation
        self._mark_ready(ready=situation.phase is Phase.READY)
        if before is None or (before.phase, before.reason) != (situation.phase, situation.reason):
            kind: EventType = "Warning" if situation.phase in (Phase.FAILED, Phase.STALLED) else "Normal"
            self.event(kind, situation.reason, situation.message)
        if situation.conflict and (before is None or before.conflict != situation.conflict):
            self.event("Warning", "FieldsLeft", situation.conflict)
        self._dirty.set()

    def event(self, kind: EventType, reason: str, message: str) -> None:
        say = _log.warning if kind == "Warning" else _log.info
        say(message, reason=reason)
        if self.uid and not self._events.full():
            self._events.put_nowait(_Event(kind, reason, message, self.uid))
            self._dirty.set()

    def _mark_ready(self, *, ready: bool) -> None:
        if self.ready_file is None:
            return
        if ready:
            self.ready_file.touch()
        else:
            self.ready_file.unlink(missing_ok=True)

    # -- what a deploy tells

    def done(self, text: str) -> None:
        _log.info(text)

    def note(self, text: str) -> None:
        _log.info(text)

    def trouble(self, text: str) -> None:
        self.event("Warning", "Trouble", text)

    def waiting(self, text: str) -> None:
        if self.situation is not None and self.situation.phase is Phase.PROGRESSING:
            self.situation = replace(self.situation, message=text)
            self._dirty.set()

    # -- writing it

    async def write(self) -> None:
        """Until it is cancelled."""
        while True:
            await self._dirty.wait()
            self._dirty.clear()
            try:
                await self.flush()
            except KubeError as exc:
                _log.warning("the status cannot be written", cause=str(exc))
                self._dirty.set()
                await self.clock.sleep(_AGAIN_SECONDS)
            await self.clock.sleep(_PAUSE_SECONDS)

    async def flush(self) -> None:
        if self.situation is not None:
            await self._write_status(self.situation)
        while not self._events.empty():
            event = self._events.get_nowait()
            try:
                await self._write_event(event)
            except ClusterUnavailable:
                self._events.put_nowait(event)
                raise

    async def _write_status(self, situation: Situation) -> None:
        ref = hub_ref(self.namespace, self.release)
        hub = await self.client.find(ref)
        if hub is None or hub["metadata"]["uid"] != self.uid:
            return
        before = hub.get("status") or {}
        status = {
            "observedGeneration": self.generation,
            "failedAttempt": self.failed_attempt,
            "conditions": conditions(
                situation, before.get("conditions") or (), generation=self.generation, now=self.clock.now()
            ),
        }
        if status == before:
            return
        try:
            await self.client.patch(ref, {"status": status}, manager=names.MANAGER, subresource="status")
        except ObjectNotFound:
            # Deleted in between: there is nobody left to tell.
            return

    async def _write_event(self, event: _Event) -> None:
        ref = hub_ref(self.namespace, self.release)
        now = self.clock.now().strftime("%Y-%m-%dT%H:%M:%SZ")
        manifest: Object = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": f"{self.release}.{secrets.token_hex(8)}", "namespace": self.namespace},
            "involvedObject": {
                "apiVersion": ref.api_version,
                "kind": ref.kind,
                "name": ref.name,
                "namespace": ref.namespace,
                "uid": event.uid,
            },
            "type": event.type,
            "reason": event.reason,
            # Kubernetes takes no more.
            "message": event.message[:_LONGEST_NOTE],
            "source": {"component": "perijove-controller"},
            "firstTimestamp": now,
            "lastTimestamp": now,
            "count": 1,
        }
        await self.client.create(manifest, manager=names.MANAGER)
