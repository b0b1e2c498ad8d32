"""Fields that may not change once an object is there, by kind."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from perijove.testing.kube.objects.problems import Problem, invalid_value
from perijove.testing.kube.objects.resources import Object, Resource


def problems(resource: Resource, before: Object, after: Object) -> Iterator[Problem]:
    if (rules := _OF_KIND.get(resource.qualified)) is not None:
        yield from rules(before, after)


_FIXED = "field is immutable"


def _selector_fixed(before: Object, after: Object) -> Iterator[Problem]:
    if before["spec"].get("selector") != after["spec"].get("selector"):
        yield "spec.selector", invalid_value(dict(after["spec"].get("selector") or {}), _FIXED)


_STATEFUL = ("replicas", "ordinals", "template", "updateStrategy", "revisionHistoryLimit", "minReadySeconds")
_STATEFUL_MORE = ("persistentVolumeClaimRetentionPolicy",)


def _stateful_fixed(before: Object, after: Object) -> Iterator[Problem]:
    may = {*_STATEFUL, *_STATEFUL_MORE}
    if _less(before["spec"], may) != _less(after["spec"], may):
        listed = "', '".join([*_STATEFUL[:4], *_STATEFUL[4:5], *_STATEFUL_MORE])
        why = f"Forbidden: updates to statefulset spec for fields other than '{listed}' and 'minReadySeconds' are "
        yield "spec", why + "forbidden"


def _less(spec: Object, keys: set[str]) -> Object:
    return {key: value for key, value in spec.items() if key not in keys}


def _job_fixed(before: Object, after: Object) -> Iterator[Problem]:
    if before["spec"].get("template") != after["spec"].get("template"):
        yield "spec.template", invalid_value("...", _FIXED)


_POD_MAY = {"activeDeadlineSeconds", "tolerations", "terminationGracePeriodSeconds", "nodeName"}


def _pod_fixed(before: Object, after: Object) -> Iterator[Problem]:
    if _pod_less_images(before["spec"]) != _pod_less_images(after["spec"]):
        why = (
            "Forbidden: pod updates may not change fields other than `spec.containers[*].image`,"
            "`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to "
            "existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously "
            "negative)"
        )
        yield "spec", why


def _pod_less_images(spec: Object) -> Object:
    kept = _less(spec, _POD_MAY)
    for group in ("initContainers", "containers"):
        if group in kept:
            kept[group] = [_less(container, {"image"}) for container in kept[group]]
    return kept


def _claim_fixed(before: Object, after: Object) -> Iterator[Problem]:
    def rest(spec: Object) -> Any:
        return _less(spec, {"resources", "volumeName", "volumeAttributesClassName"})

    bound_before = before["spec"].get("volumeName", "")
    if rest(before["spec"]) != rest(after["spec"]) or bound_before not in ("", after["spec"].get("volumeName", "")):
        why = (
            "Forbidden: spec is immutable after creation except resources.requests and volumeAttributesClassName "
            "for bound claims"
        )
        yield "spec", why


def _data_fixed(before: Object, after: Object) -> Iterator[Problem]:
    if before.get("type") != after.get("type"):
        yield "type", invalid_value(str(after.get("type")), _FIXED)
    if before.get("immutable") and any(before.get(key) != after.get(key) for key in ("data", "binaryData")):
        yield "data", "Forbidden: field is immutable when `immutable` is set"


def _binding_fixed(before: Object, after: Object) -> Iterator[Problem]:
    if before["roleRef"] != after["roleRef"]:
        yield "roleRef", invalid_value(dict(after["roleRef"]), "cannot change roleRef")


def _service_fixed(before: Object, after: Object) -> Iterator[Problem]:
    old, new = before["spec"].get("clusterIP"), after["spec"].get("clusterIP")
    if old and old != new and after["spec"]["type"] != "ExternalName":
        yield "spec.clusterIPs[0]", invalid_value(str(new), "may not change once set")


def _storage_class_fixed(before: Object, after: Object) -> Iterator[Problem]:
    for key in ("parameters", "provisioner", "reclaimPolicy", "volumeBindingMode"):
        if before.get(key) != after.get(key):
            yield key, "Forbidden: updates to " + key + " are forbidden."


def _priority_class_fixed(before: Object, after: Object) -> Iterator[Problem]:
    if before.get("value") != after.get("value"):
        yield "value", "Forbidden: may not be changed in an update."


_OF_KIND: Mapping[str, Callable[[Object, Object], Iterator[Problem]]] = {
    "pods": _pod_fixed,
    "deployments.apps": _selector_fixed,
    "replicasets.apps": _selector_fixed,
    "daemonsets.apps": _selector_fixed,
    "statefulsets.apps": _stateful_fixed,
    "jobs.batch": _job_fixed,
    "persistentvolumeclaims": _claim_fixed,
    "configmaps": _data_fixed,
    "secrets": _data_fixed,
    "services": _service_fixed,
    "rolebindings.rbac.authorization.k8s.io": _binding_fixed,
    "clusterrolebindings.rbac.authorization.k8s.io": _binding_fixed,
    "storageclasses.storage.k8s.io": _storage_class_fixed,
    "priorityclasses.scheduling.k8s.io": _priority_class_fixed,
}
