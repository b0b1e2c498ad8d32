"""What the parts of a Kubernetes deployment have in common. Nothing here has an effect on one machine."""

from typing import Any, Literal

from perijove.config.schema.base import Labels, Secrets, Section, Tag, key

UNPRIVILEGED: dict[str, Any] = {
    "runAsNonRoot": True,
    "runAsUser": 65534,
    "runAsGroup": 65534,
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "seccompProfile": {"type": "RuntimeDefault"},
}


class Image(Section):
    name: str = key("", "Name of the image, without tag.")
    tag: Tag = key("", "Tag of the image.")
    pull_policy: Literal["", "IfNotPresent", "Always", "Never"] | None = key(
        None, "When to pull: `IfNotPresent`, `Always` or `Never`."
    )
    pull_secrets: Secrets = key([], "Secrets for pulling: names, or maps with `name`.")


def image_key(name: str, tag: str, meaning: str) -> Any:
    # Frozen, so that one instance may be everybody's default.
    return key(Image.model_validate({"name": name, "tag": tag}), meaning, kubernetes=True)


class PodDisruptionBudget(Section):
    enabled: bool = key(False, "Whether to make a PodDisruptionBudget.")
    max_unavailable: int | None = key(None, "How many pods may be down at once.")
    min_available: int | None = key(1, "How many pods must stay up.")


class ServiceAccount(Section):
    create: bool = key(True, "Whether to make the service account.")
    name: str | None = key(None, "Name of the service account, instead of the default one.")
    annotations: Labels = key({}, "Annotations of the service account.")


class EgressAllowRules(Section):
    cloud_metadata_server: bool = key(True, "Allow connections to the cloud's metadata server.")
    dns_ports_cloud_metadata_server: bool = key(True, "Allow DNS at the cloud's metadata server.")
    dns_ports_kube_system_namespace: bool = key(True, "Allow DNS in the namespace kube-system.")
    dns_ports_private_ips: bool = key(True, "Allow DNS at private addresses.", alias="dnsPortsPrivateIPs")
    non_private_ips: bool = key(True, "Allow connections to public addresses.", alias="nonPrivateIPs")
    private_ips: bool = key(True, "Allow connections to private addresses.", alias="privateIPs")


class NetworkPolicy(Section):
    enabled: bool = key(True, "Whether to make a NetworkPolicy.")
    ingress: list[dict[str, Any]] = key([], "Further rules for incoming connections.")
    egress: list[dict[str, Any]] = key([], "Further rules for outgoing connections.")
    egress_allow_rules: EgressAllowRules = key(EgressAllowRules, "Predefined rules for outgoing connections.")
    inter_namespace_access_labels: Literal["accept", "ignore"] = key(
        "ignore", "Whether pods of other namespaces with our access labels may connect."
    )
    allowed_ingress_ports: list[int | str] = key([], "Ports open to everybody.")


class ProxyNetworkPolicy(NetworkPolicy):
    allowed_ingress_ports: list[int | str] = key(["http", "https"], "Ports open to everybody.")


class UserEgressAllowRules(EgressAllowRules):
    cloud_metadata_server: bool = key(False, "Allow connections to the cloud's metadata server.")
    private_ips: bool = key(False, "Allow connections to private addresses.", alias="privateIPs")


class UserNetworkPolicy(NetworkPolicy):
    egress_allow_rules: UserEgressAllowRules = key(UserEgressAllowRules, "Predefined rules for outgoing connections.")


class _Probe(Section, extra="allow"):
    """Further keys of a Kubernetes probe pass through."""

    enabled: bool = key(True, "Whether to probe.")
    period_seconds: int = key(10, "Seconds between probes.")


class LivenessProbe(_Probe):
    initial_delay_seconds: int = key(300, "Seconds before the first probe.")
    failure_threshold: int = key(30, "Failures in a row before a restart.")
    timeout_seconds: int = key(3, "Seconds before a probe counts as failed.")


class ProxyLivenessProbe(LivenessProbe):
    initial_delay_seconds: int = key(60, "Seconds before the first probe.")


class ReadinessProbe(_Probe):
    initial_delay_seconds: int = key(0, "Seconds before the first probe.")
    period_seconds: int = key(2, "Seconds between probes.")
    failure_threshold: int = key(1000, "Failures in a row before the pod counts as not ready.")
    timeout_seconds: int = key(1, "Seconds before a probe counts as failed.")


class DeploymentStrategy(Section):
    type: str | None = key("Recreate", "`Recreate` or `RollingUpdate`.")
    rolling_update: str | dict[str, Any] | None = key(None, "Settings of a rolling update.")


class Lifecycle(Section):
    post_start: dict[str, Any] = key({}, "What to run after the container started.")
    pre_stop: dict[str, Any] = key({}, "What to run before the container stops.")


class ExtraFile(Section):
    """One file; its content is one of `data`, `stringData` and `binaryData`."""

    mount_path: str = key(..., "Absolute path of the file.")
    data: dict[str, Any] | list[Any] | None = key(
        None, "Content as a map, written as YAML, JSON or TOML after the file's ending."
    )
    string_data: str | None = key(None, "Content as text.")
    binary_data: str | None = key(None, "Content in base64.")
    mode: int | None = key(None, "Permissions, as in `0400`.")


class Workload(Section):
    """Keys that every Deployment has."""

    revision_history_limit: int | None = key(None, "How many old revisions Kubernetes keeps.", ge=0, kubernetes=True)
    resources: dict[str, Any] = key({}, "Requests and limits of CPU and memory.", kubernetes=True)
    container_security_context: dict[str, Any] = key(
        UNPRIVILEGED, "Security context of the container.", kubernetes=True
    )
    extra_pod_spec: dict[str, Any] = key({}, "Anything else for the pod's `spec`.", kubernetes=True)


class Scheduled(Workload):
    """A workload with its own image and place."""

    node_selector: Labels = key({}, "Labels a node must have.", kubernetes=True)
    tolerations: list[dict[str, Any]] = key([], "Taints to tolerate.", kubernetes=True)
