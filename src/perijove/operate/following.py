"""What comes after a story that was read: new events, new lines."""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from contextlib import aclosing
from typing import Final

from perijove.kube.client import Client
from perijove.kube.refs import Object
from perijove.kube.watching import Change, Following
from perijove.lib.concurrently import all_of
from perijove.operate.naming import Naming
from perijove.operate.pod_logs import containers_of, follow
from perijove.operate.story import Entry, event_entry, is_about
from perijove.operate.subjects import Subject, pods_of
from perijove.plugins.kube_life import statuses_of

Tell = Callable[[Entry], None]

_LOOK_SECONDS: Final = 1.0


async def follow_events(
    client: Client, namespaces: Sequence[str], subject: Subject, naming: Naming, *, known: Iterable[Entry], tell: Tell
) -> None:
    """Without end. Pods that come meanwhile are found by their names, which are the user's."""
    said = set(known)
    pods = await pods_of(client, namespaces, subject)

    async def of(namespace: str) -> None:
        following = Following(client=client, api_version="v1", kind="Event", namespace=namespace)
        async with aclosing(following.changes()) as changes:
            async for change in changes:
                # One that the cluster forgets is no news: it has been said.
                for event in [change.item] if isinstance(change, Change) else change.items:
                    entry = event_entry(event)
                    if entry not in said and is_about(event, subject, naming, pods):
                        said.add(entry)
                        tell(entry)

    await all_of((of(namespace) for namespace in namespaces), at_once=len(namespaces))


async def follow_lines(
    client: Client, namespaces: Sequence[str], subject: Subject, *, known: Sequence[Entry], tell: Tell
) -> None:
    """Of all containers there are and all that come, without end."""
    latest = {entry.source: entry.time for entry in known if entry.time}
    begun: set[tuple[str, str, int]] = set()

    async def of(pod: Object, container: str) -> None:
        source = f"{pod['metadata']['name']}/{container}"
        async with aclosing(follow(client, pod, container, after=latest.get(source, ""))) as lines:
            async for line in lines:
                tell(Entry(line.time, source, line.text))

    try:
        async with asyncio.TaskGroup() as group:
            while True:
                for pod in await pods_of(client, namespaces, subject):
                    for container in containers_of(pod):
                        key = (pod["metadata"]["uid"], container, _restarts(pod, container))
                        if key not in begun:
                            begun.add(key)
                            group.create_task(of(pod, container))
                await asyncio.sleep(_LOOK_SECONDS)
    except BaseExceptionGroup as failures:
        # As `all_of` has it: one reason is enough for a person.
        raise failures.exceptions[0] from None


def _restarts(pod: Object, container: str) -> int:
    return next((int(one.get("restartCount") or 0) for one in statuses_of(pod) if one["name"] == container), 0)
