"""Follows pods and events of a cluster for a whole hub, cheaply enough that every replica may.

KubeSpawner's own reflector lists everything again every ten seconds, to be sure. Replicas that did so would each
cost the API server what a whole z2jh does. Here each lists once and then only watches: from where the last watch
ended, whatever ended it, until the API server says that too much has happened since. What a replica costs then
is what changes, out of the API server's watch cache.

Rejected: one replica that watches under a lease and tells the others. It saves the smaller part, and a start would
wait for a row to hear that its pod is ready, and for a lease to expire to hear it at all.
"""

import asyncio
import json
import logging
import random
from collections.abc import AsyncIterator, Mapping
from functools import cache
from http import HTTPStatus
from typing import Any, Final

import aiohttp
from kubernetes_asyncio.client import ApiException
from kubespawner.reflector import ResourceReflector

from perijove.plugins.kube_reading import body_of, words_of

log = logging.getLogger(__name__)

# One watch. Short enough that a connection that died without a word is noticed soon: its end is the only sign.
WATCH_SECONDS: Final = 60.0
_JITTER: Final = 0.2
_SILENCE_SECONDS: Final = 15.0
_FIRST_PAUSE_SECONDS: Final = 0.1
_LONGEST_PAUSE_SECONDS: Final = 10.0
_UNREACHABLE = (ApiException, aiohttp.ClientError, TimeoutError, OSError, ValueError)


class Continuous:
    """Mixed in front of a `ResourceReflector`. Never gives up: what it knew last stays known meanwhile."""

    # Up to which revision everything is known; "": nothing is.
    _revision: str = ""
    # Why nothing is heard at the moment; "": all is well.
    interrupted: str = ""
    watch_seconds: float = WATCH_SECONDS
    longest_pause_seconds: float = _LONGEST_PAUSE_SECONDS

    async def _list_and_update(self, resource_version: str | None = None) -> str:  # noqa: ARG002 - its signature
        """Always what is true now: told "0", an API server may answer with what it knew a while ago."""
        reflector: Any = self
        async with await self._ask(_request_timeout=reflector.request_timeout) as response:
            listed = json.loads(await body_of(response))
        reflector.resources = {_key(item["metadata"]): item for item in listed["items"]}
        self._revision = str(listed["metadata"]["resourceVersion"])
        if not reflector.first_load_future.done():
            reflector.first_load_future.set_result(None)
        return self._revision

    async def _ask(self, **arguments: Any) -> Any:
        """Raw: the client's own models cost more than the request."""
        reflector: Any = self
        if not reflector.omit_namespace:
            arguments["namespace"] = reflector.namespace
        return await getattr(reflector.api, reflector.list_method_name)(
            label_selector=reflector.label_selector,
            field_selector=reflector.field_selector,
            _preload_content=False,
            **arguments,
        )

    async def _watch_and_update(self) -> None:
        """Until `stop()`, which cancels it and expects it to return."""
        try:
            await self._go_on()
        except asyncio.CancelledError:
            reflector: Any = self
            if not reflector._stopping:  # noqa: SLF001 - how `stop()` says that it was it
                raise

    async def _go_on(self) -> None:
        pause = _FIRST_PAUSE_SECONDS
        while True:
            before = self._revision
            try:
                if not self._revision:
                    await self._list_and_update()
                await self._follow()
            except _UNREACHABLE as exc:
                if _is_expired(exc):
                    self._revision = ""
                if self._revision != before:
                    pause = _FIRST_PAUSE_SECONDS
                self.interrupted = words_of(exc) if isinstance(exc, ApiException) else repr(exc)
                log.warning("the watch of %s was interrupted: %s", self._what, self.interrupted)
                # Every replica was interrupted at the same moment.
                await asyncio.sleep(pause * random.uniform(0.5, 1))  # noqa: S311 - spreads load
                pause = min(pause * 2, self.longest_pause_seconds)
            else:
                pause = _FIRST_PAUSE_SECONDS

    @property
    def _what(self) -> str:
        reflector: Any = self
        return f"{reflector.kind} in {reflector.namespace or 'all namespaces'}"

    async def _follow(self) -> None:
        """One watch, to its end."""
        seconds = max(1, round(self.watch_seconds * random.uniform(1 - _JITTER, 1)))  # noqa: S311 - spreads load
        asking = self._ask(
            resource_version=self._revision,
            allow_watch_bookmarks=True,
            timeout_seconds=seconds,
            watch=True,
            _request_timeout=seconds + _SILENCE_SECONDS,
        )
        async with await asking as response:
            if response.status != HTTPStatus.OK:
                await body_of(response)
            self.interrupted = ""
            async for line in _lines(response.content):
                self._take(json.loads(line))

    def _take(self, line: Mapping[str, Any]) -> None:
        item, kind = line["object"], line["type"]
        if kind == "ERROR":
            raise ApiException(status=item.get("code"), reason=item.get("message"))
        reflector: Any = self
        metadata = item["metadata"]
        if kind == "DELETED":
            reflector.resources.pop(_key(metadata), None)
        elif kind != "BOOKMARK":
            reflector.resources[_key(metadata)] = item
        self._revision = metadata["resourceVersion"]


def _key(metadata: Mapping[str, Any]) -> str:
    """As KubeSpawner keeps them."""
    return f"{metadata['namespace']}/{metadata['name']}"


def _is_expired(exc: BaseException) -> bool:
    return isinstance(exc, ApiException) and exc.status == HTTPStatus.GONE


async def _lines(content: aiohttp.StreamReader) -> AsyncIterator[bytes]:
    """`readline` refuses long lines, and pods can be long ones."""
    rest: list[bytes] = []
    async for chunk in content.iter_any():
        *whole, last = chunk.split(b"\n")
        for line in whole:
            yield b"".join([*rest, line])
            rest = []
        rest.append(last)


@cache
def watching_class(cls: type) -> type:
    """`cls` as a reflector that watches continuously. One that is no `ResourceReflector` is left as it is."""
    if not issubclass(cls, ResourceReflector):
        return cls
    return type(f"Continuous{cls.__name__}", (Continuous, cls), {"__module__": cls.__module__, "__doc__": cls.__doc__})
