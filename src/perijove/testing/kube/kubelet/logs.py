"""What containers print, and `pods/log`, which serves it."""

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from aiohttp import web

from perijove.testing.kube.api.request import RequestInfo
from perijove.testing.kube.objects.failures import bad_request
from perijove.testing.kube.objects.resources import Object

_LOOK_SECONDS = 0.02
_CHUNK = 65_536


@dataclass(frozen=True)
class ContainerLog:
    """Files of one container: one for each time it was started."""

    directory: Path
    container: str

    def file(self, restart: int) -> Path:
        return self.directory / f"{self.container}.{restart}.log"


# (pod, container) -> its log, how often it was restarted, whether it runs; None for one not known here.
Find = Callable[[Object, str], tuple[ContainerLog, int, bool] | None]


@dataclass
class LogEndpoint:
    find: Find

    async def __call__(self, request: web.Request, info: RequestInfo, pod: Object) -> web.StreamResponse:
        query = info.query
        name = self._container(pod, query.get("container", ""))
        found = self.find(pod, name)
        if found is None:
            raise bad_request(f'container "{name}" in pod "{info.name}" is waiting to start: {_waiting(pod, name)}')
        log, restart, _ = found
        if previous := info.flag("previous"):
            if restart == 0:
                message = f'previous terminated container "{name}" in pod "{info.name}" not found'
                raise bad_request(message)
            restart -= 1
        path = log.file(restart)
        if not path.exists():
            raise bad_request(f'container "{name}" in pod "{info.name}" is waiting to start: {_waiting(pod, name)}')
        response = web.StreamResponse(headers={"Content-Type": "text/plain"})
        response.enable_chunked_encoding()
        await response.prepare(request)
        stamp = info.flag("timestamps")
        content = path.read_bytes()
        tail = _tail(content, int(query["tailLines"]) if query.get("tailLines") else None)
        if limit := query.get("limitBytes"):
            tail = tail[: int(limit)]
        await response.write(_stamped(tail) if stamp else tail)
        if info.flag("follow") and not previous:
            await self._follow(response, lambda: self._runs(pod, name, restart), path, len(content))
        await response.write_eof()
        return response

    def _runs(self, pod: Object, name: str, restart: int) -> bool:
        found = self.find(pod, name)
        return found is not None and found[2] and found[1] == restart

    async def _follow(self, response: web.StreamResponse, runs: Callable[[], bool], path: Path, position: int) -> None:
        while True:
            # Before reading: what it printed last is read as well.
            running = runs()
            with path.open("rb") as file:
                file.seek(position)
                while chunk := file.read(_CHUNK):
                    position += len(chunk)
                    await response.write(chunk)
            if not running:
                return
            await asyncio.sleep(_LOOK_SECONDS)

    def _container(self, pod: Object, name: str) -> str:
        names = [one["name"] for one in _containers(pod)]
        if name:
            if name not in names:
                raise bad_request(f"container {name} is not valid for pod {pod['metadata']['name']}")
            return name
        wanted = (pod["metadata"].get("annotations") or {}).get("kubectl.kubernetes.io/default-container")
        if wanted in names:
            return str(wanted)
        main = [one["name"] for one in pod["spec"]["containers"]]
        if len(main) > 1:
            listed = " ".join(main)
            raise bad_request(
                f"a container name must be specified for pod {pod['metadata']['name']}, choose one of: [{listed}]"
            )
        return str(main[0])


def _containers(pod: Object) -> Iterator[Object]:
    yield from pod["spec"].get("initContainers") or ()
    yield from pod["spec"]["containers"]


def _waiting(pod: Object, name: str) -> str:
    status = pod.get("status", {})
    for entry in [*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())]:
        if entry["name"] == name and (waiting := entry["state"].get("waiting")):
            return {"ImagePullBackOff": "trying and failing to pull image"}.get(
                waiting["reason"], str(waiting["reason"])
            )
    return "ContainerCreating"


def _tail(content: bytes, lines: int | None) -> bytes:
    if lines is None:
        return content
    return b"".join(content.splitlines(keepends=True)[-lines:]) if lines else b""


def _stamped(content: bytes) -> bytes:
    """Processes write to files by themselves: the time is that of reading."""
    stamp = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ").encode()
    return b"".join(stamp + b" " + line for line in content.splitlines(keepends=True))
