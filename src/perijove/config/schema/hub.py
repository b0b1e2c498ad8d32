"""`hub.*`: the hub itself."""

import re
from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal, Self

from pydantic import BeforeValidator, WithJsonSchema, model_validator

from perijove.config.schema.base import (
    Environment,
    Labels,
    Mounts,
    Quantity,
    Section,
    Volumes,
    expected,
    key,
)
from perijove.config.schema.pod import (
    DeploymentStrategy,
    ExtraFile,
    Image,
    Lifecycle,
    LivenessProbe,
    NetworkPolicy,
    PodDisruptionBudget,
    ReadinessProbe,
    Scheduled,
    ServiceAccount,
    image_key,
)

DatabaseType = Literal["sqlite-pvc", "sqlite-memory", "mysql", "postgres", "other"]


class DatabaseVolume(Section):
    annotations: Labels = key({}, "Annotations of the claim.")
    selector: dict[str, Any] = key({}, "Label selector for the volume.")
    access_modes: list[str | None] = key(["ReadWriteOnce"], "Access modes of the claim.")
    storage: Quantity = key("1Gi", "Size of the claim.")
    sub_path: str | None = key(None, "Path inside the volume.")
    storage_class_name: str | None = key(None, "Storage class of the claim.")


class Database(Section):
    type: DatabaseType = key(
        "sqlite-pvc",
        "`sqlite-pvc`: a file (on one machine in the data directory); `sqlite-memory`: lost at every "
        "restart; `postgres`, `mysql`, `other`: what `url` says.",
    )
    upgrade: bool | None = key(None, "Accepted; migrations always run by themselves, after a backup.")
    pvc: DatabaseVolume = key(DatabaseVolume, "The volume of `sqlite-pvc`.", kubernetes=True)
    url: str | None = key(None, "SQLAlchemy URL, as in `postgresql://user@host:5432/jupyterhub`.")
    password: str | None = key(None, "Password for the user in `url`.")


def _pieces(value: Any) -> Any:
    """One string, or named pieces; an empty piece is left out."""
    if isinstance(value, str):
        return {"": value}
    if value is None:
        return {}
    if isinstance(value, Mapping):
        for name, piece in value.items():
            if not isinstance(piece, str | None):
                raise expected("Python code, as a string", "put `|` behind the colon", below=name)
        return {name: piece for name, piece in value.items() if piece is not None}
    raise expected("Python code: a string, or a map of named strings")


Pieces = Annotated[
    dict[str, str],
    BeforeValidator(_pieces),
    WithJsonSchema({"type": ["object", "string"], "additionalProperties": {"type": ["string", "null"]}}),
]

_CLASS_NAME: Final = re.compile(r"[A-Z]\w*")


def _classes(value: Any) -> Any:
    if not isinstance(value, Mapping):
        return value
    for name, traits in value.items():
        if not _CLASS_NAME.fullmatch(name):
            raise expected("the name of a class, which starts with a capital letter", below=name)
        if not isinstance(traits, Mapping | None):
            raise expected("a map of trait: value", below=name)
    return {name: traits or {} for name, traits in value.items()}


Classes = Annotated[
    dict[str, dict[str, Any]],
    BeforeValidator(_classes),
    WithJsonSchema(
        {
            "type": "object",
            "patternProperties": {"^[A-Z].*$": {"type": ["object", "null"]}},
            "additionalProperties": False,
        }
    ),
]


def _named(value: Any) -> Any:
    """A map of maps, or a list of maps with `name`."""
    if isinstance(value, list):
        if not all(isinstance(entry, Mapping) and "name" in entry for entry in value):
            raise expected("entries with a `name`")
        return {entry["name"]: dict(entry) for entry in value}
    if isinstance(value, Mapping):
        if not all(isinstance(entry, Mapping | None) for entry in value.values()):
            raise expected("a map under each name")
        return {name: {"name": name, **(entry or {})} for name, entry in value.items()}
    return value


NamedMaps = Annotated[
    dict[str, dict[str, Any]],
    BeforeValidator(_named),
    WithJsonSchema({"type": ["object", "array"], "items": {"type": "object", "required": ["name"]}}),
]


class HubServicePorts(Section):
    node_port: int | None = key(None, "Port on the nodes.", ge=0)
    app_protocol: str | None = key(None, "`appProtocol` of the port.")


class HubService(Section):
    type: Literal["ClusterIP", "NodePort", "LoadBalancer", "ExternalName"] = key("ClusterIP", "Type of the service.")
    annotations: Labels = key({}, "Annotations of the service.")
    ports: HubServicePorts = key(HubServicePorts, "The service's port.")
    extra_ports: list[dict[str, Any]] = key([], "Further ports.")
    load_balancer_ip: str | None = key(None, "Address of a LoadBalancer.", alias="loadBalancerIP")
    ip_family_policy: str = key("PreferDualStack", "`ipFamilyPolicy` of the service.")
    ip_families: list[str] = key([], "`ipFamilies` of the service.")


