"""Which kinds the cluster knows, under which paths.

The list is of what hubs, charts and their neighbours use; a test adds its own with `Registry.add` or by creating a
CustomResourceDefinition, as it would in a real cluster.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

Object = dict[str, Any]

_ALL_VERBS = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")


@dataclass(frozen=True, slots=True)
class Resource:
    """One kind in one version; `definition` names its published schema, if it has one."""

    group: str
    version: str
    plural: str
    kind: str
    namespaced: bool = True
    status: bool = False
    scale: bool = False
    short_names: tuple[str, ...] = ()
    verbs: tuple[str, ...] = _ALL_VERBS
    definition: str = ""
    # Kept once under this name, whatever version asks: `events` and `events.events.k8s.io` are the same objects.
    stored_as: str = ""
    schema: Object | None = field(default=None, hash=False, compare=False)

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def qualified(self) -> str:
        """As error messages name it: `deployments.apps`, `pods`."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    @property
    def key(self) -> str:
        return self.stored_as or self.qualified

    @property
    def singular(self) -> str:
        return self.kind.lower()


def _core(plural: str, kind: str, **more: Any) -> Resource:
    return Resource("", "v1", plural, kind, definition=f"io.k8s.api.core.v1.{kind}", **more)


def _apps(plural: str, kind: str, *, scale: bool, short: str) -> Resource:
    name = f"io.k8s.api.apps.v1.{kind}"
    return Resource("apps", "v1", plural, kind, status=True, scale=scale, short_names=(short,), definition=name)


def _rbac(plural: str, kind: str, *, namespaced: bool) -> Resource:
    name = f"io.k8s.api.rbac.v1.{kind}"
    return Resource("rbac.authorization.k8s.io", "v1", plural, kind, namespaced, definition=name)


def _of(package: str, group: str, plural: str, kind: str, **more: Any) -> Resource:
    version = package.rpartition(".")[2]
    return Resource(group, version, plural, kind, definition=f"io.k8s.{package}.{kind}", **more)


_CREATE_ONLY = ("create",)
_AUTHORIZATION = "authorization.k8s.io"

