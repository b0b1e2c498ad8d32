"""`singleuser.*` as traits of the spawner, under the names and with the meaning z2jh gives them.

What every spawner has (environment, command, time, memory, CPU) goes to `c.Spawner` on one machine and
to `c.KubeSpawner` on Kubernetes; what only a pod has goes to `c.KubeSpawner` in both cases, so that
code which reads or extends it finds it.
"""

from typing import Any, Final

import z2jh
from perijove.config.fluent import DictValue, FluentConfig
from perijove.config.problems import KeyPath
from perijove.config.schema.settings import Settings
from perijove.config.schema.singleuser import SingleUser

# Where a trait stands in the file, if under another name.
KEYS_OF_TRAITS: Final[dict[str, KeyPath]] = {
    trait: ("singleuser", *key.split("."))
    for trait, key in {
        "mem_limit": "memory.limit",
        "mem_guarantee": "memory.guarantee",
        "cpu_limit": "cpu.limit",
        "cpu_guarantee": "cpu.guarantee",
        "environment": "extraEnv",
        "image": "image",
        "image_pull_policy": "image.pullPolicy",
        "image_pull_secrets": "image.pullSecrets",
        "events_enabled": "events",
        "service_account": "serviceAccountName",
        "volumes": "storage.extraVolumes",
        "volume_mounts": "storage.extraVolumeMounts",
        "storage_extra_labels": "storage.extraLabels",
        "storage_capacity": "storage.capacity",
        "storage_class": "storage.dynamic.storageClass",
        "storage_access_modes": "storage.dynamic.storageAccessModes",
        "pvc_name_template": "storage.dynamic.pvcNameTemplate",
        "node_affinity_required": "extraNodeAffinity.required",
        "node_affinity_preferred": "extraNodeAffinity.preferred",
        "pod_affinity_required": "extraPodAffinity.required",
        "pod_affinity_preferred": "extraPodAffinity.preferred",
        "pod_anti_affinity_required": "extraPodAntiAffinity.required",
        "pod_anti_affinity_preferred": "extraPodAntiAffinity.preferred",
        "extra_resource_limits": "extraResource.limits",
        "extra_resource_guarantees": "extraResource.guarantees",
        "tolerations": "extraTolerations",
    }.items()
}


def spawner_traits(settings: Settings) -> dict[str, Any]:
    """Traits that any spawner has; None is left out."""
    user = settings.singleuser
    traits = {
        "start_timeout": user.start_timeout,
        "mem_limit": user.memory.limit,
        "mem_guarantee": user.memory.guarantee,
        "cpu_limit": user.cpu.limit,
        "cpu_guarantee": user.cpu.guarantee,
    }
    return {name: value for name, value in traits.items() if value is not None}


def _pod_traits(user: SingleUser) -> dict[str, Any]:
    """Traits that only a pod has and that need no thought."""
    hooks = user.lifecycle_hooks.model_dump()
    traits: dict[str, Any] = {
        "pod_name_template": user.pod_name_template,
        "image_pull_policy": user.image.pull_policy or None,
        "events_enabled": user.events,
        "extra_labels": user.extra_labels,
        "extra_annotations": user.extra_annotations,
        "uid": user.uid,
        "fs_gid": user.fs_gid,
        "service_account": user.service_account_name,
        "storage_extra_labels": user.storage.extra_labels,
        "node_selector": user.node_selector,
        "node_affinity_required": user.extra_node_affinity.required,
        "node_affinity_preferred": user.extra_node_affinity.preferred,
        "pod_affinity_required": user.extra_pod_affinity.required,
        "pod_affinity_preferred": user.extra_pod_affinity.preferred,
        "pod_anti_affinity_required": user.extra_pod_anti_affinity.required,
        "pod_anti_affinity_preferred": user.extra_pod_anti_affinity.preferred,
        "lifecycle_hooks": {name: hook for name, hook in hooks.items() if hook},
        "init_containers": user.init_containers,
        "extra_containers": user.extra_containers,
        "extra_resource_limits": user.extra_resource.limits,
        "extra_resource_guarantees": user.extra_resource.guarantees,
        "profile_list": user.profile_list,
        "extra_pod_config": user.extra_pod_config,
    }
    return {name: _copied(value) for name, value in traits.items() if value is not None}


def _copied(value: Any) -> Any:
    """Settings are frozen and code may change what it gets: hand out copies."""
    return value.copy() if isinstance(value, dict | list) else value


