"""`scheduling.*` and `prePuller.*`: which node a pod lands on, and that its image is there already."""

from typing import Any, Literal

from perijove.config.schema.base import Labels, Section, Tag, key
from perijove.config.schema.pod import (
    UNPRIVILEGED,
    Image,
    PodDisruptionBudget,
    Scheduled,
    ServiceAccount,
    Workload,
    image_key,
)

_SCORED = {"NodeAffinity": 14631, "InterPodAffinity": 1331, "NodeResourcesFit": 121, "ImageLocality": 11}
# Fill nodes one after the other, so that empty ones can be given back.
_PLUGINS = {
    "score": {
        "disabled": [{"name": "NodeResourcesBalancedAllocation"}, *({"name": name} for name in _SCORED)],
        "enabled": [{"name": name, "weight": weight} for name, weight in _SCORED.items()],
    }
}
_PLUGIN_CONFIG = [
    {
        "name": "NodeResourcesFit",
        "args": {
            "scoringStrategy": {
                "type": "MostAllocated",
                "resources": [{"name": "cpu", "weight": 1}, {"name": "memory", "weight": 1}],
            }
        },
    }
]


def _tolerated(purpose: str) -> list[dict[str, Any]]:
    keys = ("hub.jupyter.org/dedicated", "hub.jupyter.org_dedicated")
    return [{"key": name, "operator": "Equal", "value": purpose, "effect": "NoSchedule"} for name in keys]


class SchedulerBudget(PodDisruptionBudget):
    enabled: bool = key(True, "Whether to make a PodDisruptionBudget.")
    max_unavailable: int | None = key(1, "How many pods may be down at once.")
    min_available: int | None = key(None, "How many pods must stay up.")


class UserScheduler(Scheduled):
    """A scheduler of our own that fills nodes one after the other."""

    enabled: bool = key(True, "Whether users' pods have their own scheduler.")
    replicas: int = key(2, "How many pods of it run.")
    log_level: int = key(4, "How much it logs, 0 to 10.")
    plugins: dict[str, Any] = key(_PLUGINS, "Plug-ins of kube-scheduler.")
    plugin_config: list[dict[str, Any]] = key(_PLUGIN_CONFIG, "Settings of these plug-ins.")
    image: Image = image_key("registry.k8s.io/kube-scheduler", "v1.35.7", "Image of kube-scheduler.")
    labels: Labels = key({}, "Labels of the pods.")
    annotations: Labels = key({}, "Annotations of the pods.")
    pdb: SchedulerBudget = key(SchedulerBudget, "How many pods may be down at once.")
    service_account: ServiceAccount = key(ServiceAccount, "Its account in the cluster.")


class PodPriority(Section):
    enabled: bool = key(False, "Whether users' pods push placeholders out.")
    global_default: bool = key(False, "Whether it is the cluster's default.")
    default_priority: int = key(0, "Priority of users' pods.")
    image_puller_priority: int = key(-5, "Priority of image pullers.")
    user_placeholder_priority: int = key(-10, "Priority of placeholders.")


class UserPlaceholder(Workload):
    """Pods that hold the place of users to come."""

    enabled: bool = key(True, "Whether there are placeholders.")
    image: Image = image_key("registry.k8s.io/pause", "3.10.2", "Image of a placeholder.")
    replicas: int = key(0, "How many placeholders.")
    labels: Labels = key({}, "Labels of the pods.")
    annotations: Labels = key({}, "Annotations of the pods.")


class NodeAffinity(Section):
    match_node_purpose: Literal["ignore", "prefer", "require"] = key(
        "prefer", "Whether nodes labelled with this purpose are preferred, required or ignored."
    )


class CorePods(Section):
    tolerations: list[dict[str, Any]] = key(_tolerated("core"), "Taints that core pods tolerate.")
    node_affinity: NodeAffinity = key(NodeAffinity, "Nodes for core pods.")


class UserPods(Section):
    tolerations: list[dict[str, Any]] = key(_tolerated("user"), "Taints that users' pods tolerate.")
    node_affinity: NodeAffinity = key(NodeAffinity, "Nodes for users' pods.")


class Scheduling(Section):
    """Which node a pod lands on."""

    user_scheduler: UserScheduler = key(UserScheduler, "A scheduler that fills nodes one after the other.")
    pod_priority: PodPriority = key(PodPriority, "Priorities of pods.")
    user_placeholder: UserPlaceholder = key(UserPlaceholder, "Pods that hold the place of users to come.")
    core_pods: CorePods = key(CorePods, "Hub, proxy and the like.")
    user_pods: UserPods = key(UserPods, "Users' servers.")


class HookPuller(Section):
    enabled: bool = key(True, "Whether images are pulled before an upgrade goes on.")
    pull_only_on_changes: bool = key(True, "Whether only when an image changed.")
    image: Image = image_key("quay.io/jupyterhub/k8s-image-awaiter", "4.2.0", "Image that waits for the pullers.")
    container_security_context: dict[str, Any] = key(UNPRIVILEGED, "Security context of the container.")
    pod_scheduling_wait_duration: int = key(10, "Seconds to wait for a puller to be scheduled; -1 for ever.")
    node_selector: Labels = key({}, "Labels a node must have.")
    tolerations: list[dict[str, Any]] = key([], "Taints to tolerate.")
    resources: dict[str, Any] = key({}, "Requests and limits of CPU and memory.")
    service_account: ServiceAccount = key(ServiceAccount, "Account of the waiting job.")
    service_account_image_puller: ServiceAccount = key(ServiceAccount, "Account of the pullers.")
    daemonset_annotations: Labels = key({}, "Annotations of the DaemonSet.")


class ContinuousPuller(Section):
    enabled: bool = key(True, "Whether new nodes pull images at once.")
    service_account: ServiceAccount = key(ServiceAccount, "Account of the pullers.")
    daemonset_annotations: Labels = key({}, "Annotations of the DaemonSet.")


class Pause(Section):
    container_security_context: dict[str, Any] = key(UNPRIVILEGED, "Security context of the container.")
    image: Image = image_key("registry.k8s.io/pause", "3.10.2", "Image that pullers end in.")


class ExtraImage(Section):
    name: str = key(..., "Name of the image, without tag.")
    tag: Tag = key(..., "Tag of the image.")
    pull_policy: Literal["", "IfNotPresent", "Always", "Never"] | None = key(None, "When to pull.")


class PrePuller(Section):
    """Images on nodes before users need them."""

    revision_history_limit: int | None = key(None, "How many old revisions Kubernetes keeps.", ge=0)
    labels: Labels = key({}, "Labels of the pods.")
    annotations: Labels = key({}, "Annotations of the pods.")
    resources: dict[str, Any] = key({}, "Requests and limits of CPU and memory.")
    container_security_context: dict[str, Any] = key(UNPRIVILEGED, "Security context of the containers.")
    extra_tolerations: list[dict[str, Any]] = key([], "Taints to tolerate.")
    hook: HookPuller = key(HookPuller, "Before an upgrade.")
    continuous: ContinuousPuller = key(ContinuousPuller, "All the time.")
    pull_profile_list_images: bool = key(True, "Whether images of profiles are pulled too.")
    extra_images: dict[str, ExtraImage] = key({}, "Further images.")
    pause: Pause = key(Pause, "What pullers end in.")


__all__ = ["Image", "PrePuller", "Scheduling"]