BUILT_IN: tuple[Resource, ...] = (
    _core("namespaces", "Namespace", namespaced=False, status=True, short_names=("ns",)),
    _core("nodes", "Node", namespaced=False, status=True, short_names=("no",)),
    _core("persistentvolumes", "PersistentVolume", namespaced=False, status=True, short_names=("pv",)),
    _core("pods", "Pod", status=True, short_names=("po",)),
    _core("services", "Service", status=True, short_names=("svc",)),
    _core("endpoints", "Endpoints", short_names=("ep",)),
    _core("configmaps", "ConfigMap", short_names=("cm",)),
    _core("secrets", "Secret"),
    _core("persistentvolumeclaims", "PersistentVolumeClaim", status=True, short_names=("pvc",)),
    _core("serviceaccounts", "ServiceAccount", short_names=("sa",)),
    _core("events", "Event", short_names=("ev",)),
    _core("resourcequotas", "ResourceQuota", status=True, short_names=("quota",)),
    _core("limitranges", "LimitRange", short_names=("limits",)),
    _core("replicationcontrollers", "ReplicationController", status=True, scale=True, short_names=("rc",)),
    _apps("deployments", "Deployment", scale=True, short="deploy"),
    _apps("replicasets", "ReplicaSet", scale=True, short="rs"),
    _apps("statefulsets", "StatefulSet", scale=True, short="sts"),
    _apps("daemonsets", "DaemonSet", scale=False, short="ds"),
    _of("api.apps.v1", "apps", "controllerrevisions", "ControllerRevision"),
    _of("api.batch.v1", "batch", "jobs", "Job", status=True),
    _of("api.batch.v1", "batch", "cronjobs", "CronJob", status=True, short_names=("cj",)),
    _of("api.policy.v1", "policy", "poddisruptionbudgets", "PodDisruptionBudget", status=True, short_names=("pdb",)),
    _of(
        "api.autoscaling.v2",
        "autoscaling",
        "horizontalpodautoscalers",
        "HorizontalPodAutoscaler",
        status=True,
        short_names=("hpa",),
    ),
    _rbac("roles", "Role", namespaced=True),
    _rbac("rolebindings", "RoleBinding", namespaced=True),
    _rbac("clusterroles", "ClusterRole", namespaced=False),
    _rbac("clusterrolebindings", "ClusterRoleBinding", namespaced=False),
    _of("api.networking.v1", "networking.k8s.io", "ingresses", "Ingress", status=True, short_names=("ing",)),
    _of("api.networking.v1", "networking.k8s.io", "ingressclasses", "IngressClass", namespaced=False),
    _of("api.networking.v1", "networking.k8s.io", "networkpolicies", "NetworkPolicy", short_names=("netpol",)),
    _of(
        "api.scheduling.v1",
        "scheduling.k8s.io",
        "priorityclasses",
        "PriorityClass",
        namespaced=False,
        short_names=("pc",),
    ),
    _of("api.storage.v1", "storage.k8s.io", "storageclasses", "StorageClass", namespaced=False, short_names=("sc",)),
    _of("api.storage.v1", "storage.k8s.io", "csidrivers", "CSIDriver", namespaced=False),
    _of("api.storage.v1", "storage.k8s.io", "csinodes", "CSINode", namespaced=False),
    _of("api.storage.v1", "storage.k8s.io", "volumeattachments", "VolumeAttachment", namespaced=False),
    _of("api.coordination.v1", "coordination.k8s.io", "leases", "Lease"),
    _of("api.discovery.v1", "discovery.k8s.io", "endpointslices", "EndpointSlice"),
    _of("api.events.v1", "events.k8s.io", "events", "Event", short_names=("ev",), stored_as="events"),
    _of(
        "apiextensions-apiserver.pkg.apis.apiextensions.v1",
        "apiextensions.k8s.io",
        "customresourcedefinitions",
        "CustomResourceDefinition",
        namespaced=False,
        status=True,
        short_names=("crd", "crds"),
    ),
    _of(
        "api.authorization.v1",
        _AUTHORIZATION,
        "selfsubjectaccessreviews",
        "SelfSubjectAccessReview",
        namespaced=False,
        verbs=_CREATE_ONLY,
    ),
    _of(
        "api.authorization.v1",
        _AUTHORIZATION,
        "subjectaccessreviews",
        "SubjectAccessReview",
        namespaced=False,
        verbs=_CREATE_ONLY,
    ),
    _of(
        "api.authentication.v1",
        "authentication.k8s.io",
        "tokenreviews",
        "TokenReview",
        namespaced=False,
        verbs=_CREATE_ONLY,
    ),
    # What other projects define, and charts may ask for.
    Resource("gateway.networking.k8s.io", "v1", "httproutes", "HTTPRoute", status=True),
    Resource("gateway.networking.k8s.io", "v1", "gateways", "Gateway", status=True),
    Resource("projectcontour.io", "v1", "httpproxies", "HTTPProxy", status=True),
    Resource("monitoring.coreos.com", "v1", "servicemonitors", "ServiceMonitor"),
)


class Registry:
    """The kinds served now."""

    def __init__(self) -> None:
        self._by_path: dict[tuple[str, str, str], Resource] = {}
        for resource in BUILT_IN:
            self.add(resource)

    def add(self, resource: Resource) -> Resource:
        self._by_path[resource.group, resource.version, resource.plural] = resource
        return resource

    def remove(self, resource: Resource) -> None:
        self._by_path.pop((resource.group, resource.version, resource.plural), None)

    def find(self, group: str, version: str, plural: str) -> Resource | None:
        return self._by_path.get((group, version, plural))

    def kind(self, api_version: str, kind: str) -> Resource | None:
        group, _, version = api_version.rpartition("/")
        return next((one for one in self if (one.group, one.version, one.kind) == (group, version, kind)), None)

    def named(self, qualified: str) -> Resource:
        """`pods`, `deployments.apps`: for controllers and tests. Raises `LookupError`."""
        for resource in self:
            if resource.qualified == qualified:
                return resource
        raise LookupError(f"the cluster has no resource {qualified}")

    def group_versions(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for resource in self:
            versions = found.setdefault(resource.group, [])
            if resource.version not in versions:
                versions.append(resource.version)
        return found

    def __iter__(self) -> Iterator[Resource]:
        return iter(list(self._by_path.values()))
