"""Makes KubeSpawner, and its subclasses, explain what fails, and safe beside other hubs.

A class is derived from the configured one when it is loaded, as for local processes. It marks the pods it makes,
looks at its pod while it starts and ends a start that is hopeless, deletes only pods it may, and keeps a failing
watch from ending the hub: KubeSpawner calls `sys.exit()` then.
"""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import aiohttp
from kubernetes_asyncio.client import ApiException
from kubespawner import KubeSpawner

from perijove.domain.errors import SpawnFailed
from perijove.domain.ids import ServerId
from perijove.domain.ports import Found, ServerName
from perijove.plugins import kube_causes, kube_life
from perijove.plugins.calls import settle
from perijove.plugins.errors import details_of
from perijove.plugins.kube_causes import Cause
from perijove.plugins.kube_claims import owner_of
from perijove.plugins.kube_life import NOTEBOOK
from perijove.plugins.kube_marks import labels, marking_of, succeeds
from perijove.plugins.kube_reading import Reading, words_of
from perijove.plugins.kube_storage import ClaimKeeping
from perijove.plugins.kube_watch import watching_class
from perijove.plugins.watched import Watched

EPOCH = "perijove_epoch"
_LOOK_SECONDS = 0.25
_GRACE_SECONDS = 1.0
_LINES = 30
_GONE, _CONFLICT = 404, 409


