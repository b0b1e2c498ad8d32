"""Priorities, z2jh's user-scheduler, and the placeholders that keep room for users to come."""

from typing import Final

from perijove.deploy.render import pods, rbac
from perijove.deploy.render.scope import CONFIG_HASH, Manifest, Scope, digest, present
from perijove.deploy.render.text import to_yaml

_SECURE_PORT: Final = 10259
_READ: Final = ["get", "list", "watch"]
_WRITE: Final = ["get", "list", "watch", "patch", "update"]

# What a kube-scheduler may do, as Kubernetes' own roles for it have it: group, resources, verbs.
_SCHEDULER_RULES: Final = (
    ("", ["events"], ["create", "patch", "update"]),
    ("events.k8s.io", ["events"], ["create", "patch", "update"]),
    ("coordination.k8s.io", ["leases"], ["create"]),
    ("coordination.k8s.io", ["leasecandidates"], ["create", "delete", "deletecollection", *_WRITE]),
    ("", ["nodes", "namespaces", "replicationcontrollers", "services"], _READ),
    ("", ["pods"], ["delete", *_READ]),
    ("", ["bindings", "pods/binding"], ["create"]),
    ("", ["pods/status"], ["patch", "update"]),
    ("", ["pods/finalizers"], ["update"]),
    ("", ["persistentvolumeclaims", "persistentvolumes"], _WRITE),
    ("apps", ["replicasets", "statefulsets"], _READ),
    ("policy", ["poddisruptionbudgets"], _READ),
    ("authentication.k8s.io", ["tokenreviews"], ["create"]),
    ("authorization.k8s.io", ["subjectaccessreviews"], ["create"]),
    (
        "storage.k8s.io",
        ["csidrivers", "csinodes", "csistoragecapacities", "storageclasses", "volumeattachments"],
        _READ,
    ),
    ("resource.k8s.io", ["deviceclasses", "resourceslices"], _READ),
    ("resource.k8s.io", ["resourceclaims", "resourceclaims/status"], _WRITE),
    ("resource.k8s.io", ["resourceclaims/binding"], ["patch", "update"]),
)


def manifests(scope: Scope) -> list[Manifest]:
    scheduling = scope.settings.scheduling
    found = priorities(scope) if scheduling.pod_priority.enabled else []
    if scheduling.user_scheduler.enabled:
        found += scheduler(scope)
    if scheduling.user_placeholder.enabled:
        found += placeholders(scope)
    return found


def priorities(scope: Scope) -> list[Manifest]:
    section = scope.settings.scheduling.pod_priority
    classes = [
        ("priority", section.default_priority, section.global_default, "Hub, proxies and users' servers."),
        ("image-puller-priority", section.image_puller_priority, False, "Image pullers, before placeholders."),
    ]
    if scope.settings.scheduling.user_placeholder.enabled:
        value = section.user_placeholder_priority
        classes.append(("user-placeholder-priority", value, False, "Placeholders, which give way to everybody."))
    return [
        {
            "apiVersion": "scheduling.k8s.io/v1",
            "kind": "PriorityClass",
            "metadata": scope.metadata(scope.names[key], "priority", namespaced=False),
            "value": value,
            "globalDefault": is_default,
            "description": meaning,
        }
        for key, value, is_default, meaning in classes
    ]


def scheduler(scope: Scope) -> list[Manifest]:
    section, names = scope.settings.scheduling.user_scheduler, scope.names
    name, component = names["user-scheduler-deploy"], "user-scheduler"
    config_map = _scheduler_config(scope, name)
    found = [
        *rbac.service_account(scope, "user-scheduler-serviceaccount", component, section.service_account),
        config_map,
        _scheduler_deployment(scope, config_map),
    ]
    if scope.settings.rbac.create:
        lock = rbac.rule(["leases"], ["get", "list", "update", "watch"], group="coordination.k8s.io")
        rules = [rbac.rule(resources, verbs, group=group) for group, resources, verbs in _SCHEDULER_RULES]
        rules.insert(3, {**lock, "resourceNames": [names["user-scheduler-lock"]]})
        granted = rbac.Grant(
            name=names["user-scheduler"],
            component=component,
            rules=rules,
            account=names["user-scheduler-serviceaccount"],
            cluster=True,
        )
        found += granted.manifests(scope)
    if section.pdb.enabled:
        path = ("scheduling", "userScheduler", "pdb")
        found.append(pods.disruption_budget(scope, name, component, section.pdb, path))
    return found


