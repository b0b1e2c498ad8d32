"""What the cluster adds to objects on their way in, and what it turns away: service accounts, priorities, addresses."""

from collections.abc import Callable
from dataclasses import dataclass, field

from perijove.testing.kube.api.objects import Objects
from perijove.testing.kube.api.options import WriteOptions
from perijove.testing.kube.objects.failures import forbidden, invalid
from perijove.testing.kube.objects.resources import Object, Resource

_TOKEN_PATH = "/var/run/secrets/kubernetes.io/serviceaccount"  # noqa: S105 - a path
_DEFAULT_CLASS = "storageclass.kubernetes.io/is-default-class"
_PROTECTION = "kubernetes.io/pvc-protection"
_NOT_READY_SECONDS = 300
_FIRST_NODE_PORT = 30_000


@dataclass
class SystemAdmission:
    objects: Objects
    next_address: Callable[[], str]
    _node_ports: set[int] = field(default_factory=set)

    def __call__(self, resource: Resource, item: Object, before: Object | None, _options: WriteOptions) -> None:
        match resource.qualified:
            case "pods" if before is None:
                self._service_account(resource, item)
                self._priority(resource, item)
                _tolerations(item)
            case "persistentvolumeclaims" if before is None:
                self._storage_class(item)
                finalizers = item["metadata"].setdefault("finalizers", [])
                if _PROTECTION not in finalizers:
                    finalizers.append(_PROTECTION)
            case "services":
                self._addresses(resource, item, before)

    def _service_account(self, resource: Resource, item: Object) -> None:
        spec, metadata = item["spec"], item["metadata"]
        name = spec.setdefault("serviceAccountName", "default")
        spec["serviceAccount"] = name
        account = self.objects.store.get(self.objects.resource("serviceaccounts"), metadata["namespace"], name)
        if account is None:
            why = f'error looking up service account {metadata["namespace"]}/{name}: serviceaccount "{name}" not found'
            raise forbidden(resource, metadata["name"], why)
        if pull := account.get("imagePullSecrets"):
            spec.setdefault("imagePullSecrets", pull)
        wanted = spec.get("automountServiceAccountToken", account.get("automountServiceAccountToken", True))
        if wanted:
            _mount_token(spec, metadata["name"])

    def _priority(self, resource: Resource, item: Object) -> None:
        spec = item["spec"]
        name = spec.get("priorityClassName")
        if not name:
            spec.setdefault("priority", 0)
            spec.setdefault("preemptionPolicy", "PreemptLowerPriority")
            return
        found = self.objects.store.get(self.objects.resource("priorityclasses.scheduling.k8s.io"), "", name)
        if found is None:
            why = f"no PriorityClass with name {name} was found"
            raise forbidden(resource, item["metadata"]["name"], why)
        spec["priority"] = found["value"]
        spec["preemptionPolicy"] = found.get("preemptionPolicy", "PreemptLowerPriority")

    def _storage_class(self, item: Object) -> None:
        if item["spec"].get("storageClassName") is not None:
            return
        for storage_class in self.objects.store.items(self.objects.resource("storageclasses.storage.k8s.io")):
            annotations = storage_class["metadata"].get("annotations") or {}
            if annotations.get(_DEFAULT_CLASS) == "true":
                item["spec"]["storageClassName"] = storage_class["metadata"]["name"]

    def _addresses(self, resource: Resource, item: Object, before: Object | None) -> None:
        """Given once and kept, as long as the kind of service has them."""
        spec = item["spec"]
        old = before["spec"] if before is not None else {}
        if spec["type"] == "ExternalName":
            return
        if not spec.get("clusterIP"):
            spec["clusterIP"] = old.get("clusterIP") or self.next_address()
        spec.setdefault("clusterIPs", [spec["clusterIP"]])
        if spec["type"] not in ("NodePort", "LoadBalancer"):
            return
        if not spec.get("allocateLoadBalancerNodePorts", True):
            return
        kept = {port["port"]: port.get("nodePort") for port in old.get("ports") or ()}
        for index, port in enumerate(spec.get("ports") or ()):
            if not port.get("nodePort"):
                port["nodePort"] = kept.get(port["port"]) or self._next_port()
            elif before is None and port["nodePort"] in self._node_ports:
                what = f"Invalid value: {port['nodePort']}: provided port is already allocated"
                raise invalid(resource, item["metadata"]["name"], [(f"spec.ports[{index}].nodePort", what)])
            self._node_ports.add(port["nodePort"])

    def _next_port(self) -> int:
        port = _FIRST_NODE_PORT
        while port in self._node_ports:
            port += 1
        return port


def _mount_token(spec: Object, pod: str) -> None:
    containers = [*(spec.get("initContainers") or ()), *spec["containers"]]
    name = f"kube-api-access-{pod[-5:]}"
    used = False
    for container in containers:
        mounts = container.setdefault("volumeMounts", [])
        if all(mount["mountPath"] != _TOKEN_PATH for mount in mounts):
            mounts.append({"name": name, "readOnly": True, "mountPath": _TOKEN_PATH})
            used = True
    if not used:
        return
    field_ref = {"apiVersion": "v1", "fieldPath": "metadata.namespace"}
    sources = [
        {"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}},
        {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
        {"downwardAPI": {"items": [{"path": "namespace", "fieldRef": field_ref}]}},
    ]
    spec.setdefault("volumes", []).append({"name": name, "projected": {"sources": sources, "defaultMode": 0o644}})


def _tolerations(item: Object) -> None:
    tolerations = item["spec"].setdefault("tolerations", [])
    for key in ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"):
        if all(toleration.get("key") not in (key, None) for toleration in tolerations):
            tolerations.append(
                {
                    "key": key,
                    "operator": "Exists",
                    "effect": "NoExecute",
                    "tolerationSeconds": _NOT_READY_SECONDS,
                }
            )
