"""What comes after a story that was read: new events, new lines."""

import asyncio
from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import aclosing
from typing import Final

from perijove.kube.client import Client
from perijove.kube.watching import Change, Following
from perijove.operate.naming import Naming
from perijove.operate.pod_logs import containers_of, follow
from perijove.operate.story import Entry, event_entry, is_about
from perijove.operate.subjects import Subject, pods_of

_LOOK_SECONDS: Final = 1.0


async def new_events(
    client: Client, namespaces: Sequence[str], subject: Subject, naming: Naming, *, known: Iterable[Entry]
) -> AsyncGenerator[Entry, None]:
    """Without end. Pods that come meanwhile are found by their names, which are the user's."""
    said = set(known)
    pods = await pods_of(client, namespaces, subject)

    async def of(namespace: str, queue: asyncio.Queue[Entry]) -> None:
        following = Following(client=client, api_version="v1", kind="Event", namespace=namespace)
        async with aclosing(following.changes()) as changes:
            async for change in changes:
                items = [change.item] if isinstance(change, Change) else change.items
                for event in items if not isinstance(change, Change) or change.type != "DELETED" else ():
                    entry = event_entry(event)
                    if entry not in said and is_about(event, subject, naming, pods):
                        said.add(entry)
                        queue.put_nowait(entry)

    queue: asyncio.Queue[Entry] = asyncio.Queue()
    async with asyncio.TaskGroup() as group:
        for namespace in namespaces:
            group.create_task(of(namespace, queue))
        while True:
            yield await queue.get()


async def new_lines(
    client: Client, namespaces: Sequence[str], subject: Subject, *, known: Sequence[Entry]
) -> AsyncGenerator[Entry, None]:
    """Of all containers there are and all that come, without end."""
    latest = {entry.source: entry.time for entry in known if entry.time}
    queue: asyncio.Queue[Entry] = asyncio.Queue()
    begun: set[tuple[str, str, int]] = set()

    async def of(pod: dict[str, object], name: str, container: str) -> None:
        source = f"{name}/{container}"
        async with aclosing(follow(client, pod, container, after=latest.get(source, ""))) as lines:
            async for line in lines:
                queue.put_nowait(Entry(line.time, source, line.text))

    async def look(group: asyncio.TaskGroup) -> None:
        while True:
            for pod in await pods_of(client, namespaces, subject):
                for container in containers_of(pod):
                    key = (pod["metadata"]["uid"], container, _restarts(pod, container))
                    if key not in begun:
                        begun.add(key)
                        group.create_task(of(pod, pod["metadata"]["name"], container))
            await asyncio.sleep(_LOOK_SECONDS)

    async with asyncio.TaskGroup() as group:
        group.create_task(look(group))
        while True:
            yield await queue.get()


def _restarts(pod: dict[str, object], container: str) -> int:
    status = pod.get("status")
    assert isinstance(status, dict)
    statuses = [*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())]
    return next((int(one.get("restartCount") or 0) for one in statuses if one["name"] == container), 0)
