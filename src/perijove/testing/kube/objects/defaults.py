"""What the API server writes into objects by itself: clients that compare must live with it."""

from collections.abc import Callable
from typing import Any

from perijove.testing.kube.objects.quantities import kept
from perijove.testing.kube.objects.resources import Object, Resource


def set_defaults(resource: Resource, item: Object) -> None:
    """In place."""
    if (defaulting := _OF_KIND.get(resource.qualified)) is not None:
        defaulting(item)


def _pod(item: Object) -> None:
    pod_spec(item.setdefault("spec", {}))
    spec = item["spec"]
    spec.setdefault("enableServiceLinks", True)
    status = item.setdefault("status", {})
    status.setdefault("phase", "Pending")
    status.setdefault("qosClass", _qos(spec))


def pod_spec(spec: Object) -> None:
    spec.setdefault("restartPolicy", "Always")
    spec.setdefault("dnsPolicy", "ClusterFirst")
    spec.setdefault("schedulerName", "default-scheduler")
    spec.setdefault("securityContext", {})
    spec.setdefault("terminationGracePeriodSeconds", 30)
    if "serviceAccountName" in spec:
        spec.setdefault("serviceAccount", spec["serviceAccountName"])
    elif "serviceAccount" in spec:
        spec["serviceAccountName"] = spec["serviceAccount"]
    for container in [*(spec.get("initContainers") or ()), *(spec.get("containers") or ())]:
        _container(container)
    for volume in spec.get("volumes") or ():
        _volume(volume)


def _container(container: Object) -> None:
    container.setdefault("terminationMessagePath", "/dev/termination-log")
    container.setdefault("terminationMessagePolicy", "File")
    container.setdefault("resources", {})
    image = container.get("image", "")
    tag = image.rpartition("/")[2].partition(":")[2]
    latest = "@" not in image and tag in ("", "latest")
    container.setdefault("imagePullPolicy", "Always" if latest else "IfNotPresent")
    for port in container.get("ports") or ():
        port.setdefault("protocol", "TCP")
    for name in ("readinessProbe", "livenessProbe", "startupProbe"):
        if (probe := container.get(name)) is not None:
            _probe(probe)
    for variable in container.get("env") or ():
        if (field := (variable.get("valueFrom") or {}).get("fieldRef")) is not None:
            field.setdefault("apiVersion", "v1")
    _resources(container["resources"])
    for hook in (container.get("lifecycle") or {}).values():
        if (get := hook.get("httpGet")) is not None:
            get.setdefault("scheme", "HTTP")


def _resources(resources: Object) -> None:
    for group in ("limits", "requests"):
        if resources.get(group):
            resources[group] = {name: kept(value) for name, value in resources[group].items()}
    for name, limit in (resources.get("limits") or {}).items():
        resources.setdefault("requests", {}).setdefault(name, limit)


def _probe(probe: Object) -> None:
    for key, value in {"timeoutSeconds": 1, "periodSeconds": 10, "successThreshold": 1, "failureThreshold": 3}.items():
        probe.setdefault(key, value)
    if (get := probe.get("httpGet")) is not None:
        get.setdefault("path", "/")
        get.setdefault("scheme", "HTTP")


def _volume(volume: Object) -> None:
    sources = {"secret": "defaultMode", "configMap": "defaultMode", "projected": "defaultMode"}
    for name, key in sources.items():
        if isinstance(volume.get(name), dict):
            volume[name].setdefault(key, 0o644)
    for source in (volume.get("projected") or {}).get("sources") or ():
        if (token := source.get("serviceAccountToken")) is not None:
            token.setdefault("expirationSeconds", 3600)
    if isinstance(volume.get("hostPath"), dict):
        volume["hostPath"].setdefault("type", "")
    if set(volume) == {"name"}:
        volume["emptyDir"] = {}


def _qos(spec: Object) -> str:
    resources = [container.get("resources") or {} for container in spec.get("containers") or ()]
    if not any(entry.get("requests") or entry.get("limits") for entry in resources):
        return "BestEffort"
    for entry in resources:
        limits, requests = entry.get("limits") or {}, entry.get("requests") or {}
        if not {"cpu", "memory"} <= set(limits) or any(limits[name] != requests.get(name) for name in limits):
            return "Burstable"
    return "Guaranteed"


def _template(item: Object) -> Object:
    spec: Object = item.setdefault("spec", {})
    template = spec.get("template")
    if isinstance(template, dict):
        template.setdefault("metadata", {})
        pod_spec(template.setdefault("spec", {}))
    return spec


def _deployment(item: Object) -> None:
    spec = _template(item)
    spec.setdefault("replicas", 1)
    spec.setdefault("revisionHistoryLimit", 10)
    spec.setdefault("progressDeadlineSeconds", 600)
    strategy = spec.setdefault("strategy", {})
    strategy.setdefault("type", "RollingUpdate")
    if strategy["type"] == "RollingUpdate":
        rolling = strategy.setdefault("rollingUpdate", {})
        rolling.setdefault("maxUnavailable", "25%")
        rolling.setdefault("maxSurge", "25%")


def _replicaset(item: Object) -> None:
    _template(item).setdefault("replicas", 1)


