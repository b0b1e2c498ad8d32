"""A kind's objects now and from now on.

A watch may end at any moment, and may have missed too much to go on; then everything is listed again. Whoever
follows is told so by type: a `Snapshot` replaces all that is known, a `Change` is about one object.
"""

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Final, Literal

import aiohttp

from perijove.kube.client import Client
from perijove.kube.errors import ClusterUnavailable, Expired, from_status
from perijove.kube.refs import Object

_STREAM_SECONDS: Final = 290
# Bookmarks come every minute: a connection that says nothing for longer is dead.
_SILENCE_SECONDS: Final = 310.0


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything there is; what is not in it is gone."""

    items: list[Object]


@dataclass(frozen=True, slots=True)
class Change:
    type: Literal["ADDED", "MODIFIED", "DELETED"]
    item: Object


@dataclass(kw_only=True)
class Following:
    """What to follow: a kind in a namespace ("" for all), narrowed by selectors."""

    client: Client
    api_version: str
    kind: str
    namespace: str = ""
    labels: str = ""
    fields: str = ""

    async def changes(self) -> AsyncGenerator[Snapshot | Change, None]:
        """Without end. Raises what a list raises, once its patience is over."""
        while True:
            listing = await self.client.list(
                self.api_version, self.kind, self.namespace, labels=self.labels, fields=self.fields
            )
            yield Snapshot(listing.items)
            try:
                async with aclosing(self._from(listing.revision)) as changes:
                    async for change in changes:
                        yield change
            except Expired:
                continue

    async def _from(self, revision: str) -> AsyncGenerator[Change, None]:
        """Raises `Expired`. A stream that ends or breaks is taken up where it was."""
        pauses = 0
        while True:
            try:
                async with aclosing(self._stream(revision)) as lines:
                    async for line in lines:
                        pauses = 0
                        revision = line["object"]["metadata"]["resourceVersion"]
                        if line["type"] != "BOOKMARK":
                            yield Change(line["type"], line["object"])
            except (aiohttp.ClientError, TimeoutError, ClusterUnavailable):
                pauses = min(pauses + 1, 6)
                patience = self.client.transport.patience
                await asyncio.sleep(min(patience.first_pause_seconds * 2**pauses, patience.longest_pause_seconds))

    async def _stream(self, revision: str) -> AsyncGenerator[dict[str, Any], None]:
        resource = await self.client.discovery.find(self.api_version, self.kind)
        query = {
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": revision,
            "timeoutSeconds": str(_STREAM_SECONDS),
        }
        if self.labels:
            query["labelSelector"] = self.labels
        if self.fields:
            query["fieldSelector"] = self.fields
        transport = self.client.transport
        async with transport.lines(resource.path(self.namespace), query, silence_seconds=_SILENCE_SECONDS) as lines:
            async for raw in lines:
                line = json.loads(raw)
                if line["type"] == "ERROR":
                    status = line["object"]
                    raise from_status(int(status.get("code") or 0), status, doing=f"watch {self.kind}")
                yield line
