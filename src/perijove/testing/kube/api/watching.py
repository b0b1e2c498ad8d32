"""WATCH: one line a change, from a revision on, until somebody has had enough."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import msgspec
from aiohttp import web

from perijove.testing.kube.api.listing import selection
from perijove.testing.kube.api.request import RequestInfo
from perijove.testing.kube.api.requestlog import LoggedRequest
from perijove.testing.kube.api.store import Change, Store
from perijove.testing.kube.objects.failures import ApiFailure, too_old
from perijove.testing.kube.objects.resources import Object, Resource
from perijove.testing.kube.objects.selectors import Predicate

LONGEST_SECONDS = 1800.0


@dataclass(eq=False)
class OpenWatch:
    info: RequestInfo
    agent: str
    transport: asyncio.Transport | None


class _Counted(web.StreamResponse):
    """Tells the request log what it has sent so far."""

    def __init__(self, entry: LoggedRequest, **options: Any) -> None:
        super().__init__(**options)
        self._entry = entry

    async def write(self, data: bytes | bytearray | memoryview) -> None:
        self._entry.sent_bytes += len(data)
        await super().write(data)


@dataclass
class Watches:
    store: Store
    bookmark_seconds: float = 60.0
    open: set[OpenWatch] = field(default_factory=set)

    def disconnect(self, resource: str = "") -> int:
        """Break the connections of watches, of one resource or of all; how many there were."""
        chosen = [watch for watch in self.open if resource in ("", watch.info.plural)]
        for watch in chosen:
            if watch.transport is not None:
                watch.transport.abort()
        return len(chosen)

    async def serve(
        self, request: web.Request, resource: Resource, info: RequestInfo, entry: LoggedRequest
    ) -> web.StreamResponse:
        """Raises 400 for bad selectors; everything later is a line of the stream."""
        chosen = selection(resource, info)
        response = _Counted(entry, headers={"Content-Type": "application/json", "Cache-Control": "no-cache"})
        response.enable_chunked_encoding()
        await response.prepare(request)
        agent = request.headers.get("User-Agent", "")
        transport = request.transport if isinstance(request.transport, asyncio.Transport) else None
        watch = OpenWatch(info, agent, transport)
        self.open.add(watch)
        try:
            async with asyncio.timeout(float(info.query.get("timeoutSeconds") or LONGEST_SECONDS)):
                await self._stream(response, resource, info, chosen)
        except TimeoutError:
            if info.flag("allowWatchBookmarks"):
                await response.write(_bookmark(resource, self.store.revision))
        finally:
            self.open.discard(watch)
        await response.write_eof()
        return response

    async def _stream(
        self, response: web.StreamResponse, resource: Resource, info: RequestInfo, chosen: Predicate
    ) -> None:
        try:
            seen = await self._begin(response, resource, info, chosen)
        except ApiFailure as failure:
            # Too old: the stream says so in its first line, with status 200, as the watch cache does.
            await response.write(_line("ERROR", failure.body()))
            return
        bookmarks = info.flag("allowWatchBookmarks")
        while True:
            try:
                async with asyncio.timeout(self.bookmark_seconds if bookmarks else None):
                    await self.store.moved(seen)
            except TimeoutError:
                await response.write(_bookmark(resource, seen))
                continue
            if seen < self.store.compacted:
                await response.write(_line("ERROR", too_old(seen, self.store.compacted).body()))
                return
            upto = self.store.revision
            for line in _lines(self.store.since(resource, seen), info.namespace, chosen):
                await response.write(line)
            seen = upto

    async def _begin(
        self, response: web.StreamResponse, resource: Resource, info: RequestInfo, chosen: Predicate
    ) -> int:
        """Up to which revision the client knows everything. Raises 410."""
        asked = info.query.get("resourceVersion") or "0"
        everything = info.flag("sendInitialEvents") or asked == "0"
        if not everything or info.query.get("sendInitialEvents") == "false":
            if int(asked) < self.store.compacted and asked != "0":
                raise too_old(int(asked), self.store.compacted)
            return int(asked) if asked != "0" else self.store.revision
        revision = self.store.revision
        for item in self.store.items(resource, info.namespace):
            if chosen(item):
                await response.write(_line("ADDED", item))
        if info.flag("sendInitialEvents"):
            await response.write(_bookmark(resource, revision, {"k8s.io/initial-events-end": "true"}))
        return revision


def _lines(changes: Iterator[Change], namespace: str, chosen: Predicate) -> Iterator[bytes]:
    """An object that comes into the selection was added for this watch, one that leaves it deleted."""
    for change in changes:
        if namespace not in ("", change.item["metadata"].get("namespace", "")):
            continue
        was = change.before is not None and chosen(change.before)
        now = change.type != "DELETED" and chosen(change.item)
        if was and now and change.type == "MODIFIED":
            yield change.line()
        elif now:
            yield change.line() if change.type == "ADDED" else _line("ADDED", change.item)
        elif was:
            yield change.line() if change.type == "DELETED" else _line("DELETED", change.item)


def _line(kind: str, item: Object) -> bytes:
    return msgspec.json.encode({"type": kind, "object": item}) + b"\n"


def _bookmark(resource: Resource, revision: int, annotations: dict[str, str] | None = None) -> bytes:
    metadata: dict[str, Any] = {"resourceVersion": str(revision), "creationTimestamp": None}
    if annotations:
        metadata["annotations"] = annotations
    return _line("BOOKMARK", {"kind": resource.kind, "apiVersion": resource.api_version, "metadata": metadata})