def apply(config: FluentConfig, settings: Settings, *, kubernetes: bool) -> None:
    """Set `c.Spawner` and `c.KubeSpawner` from `singleuser` and `scheduling`."""
    user = settings.singleuser
    pod = config.KubeSpawner
    target = pod if kubernetes else config.Spawner
    for name, value in spawner_traits(settings).items():
        target[name] = value
    # One object under both names: code extends it through whichever class it knows.
    environment = DictValue(user.extra_env)
    config.Spawner.environment = environment
    pod.environment = environment
    for name, value in _pod_traits(user).items():
        pod[name] = value
    pod.allow_privilege_escalation = user.allow_privilege_escalation
    if user.image.name:
        pod.image = f"{user.image.name}:{user.image.tag}" if user.image.tag else user.image.name
    _pull_secrets(pod, settings)
    _scheduling(pod, settings)
    _storage(pod, user)
    _extra_files(pod, user)
    _cloud_metadata(pod, user)
    if user.default_url is not None:
        config.Spawner.default_url = user.default_url


def _pull_secrets(pod: FluentConfig, settings: Settings) -> None:
    create = settings.image_pull_secret
    secrets = [{"name": z2jh.get_name("image-pull-secret")}]
    secrets = secrets if create.create and create.automatic_reference_injection else []
    secrets = [*secrets, *settings.image_pull_secrets, *settings.singleuser.image.pull_secrets]
    if secrets:
        pod.image_pull_secrets = secrets


def _scheduling(pod: FluentConfig, settings: Settings) -> None:
    scheduling = settings.scheduling
    if scheduling.user_scheduler.enabled:
        pod.scheduler_name = z2jh.get_name("user-scheduler")
    if scheduling.pod_priority.enabled:
        pod.priority_class_name = z2jh.get_name("priority")
    purpose = {"matchExpressions": [{"key": "hub.jupyter.org/node-purpose", "operator": "In", "values": ["user"]}]}
    match scheduling.user_pods.node_affinity.match_node_purpose:
        case "prefer":
            pod.node_affinity_preferred.append({"weight": 100, "preference": purpose})
        case "require":
            pod.node_affinity_required.append(purpose)
        case "ignore":
            pass
    pod.tolerations = [*scheduling.user_pods.tolerations, *settings.singleuser.extra_tolerations]


def _storage(pod: FluentConfig, user: SingleUser) -> None:
    storage = user.storage
    volumes: list[dict[str, Any]] = []
    mounts: list[dict[str, Any]] = []
    if storage.type == "dynamic":
        dynamic = storage.dynamic
        if dynamic.pvc_name_template:
            pod.pvc_name_template = dynamic.pvc_name_template
        pod.storage_pvc_ensure = True
        for trait, value in (
            ("storage_class", dynamic.storage_class),
            ("storage_access_modes", dynamic.storage_access_modes),
            ("storage_capacity", storage.capacity),
        ):
            if value is not None:
                pod[trait] = _copied(value)
        name = dynamic.volume_name_template or "volume-{user_server}"
        # Not the template: the spawner remembers under which name it made a user's claim.
        volumes.append({"name": name, "persistentVolumeClaim": {"claimName": "{pvc_name}"}})
        mounts.append({"mountPath": storage.home_mount_path, "name": name})
        if dynamic.sub_path:
            mounts[-1]["subPath"] = dynamic.sub_path
    elif storage.type == "static":
        volumes.append({"name": "home", "persistentVolumeClaim": {"claimName": storage.static.pvc_name}})
        mounts.append({"mountPath": storage.home_mount_path, "name": "home", "subPath": storage.static.sub_path})
    pod.volumes = [*volumes, *storage.extra_volumes]
    pod.volume_mounts = [*mounts, *storage.extra_volume_mounts]


def _extra_files(pod: FluentConfig, user: SingleUser) -> None:
    if not user.extra_files:
        return
    items = [
        {"key": name, "path": name} | ({} if file.mode is None else {"mode": file.mode})
        for name, file in user.extra_files.items()
    ]
    secret = {"secretName": z2jh.get_name("singleuser"), "items": items}
    pod.volumes.append({"name": "files", "secret": secret})
    pod.volume_mounts.extend(
        {"mountPath": file.mount_path, "subPath": name, "name": "files"} for name, file in user.extra_files.items()
    )


def _cloud_metadata(pod: FluentConfig, user: SingleUser) -> None:
    """A privileged init container that closes the cloud's metadata address to the pod.

    Its HTTP port only: on some clouds the same address answers DNS.
    """
    if not user.cloud_metadata.block_with_iptables:
        return
    tools = user.network_tools
    pod.init_containers.append(
        {
            "name": "block-cloud-metadata",
            "image": f"{tools.image.name}:{tools.image.tag}",
            "command": [
                "iptables",
                "--append",
                "OUTPUT",
                "--protocol",
                "tcp",
                "--destination",
                user.cloud_metadata.ip,
                "--destination-port",
                "80",
                "--jump",
                "DROP",
            ],
            "securityContext": {
                "privileged": True,
                "runAsUser": 0,
                "capabilities": {"add": ["NET_ADMIN"]},
            },
            "resources": dict(tools.resources),
        }
    )
