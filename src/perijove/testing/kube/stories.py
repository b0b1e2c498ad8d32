"""What tests of pods do again and again: make one, wait for what it becomes, read what it printed."""

from collections.abc import Callable
from http import HTTPStatus
from typing import Any

from perijove.testing.kube.target import Target
from perijove.testing.waiting import until

IMAGE = "busybox:1.36"
# Lives until it is asked to end.
WAIT = "trap 'exit 0' TERM; while :; do sleep 0.1; done"

_SECONDS = 60.0
_LOOK_SECONDS = 0.02


class Pods:
    """Of one cluster's test namespace. Works on a real cluster as well."""

    def __init__(self, target: Target) -> None:
        self.target = target

    async def create(
        self, script: str = WAIT, *, name: str = "p", container: dict[str, Any] | None = None, **spec: Any
    ) -> Any:
        """With one container `main` that runs a script; `spec` is of the pod, `container` of that container."""
        main = {"name": "main", "image": IMAGE, "command": ["sh", "-c", script], **(container or {})}
        spec = {"restartPolicy": "Never", "terminationGracePeriodSeconds": 5, "containers": [main], **spec}
        body = {"metadata": {"name": name, "labels": {"app": name}}, "spec": spec}
        return await self.target.core.create_namespaced_pod(self.target.namespace, body)

    async def read(self, name: str = "p") -> Any:
        return await self.target.core.read_namespaced_pod(name, self.target.namespace)

    async def find(self, name: str = "p") -> Any:
        try:
            return await self.read(name)
        except self.target.ApiException as error:
            if error.status != HTTPStatus.NOT_FOUND:
                raise
            return None

    async def until(self, condition: Callable[[Any], bool], name: str = "p", *, seconds: float = _SECONDS) -> Any:
        """The pod, once `condition` holds for it."""

        async def held() -> Any:
            pod = await self.read(name)
            return pod if condition(pod) else None

        return await until(held, seconds=seconds, every=_LOOK_SECONDS)

    async def until_phase(self, phase: str, name: str = "p") -> Any:
        return await self.until(lambda pod: bool(pod.status.phase == phase), name)

    async def until_ready(self, name: str = "p") -> Any:
        return await self.until(is_ready, name)

    async def until_gone(self, name: str = "p", *, seconds: float = _SECONDS) -> None:
        async def gone() -> bool:
            return await self.find(name) is None

        await until(gone, seconds=seconds, every=_LOOK_SECONDS)

    async def until_waiting(self, reason: str, name: str = "p") -> Any:
        """The status of the container that waits for this reason."""
        pod = await self.until(lambda one: _waiting(one, reason) is not None, name)
        return _waiting(pod, reason)

    async def until_event(self, reason: str, name: str = "p") -> Any:
        async def said() -> Any:
            selector = f"involvedObject.name={name},reason={reason}"
            found = await self.target.core.list_namespaced_event(self.target.namespace, field_selector=selector)
            return found.items

        return (await until(said, seconds=_SECONDS, every=_LOOK_SECONDS))[-1]

    async def log(self, name: str = "p", **query: Any) -> str:
        text: str = await self.target.core.read_namespaced_pod_log(name, self.target.namespace, **query)
        return text

    async def output(self, script: str, **spec: Any) -> str:
        """What a pod prints that ends well."""
        await self.create(script, **spec)
        name = spec.get("name", "p")
        pod = await self.until(lambda one: one.status.phase in ("Succeeded", "Failed"), name)
        printed = await self.log(name)
        assert pod.status.phase == "Succeeded", printed
        return printed

    async def delete(self, name: str = "p", **options: Any) -> None:
        await self.target.core.delete_namespaced_pod(name, self.target.namespace, **options)


def is_ready(pod: Any) -> bool:
    return any(one.type == "Ready" and one.status == "True" for one in pod.status.conditions or [])


def terminated(pod: Any, container: str = "main") -> Any:
    """The end of a container: of this run, or of the one before."""
    status = next(one for one in pod.status.container_statuses if one.name == container)
    return status.state.terminated or (status.last_state and status.last_state.terminated)


def _waiting(pod: Any, reason: str) -> Any:
    statuses = [*(pod.status.init_container_statuses or []), *(pod.status.container_statuses or [])]
    return next((one for one in statuses if one.state.waiting and one.state.waiting.reason == reason), None)