def _statefulset(item: Object) -> None:
    spec = _template(item)
    spec.setdefault("replicas", 1)
    spec.setdefault("podManagementPolicy", "OrderedReady")
    spec.setdefault("revisionHistoryLimit", 10)
    strategy = spec.setdefault("updateStrategy", {})
    strategy.setdefault("type", "RollingUpdate")
    if strategy["type"] == "RollingUpdate":
        strategy.setdefault("rollingUpdate", {}).setdefault("partition", 0)
    for claim in spec.get("volumeClaimTemplates") or ():
        claim.setdefault("spec", {}).setdefault("volumeMode", "Filesystem")


def _daemonset(item: Object) -> None:
    spec = _template(item)
    spec.setdefault("revisionHistoryLimit", 10)
    strategy = spec.setdefault("updateStrategy", {})
    strategy.setdefault("type", "RollingUpdate")
    if strategy["type"] == "RollingUpdate":
        rolling = strategy.setdefault("rollingUpdate", {})
        rolling.setdefault("maxUnavailable", 1)
        rolling.setdefault("maxSurge", 0)


def _job(item: Object) -> None:
    spec = _template(item)
    for key, value in {"backoffLimit": 6, "completions": 1, "parallelism": 1, "completionMode": "NonIndexed"}.items():
        spec.setdefault(key, value)
    spec.setdefault("suspend", False)


def _service(item: Object) -> None:
    spec = item.setdefault("spec", {})
    spec.setdefault("type", "ClusterIP")
    spec.setdefault("sessionAffinity", "None")
    if spec["type"] != "ExternalName":
        spec.setdefault("internalTrafficPolicy", "Cluster")
        spec.setdefault("ipFamilies", ["IPv4"])
        spec.setdefault("ipFamilyPolicy", "SingleStack")
    if spec["type"] in ("LoadBalancer", "NodePort"):
        spec.setdefault("externalTrafficPolicy", "Cluster")
    if spec["type"] == "LoadBalancer":
        spec.setdefault("allocateLoadBalancerNodePorts", True)
    for port in spec.get("ports") or ():
        port.setdefault("protocol", "TCP")
        port.setdefault("targetPort", port.get("port"))
    item.setdefault("status", {}).setdefault("loadBalancer", {})


def _claim(item: Object) -> None:
    spec = item.setdefault("spec", {})
    spec.setdefault("volumeMode", "Filesystem")
    item.setdefault("status", {}).setdefault("phase", "Pending")


def _volume_object(item: Object) -> None:
    spec = item.setdefault("spec", {})
    spec.setdefault("volumeMode", "Filesystem")
    spec.setdefault("persistentVolumeReclaimPolicy", "Retain")
    item.setdefault("status", {}).setdefault("phase", "Pending")


def _secret(item: Object) -> None:
    item.setdefault("type", "Opaque")


def _namespace(item: Object) -> None:
    item.setdefault("spec", {}).setdefault("finalizers", ["kubernetes"])
    item.setdefault("status", {}).setdefault("phase", "Active")
    item["metadata"].setdefault("labels", {}).setdefault("kubernetes.io/metadata.name", item["metadata"]["name"])


def _network_policy(item: Object) -> None:
    spec = item.setdefault("spec", {})
    types = ["Ingress", "Egress"] if spec.get("egress") is not None else ["Ingress"]
    spec.setdefault("policyTypes", types)
    for rule in [*(spec.get("ingress") or ()), *(spec.get("egress") or ())]:
        for port in rule.get("ports") or ():
            port.setdefault("protocol", "TCP")


def _role_binding(item: Object) -> None:
    item.get("roleRef", {}).setdefault("apiGroup", "rbac.authorization.k8s.io")
    for subject in item.get("subjects") or ():
        if subject.get("kind") in ("User", "Group"):
            subject.setdefault("apiGroup", "rbac.authorization.k8s.io")


def _storage_class(item: Object) -> None:
    item.setdefault("reclaimPolicy", "Delete")
    item.setdefault("volumeBindingMode", "Immediate")


def _priority_class(item: Object) -> None:
    item.setdefault("preemptionPolicy", "PreemptLowerPriority")


def _custom_definition(item: Object) -> None:
    spec = item.get("spec", {})
    names: dict[str, Any] = spec.setdefault("names", {})
    names.setdefault("singular", str(names.get("kind", "")).lower())
    names.setdefault("listKind", f"{names.get('kind', '')}List")
    spec.setdefault("conversion", {"strategy": "None"})


_OF_KIND: dict[str, Callable[[Object], None]] = {
    "pods": _pod,
    "services": _service,
    "secrets": _secret,
    "namespaces": _namespace,
    "persistentvolumeclaims": _claim,
    "persistentvolumes": _volume_object,
    "deployments.apps": _deployment,
    "replicasets.apps": _replicaset,
    "statefulsets.apps": _statefulset,
    "daemonsets.apps": _daemonset,
    "jobs.batch": _job,
    "networkpolicies.networking.k8s.io": _network_policy,
    "rolebindings.rbac.authorization.k8s.io": _role_binding,
    "clusterrolebindings.rbac.authorization.k8s.io": _role_binding,
    "storageclasses.storage.k8s.io": _storage_class,
    "priorityclasses.scheduling.k8s.io": _priority_class,
    "customresourcedefinitions.apiextensions.k8s.io": _custom_definition,
}
