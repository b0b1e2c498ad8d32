"""What makes the controller look again: a deployed object that is no longer as it was left.

Followed is by the labels that every deployed object of a namespace has, so that neither users' pods nor other
releases are listened to. What belongs to the whole cluster is not followed, which would need the right to read all of
it; the controller looks at those every few minutes.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import structlog

from perijove.controller.hub import API_VERSION, KIND
from perijove.deploy.diff import cleaned
from perijove.deploy.render.scope import MANAGED_BY, digest
from perijove.deploy.rollout import progress
from perijove.deploy.waiting import WAITED_FOR
from perijove.kube.client import Client
from perijove.kube.errors import KubeError
from perijove.kube.refs import Object, Ref
from perijove.kube.watching import Change, Following, Snapshot

_log = structlog.get_logger()
_AGAIN_SECONDS: Final = 5.0

# What each object looked like when it was as it should be.
Expected = dict[Ref, str]


def digest_of(item: Object) -> str:
    """Of what somebody asked for, and of whether it is up: not of the rest of its status."""
    is_up = progress(item).done if item["kind"] in WAITED_FOR else True
    return digest([cleaned(item), is_up])


@dataclass(kw_only=True)
class Drift:
    client: Client
    namespace: str
    release: str
    noticed: Callable[[], None]
    expected: Expected = field(default_factory=dict)
    _tasks: dict[tuple[str, str], asyncio.Task[None]] = field(default_factory=dict)

    def accept(self, expected: Expected) -> None:
        """As things are now is right; and follow all kinds that are among them."""
        self.expected = expected
        for kind in sorted({(ref.api_version, ref.kind) for ref in expected if ref.namespace} - self._tasks.keys()):
            self._tasks[kind] = asyncio.create_task(self._follow(*kind))

    async def close(self) -> None:
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    async def _follow(self, api_version: str, kind: str) -> None:
        labels = f"app.kubernetes.io/managed-by={MANAGED_BY},app.kubernetes.io/instance={self.release}"
        while True:
            following = Following(
                client=self.client, api_version=api_version, kind=kind, namespace=self.namespace, labels=labels
            )
            try:
                async for change in following.changes():
                    if self._is_news(change, api_version, kind):
                        self.noticed()
            except KubeError as exc:
                # The look every few minutes goes on meanwhile.
                _log.warning("changes cannot be followed", kind=kind, cause=str(exc))
                await asyncio.sleep(_AGAIN_SECONDS)

    def _is_news(self, change: Snapshot | Change, api_version: str, kind: str) -> bool:
        if isinstance(change, Snapshot):
            there = {Ref.of(item): digest_of(item) for item in change.items}
            mine = {ref for ref in self.expected if (ref.api_version, ref.kind) == (api_version, kind)}
            return any(there.get(ref) != self.expected[ref] for ref in mine)
        ref = Ref.of(change.item)
        if ref not in self.expected:
            return False
        return change.type == "DELETED" or digest_of(change.item) != self.expected[ref]


async def follow_hub(client: Client, namespace: str, release: str, seen: Callable[[Object | None], None]) -> None:
    """Tells of the `Hub` whenever it changes; None once it is gone. Raises what a list raises."""
    following = Following(
        client=client, api_version=API_VERSION, kind=KIND, namespace=namespace, fields=f"metadata.name={release}"
    )
    async for change in following.changes():
        if isinstance(change, Snapshot):
            seen(change.items[0] if change.items else None)
        else:
            seen(None if change.type == "DELETED" else change.item)
