"""Reading what the cluster says of a pod and its volume: for explanations what cannot be read is said, not raised."""

import asyncio
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import aiohttp
from kubernetes_asyncio.client import ApiException

log = logging.getLogger(__name__)

_FAILED = 400
_GONE = 404
_LATEST_EVENTS = 20
_UNREADABLE = (ApiException, aiohttp.ClientError, TimeoutError, OSError)


def words_of(exc: ApiException) -> str:
    """The API server's own message."""
    try:
        body = json.loads(exc.body or "")
    except ValueError:
        return str(exc.body or exc.reason or exc)
    return str(body.get("message") or exc.reason) if isinstance(body, Mapping) else str(body)


async def body_of(response: aiohttp.ClientResponse) -> bytes:
    """Raises what the API says, in its words, where it is no success: the client itself does so for its models only."""
    body = await response.read()
    if response.status >= _FAILED:
        failure: Any = ApiException(status=response.status, reason=response.reason)
        failure.body = body.decode(errors="replace")
        raise failure
    return body


@dataclass(frozen=True, slots=True)
class Reading:
    api: Any
    namespace: str
    timeout_seconds: float

    async def pod(self, name: str) -> Mapping[str, Any] | None:
        """As it is now, past any watch. Raises what the API raises."""
        return await self._found(self.api.read_namespaced_pod, name)

    async def claim(self, name: str) -> Mapping[str, Any] | None:
        """As it is now. Raises what the API raises."""
        return await self._found(self.api.read_namespaced_persistent_volume_claim, name)

    async def claims(self, labels: str) -> Sequence[Mapping[str, Any]]:
        """That bear these labels. Raises what the API raises."""
        async with asyncio.timeout(self.timeout_seconds):
            found = await self._raw(self.api.list_namespaced_persistent_volume_claim, label_selector=labels)
        items: Sequence[Mapping[str, Any]] = found["items"]
        return items

    async def is_gone(self, name: str) -> bool:
        """False when nobody can tell."""
        try:
            return await self.pod(name) is None
        except _UNREADABLE as exc:
            log.info("pod %s cannot be read: %s", name, exc)
            return False

    async def events(self, name: str) -> Sequence[Mapping[str, Any]]:
        """The latest about an object, oldest first."""
        try:
            async with asyncio.timeout(self.timeout_seconds):
                found = await self._raw(self.api.list_namespaced_event, field_selector=f"involvedObject.name={name}")
        except _UNREADABLE as exc:
            log.warning("the events of %s cannot be read: %s", name, exc)
            return [{"type": "Warning", "reason": "Unreadable", "message": f"events cannot be read: {exc}"}]
        events = sorted(found["items"], key=_when)
        return events[-_LATEST_EVENTS:]

    async def log(self, name: str, container: str, count: int, *, previous: bool) -> tuple[str, ...]:
        try:
            async with asyncio.timeout(self.timeout_seconds):
                text = await self.api.read_namespaced_pod_log(
                    name, self.namespace, container=container, tail_lines=count, previous=previous
                )
        except _UNREADABLE as exc:
            log.info("the log of %s cannot be read: %s", name, exc)
            return ()
        return tuple(str(text).splitlines())

    async def _found(self, method: Any, name: str) -> Mapping[str, Any] | None:
        try:
            async with asyncio.timeout(self.timeout_seconds):
                found: Mapping[str, Any] = await self._raw(method, name=name)
                return found
        except ApiException as exc:
            if exc.status == _GONE:
                return None
            raise

    async def _raw(self, method: Any, **arguments: Any) -> Any:
        """Decoded JSON: the client's own models cost more than the request."""
        response = await method(namespace=self.namespace, _preload_content=False, **arguments)
        return json.loads(await body_of(response))


def _when(event: Mapping[str, Any]) -> str:
    return str(event.get("lastTimestamp") or event.get("eventTime") or event["metadata"].get("creationTimestamp") or "")
