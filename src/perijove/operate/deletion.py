"""Deleting users' volumes: only what was looked at, only what nothing holds."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from perijove.kube.client import Client
from perijove.kube.refs import Object
from perijove.lib.clock import Clock, SystemClock
from perijove.operate.errors import VolumeInUse
from perijove.operate.volumes import UserVolume

_OVER = frozenset({"Succeeded", "Failed"})


@dataclass(kw_only=True)
class Deletion:
    client: Client
    # Wait for pods to end before, and for the volume to be gone after it.
    wait: bool = False
    timeout_seconds: float = 600
    look_seconds: float = 1.0
    tell: Callable[[str], None] = lambda _: None
    clock: Clock | None = None

    async def delete(self, volumes: Sequence[UserVolume]) -> None:
        """Raises `VolumeInUse` before the first is deleted, where one of them may not be."""
        for volume in volumes:
            await self._until_free(volume)
        for volume in volumes:
            # A pod may have come since. The cluster keeps what it holds until it ends.
            if await self.client.delete(volume.ref, uid=volume.uid):
                self.tell(f"{volume.namespace}/{volume.name} deleted")
            else:
                self.tell(f"{volume.namespace}/{volume.name} was gone already")
        if self.wait:
            for volume in volumes:
                await self._until_gone(volume)

    async def _until_free(self, volume: UserVolume) -> None:
        if volume.shared:
            raise VolumeInUse(
                f"{volume.name} holds files of several users and is not deleted here",
                remedy="Delete the user's directory in it instead.",
            )
        clock = self.clock or SystemClock()
        deadline, said = clock.monotonic() + self.timeout_seconds, ""
        while holders := await self._holders(volume):
            words = f"{volume.name} is in use by {', '.join(holders)}"
            if not self.wait:
                raise VolumeInUse(words, remedy="Stop the server first, or wait for its end with --wait.")
            if clock.monotonic() >= deadline:
                raise VolumeInUse(f"{words}, for {self.timeout_seconds:g} s now", remedy="Stop the server first.")
            if words != said:
                self.tell(f"{words}; waiting for its end")
                said = words
            await clock.sleep(self.look_seconds)

    async def _holders(self, volume: UserVolume) -> list[str]:
        pods = (await self.client.list("v1", "Pod", volume.namespace)).items
        return [_described(pod) for pod in pods if _holds(pod, volume.name)]

    async def _until_gone(self, volume: UserVolume) -> None:
        clock = self.clock or SystemClock()
        deadline = clock.monotonic() + self.timeout_seconds
        while (found := await self.client.find(volume.ref)) is not None and found["metadata"]["uid"] == volume.uid:
            if clock.monotonic() >= deadline:
                keeps = ", ".join(found["metadata"].get("finalizers") or ()) or "something"
                raise VolumeInUse(f"{volume.name} is being deleted, and {keeps} keeps it")
            await clock.sleep(self.look_seconds)


def _holds(pod: Object, claim: str) -> bool:
    if (pod.get("status") or {}).get("phase") in _OVER:
        return False
    volumes = (pod.get("spec") or {}).get("volumes") or ()
    return any((volume.get("persistentVolumeClaim") or {}).get("claimName") == claim for volume in volumes)


def _described(pod: Object) -> str:
    return f"pod {pod['metadata']['name']} ({(pod.get('status') or {}).get('phase') or 'Unknown'})"
