"""`singleuser.*`: the servers of users."""

from typing import Any, Literal

from perijove.config.schema.base import (
    CPU,
    Command,
    Environment,
    Labels,
    Memory,
    Mounts,
    Quantity,
    Section,
    Volumes,
    key,
)
from perijove.config.schema.hub import HubFile
from perijove.config.schema.pod import Image, Lifecycle, UserNetworkPolicy, image_key


class Affinity(Section):
    required: list[dict[str, Any]] = key([], "Terms that must hold.")
    preferred: list[dict[str, Any]] = key([], "Terms that should hold.")


class NetworkTools(Section):
    image: Image = image_key("quay.io/jupyterhub/k8s-network-tools", "4.2.0", "Image with iptables.")
    resources: dict[str, Any] = key({}, "Requests and limits of CPU and memory.")


class CloudMetadata(Section):
    block_with_iptables: bool = key(True, "Whether an init container blocks the metadata server.")
    ip: str = key("169.254.169.254", "Address of the metadata server.")


class StaticStorage(Section):
    pvc_name: str | None = key(None, "The claim that all users share.")
    sub_path: str | None = key("{username}", "Each user's path in it.")


class DynamicStorage(Section):
    storage_class: str | None = key(None, "Storage class of users' claims.")
    pvc_name_template: str | None = key(None, "Name of a user's claim.")
    volume_name_template: str | None = key("volume-{user_server}", "Name of the volume in the pod.")
    storage_access_modes: list[str | None] = key(["ReadWriteOnce"], "Access modes of users' claims.")
    sub_path: str | None = key(None, "Path inside the volume.")


class Storage(Section):
    type: Literal["dynamic", "static", "none"] = key(
        "dynamic", "`dynamic`: a claim for each user; `static`: one for all; `none`."
    )
    capacity: Quantity | None = key("10Gi", "Size of users' claims.")
    home_mount_path: str = key("/home/jovyan", "Where it is mounted.")
    extra_labels: Labels = key({}, "Labels of users' claims.")
    extra_volumes: Volumes = key([], "Further volumes.")
    extra_volume_mounts: Mounts = key([], "Where further volumes go.")
    static: StaticStorage = key(StaticStorage, "For `static`.")
    dynamic: DynamicStorage = key(DynamicStorage, "For `dynamic`.")


class CPUAmounts(Section):
    limit: CPU = key(None, "The most that a server may use, in CPUs.")
    guarantee: CPU = key(None, "What a server always gets, in CPUs.")


class MemoryAmounts(Section):
    limit: Memory = key(None, "The most that a server may use, as in `2G`.")
    guarantee: Memory = key("1G", "What a server always gets.")


class ExtraResource(Section):
    limits: dict[str, Any] = key({}, "Limits of other resources, as GPUs.")
    guarantees: dict[str, Any] = key({}, "Requests of other resources.")


class _UserPod(Section):
    """Keys of users' pods, without effect on one machine."""

    pod_name_template: str | None = key(None, "Name of a user's pod.", kubernetes=True)
    extra_tolerations: list[dict[str, Any]] = key([], "Taints to tolerate.", kubernetes=True)
    node_selector: Labels = key({}, "Labels a node must have.", kubernetes=True)
    extra_node_affinity: Affinity = key(Affinity, "Which nodes.", kubernetes=True)
    extra_pod_affinity: Affinity = key(Affinity, "Near which pods.", kubernetes=True)
    extra_pod_anti_affinity: Affinity = key(Affinity, "Away from which pods.", kubernetes=True)
    network_tools: NetworkTools = key(NetworkTools, "For blocking the metadata server.", kubernetes=True)
    cloud_metadata: CloudMetadata = key(CloudMetadata, "The cloud's metadata server.", kubernetes=True)
    network_policy: UserNetworkPolicy = key(UserNetworkPolicy, "What servers may reach.", kubernetes=True)
    events: bool | None = key(True, "Whether the cluster's events are shown as progress.", kubernetes=True)
    extra_annotations: Labels = key({}, "Annotations of pods.", kubernetes=True)
    extra_labels: Labels = key({"hub.jupyter.org/network-access-hub": "true"}, "Labels of pods.", kubernetes=True)
    extra_files: dict[str, HubFile] = key({}, "Files for the servers.", kubernetes=True)
    lifecycle_hooks: Lifecycle = key(Lifecycle, "Lifecycle hooks of the container.", kubernetes=True)
    init_containers: list[dict[str, Any]] = key([], "Init containers.", kubernetes=True)
    extra_containers: list[dict[str, Any]] = key([], "Containers beside the server.", kubernetes=True)
    allow_privilege_escalation: bool | None = key(False, "Whether a process may gain privileges.", kubernetes=True)
    uid: int | None = key(1000, "User id of the server.", kubernetes=True)
    fs_gid: int | None = key(100, "Group that owns the volumes.", kubernetes=True)
    service_account_name: str | None = key(None, "Service account of pods.", kubernetes=True)
    storage: Storage = key(Storage, "Where users' files are kept.", kubernetes=True)
    image: Image = image_key("quay.io/jupyterhub/k8s-singleuser-sample", "4.2.0", "Image of the servers.")
    extra_resource: ExtraResource = key(ExtraResource, "Other resources, as GPUs.", kubernetes=True)
    extra_pod_config: dict[str, Any] = key({}, "Anything else for the pod's `spec`.", kubernetes=True)


class SingleUser(_UserPod):
    """The servers of users."""

    extra_env: Environment = key({}, "Environment variables of servers.")
    start_timeout: int | None = key(300, "Seconds a start may take.")
    cpu: CPUAmounts = key(CPUAmounts, "CPUs of a server.")
    memory: MemoryAmounts = key(MemoryAmounts, "Memory of a server.")
    cmd: Command = key(["jupyterhub-singleuser"], "Command of a server, a string or a list; `null` is the image's own.")
    default_url: str | None = key(None, "Where a server opens, as in `/lab`.")
    profile_list: list[dict[str, Any]] = key(
        [],
        "Choices offered before a start: `display_name`, `description`, `default`, "
        "`kubespawner_override`, `profile_options`.",
    )
