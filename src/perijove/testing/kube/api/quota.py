"""ResourceQuotas and LimitRanges: what is counted, what is added, and who is turned away."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal

from perijove.testing.kube.api.objects import Objects
from perijove.testing.kube.api.options import WriteOptions
from perijove.testing.kube.objects.failures import forbidden
from perijove.testing.kube.objects.quantities import amount, written
from perijove.testing.kube.objects.resources import Object, Resource

_COMPUTE = ("cpu", "memory", "ephemeral-storage")
_COUNTED = ("pods", "services", "configmaps", "secrets", "persistentvolumeclaims", "resourcequotas")
Usage = dict[str, Decimal]


@dataclass
class LimitRanges:
    """Before quotas: what it fills in is counted."""

    objects: Objects

    def __call__(self, resource: Resource, item: Object, before: Object | None, _options: WriteOptions) -> None:
        if resource.qualified != "pods" or before is not None:
            return
        namespace = item["metadata"]["namespace"]
        for limits in self.objects.store.items(self.objects.resource("limitranges"), namespace):
            for entry in limits["spec"]["limits"]:
                if entry["type"] == "Container":
                    _fill(item, entry)
                    if problems := list(_outside(item, entry)):
                        said = problems[0] if len(problems) == 1 else f"[{', '.join(problems)}]"
                        raise forbidden(resource, item["metadata"]["name"], said)


def _fill(pod: Object, entry: Object) -> None:
    for container in [*(pod["spec"].get("initContainers") or ()), *pod["spec"]["containers"]]:
        resources = container.setdefault("resources", {})
        for kind, key in (("limits", "default"), ("requests", "defaultRequest")):
            for name, value in (entry.get(key) or {}).items():
                resources.setdefault(kind, {}).setdefault(name, value)


def _outside(pod: Object, entry: Object) -> Iterator[str]:
    for container in pod["spec"]["containers"]:
        resources = container.get("resources") or {}
        for name, most in (entry.get("max") or {}).items():
            limit = (resources.get("limits") or {}).get(name)
            if limit is None:
                yield f"maximum {name} usage per Container is {most}. No limit is specified"
            elif amount(limit) > amount(most):
                yield f"maximum {name} usage per Container is {most}, but limit is {limit}"
        for name, least in (entry.get("min") or {}).items():
            request = (resources.get("requests") or {}).get(name)
            if request is None:
                yield f"minimum {name} usage per Container is {least}. No request is specified"
            elif amount(request) < amount(least):
                yield f"minimum {name} usage per Container is {least}, but request is {request}"


@dataclass
class Quotas:
    objects: Objects

    def __call__(self, resource: Resource, item: Object, before: Object | None, _options: WriteOptions) -> None:
        """Raises 403 "exceeded quota"."""
        if before is not None or not resource.namespaced:
            return
        wanted = usage_of(resource, item)
        for quota in self.objects.store.items(self.objects.resource("resourcequotas"), item["metadata"]["namespace"]):
            self._check(resource, item, quota, wanted)

    def _check(self, resource: Resource, item: Object, quota: Object, wanted: Usage) -> None:
        hard = quota["spec"].get("hard") or {}
        name, quota_name = item["metadata"]["name"], quota["metadata"]["name"]
        if resource.qualified == "pods":
            needed = [key for key in sorted(hard) if _plain(key).partition(".")[2] in _COMPUTE]
            if missing := [key for key in needed if _plain(key) not in wanted]:
                why = f"failed quota: {quota_name}: must specify {','.join(_for_each(item, missing))}"
                raise forbidden(resource, name, why)
        used = self.used(quota)
        over = [key for key in sorted(hard) if (add := wanted.get(_plain(key))) and used[key] + add > amount(hard[key])]
        if over:
            requested = ",".join(f"{key}={written(wanted[_plain(key)], hard[key])}" for key in over)
            have = ",".join(f"{key}={written(used[key], hard[key])}" for key in over)
            limited = ",".join(f"{key}={hard[key]}" for key in over)
            why = f"exceeded quota: {quota_name}, requested: {requested}, used: {have}, limited: {limited}"
            raise forbidden(resource, name, why)

    def used(self, quota: Object) -> Usage:
        """Counted afresh: quotas of tests are small."""
        hard = quota["spec"].get("hard") or {}
        total: Usage = dict.fromkeys(hard, Decimal())
        namespace = quota["metadata"]["namespace"]
        for resource in self.objects.registry:
            if not resource.namespaced or resource.stored_as or not any(_concerns(key, resource) for key in hard):
                continue
            for item in self.objects.store.items(resource, namespace):
                usage = usage_of(resource, item)
                for key in hard:
                    total[key] += usage.get(_plain(key), Decimal())
        return total


def _for_each(item: Object, keys: list[str]) -> Iterator[str]:
    names = ",".join(container["name"] for container in item["spec"]["containers"])
    for key in keys:
        yield f"{key} for: {names}"


def _plain(key: str) -> str:
    """`cpu` and `memory` in a quota mean requests; `count/pods` is not `pods`."""
    return f"requests.{key}" if key in _COMPUTE else key


def _concerns(key: str, resource: Resource) -> bool:
    if key.startswith("count/") or key in _COUNTED:
        return key.removeprefix("count/") == resource.qualified
    if "storage" in key and "ephemeral" not in key:
        return resource.qualified == "persistentvolumeclaims"
    if key.startswith("services."):
        return resource.qualified == "services"
    return resource.qualified == "pods"


def usage_of(resource: Resource, item: Object) -> Usage:
    usage: Usage = {f"count/{resource.qualified}": Decimal(1)}
    if resource.qualified == "pods":
        if item.get("status", {}).get("phase") in ("Succeeded", "Failed"):
            return usage
        usage |= {"pods": Decimal(1), **_compute(item["spec"])}
    elif resource.qualified in _COUNTED:
        usage[resource.qualified] = Decimal(1)
    if resource.qualified == "persistentvolumeclaims":
        storage = amount(item["spec"]["resources"]["requests"]["storage"])
        usage["requests.storage"] = storage
        if name := item["spec"].get("storageClassName"):
            usage[f"{name}.storageclass.storage.k8s.io/requests.storage"] = storage
            usage[f"{name}.storageclass.storage.k8s.io/persistentvolumeclaims"] = Decimal(1)
    if resource.qualified == "services":
        kind = item["spec"].get("type")
        if kind in ("LoadBalancer", "NodePort"):
            usage[f"services.{kind.lower()}s"] = Decimal(1)
    return usage


def _compute(spec: Object) -> Usage:
    total: Usage = {}
    for kind in ("requests", "limits"):
        for container in spec["containers"]:
            values: Mapping[str, object] = (container.get("resources") or {}).get(kind) or {}
            for name, value in values.items():
                total[f"{kind}.{name}"] = total.get(f"{kind}.{name}", Decimal()) + amount(value)
    return total