class HubFile(ExtraFile):
    @model_validator(mode="after")
    def _one_content(self) -> Self:
        given = [self.data, self.string_data, self.binary_data]
        if sum(content is not None for content in given) != 1:
            remedy = "add `stringData: |` and the content, here or in another file given as well"
            raise expected("exactly one of data, stringData and binaryData", remedy)
        return self


class _HubDeployment(Scheduled):
    """Keys of the hub's Deployment, without effect on one machine."""

    image: Image = image_key("quay.io/jupyterhub/k8s-hub", "", "Image of the hub.")
    service: HubService = key(HubService, "The hub's service in the cluster.", kubernetes=True)
    init_containers: list[dict[str, Any]] = key([], "Init containers.", kubernetes=True)
    deployment_strategy: DeploymentStrategy = key(
        DeploymentStrategy, "How a new version replaces the old one.", kubernetes=True
    )
    labels: Labels = key({}, "Labels of the pod.", kubernetes=True)
    annotations: Labels = key({}, "Annotations of the pod.", kubernetes=True)
    command: list[str] = key([], "Replaces the image's entrypoint.", kubernetes=True)
    args: list[str] = key([], "Replaces the command's arguments.", kubernetes=True)
    extra_containers: list[dict[str, Any]] = key([], "Containers beside the hub.", kubernetes=True)
    extra_volumes: Volumes = key([], "Further volumes.", kubernetes=True)
    extra_volume_mounts: Mounts = key([], "Where further volumes go.", kubernetes=True)
    fs_gid: int | None = key(None, "Old spelling of `podSecurityContext.fsGroup`.", ge=0, kubernetes=True)
    container_security_context: dict[str, Any] = key(
        {
            "runAsUser": 1000,
            "runAsGroup": 1000,
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
        },
        "Security context of the container.",
        kubernetes=True,
    )
    pod_security_context: dict[str, Any] = key(
        {"runAsNonRoot": True, "fsGroup": 1000, "seccompProfile": {"type": "RuntimeDefault"}},
        "Security context of the pod.",
        kubernetes=True,
    )
    lifecycle: Lifecycle = key(Lifecycle, "Lifecycle hooks of the container.", kubernetes=True)
    pdb: PodDisruptionBudget = key(PodDisruptionBudget, "How many hub pods may be down at once.", kubernetes=True)
    network_policy: NetworkPolicy = key(NetworkPolicy, "Who may talk to the hub.", kubernetes=True)
    liveness_probe: LivenessProbe = key(LivenessProbe, "When to restart the hub.", kubernetes=True)
    readiness_probe: ReadinessProbe = key(ReadinessProbe, "When the hub is ready.", kubernetes=True)
    service_account: ServiceAccount = key(ServiceAccount, "The hub's account in the cluster.", kubernetes=True)
    existing_secret: str | None = key(None, "A Secret that holds values instead of this file.", kubernetes=True)


class Hub(_HubDeployment):
    """The hub: users, logins, starting and stopping servers."""

    config: Classes = key(
        {"JupyterHub": {"admin_access": True, "authenticator_class": "dummy"}},
        "Traits of JupyterHub's classes and of plug-ins: `hub.config.<Class>.<trait>`.",
    )
    base_url: str = key("/", "Path under which everything lives.")
    cookie_secret: str | None = key(None, "64 hex digits that sign cookies; made and kept if not set.")
    concurrent_spawn_limit: int | None = key(64, "How many servers may be starting at once.")
    consecutive_failure_limit: int | None = key(
        5, "After so many failed starts in a row, new starts are refused for a while. The hub stays up."
    )
    active_server_limit: int | None = key(None, "How many servers may run at once.")
    db: Database = key(Database, "Where state is kept.")
    extra_config: Pieces = key({}, "Python run at start, as one string or as named pieces in the order of their names.")
    extra_config_files: list[str] = key(
        [], "Python files run after `extraConfig`, relative to this file. Not known to z2jh."
    )
    extra_files: dict[str, HubFile] = key(
        {}, "Files for the hub. On one machine they go below `files` in the data directory."
    )
    extra_env: Environment = key({}, "Environment variables of the hub.")
    replicas: int | None = key(None, "How many hubs run. Not known to z2jh.", ge=1, kubernetes=True)
    load_roles: NamedMaps = key({}, "Roles, by name: scopes, users, groups, services.")
    services: NamedMaps = key({}, "Services beside the hub, by name.")
    allow_named_servers: bool | None = key(False, "Whether users may have several servers.")
    named_server_limit_per_user: int | None = key(None, "How many named servers a user may have.")
    authenticate_prometheus: bool | None = key(None, "Whether `/hub/metrics` needs a token.")
    redirect_to_server: bool | None = key(None, "Whether users land in their server instead of on the home page.")
    shutdown_on_logout: bool | None = key(None, "Whether a logout stops the user's servers.")
    template_paths: list[str] = key([], "Directories with page templates, looked at first.")
    template_vars: dict[str, Any] = key({}, "Variables for page templates.")
