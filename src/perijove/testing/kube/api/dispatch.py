"""From a request understood to the part that does it."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import msgspec
from aiohttp import web
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from perijove.testing.kube.api import protobuf
from perijove.testing.kube.api.deletion import Deletion
from perijove.testing.kube.api.identity import User
from perijove.testing.kube.api.listing import Lists, selection
from perijove.testing.kube.api.objects import Objects
from perijove.testing.kube.api.options import WriteOptions, delete_options
from perijove.testing.kube.api.request import RequestInfo
from perijove.testing.kube.api.requestlog import LoggedRequest
from perijove.testing.kube.api.subresources import Subresources
from perijove.testing.kube.api.watching import Watches
from perijove.testing.kube.objects import failures, patches
from perijove.testing.kube.objects.resources import Object, Resource

# Serves `pods/log`; whoever runs the pods knows them.
LogSource = Callable[[web.Request, RequestInfo, Object], Awaitable[web.StreamResponse]]

_REVIEWS = frozenset({"SelfSubjectAccessReview", "SubjectAccessReview", "TokenReview"})


@dataclass
class Dispatch:
    objects: Objects
    deletion: Deletion
    lists: Lists
    watches: Watches
    subresources: Subresources
    logs: LogSource | None = None

    async def serve(
        self, request: web.Request, resource: Resource, info: RequestInfo, user: User, entry: LoggedRequest
    ) -> web.StreamResponse:
        match info.verb:
            case "watch":
                return await self.watches.serve(request, resource, info, entry)
            case "list":
                return answer(self.lists.page(resource, info))
            case "get":
                return await self._get(request, resource, info)
            case "delete" | "deletecollection":
                return answer(await self._delete(request, resource, info))
            case "create" | "update" | "patch":
                return await self._write(request, resource, info, user)
            case _:
                raise failures.method_not_supported(info.verb)

    async def _get(self, request: web.Request, resource: Resource, info: RequestInfo) -> web.StreamResponse:
        item = self.objects.get(resource, info.namespace, info.name)
        match info.subresource:
            case "log" if resource.qualified == "pods" and self.logs is not None:
                return await self.logs(request, info, item)
            case "scale" if resource.scale:
                return answer(self.subresources.scale(resource, info))
            case "" | "status":
                return answer(item)
            case _:
                raise failures.no_such_path()

    async def _delete(self, request: web.Request, resource: Resource, info: RequestInfo) -> Object:
        raw = await request.read()
        body = decoded(raw, request.content_type) if raw else {}
        query = info.query
        options = delete_options(
            body, query.get("gracePeriodSeconds", ""), query.get("propagationPolicy", ""), dry_run="dryRun" in query
        )
        if info.verb == "delete":
            return self.deletion.delete(resource, info.namespace, info.name, options)
        chosen = selection(resource, info)
        found = [item for item in self.objects.store.items(resource, info.namespace) if chosen(item)]
        items = self.deletion.delete_all(resource, found, options)
        kind = f"{resource.kind}List"
        metadata = {"resourceVersion": str(self.objects.store.revision)}
        return {"kind": kind, "apiVersion": resource.api_version, "metadata": metadata, "items": items}

    async def _write(
        self, request: web.Request, resource: Resource, info: RequestInfo, user: User
    ) -> web.StreamResponse:
        body = decoded(await request.read(), request.content_type)
        options = _options(request, info, user)
        if info.verb == "create":
            status = 201
            item = self._create(resource, info, body, options)
        elif info.subresource == "scale" and resource.scale:
            status = 200
            kind = request.content_type if info.verb == "patch" else ""
            item = self.subresources.set_scale(resource, info, body, options, kind=kind)
        elif info.subresource not in ("", "status", "finalize"):
            raise failures.no_such_path()
        elif info.verb == "update":
            status = 200
            item = self.objects.replace(resource, info.namespace, info.name, body, options)
        else:
            status, item = self._patch(resource, info, body, options, request.content_type)
        response = answer(item, status)
        for warning in options.warnings:
            response.headers.add("Warning", f'299 - "{warning.replace(chr(34), chr(92) + chr(34))}"')
        return response

    def _create(self, resource: Resource, info: RequestInfo, body: Object, options: WriteOptions) -> Object:
        if info.subresource:
            return self.subresources.create(resource, info, body, options)
        if resource.kind in _REVIEWS:
            return self.subresources.review(resource, body, options.user)
        if info.name:
            raise failures.method_not_supported("create")
        return self.objects.create(resource, info.namespace, body, options)

    def _patch(
        self, resource: Resource, info: RequestInfo, body: Any, options: WriteOptions, content_type: str
    ) -> tuple[int, Object]:
        if content_type not in patches.APPLY:
            return 200, self.objects.patch(resource, info.namespace, info.name, body, options, kind=content_type)
        if not info.query.get("fieldManager"):
            raise failures.bad_request(
                'PatchOptions.meta.k8s.io "" is invalid: fieldManager: Required value: is required for apply patch'
            )
        if not isinstance(body, dict):
            raise failures.bad_request("the applied configuration is not an object")
        new = self.objects.store.get(resource, info.namespace, info.name) is None
        return (201 if new else 200), self.objects.apply(resource, info.namespace, info.name, body, options)


def _options(request: web.Request, info: RequestInfo, user: User) -> WriteOptions:
    agent = request.headers.get("User-Agent", "unknown").partition("/")[0]
    return WriteOptions(
        user=user,
        manager=info.query.get("fieldManager") or agent,
        subresource="status" if info.subresource == "status" else "",
        dry_run="dryRun" in info.query,
        field_validation=info.query.get("fieldValidation") or "Warn",
        force=info.flag("force"),
    )


def decoded(raw: bytes, content_type: str) -> Any:
    """Raises 400."""
    try:
        if raw.startswith(protobuf.MAGIC):
            return protobuf.decoded(raw)
        if "yaml" in content_type:
            # YAML 1.1, as the API server reads it; every JSON text is one, and JSON is read much faster.
            return msgspec.json.decode(raw) if raw[:1] == b"{" else _yaml(raw)
        return msgspec.json.decode(raw)
    except (msgspec.DecodeError, YAMLError, protobuf.NotUnderstood) as error:
        raise failures.bad_request(f"the object provided is unrecognized: {error}") from error


def _yaml(raw: bytes) -> Any:
    loader = YAML(typ="safe", pure=True)
    loader.version = (1, 1)
    return loader.load(raw)


def answer(body: Object, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    raw = msgspec.json.encode(body)
    return web.Response(body=raw, status=status, content_type="application/json", headers=headers)
