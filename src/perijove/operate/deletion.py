"""Deleting users' volumes: only what was looked at, only what nothing holds."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from perijove.kube.client import Client
from perijove.kube.refs import Object
from perijove.lib.clock import Clock, SystemClock
from perijove.operate.errors import VolumeInUse
from perijove.operate.volumes import UserVolume
from perijove.plugins.kube_claims import claims_of
from perijove.plugins.kube_life import is_over


@dataclass(kw_only=True)
class Deletion:
    client: Client
    # Wait for pods to end before, and for the volume to be gone after it.
    wait: bool = False
    timeout_seconds: float = 600
    look_seconds: float = 1.0
    tell: Callable[[str], None] = lambda _: None
    clock: Clock = field(default_factory=SystemClock)

    async def delete(self, volumes: Sequence[UserVolume]) -> None:
        """Raises `VolumeInUse` before the first is deleted, where one of them may not be."""
        for volume in volumes:
            if volume.shared:
                raise VolumeInUse(
                    f"{volume.name} holds files of several users and is not deleted here",
                    remedy="Delete the user's directory in it instead.",
                )
        await self._until_free(volumes)
        for volume in volumes:
            # A pod may have come since. The cluster keeps what it holds until it ends.
            if await self.client.delete(volume.ref, uid=volume.uid):
                self.tell(f"{volume.namespace}/{volume.name} deleted")
            else:
                self.tell(f"{volume.namespace}/{volume.name} was gone already")
        if self.wait:
            for volume in volumes:
                await self._until_gone(volume)

    async def _until_free(self, volumes: Sequence[UserVolume]) -> None:
        deadline, said = self.clock.monotonic() + self.timeout_seconds, ""
        while words := await self._in_use(volumes):
            if not self.wait:
                raise VolumeInUse(words, remedy="Stop the server first, or wait for its end with --wait.")
            if self.clock.monotonic() >= deadline:
                raise VolumeInUse(f"{words}, for {self.timeout_seconds:g} s now", remedy="Stop the server first.")
            if words != said:
                self.tell(f"{words}; waiting for its end")
                said = words
            await self.clock.sleep(self.look_seconds)

    async def _in_use(self, volumes: Sequence[UserVolume]) -> str:
        """Which of them, and by what; "" for none. Pods are listed once, however many volumes there are."""
        holders: dict[tuple[str, str], list[str]] = {}
        for namespace in dict.fromkeys(volume.namespace for volume in volumes):
            for pod in (await self.client.list("v1", "Pod", namespace)).items:
                for name in () if is_over(pod) else claims_of(pod):
                    holders.setdefault((namespace, name), []).append(_described(pod))
        used = [(volume.name, holders.get((volume.namespace, volume.name))) for volume in volumes]
        return "; ".join(f"{name} is in use by {', '.join(pods)}" for name, pods in used if pods)

    async def _until_gone(self, volume: UserVolume) -> None:
        deadline = self.clock.monotonic() + self.timeout_seconds
        while (found := await self.client.find(volume.ref)) is not None and found["metadata"]["uid"] == volume.uid:
            if self.clock.monotonic() >= deadline:
                keeps = ", ".join(found["metadata"].get("finalizers") or ()) or "something"
                raise VolumeInUse(f"{volume.name} is being deleted, and {keeps} keeps it")
            await self.clock.sleep(self.look_seconds)


def _described(pod: Object) -> str:
    return f"pod {pod['metadata']['name']} ({(pod.get('status') or {}).get('phase') or 'Unknown'})"