class HostedPod(ClaimKeeping, Watched, KubeSpawner):  # type: ignore[misc]  # kubespawner ships no types
    """Mixed in front of a `KubeSpawner`."""

    # Of how long causes must last before they end a start.
    patience_factor: float = 1.0
    # Of the lease under which the pod was made; None for pods that no hub of ours made.
    _epoch: int | None = None
    # What keeps the pod from being ready right now.
    _trouble: Cause | None = None
    _started_here: bool = False
    # The API server took it; the watch may not have seen it yet.
    _made: bool = False
    _last_lines: tuple[str, ...] = ()
    # What `living()` made of each pod.
    _looked_at: Mapping[Any, tuple[Any, tuple[str, ServerId | ServerName] | None]] = {}

    @property
    def _reading(self) -> Reading:
        return Reading(self.api, self.namespace, float(self.k8s_api_request_timeout))

    # -- state

    def load_state(self, state: dict[str, Any]) -> None:
        super().load_state(state)
        self._epoch = state.get(EPOCH)

    def get_state(self) -> dict[str, Any]:
        state: dict[str, Any] = super().get_state()
        if self._epoch is not None:
            state[EPOCH] = self._epoch
        return state

    def clear_state(self) -> None:
        super().clear_state()
        self._epoch = None

    # -- start

    def start(self) -> Any:
        self._started_here, self._made, self._epoch = True, False, self.marking.epoch
        return asyncio.ensure_future(self._explained(super().start()))

    async def _start(self) -> Any:
        """KubeSpawner runs this as a task, where SystemExit would end the event loop."""
        try:
            return await super()._start()
        except SystemExit as exc:
            raise RuntimeError(f"something in the start called sys.exit({exc.code})") from exc

    async def load_user_options(self) -> None:
        """What was chosen may be gone from the profiles since, or come from a script: that is the asker's to know."""
        try:
            await super().load_user_options()
        except ValueError as exc:
            message = f"The chosen options do not fit: {exc}"
            raise SpawnFailed(message, reason="options", details=details_of(exc), status=400) from exc

    async def _explained(self, begun: Any) -> Any:
        starting = asyncio.ensure_future(settle(begun))
        looking = asyncio.create_task(self._until_hopeless())
        try:
            await asyncio.wait({starting, looking}, return_when=asyncio.FIRST_COMPLETED)
            if not starting.done() and looking.result().reason == kube_causes.DELETED.reason:
                # KubeSpawner itself deletes the pod when a hook fails: then the hook is the cause.
                await asyncio.wait({starting}, timeout=_GRACE_SECONDS)
            if not starting.done():
                raise await self._failure(looking.result())
            return starting.result()
        except ApiException as exc:
            raise await self._failure(kube_causes.refusal(exc.status, words_of(exc))) from exc
        except aiohttp.ClientError as exc:
            raise await self._failure(Cause("cluster", "The hub cannot reach the cluster.", repr(exc))) from exc
        except TimeoutError as exc:
            if (failure := await self.why_late()) is not None:
                raise failure from exc
            raise
        finally:
            for task in (starting, looking):
                task.cancel()
            await asyncio.gather(starting, looking, return_exceptions=True)

    async def _until_hopeless(self) -> Cause:
        loop, since, seen = asyncio.get_running_loop(), 0.0, False
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            pod = self._mine()
            if pod is None:
                if seen or (self._made and await self._reading.is_gone(self.pod_name)):
                    return kube_causes.DELETED
                continue
            seen = True
            cause = kube_causes.starting(pod, self._told(pod))
            if cause is None or self._trouble is None or cause.reason != self._trouble.reason:
                since = loop.time()
            self._trouble = cause
            if cause is not None and loop.time() - since >= cause.patience_seconds * self.patience_factor:
                return cause

    def _mine(self) -> Mapping[str, Any] | None:
        """The pod of this very start. One of an earlier start may bear its name for a while."""
        pod = self._known()
        return pod if pod is not None and marking_of(pod) == self.marking else None

    def _known(self) -> Mapping[str, Any] | None:
        reflector = self.pod_reflector
        found: Mapping[str, Any] | None = reflector and reflector.pods.get(f"{self.namespace}/{self.pod_name}")
        return found

    def _told(self, pod: Mapping[str, Any]) -> list[Mapping[str, Any]]:
        reflector, uid = self.event_reflector, pod["metadata"]["uid"]
        events = reflector.resources.values() if reflector else ()
        return [event for event in events if event["involvedObject"].get("uid") == uid]

    async def why_late(self) -> SpawnFailed | None:
        if self._trouble is not None:
            return await self._failure(self._trouble)
        if words := getattr(self.pod_reflector, "interrupted", ""):
            return SpawnFailed("The hub cannot see the cluster.", reason="cluster", details=f"Watching pods: {words}")
        return None

    async def _failure(self, cause: Cause) -> SpawnFailed:
        pod, events = self._known(), await self._reading.events(self.pod_name)
        cause = kube_causes.in_the_light_of(cause, events)
        parts = [cause.details, kube_causes.described(pod) if pod else "", kube_causes.told(events)]
        if cause.container:
            lines = await self._reading.log(self.pod_name, cause.container, _LINES, previous=True)
            parts.append("\n".join([f"Last lines of {cause.container}:", *lines]))
        if cause.reason == "volume":
            parts.append(kube_causes.told(await self._reading.events(self.pvc_name)))
        return SpawnFailed(cause.message, reason=cause.reason, details="\n\n".join(part for part in parts if part))

    # -- the rest of its life

    async def poll(self) -> int | None:
        await self._start_watching_pods()
        cause = await self._end()
        if cause is not None and self.ended is None:
            # Now: KubeSpawner deletes the pod when it finds it ended.
            self._last_lines = await self.tail(_LINES)
            self.ended = await self._failure(cause)
        pod = self._known()
        self.mishap = kube_life.mishap(pod) if pod is not None and cause is None else None
        if pod is not None and kube_life.is_restarting(pod):
            # KubeSpawner takes the moment between two runs of a container for the pod's end, and deletes it.
            return None if cause is None else cause.exit_code or 1
        status: int | None = await settle(super().poll())
        if cause is None:
            # Not in the watch, and still there: the watch is late, as it is right after a start elsewhere.
            return status if self._known() is not None else None
        return status if status is not None else cause.exit_code or 1

    async def _end(self) -> Cause | None:
        pod = self._known() or await self._reading.pod(self.pod_name)
        if pod is None:
            return kube_causes.DELETED
        return kube_causes.end(pod, restarted_is_ended=self._started_here)

    async def tail(self, count: int) -> tuple[str, ...]:
        if self._last_lines:
            return self._last_lines
        pod = self._known()
        container = kube_life.notebook_of(pod) if pod is not None else {}
        # Of a container that was restarted, what it said before it ended.
        crashed = bool(container.get("lastState", {}).get("terminated"))
        if not crashed and not {"running", "terminated"} & set(container.get("state", {})):
            return ()
        lines = await self._reading.log(self.pod_name, NOTEBOOK, count, previous=crashed)
        # It may have been restarted since the watch told of its end, and the new one has said nothing yet.
        return lines or await self._reading.log(self.pod_name, NOTEBOOK, count, previous=not crashed)

    async def sweep(self) -> None:
        if await self._reading.pod(self.pod_name) is not None:
            await settle(self.stop(now=True))

    # -- the fence

    async def _make_create_pod_request(self, pod: Any, request_timeout: Any) -> Any:
        # Here, after modify_pod_hook, which may replace all labels.
        pod.metadata.labels = {**(pod.metadata.labels or {}), **labels(self.marking)}
        self._made = bool(await super()._make_create_pod_request(pod, request_timeout))
        return self._made

    async def _make_delete_pod_request(
        self, pod_name: str, delete_options: Any, grace_seconds: Any, request_timeout: Any
    ) -> Any:
        """Delete what was looked at, never what another hub put in its place. False: try again."""
        try:
            pod = await self._reading.pod(pod_name)
        except TimeoutError:
            return False
        if pod is None:
            return True
        if succeeds(pod, self.marking):
            raise SpawnFailed(
                "Another hub started this server meanwhile.",
                reason="superseded",
                details=f"Pod {pod_name} was made under a later lease than {self.marking.epoch}: {marking_of(pod)}",
            )
        delete_options.preconditions = {"uid": pod["metadata"]["uid"]}
        try:
            return await super()._make_delete_pod_request(pod_name, delete_options, grace_seconds, request_timeout)
        except ApiException as exc:
            if exc.status == _CONFLICT:
                return False
            raise

    async def find_all(self) -> Sequence[Found]:
        """From the watch that is there anyway: it costs the API server nothing."""
        reflector = await self._start_watching_pods()
        found = []
        for key, pod in reflector.pods.items():
            marking = marking_of(pod)
            if marking is None or marking.hub_id != self.marking.hub_id or "deletionTimestamp" in pod["metadata"]:
                continue
            found.append(Found(marking.server_id, marking.generation, f"pod {key}", {EPOCH: marking.epoch}))
        return found

    async def living(self) -> Mapping[str, ServerId | ServerName]:
        reflector = await self._start_watching_pods()
        looked_at = {}
        for key, pod in reflector.pods.items():
            # Every change is another object. Reading ten thousand pods a second takes three percent of a processor.
            known = self._looked_at.get(key)
            looked_at[key] = known if known is not None and known[0] is pod else (pod, self._living_run(pod))
        self._looked_at = looked_at
        return dict(run for _, run in looked_at.values() if run is not None)

    def _living_run(self, pod: Mapping[str, Any]) -> tuple[str, ServerId | ServerName] | None:
        """Its name and whose it is, if it runs and is this hub's."""
        marking = marking_of(pod)
        owner = owner_of(pod) if marking is None else marking.server_id
        other = marking is not None and marking.hub_id != self.marking.hub_id
        if owner is None or other or kube_causes.end(pod) is not None:
            return None
        return kube_life.run_of(pod), owner

    async def destroy(self, found: Found) -> None:
        reflector = await self._start_watching_pods()
        for pod in list(reflector.pods.values()):
            marking = marking_of(pod)
            if marking is None or marking.hub_id != self.marking.hub_id:
                continue
            if (marking.server_id, marking.epoch) != (found.server_id, found.state[EPOCH]):
                continue
            metadata = pod["metadata"]
            try:
                await self.api.delete_namespaced_pod(metadata["name"], metadata["namespace"], body=_end_of(metadata))
            except ApiException as exc:
                if exc.status not in (_GONE, _CONFLICT):
                    raise

    # -- the watches, shared by all instances

    async def _start_reflector(self, kind: str, reflector_class: type, replace: bool = False, **kwargs: Any) -> Any:
        key = self._get_reflector_key(kind)
        known = self.reflectors.get(key)
        if known is not None and known.watch_task is not None and known.watch_task.done():
            # It broke; without this every poll would go on believing what it saw last.
            replace = True
        try:
            reflector = await super()._start_reflector(kind, watching_class(reflector_class), replace, **kwargs)
        except (Exception, SystemExit) as exc:
            # A failed one would be handed to everybody from now on.
            if self.reflectors.get(key) is not known or replace:
                self.reflectors.pop(key, None)
            raise _blind(kind, exc) from exc
        if reflector is not known:
            # KubeSpawner replaces one that shows it no pod, and what kept that from it is worth telling.
            reflector.interrupted = getattr(reflector, "interrupted", "") or getattr(known, "interrupted", "")
        # Not reached by a reflector of ours; another one gives up, and KubeSpawner would end the hub then.
        reflector.on_failure = lambda: self.log.error("the watch of %s gave up; the next use starts another", kind)
        return reflector