def _scheduler_config(scope: Scope, name: str) -> Manifest:
    section, names = scope.settings.scheduling.user_scheduler, scope.names
    lock = {
        "leaderElect": True,
        "resourceLock": "leases",
        "resourceName": names["user-scheduler-lock"],
        "resourceNamespace": scope.release.namespace,
    }
    profile = {
        "schedulerName": names["user-scheduler"],
        **present(plugins=section.plugins, pluginConfig=section.plugin_config),
    }
    config = {
        "apiVersion": "kubescheduler.config.k8s.io/v1",
        "kind": "KubeSchedulerConfiguration",
        "leaderElection": lock,
        "profiles": [profile],
    }
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": scope.metadata(name, "user-scheduler"),
        "data": {"config.yaml": to_yaml(config)},
    }


def _scheduler_deployment(scope: Scope, config_map: Manifest) -> Manifest:
    section, component = scope.settings.scheduling.user_scheduler, "user-scheduler"
    name = scope.names["user-scheduler-deploy"]
    annotations = {CONFIG_HASH: digest(config_map["data"]), **section.annotations}
    health = {"path": "/healthz", "scheme": "HTTPS", "port": _SECURE_PORT}
    container = {
        "name": "kube-scheduler",
        **pods.other_image(section.image),
        "command": [
            "/usr/local/bin/kube-scheduler",
            "--config=/etc/user-scheduler/config.yaml",
            "--authentication-skip-lookup=true",
            f"--v={section.log_level}",
        ],
        "livenessProbe": {"httpGet": health, "initialDelaySeconds": 15},
        "readinessProbe": {"httpGet": health},
        **present(resources=section.resources, securityContext=section.container_security_context),
        "volumeMounts": [{"name": "config", "mountPath": "/etc/user-scheduler"}],
    }
    pod = {
        **pods.account(scope, "user-scheduler-serviceaccount"),
        **pods.core_placement(scope, section.node_selector, section.tolerations),
        **present(imagePullSecrets=pods.pull_secrets(scope, section.image)),
        "containers": [container],
        "volumes": [{"name": "config", "configMap": {"name": name}}],
        **section.extra_pod_spec,
    }
    labels = {**scope.pod_labels(component), **section.labels}
    spec = {
        "replicas": section.replicas,
        **present(revisionHistoryLimit=section.revision_history_limit),
        "selector": {"matchLabels": scope.selector(component)},
        "template": {"metadata": {"labels": labels, "annotations": annotations}, "spec": pod},
    }
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": scope.metadata(name, component), "spec": spec}


def placeholders(scope: Scope) -> list[Manifest]:
    """Pods that ask for what a user's pod asks for, and give way to one."""
    section, component = scope.settings.scheduling.user_placeholder, "user-placeholder"
    scheduling, user = scope.settings.scheduling, scope.settings.singleuser
    name = scope.names["user-placeholder"]
    container = {
        "name": "pause",
        **pods.other_image(section.image),
        **present(
            resources=section.resources or pods.user_resources(scope),
            securityContext=section.container_security_context,
        ),
    }
    pod = {
        **present(
            priorityClassName=scope.names["user-placeholder-priority"] if scheduling.pod_priority.enabled else "",
            schedulerName=scope.names["user-scheduler"] if scheduling.user_scheduler.enabled else "",
            nodeSelector=user.node_selector,
            tolerations=pods.user_tolerations(scope),
            affinity=pods.user_affinity(scope),
        ),
        "terminationGracePeriodSeconds": 0,
        "automountServiceAccountToken": False,
        **present(imagePullSecrets=pods.pull_secrets(scope, section.image)),
        "containers": [container],
        **section.extra_pod_spec,
    }
    metadata = {
        "labels": {**scope.pod_labels(component), **section.labels},
        **present(annotations=section.annotations),
    }
    spec = {
        "replicas": section.replicas,
        **present(revisionHistoryLimit=section.revision_history_limit),
        "podManagementPolicy": "Parallel",
        "serviceName": name,
        "selector": {"matchLabels": scope.selector(component)},
        "template": {"metadata": metadata, "spec": pod},
    }
    # Nobody minds when they go, so they must never keep a node from being drained.
    budget = {"minAvailable": 0, "selector": {"matchLabels": scope.selector(component)}}
    own = scope.metadata(name, component)
    return [
        {"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": own, "spec": spec},
        {"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": dict(own), "spec": budget},
    ]
