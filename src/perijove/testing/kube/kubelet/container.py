"""One container of a pod: pulled, started, probed, restarted, ended."""

import asyncio
import re
import signal
from contextlib import suppress
from dataclasses import dataclass, field
from typing import IO, TYPE_CHECKING

from perijove.testing.kube.api.options import now
from perijove.testing.kube.kubelet.environment import ConfigMissing
from perijove.testing.kube.kubelet.hooks import HookFailed, run_hook
from perijove.testing.kube.kubelet.images import base_environment
from perijove.testing.kube.kubelet.probes import Probing
from perijove.testing.kube.kubelet.sandbox import ContainerSpec, Hollow, Running, Sandbox
from perijove.testing.kube.objects.resources import Object

if TYPE_CHECKING:
    from perijove.testing.kube.kubelet.pod import PodRun

_MESSAGE_LINES = 80


@dataclass
class Container:
    """Its state, and the task that moves it."""

    pod: "PodRun"
    spec: Object
    init: bool = False
    state: Object = field(default_factory=lambda: {"waiting": {"reason": "ContainerCreating"}})
    last_state: Object = field(default_factory=dict)
    restarts: int = 0
    ready: bool = False
    started: bool = False
    sandbox: Running | None = None
    # Why it is being killed, when that is not its own doing: OOMKilled.
    kill_reason: str = ""
    stopping: bool = False
    # Set once it will not be started again.
    done: asyncio.Event = field(default_factory=asyncio.Event)
    up: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def name(self) -> str:
        return str(self.spec["name"])

    @property
    def exit_code(self) -> int | None:
        """Of its last run, once that has ended."""
        ended = self.state.get("terminated")
        return int(ended["exitCode"]) if ended else None

    @property
    def is_sidecar(self) -> bool:
        return self.init and self.spec.get("restartPolicy") == "Always"

    @property
    def field_path(self) -> str:
        return f"spec.{'initContainers' if self.init else 'containers'}{{{self.name}}}"

    def status(self) -> Object:
        status: Object = {
            "name": self.name,
            "state": self.state,
            "lastState": self.last_state,
            "ready": self.ready,
            "restartCount": self.restarts,
            "image": self.spec["image"],
            "imageID": "" if "waiting" in self.state and not self.restarts else f"sha256:{self.spec['image']}",
            "started": self.started,
        }
        if self.sandbox is not None:
            status["containerID"] = self.container_id
        return status

    @property
    def container_id(self) -> str:
        return f"perijove://{self.pod.uid}/{self.name}/{self.restarts}"

    async def run(self) -> None:
        """Until it has ended for good."""
        try:
            while True:
                await self._pull()
                started = now()
                code, reason, message = await self._once()
                self._ended(started, code, reason, message)
                if not self._again(code):
                    return
                await self._back_off()
        finally:
            self.done.set()

    def _again(self, code: int) -> bool:
        if self.stopping or self.pod.ending:
            return False
        policy = "Always" if self.is_sidecar else self.pod.item["spec"]["restartPolicy"]
        if self.init and not self.is_sidecar and policy == "Always":
            policy = "OnFailure"
        return policy == "Always" or (policy == "OnFailure" and code != 0)

    async def _back_off(self) -> None:
        self.last_state = self.state
        seconds = self.pod.kubelet.pace.back_off(self.restarts)
        if self.restarts:
            words = (
                f"back-off {self.pod.kubelet.pace.said_back_off(self.restarts)} restarting failed "
                f"container={self.name} pod={self.pod.name}_{self.pod.namespace}({self.pod.uid})"
            )
            self.state = {"waiting": {"reason": "CrashLoopBackOff", "message": words}}
            brief = f"Back-off restarting failed container {self.name} in pod {self.pod.name}"
            self._say("BackOff", f"{brief}_{self.pod.namespace}({self.pod.uid})", warning=True)
            self.pod.publish()
        await asyncio.sleep(seconds)
        self.restarts += 1

    async def _pull(self) -> None:
        image, images = self.spec["image"], self.pod.kubelet.images
        policy = self.spec["imagePullPolicy"]
        if policy == "Never" and not images.is_present(image):
            await self._wait_forever(
                "ErrImageNeverPull", f'Container image "{image}" is not present with pull policy of Never'
            )
        if images.is_present(image) and policy != "Always":
            self._say("Pulled", f'Container image "{image}" already present on machine')
            return
        self._say("Pulling", f'Pulling image "{image}"')
        await images.released(image)
        attempt = 0
        while images.is_missing(image):
            await self._failed_pull(image, attempt)
            attempt += 1
        if seconds := images.seconds(image):
            await asyncio.sleep(seconds)
        images.pulled(image)
        self._say(
            "Pulled", f'Successfully pulled image "{image}" in 0.1s (0.1s including waiting). Image size: 1 bytes.'
        )

    async def _failed_pull(self, image: str, attempt: int) -> None:
        why = f'failed to pull and unpack image "{image}": failed to resolve reference "{image}": {image}: not found'
        if attempt == 0:
            self._say(
                "Failed", f'Failed to pull image "{image}": rpc error: code = NotFound desc = {why}', warning=True
            )
        self._say("Failed", "Error: ErrImagePull", warning=True)
        self.state = {"waiting": {"reason": "ErrImagePull", "message": f"rpc error: code = NotFound desc = {why}"}}
        self.pod.publish()
        await asyncio.sleep(self.pod.kubelet.pace.step_seconds)
        said = f'Back-off pulling image "{image}"'
        self._say("BackOff", said)
        self._say("Failed", "Error: ImagePullBackOff", warning=True)
        self.state = {"waiting": {"reason": "ImagePullBackOff", "message": f"{said}: ErrImagePull: {why}"}}
        self.pod.publish()
        await asyncio.sleep(self.pod.kubelet.pace.back_off(attempt + 1))

    async def _wait_forever(self, reason: str, message: str) -> None:
        self.state = {"waiting": {"reason": reason, "message": message}}
        self._say("Failed", f"Error: {reason}", warning=True)
        self.pod.publish()
        await asyncio.Event().wait()

    async def _spec(self) -> ContainerSpec:
        """Waits for configuration that is missing, and says so meanwhile."""
        while True:
            try:
                return self._resolved()
            except ConfigMissing as missing:
                reason = "CreateContainerConfigError"
                if self.state.get("waiting", {}).get("message") != str(missing):
                    self.state = {"waiting": {"reason": reason, "message": str(missing)}}
                    self._say("Failed", f"Error: {missing}", warning=True)
                    self.pod.publish()
                await asyncio.sleep(self.pod.kubelet.pace.step_seconds)

    def _resolved(self) -> ContainerSpec:
        image = self.pod.kubelet.images.find(self.spec["image"])
        resolver = self.pod.resolver
        base = {**base_environment(image), **self.pod.kubelet.api_environment, "HOSTNAME": self.pod.hostname}
        environment = resolver.environment(self.spec, base)
        words = [*(self.spec.get("command") or image.entrypoint)]
        if self.spec.get("args"):
            words += self.spec["args"]
        elif not self.spec.get("command"):
            words += image.command
        context = (self.pod.item["spec"].get("securityContext") or {}) | (self.spec.get("securityContext") or {})
        user = context.get("runAsUser", image.user)
        groups = [*(context.get("supplementalGroups") or ())]
        if context.get("fsGroup") is not None:
            groups.append(context["fsGroup"])
        return ContainerSpec(
            command=resolver.arguments(words, environment),
            environment=environment,
            mounts=self.pod.volumes.mounts(self.spec, environment),
            working_directory=self.spec.get("workingDir") or image.working_directory,
            user=user,
            group=context.get("runAsGroup", image.group),
            groups=groups,
            read_only_root=bool(context.get("readOnlyRootFilesystem")),
            hosts=self.pod.kubelet.hosts_file(self.pod.namespace),
            hostname=self.pod.hostname,
            directory=self.pod.directory / f"{self.name}.{self.restarts}",
        )

    async def _once(self) -> tuple[int, str, str]:
        """Exit code, reason and message of one run."""
        spec = await self._spec()
        if self.pod.kubelet.pace.create_seconds:
            await asyncio.sleep(self.pod.kubelet.pace.create_seconds)
        self.kill_reason = ""
        self._say("Created", f"Created container: {self.name}")
        log = self.pod.log_of(self.name)
        log.directory.mkdir(parents=True, exist_ok=True)
        with log.file(self.restarts).open("ab", buffering=0) as output:
            try:
                self.sandbox = await self._start(spec, output)
            except OSError as error:
                said = f"failed to create containerd task: failed to create shim task: {error}"
                self._say("Failed", f"Error: {said}", warning=True)
                return 128, "StartError", said
        self._say("Started", f"Started container {self.name}")
        self.state = {"running": {"startedAt": now()}}
        async with asyncio.TaskGroup() as group:
            beside = group.create_task(self._beside())
            code = await self.sandbox.wait()
            beside.cancel()
        reason = self.kill_reason or ("Completed" if code == 0 else "Error")
        return code, reason, self._message(code)

    @property
    def is_hollow(self) -> bool:
        return self.pod.kubelet.images.find(self.spec["image"]).hollow

    async def _start(self, spec: ContainerSpec, output: IO[bytes]) -> Running:
        """Cancelled half-way, the process is there and nobody knows it: it is waited for, and ended."""
        if self.is_hollow:
            return Hollow()
        starting = asyncio.ensure_future(Sandbox.start(spec, output))
        try:
            return await asyncio.shield(starting)
        except asyncio.CancelledError:
            sandbox = await starting
            sandbox.signal(signal.SIGKILL)
            await sandbox.wait()
            raise

    def _message(self, code: int) -> str:
        if code == 0 or self.spec.get("terminationMessagePolicy") != "FallbackToLogsOnError":
            return ""
        content = self.pod.log_of(self.name).file(self.restarts).read_text(errors="replace")
        return "\n".join(content.splitlines()[-_MESSAGE_LINES:])

    async def _beside(self) -> None:
        """While it runs: its hook, its probes, its memory."""
        assert self.sandbox is not None
        hook = (self.spec.get("lifecycle") or {}).get("postStart")
        if hook is not None:
            self.state = {"waiting": {"reason": "PodInitializing"}}
            try:
                await run_hook(hook, self.sandbox, self.pod.probe_target(self.spec))
            except HookFailed as failed:
                self._say("FailedPostStartHook", f"PostStartHook failed: {failed}", warning=True)
                self._say("Killing", "FailedPostStartHook")
                self.sandbox.signal(signal.SIGKILL)
                return
            self.state = {"running": {"startedAt": now()}}
        self.up.set()
        await Probing(self).run()

    def _ended(self, started: str, code: int, reason: str, message: str) -> None:
        ended: Object = {
            "exitCode": code,
            "reason": reason,
            "startedAt": started,
            "finishedAt": now(),
            "containerID": self.container_id,
        }
        if message:
            ended["message"] = message
        self.state = {"terminated": ended}
        self.ready = self.started = False
        self.sandbox = None
        self.up.clear()
        self.pod.publish()

    async def stop(self, grace_seconds: float) -> None:
        """For good: preStop, SIGTERM, and SIGKILL when its time is up."""
        self.stopping = True
        if self.sandbox is not None:
            self._say("Killing", f"Stopping container {self.name}")
            await self.terminate(grace_seconds)
            await self.done.wait()

    async def terminate(self, grace_seconds: float) -> None:
        """This run of it."""
        sandbox = self.sandbox
        if sandbox is None:
            return
        # Without grace nobody is asked: an interrupted hook would be waited for all the same.
        with suppress(TimeoutError):
            async with asyncio.timeout(grace_seconds):
                if grace_seconds > 0:
                    await self._pre_stop(sandbox)
                sandbox.signal(_stop_signal(self.spec))
                await sandbox.wait()
                return
        sandbox.signal(signal.SIGKILL)
        await sandbox.wait()

    async def _pre_stop(self, sandbox: Running) -> None:
        hook = (self.spec.get("lifecycle") or {}).get("preStop")
        if hook is None:
            return
        try:
            await run_hook(hook, sandbox, self.pod.probe_target(self.spec))
        except HookFailed as failed:
            self._say("FailedPreStopHook", f"PreStopHook failed: {failed}", warning=True)

    def kill(self, reason: str) -> None:
        """At once, and say why in its state."""
        self.kill_reason = reason
        if self.sandbox is not None:
            self.sandbox.signal(signal.SIGKILL)

    def say(self, reason: str, message: str, *, warning: bool = False) -> None:
        self._say(reason, message, warning=warning)

    def _say(self, reason: str, message: str, *, warning: bool = False) -> None:
        self.pod.say(reason, message, warning=warning, field_path=self.field_path)


def _stop_signal(spec: Object) -> signal.Signals:
    named = (spec.get("lifecycle") or {}).get("stopSignal", "SIGTERM")
    return signal.Signals[named] if re.fullmatch("SIG[A-Z0-9]+", named) else signal.SIGTERM