def _end_of(metadata: Mapping[str, Any]) -> Mapping[str, Any]:
    """How to delete exactly that pod. One that was told to go and did not has a node that does not answer."""
    options: dict[str, Any] = {"preconditions": {"uid": metadata["uid"]}}
    if (by := metadata.get("deletionTimestamp")) and datetime.fromisoformat(by) < datetime.now(UTC):
        options["gracePeriodSeconds"] = 0
    return options


def _blind(kind: str, exc: BaseException) -> Exception:
    if isinstance(exc, ApiException):
        return exc
    cause = exc.__context__ if isinstance(exc, SystemExit) and exc.__context__ is not None else exc
    if isinstance(cause, ApiException):
        return cause
    return SpawnFailed(
        "The hub cannot see the cluster.", reason="cluster", details=f"Watching {kind} failed: {cause!r}"
    )


def pod_class(cls: type) -> type:
    """`cls` with `HostedPod` in front, if it is a KubeSpawner; else `cls` itself. Named as `hosted_class` explains."""
    if not issubclass(cls, KubeSpawner):
        return cls
    # A class with a poll of its own may look at more than the pod.
    own = {
        "__module__": cls.__module__,
        "__doc__": cls.__doc__,
        "in_sight": getattr(cls, "poll", None) is KubeSpawner.poll,
    }
    return type(f"Hosted{cls.__name__}", (HostedPod, cls), own)
