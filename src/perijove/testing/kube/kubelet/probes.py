"""Startup, readiness and liveness probes, and the memory limit, of one running container."""

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

import psutil

from perijove.testing.kube.kubelet.hooks import HookFailed, get_url, run_command
from perijove.testing.kube.objects.quantities import amount
from perijove.testing.kube.objects.resources import Object

if TYPE_CHECKING:
    from perijove.testing.kube.kubelet.container import Container

_MEMORY_SECONDS = 0.2


@dataclass
class Probing:
    container: "Container"

    async def run(self) -> None:
        """Until the container has ended or a probe has ended it."""
        spec = self.container.spec
        async with asyncio.TaskGroup() as group:
            group.create_task(self._memory())
            if (startup := spec.get("startupProbe")) is not None:
                await self._until_started(startup)
            self.container.started = True
            if (liveness := spec.get("livenessProbe")) is not None:
                group.create_task(self._liveness(liveness))
            if (readiness := spec.get("readinessProbe")) is not None:
                group.create_task(self._readiness(readiness))
            else:
                self.container.ready = True
            self.container.pod.publish()

    async def _until_started(self, probe: Object) -> None:
        failures = 0
        await self._sleep(probe.get("initialDelaySeconds", 0))
        while not await self._passes(probe, "Startup"):
            failures += 1
            if failures >= probe["failureThreshold"]:
                self._kill("startup")
                await asyncio.Event().wait()
            await self._sleep(probe["periodSeconds"])

    async def _readiness(self, probe: Object) -> None:
        good = bad = 0
        await self._sleep(probe.get("initialDelaySeconds", 0))
        while True:
            passed = await self._passes(probe, "Readiness")
            good, bad = (good + 1, 0) if passed else (0, bad + 1)
            if good >= probe["successThreshold"]:
                self._set_ready(ready=True)
            elif bad >= probe["failureThreshold"]:
                self._set_ready(ready=False)
            # Not yet ready: looked at soon again, as a node does that is idle.
            waits = not self.container.ready
            await self._sleep(min(probe["periodSeconds"], 0.1) if waits else probe["periodSeconds"])

    async def _liveness(self, probe: Object) -> None:
        failures = 0
        await self._sleep(probe.get("initialDelaySeconds", 0))
        while True:
            failures = 0 if await self._passes(probe, "Liveness") else failures + 1
            if failures >= probe["failureThreshold"]:
                self._kill("liveness")
                return
            await self._sleep(probe["periodSeconds"])

    def _set_ready(self, *, ready: bool) -> None:
        if self.container.ready is not ready:
            self.container.ready = ready
            self.container.pod.publish()

    def _kill(self, kind: str) -> None:
        words = f"Container {self.container.name} failed {kind} probe, will be restarted"
        self.container.say("Killing", words)
        grace = self.container.pod.item["spec"]["terminationGracePeriodSeconds"]
        self.container.pod.spawn(self.container.terminate(grace))

    async def _passes(self, probe: Object, kind: str) -> bool:
        try:
            async with asyncio.timeout(probe["timeoutSeconds"]):
                await self._once(probe)
        except (HookFailed, TimeoutError, OSError) as error:
            why = str(error) or "context deadline exceeded"
            self.container.say("Unhealthy", f"{kind} probe failed: {why}", warning=True)
            return False
        return True

    async def _once(self, probe: Object) -> None:
        """Raises `HookFailed` and `OSError`."""
        if self.container.is_hollow:
            # Nobody is there to answer, and all is well.
            return
        target = self.container.pod.probe_target(self.container.spec)
        if (get := probe.get("httpGet")) is not None:
            await get_url(target.url(get), get)
        elif (tcp := probe.get("tcpSocket")) is not None:
            _, writer = await asyncio.open_connection(tcp.get("host") or target.address, target.port(tcp["port"]))
            writer.close()
        elif (command := (probe.get("exec") or {}).get("command")) is not None:
            assert self.container.sandbox is not None
            await run_command(self.container.sandbox, command)

    async def _sleep(self, seconds: float) -> None:
        await asyncio.sleep(self.container.pod.kubelet.pace.probe(seconds))

    async def _memory(self) -> None:
        """Over its limit a container is killed, as the kernel would."""
        limit = ((self.container.spec.get("resources") or {}).get("limits") or {}).get("memory")
        if limit is None:
            return
        allowed = int(amount(limit))
        while True:
            await asyncio.sleep(_MEMORY_SECONDS)
            sandbox = self.container.sandbox
            if sandbox is not None and _resident(sandbox.first_process()) > allowed:
                self.container.kill("OOMKilled")
                return


def _resident(pid: int | None) -> int:
    """Of the process and all below it, each by what it alone has: shared pages count once in a cgroup."""
    total = 0
    if pid is None:
        return 0
    try:
        first = psutil.Process(pid)
        for process in [first, *first.children(recursive=True)]:
            memory = process.memory_info()
            total += memory.rss - memory.shared
    except psutil.Error:
        return 0
    return total
