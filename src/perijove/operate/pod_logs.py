"""Lines that containers wrote, with their times, so that they take their place among events."""

import asyncio
import re
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Final

import aiohttp

from perijove.kube.client import Client
from perijove.kube.errors import ClusterUnavailable, KubeError, ObjectNotFound
from perijove.kube.refs import Object
from perijove.plugins.kube_life import statuses_of

_STAMPED: Final = re.compile(r"(\d{4}-\d\d-\d\dT\S+Z) ?(.*)")
_SILENCE_SECONDS: Final = 3600.0
_BAD_REQUEST: Final = 400


@dataclass(frozen=True, slots=True)
class Line:
    time: str
    container: str
    text: str


def containers_of(pod: Object) -> list[str]:
    """Those that have begun, in the order in which they begin."""
    found = []
    for one in statuses_of(pod):
        state = one.get("state") or {}
        if "running" in state or "terminated" in state or one.get("restartCount"):
            found.append(one["name"])
    return found


async def last_lines(
    client: Client, pod: Object, *, count: int, previous: bool = False, since_seconds: float | None = None
) -> list[Line]:
    """Of each container that has begun. Of one that fails again and again, what it said before it ended."""
    found: list[Line] = []
    for container in containers_of(pod):
        before = previous or _crashed(pod, container)
        lines = await _read(client, pod, container, _query(count, since_seconds, previous=before))
        if not lines and before and not previous:
            lines = await _read(client, pod, container, _query(count, since_seconds, previous=False))
        found += lines
    return found


def _crashed(pod: Object, container: str) -> bool:
    statuses = (pod.get("status") or {}).get("containerStatuses") or ()
    return any(
        one["name"] == container and "waiting" in (one.get("state") or {}) and one.get("restartCount")
        for one in statuses
    )


def _query(count: int, since_seconds: float | None, *, previous: bool) -> dict[str, str]:
    query = {"timestamps": "true", "tailLines": str(count)}
    if since_seconds is not None:
        query["sinceSeconds"] = str(max(int(since_seconds), 1))
    if previous:
        query["previous"] = "true"
    return query


def _path(pod: Object) -> str:
    return f"/api/v1/namespaces/{pod['metadata']['namespace']}/pods/{pod['metadata']['name']}/log"


async def _read(client: Client, pod: Object, container: str, query: dict[str, str]) -> list[Line]:
    """Nothing where it was never started, or its node has no log of it (any more)."""
    try:
        answer = await client.transport.request("GET", _path(pod), query={"container": container, **query}, text=True)
    except ObjectNotFound:
        return []
    except KubeError as error:
        if error.status == _BAD_REQUEST:
            return []
        raise
    return [_line(container, text) for text in str(answer.body).splitlines()]


def _line(container: str, text: str) -> Line:
    found = _STAMPED.fullmatch(text)
    return Line(found[1], container, found[2]) if found else Line("", container, text)


async def follow(client: Client, pod: Object, container: str, *, after: str = "") -> AsyncGenerator[Line, None]:
    """From now on, until the container ends. A stream that breaks is taken up after its last line."""
    while True:
        query = {"container": container, "follow": "true", "timestamps": "true"}
        # It begins with the whole second of that, and with what was read already.
        begin = after
        if begin:
            query["sinceTime"] = begin
        try:
            async with aclosing(_stream(client, pod, query)) as texts:
                async for text in texts:
                    line = _line(container, text)
                    if not (begin and line.time) or line.time.rstrip("Z") > begin.rstrip("Z"):
                        after = line.time or after
                        yield line
        except ClusterUnavailable:
            await asyncio.sleep(client.transport.patience.first_pause_seconds)
            continue
        return


async def _stream(client: Client, pod: Object, query: dict[str, str]) -> AsyncGenerator[str, None]:
    try:
        async with client.transport.lines(_path(pod), query, silence_seconds=_SILENCE_SECONDS) as lines:
            async for raw in lines:
                yield raw.decode(errors="replace").rstrip("\n")
    except (aiohttp.ClientError, TimeoutError) as exc:
        raise ClusterUnavailable(str(exc) or "no answer") from exc
