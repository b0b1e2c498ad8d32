"""What clients ask to learn which kinds there are."""

from perijove.testing.kube.objects import schema as schemas
from perijove.testing.kube.objects.resources import Object, Registry, Resource


def version(registry_version: str = schemas.VERSION) -> Object:
    major, _, minor = registry_version.partition(".")
    return {
        "major": major,
        "minor": minor,
        "gitVersion": f"v{registry_version}.0",
        "gitCommit": "0000000000000000000000000000000000000000",
        "gitTreeState": "clean",
        "buildDate": "2025-08-27T10:09:04Z",
        "goVersion": "go1.24.5",
        "compiler": "gc",
        "platform": "linux/amd64",
    }


def api_versions(host: str) -> Object:
    addresses = [{"clientCIDR": "0.0.0.0/0", "serverAddress": host}]
    return {"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": addresses}


def groups(registry: Registry) -> Object:
    listed = [_group(name, versions) for name, versions in sorted(registry.group_versions().items()) if name]
    return {"kind": "APIGroupList", "apiVersion": "v1", "groups": listed}


def group(registry: Registry, name: str) -> Object | None:
    versions = registry.group_versions().get(name)
    return {"kind": "APIGroup", "apiVersion": "v1", **_group(name, versions)} if name and versions else None


def _group(name: str, versions: list[str]) -> Object:
    listed = [{"groupVersion": f"{name}/{one}", "version": one} for one in versions]
    return {"name": name, "versions": listed, "preferredVersion": listed[0]}


def resources(registry: Registry, group_name: str, version_name: str) -> Object | None:
    found = [one for one in registry if (one.group, one.version) == (group_name, version_name)]
    if not found:
        return None
    listed = [entry for resource in found for entry in _entries(resource)]
    group_version = f"{group_name}/{version_name}" if group_name else version_name
    return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version, "resources": listed}


# Served besides the kinds themselves: (resource, subresource) -> (kind, verbs).
SUBRESOURCES: dict[tuple[str, str], tuple[str, tuple[str, ...]]] = {
    ("pods", "log"): ("Pod", ("get",)),
    ("pods", "binding"): ("Binding", ("create",)),
    ("pods", "eviction"): ("Eviction", ("create",)),
    ("serviceaccounts", "token"): ("TokenRequest", ("create",)),
    ("namespaces", "finalize"): ("Namespace", ("update",)),
}


def _entries(resource: Resource) -> list[Object]:
    base: Object = {
        "name": resource.plural,
        "singularName": resource.singular,
        "namespaced": resource.namespaced,
        "kind": resource.kind,
        "verbs": list(resource.verbs),
    }
    if resource.short_names:
        base["shortNames"] = list(resource.short_names)
    entries = [base]
    subresources: dict[str, tuple[str, tuple[str, ...]]] = {}
    if resource.status:
        subresources["status"] = (resource.kind, ("get", "patch", "update"))
    if resource.scale:
        subresources["scale"] = ("Scale", ("get", "patch", "update"))
    for (plural, name), entry in SUBRESOURCES.items():
        if resource.qualified == plural:
            subresources[name] = entry
    for name, (kind, verbs) in subresources.items():
        entries.append(
            {
                "name": f"{resource.plural}/{name}",
                "singularName": "",
                "namespaced": resource.namespaced,
                "kind": kind,
                "verbs": list(verbs),
            }
        )
    return entries


def openapi(registry: Registry, parts: list[str]) -> Object | None:
    """Below `/openapi`."""
    match parts:
        case ["v2"]:
            return openapi_v2()
        case ["v3"]:
            return openapi_v3(registry)
        case ["v3", "api", version_name]:
            return openapi_v3_of(registry, "", version_name)
        case ["v3", "apis", group_name, version_name]:
            return openapi_v3_of(registry, group_name, version_name)
    return None


def openapi_v2() -> Object:
    """The published definitions, as far as clients look."""
    info = {"title": "Kubernetes", "version": f"v{schemas.VERSION}.0"}
    return {"swagger": "2.0", "info": info, "paths": {}, "definitions": schemas.definitions()}


def openapi_v3(registry: Registry) -> Object:
    """Which documents there are, one for each version of each group."""
    versions = sorted({_root(resource) for resource in registry})
    return {"paths": {one: {"serverRelativeURL": f"/openapi/v3/{one}"} for one in versions}}


def openapi_v3_of(registry: Registry, group_name: str, version_name: str) -> Object | None:
    """Operations that write, with the parameter that tells clients to leave validation to the server."""
    found = [one for one in registry if (one.group, one.version) == (group_name, version_name)]
    if not found:
        return None
    info = {"title": "Kubernetes", "version": f"v{schemas.VERSION}.0"}
    parameter = {"name": "fieldValidation", "in": "query", "schema": {"type": "string"}}
    paths: Object = {}
    for one in found:
        kind = {"group": one.group, "version": one.version, "kind": one.kind}
        where = "namespaces/{namespace}/" if one.namespaced else ""
        path = f"/{_root(one)}/{where}{one.plural}"
        operation = {"parameters": [parameter], "x-kubernetes-group-version-kind": kind, "responses": {}}
        paths |= {path: {"post": operation}, f"{path}/{{name}}": {"patch": operation}}
    return {"openapi": "3.0.0", "info": info, "paths": paths}


def _root(resource: Resource) -> str:
    return f"apis/{resource.api_version}" if resource.group else f"api/{resource.version}"
