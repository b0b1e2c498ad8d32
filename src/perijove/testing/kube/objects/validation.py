"""The rules a schema cannot say, those that hubs and charts run into, in the API server's words."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping

from perijove.testing.kube.objects import immutability
from perijove.testing.kube.objects.problems import Problem
from perijove.testing.kube.objects.problems import invalid_value as _invalid
from perijove.testing.kube.objects.quantities import is_quantity
from perijove.testing.kube.objects.resources import Object, Resource
from perijove.testing.kube.objects.selectors import object_selector

_SUBDOMAIN = re.compile(r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$")
_LABEL = re.compile(r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")
_LABEL_VALUE = re.compile(r"^(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?$")
_QUALIFIED = re.compile(r"^([a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]$")  # fmt: skip  # noqa: E501 - one pattern
_DATA_KEY = re.compile(r"^[-._a-zA-Z0-9]+$")

_NAME_LIMIT = 253
_LAST_PORT = 65535
_FIRST_NODE_PORT, _LAST_NODE_PORT = 30000, 32767
_NODE_PORTS = f"{_FIRST_NODE_PORT}-{_LAST_NODE_PORT}"
_LABEL_LIMIT = 63
_DATA_LIMIT = 1024 * 1024
_PATH_SEGMENT_NAMES = frozenset({"roles", "rolebindings", "clusterroles", "clusterrolebindings"})
_LABEL_NAMES = frozenset({"services", "namespaces"})


def problems(resource: Resource, item: Object, before: Object | None) -> list[Problem]:
    """All that is wrong with the object as it would be stored."""
    found = list(_metadata(resource, item))
    if (rules := _OF_KIND.get(resource.qualified)) is not None:
        found += rules(item)
    if before is not None:
        found += immutability.problems(resource, before, item)
    return found


def _metadata(resource: Resource, item: Object) -> Iterator[Problem]:
    metadata = item["metadata"]
    name = metadata["name"]
    if resource.plural in _PATH_SEGMENT_NAMES:
        if "/" in name or "%" in name or name in (".", ".."):
            yield "metadata.name", _invalid(name, "may not contain '/' or '%'")
    elif resource.plural in _LABEL_NAMES:
        if not _LABEL.match(name) or len(name) > _LABEL_LIMIT:
            yield "metadata.name", _invalid(name, _label_words(name))
    elif not _SUBDOMAIN.match(name) or len(name) > _NAME_LIMIT:
        yield "metadata.name", _invalid(name, _subdomain_words(name))
    for key, value in (metadata.get("labels") or {}).items():
        yield from _label("metadata.labels", key, value)
    for key in metadata.get("annotations") or ():
        if not _QUALIFIED.match(key.lower()):
            yield "metadata.annotations", _invalid(key, _QUALIFIED_WORDS)


_QUALIFIED_WORDS = (
    "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an "
    "alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is "
    "'([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"
)


def _label_words(name: str) -> str:
    if len(name) > _LABEL_LIMIT:
        return f"must be no more than {_LABEL_LIMIT} bytes"
    return (
        "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and "
        "end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is "
        "'[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
    )


def _subdomain_words(name: str) -> str:
    if len(name) > _NAME_LIMIT:
        return f"must be no more than {_NAME_LIMIT} bytes"
    return (
        "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must "
        "start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is "
        "'[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
    )


def _label(path: str, key: str, value: str) -> Iterator[Problem]:
    if not _QUALIFIED.match(key) or len(key.rpartition("/")[2]) > _LABEL_LIMIT:
        yield path, _invalid(key, _QUALIFIED_WORDS)
    if len(value) > _LABEL_LIMIT:
        yield path, _invalid(value, f"must be no more than {_LABEL_LIMIT} bytes")
    elif not _LABEL_VALUE.match(value):
        why = (
            "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must "
            "start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used "
            "for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"
        )
        yield path, _invalid(value, why)


def pod_spec(spec: Object, path: str = "spec") -> Iterator[Problem]:
    if not spec.get("containers"):
        yield f"{path}.containers", "Required value"
    volumes = [volume.get("name", "") for volume in spec.get("volumes") or ()]
    yield from _duplicates(volumes, f"{path}.volumes")
    for index, name in enumerate(volumes):
        if not _LABEL.match(name) or len(name) > _LABEL_LIMIT:
            yield f"{path}.volumes[{index}].name", _invalid(name, _label_words(name))
    for index, volume in enumerate(spec.get("volumes") or ()):
        if len(sources := [key for key in volume if key != "name"]) > 1:
            yield f"{path}.volumes[{index}].{sources[1]}", "Forbidden: may not specify more than 1 volume type"
    names: list[str] = []
    for group in ("initContainers", "containers"):
        for index, container in enumerate(spec.get(group) or ()):
            yield from _container(container, f"{path}.{group}[{index}]", volumes)
            names.append(container.get("name", ""))
    yield from _duplicates(names, f"{path}.containers")
    for key, value in (spec.get("nodeSelector") or {}).items():
        yield from _label(f"{path}.nodeSelector", key, value)


def _duplicates(names: list[str], path: str) -> Iterator[Problem]:
    for index, name in enumerate(names):
        if name in names[:index]:
            yield f"{path}[{index}].name", f'Duplicate value: "{name}"'


def _container(container: Object, path: str, volumes: list[str]) -> Iterator[Problem]:
    name = container.get("name", "")
    if not _LABEL.match(name) or len(name) > _LABEL_LIMIT:
        yield f"{path}.name", _invalid(name, _label_words(name))
    if not container.get("image"):
        yield f"{path}.image", "Required value"
    mounted: list[str] = []
    for index, mount in enumerate(container.get("volumeMounts") or ()):
        if mount.get("name") not in volumes:
            yield f"{path}.volumeMounts[{index}].name", f'Not found: "{mount.get("name", "")}"'
        if (place := mount.get("mountPath", "")) in mounted:
            yield f"{path}.volumeMounts[{index}].mountPath", _invalid(place, "must be unique")
        mounted.append(place)
    yield from _values(container, path)


def _port_problem(value: object) -> str:
    """ "" for a port, and for a name of one."""
    if not isinstance(value, int) or 0 < value <= _LAST_PORT:
        return ""
    return _invalid(value, f"must be between 1 and {_LAST_PORT}, inclusive")


def _ports(entries: Iterable[Object], path: str, *keys: str) -> Iterator[Problem]:
    for index, port in enumerate(entries):
        for key in keys:
            if why := _port_problem(port.get(key)):
                yield f"{path}[{index}].{key}", why


def _values(container: Object, path: str) -> Iterator[Problem]:
    yield from _ports(container.get("ports") or (), f"{path}.ports", "containerPort")
    for index, variable in enumerate(container.get("env") or ()):
        if variable.get("value") and variable.get("valueFrom"):
            why = _invalid("", "may not be specified when `value` is not empty")
            yield f"{path}.env[{index}].valueFrom", why
    for kind in ("limits", "requests"):
        for resource, value in ((container.get("resources") or {}).get(kind) or {}).items():
            if not is_quantity(value):
                yield f"{path}.resources.{kind}[{resource}]", _invalid(value, "must be a quantity")


def _workload(item: Object) -> Iterator[Problem]:
    spec = item.get("spec") or {}
    template = spec.get("template") or {}
    labels = (template.get("metadata") or {}).get("labels") or {}
    yield from pod_spec(template.get("spec") or {}, "spec.template.spec")
    if not object_selector(spec.get("selector"))(labels):
        yield "spec.template.metadata.labels", _invalid(dict(labels), "`selector` does not match template `labels`")
    if (policy := (template.get("spec") or {}).get("restartPolicy")) != "Always":
        yield "spec.template.spec.restartPolicy", f'Unsupported value: "{policy}": supported values: "Always"'


def _deployment(item: Object) -> Iterator[Problem]:
    yield from _workload(item)
    strategy = item["spec"].get("strategy") or {}
    if strategy.get("type") == "Recreate" and strategy.get("rollingUpdate") is not None:
        why = "Forbidden: may not be specified when strategy `type` is 'Recreate'"
        yield "spec.strategy.rollingUpdate", why


def _job(item: Object) -> Iterator[Problem]:
    template = item["spec"].get("template", {}).get("spec", {})
    yield from pod_spec(template, "spec.template.spec")
    if template.get("restartPolicy") not in ("OnFailure", "Never"):
        why = 'Required value: valid values: "OnFailure", "Never"'
        yield "spec.template.spec.restartPolicy", why


def _service(item: Object) -> Iterator[Problem]:
    spec = item["spec"]
    ports = spec.get("ports") or ()
    if not ports and spec["type"] != "ExternalName" and spec.get("clusterIP") != "None":
        yield "spec.ports", "Required value"
    yield from _ports(ports, "spec.ports", "port", "targetPort")
    for index, port in enumerate(ports):
        node = port.get("nodePort")
        if node and not _FIRST_NODE_PORT <= node <= _LAST_NODE_PORT:
            why = f"provided port is not in the valid range. The range of valid ports is {_NODE_PORTS}"
            yield f"spec.ports[{index}].nodePort", _invalid(node, why)
        if len(ports) > 1 and not port.get("name"):
            yield f"spec.ports[{index}].name", "Required value"


def _data(item: Object) -> Iterator[Problem]:
    total = 0
    for group in ("data", "binaryData"):
        for key, value in (item.get(group) or {}).items():
            total += len(value)
            if not _DATA_KEY.match(key):
                why = "a valid config key must consist of alphanumeric characters, '-', '_' or '.'"
                yield f"{group}[{key}]", _invalid(key, why)
    if total > _DATA_LIMIT:
        yield "[]", f"Too long: may not be more than {_DATA_LIMIT} bytes"


def _claim(item: Object) -> Iterator[Problem]:
    spec = item["spec"]
    if not spec.get("accessModes"):
        yield "spec.accessModes", "Required value: at least 1 access mode is required"
    storage = ((spec.get("resources") or {}).get("requests") or {}).get("storage")
    if storage is None:
        yield "spec.resources[storage]", "Required value"
    elif not is_quantity(storage):
        yield "spec.resources.requests[storage]", _invalid(storage, "must be a quantity")


def _budget(item: Object) -> Iterator[Problem]:
    spec = item.get("spec") or {}
    if spec.get("minAvailable") is not None and spec.get("maxUnavailable") is not None:
        yield "spec", _invalid("", "minAvailable and maxUnavailable cannot be both set")


def _ingress(item: Object) -> Iterator[Problem]:
    for number, rule in enumerate((item.get("spec") or {}).get("rules") or ()):
        for index, path in enumerate((rule.get("http") or {}).get("paths") or ()):
            if not path.get("pathType"):
                yield f"spec.rules[{number}].http.paths[{index}].pathType", "Required value: pathType must be specified"


def _pod(item: Object) -> Iterator[Problem]:
    yield from pod_spec(item["spec"])


_OF_KIND: Mapping[str, Callable[[Object], Iterator[Problem]]] = {
    "pods": _pod,
    "deployments.apps": _deployment,
    "replicasets.apps": _workload,
    "daemonsets.apps": _workload,
    "statefulsets.apps": _workload,
    "jobs.batch": _job,
    "services": _service,
    "configmaps": _data,
    "secrets": _data,
    "persistentvolumeclaims": _claim,
    "poddisruptionbudgets.policy": _budget,
    "ingresses.networking.k8s.io": _ingress,
}
