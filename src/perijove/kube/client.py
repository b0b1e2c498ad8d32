"""The verbs, on any kind: JSON in, JSON out, conditions of `errors.py` for everything else."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from perijove.kube import access as accesses
from perijove.kube.access import Access
from perijove.kube.discovery import Discovery, Resource
from perijove.kube.errors import Expired, ObjectChanged, ObjectNotFound
from perijove.kube.refs import Object, Ref
from perijove.kube.transport import OnRetry, Patience, Transport

PatchType = Literal["merge", "json", "strategic"]
_PATCHES: Final[Mapping[PatchType, str]] = {
    "merge": "application/merge-patch+json",
    "json": "application/json-patch+json",
    "strategic": "application/strategic-merge-patch+json",
}
_APPLY: Final = "application/apply-patch+yaml"
_PAGE: Final = 500


@dataclass(frozen=True, slots=True)
class Listing:
    """One snapshot; a watch goes on from its revision."""

    items: list[Object]
    revision: str


@dataclass(frozen=True, slots=True)
class Written:
    """What the server made of a write, and its warnings."""

    item: Object
    warnings: tuple[str, ...] = ()


class Client:
    """One cluster."""

    def __init__(self, transport: Transport) -> None:
        self.transport = transport
        self.discovery = Discovery(transport)

    @property
    def access(self) -> Access:
        return self.transport.access

    async def close(self) -> None:
        await self.transport.close()

    async def get(self, ref: Ref) -> Object:
        """Raises `ObjectNotFound`."""
        resource = await self.discovery.of(ref)
        answer = await self.transport.request("GET", resource.path(ref.namespace, ref.name))
        return _object(answer.body)

    async def find(self, ref: Ref) -> Object | None:
        """None where there is no such object."""
        try:
            return await self.get(ref)
        except ObjectNotFound:
            return None

    async def list(
        self, api_version: str, kind: str, namespace: str = "", *, labels: str = "", fields: str = ""
    ) -> Listing:
        """All of them, in pages."""
        resource = await self.discovery.find(api_version, kind)
        path = resource.path(namespace)
        query = {"limit": str(_PAGE), **_selectors(labels, fields)}
        for _ in range(3):
            try:
                return await self._pages(resource, path, query)
            except Expired:
                # Pages of a snapshot that the server dropped meanwhile: from the start, with the newest one.
                continue
        return await self._pages(resource, path, {**query, "limit": "0"})

    async def _pages(self, resource: Resource, path: str, query: Mapping[str, str]) -> Listing:
        items: list[Object] = []
        token = ""
        while True:
            answer = await self.transport.request(
                "GET", path, query={**query, **({"continue": token} if token else {})}
            )
            metadata = answer.body.get("metadata") or {}
            # Items of a list do not say what they are.
            kind = {"apiVersion": resource.api_version, "kind": resource.kind}
            items += [{**kind, **item} for item in answer.body.get("items") or ()]
            token = metadata.get("continue") or ""
            if not token:
                return Listing(items, str(metadata.get("resourceVersion") or ""))

    async def create(self, manifest: Object, *, manager: str) -> Object:
        """Raises `ObjectExists`, also after a creation whose answer was lost."""
        ref = Ref.of(manifest)
        resource = await self.discovery.of(ref)
        answer = await self.transport.request(
            "POST", resource.path(ref.namespace), query={"fieldManager": manager}, body=manifest
        )
        return _object(answer.body)

    async def apply(
        self,
        manifest: Object,
        *,
        manager: str,
        force: bool = False,
        dry_run: bool = False,
        subresource: str = "",
    ) -> Written:
        """Server-side apply. Raises `FieldConflict` unless forced."""
        ref = Ref.of(manifest)
        resource = await self.discovery.of(ref)
        query = {"fieldManager": manager, "force": "true" if force else "false", "fieldValidation": "Warn"}
        if dry_run:
            query["dryRun"] = "All"
        answer = await self.transport.request(
            "PATCH",
            resource.path(ref.namespace, ref.name, subresource),
            query=query,
            body=manifest,
            content_type=_APPLY,
        )
        return Written(_object(answer.body), answer.warnings)

    async def replace(self, item: Object, *, manager: str) -> Object:
        """The whole object, at the resource version it has. Raises `ObjectChanged`."""
        ref = Ref.of(item)
        resource = await self.discovery.of(ref)
        answer = await self.transport.request(
            "PUT", resource.path(ref.namespace, ref.name), query={"fieldManager": manager}, body=item
        )
        return _object(answer.body)

    async def patch(
        self,
        ref: Ref,
        patch: Any,
        *,
        manager: str,
        kind: PatchType = "merge",
        subresource: str = "",
        dry_run: bool = False,
    ) -> Object:
        resource = await self.discovery.of(ref)
        query = {"fieldManager": manager, **({"dryRun": "All"} if dry_run else {})}
        answer = await self.transport.request(
            "PATCH",
            resource.path(ref.namespace, ref.name, subresource),
            query=query,
            body=patch,
            content_type=_PATCHES[kind],
        )
        return _object(answer.body)

    async def delete(
        self,
        ref: Ref,
        *,
        uid: str = "",
        propagation: Literal["Background", "Foreground", "Orphan"] = "Background",
        grace_seconds: int | None = None,
    ) -> bool:
        """False where it is gone already, or, given a `uid`, where another object has its name by now."""
        resource = await self.discovery.of(ref)
        options: dict[str, Any] = {"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": propagation}
        if uid:
            options["preconditions"] = {"uid": uid}
        if grace_seconds is not None:
            options["gracePeriodSeconds"] = grace_seconds
        try:
            await self.transport.request("DELETE", resource.path(ref.namespace, ref.name), body=options)
        except ObjectNotFound:
            return False
        except ObjectChanged:
            if not uid:
                raise
            return False
        return True

    async def logs(
        self, namespace: str, pod: str, container: str, *, tail_lines: int = 20, previous: bool = False
    ) -> str:
        query = {"container": container, "tailLines": str(tail_lines)}
        if previous:
            query["previous"] = "true"
        path = f"/api/v1/namespaces/{namespace}/pods/{pod}/log"
        answer = await self.transport.request("GET", path, query=query, text=True)
        return str(answer.body)

    async def version(self) -> str:
        """As in `v1.34.1`."""
        answer = await self.transport.request("GET", "/version")
        return str(answer.body.get("gitVersion") or "")


def _object(body: Any) -> Object:
    assert isinstance(body, dict)
    return body


def _selectors(labels: str, fields: str) -> dict[str, str]:
    return {key: value for key, value in (("labelSelector", labels), ("fieldSelector", fields)) if value}


@asynccontextmanager
async def open_client(
    access: Access | None = None,
    *,
    kubeconfig: Path | None = None,
    context: str | None = None,
    patience: Patience | None = None,
    on_retry: OnRetry | None = None,
) -> AsyncIterator[Client]:
    """A client of the cluster that `access` says, or else of the one that is found as kubectl finds it."""
    if access is None:
        access = await accesses.find(kubeconfig, context)
    transport = Transport(access=access, patience=patience or Patience())
    if on_retry is not None:
        transport.on_retry = on_retry
    client = Client(transport)
    try:
        yield client
    finally:
        await client.close()
