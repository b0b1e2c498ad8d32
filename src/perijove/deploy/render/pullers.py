"""Images on nodes before anybody waits for them: z2jh's two DaemonSets, and the Job that waits for one.

`hook-image-puller` and what belongs to it are applied before everything else, waited for, and deleted.
They say so in our own annotation and in Helm's, which GitOps tools understand too.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from perijove.deploy.render import pods, rbac
from perijove.deploy.render.scope import APPLY, Manifest, Scope, digest, dns_label, present

_DONE: Final = ["/bin/sh", "-c", 'echo "Pulling complete"']
_ACCOUNT_DIR: Final = "/var/run/secrets/kubernetes.io/serviceaccount"


def manifests(scope: Scope) -> list[Manifest]:
    section = scope.settings.pre_puller
    found = []
    if section.hook.enabled and _is_due(scope):
        found += hook(scope)
    if section.continuous.enabled:
        found += continuous(scope)
    return found


def _is_due(scope: Scope) -> bool:
    """Whether the nodes may lack an image: with `pullOnlyOnChanges`, only if another puller ran last."""
    only_on_changes = scope.settings.pre_puller.hook.pull_only_on_changes
    return not only_on_changes or images_digest(scope) != scope.release.pulled_images


def images_digest(scope: Scope) -> str:
    """Which images on which nodes; labels and annotations pull nothing."""
    return digest(_pod(scope, account=""))


# -- which images


def images(scope: Scope) -> dict[str, Manifest]:
    """Container name -> image; each image once."""
    user = scope.settings.singleuser
    wanted: list[tuple[str, Manifest]] = []
    if user.cloud_metadata.block_with_iptables:
        wanted.append(("metadata-block", pods.other_image(user.network_tools.image)))
    if user.image.name:
        wanted.append(("singleuser", pods.other_image(user.image)))
    for index, container in enumerate([*user.init_containers, *user.extra_containers]):
        policy = present(imagePullPolicy=container.get("imagePullPolicy"))
        wanted.append((f"singleuser-init-and-extra-containers-{index}", {"image": container.get("image"), **policy}))
    if scope.settings.pre_puller.pull_profile_list_images:
        for index, image in enumerate(_profile_images(user.profile_list)):
            wanted.append((f"singleuser-profilelist-{index}", {"image": image}))
    for name, extra in scope.settings.pre_puller.extra_images.items():
        wanted.append((f"extra-{dns_label(name)}", pods.other_image(extra)))
    chosen: dict[str, tuple[str, Manifest]] = {}
    for name, fields in wanted:
        # Names with fields to fill in (`{username}`) stand for an image nobody knows yet.
        if isinstance(fields["image"], str) and "{" not in fields["image"]:
            chosen.setdefault(fields["image"], (name, fields))
    return {f"image-pull-{name}": fields for name, fields in chosen.values()}


def _profile_images(profiles: Sequence[Mapping[str, Any]]) -> Iterator[Any]:
    for profile in profiles:
        yield _override(profile)
        options = profile.get("profile_options")
        for option in options.values() if isinstance(options, Mapping) else ():
            choices = option.get("choices") if isinstance(option, Mapping) else None
            for choice in choices.values() if isinstance(choices, Mapping) else ():
                yield _override(choice)


def _override(entry: Any) -> Any:
    override = entry.get("kubespawner_override") if isinstance(entry, Mapping) else None
    return override.get("image") if isinstance(override, Mapping) else None


# -- the pods


def _pod(scope: Scope, account: str) -> Manifest:
    section, user = scope.settings.pre_puller, scope.settings.singleuser
    every = present(resources=section.resources, securityContext=section.container_security_context)
    pullers = [{"name": name, **fields, "command": _DONE, **every} for name, fields in images(scope).items()]
    pause = {
        "name": "pause",
        **pods.other_image(section.pause.image),
        **present(resources=section.resources, securityContext=section.pause.container_security_context),
    }
    # Only what a user's pod must have of a node; what it would rather have, some user's pod will not get.
    required = present(
        requiredDuringSchedulingIgnoredDuringExecution=pods.user_node_affinity(scope).get(
            "requiredDuringSchedulingIgnoredDuringExecution"
        )
    )
    secrets = pods.pull_secrets(scope, user.image, user.network_tools.image, section.pause.image)
    return {
        **present(
            serviceAccountName=account,
            nodeSelector=user.node_selector,
            tolerations=[*pods.user_tolerations(scope), *section.extra_tolerations],
            affinity=present(nodeAffinity=required),
            imagePullSecrets=secrets,
        ),
        "terminationGracePeriodSeconds": 0,
        "automountServiceAccountToken": False,
        **present(initContainers=pullers),
        "containers": [pause],
    }


def _daemon_set(scope: Scope, key: str, pod: Manifest, **marks: Mapping[str, str]) -> Manifest:
    section, component = scope.settings.pre_puller, key
    labels, annotations = marks.get("labels"), marks.get("annotations")
    metadata = scope.metadata(scope.names[key], component, labels=labels, annotations=annotations)
    template = {
        "labels": {**scope.pod_labels(component), **section.labels},
        **present(annotations=section.annotations),
    }
    spec = {
        **present(revisionHistoryLimit=section.revision_history_limit),
        "selector": {"matchLabels": scope.selector(component)},
        "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": "100%"}},
        "template": {"metadata": template, "spec": pod},
    }
    return {"apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": metadata, "spec": spec}


def continuous(scope: Scope) -> list[Manifest]:
    """Every node that joins pulls at once."""
    section = scope.settings.pre_puller.continuous
    key = "continuous-image-puller-serviceaccount"
    pod = _pod(scope, scope.names[key])
    if scope.settings.scheduling.pod_priority.enabled:
        pod["priorityClassName"] = scope.names["image-puller-priority"]
    return [
        *rbac.service_account(scope, key, "image-puller", section.service_account),
        _daemon_set(scope, "continuous-image-puller", pod, annotations=section.daemonset_annotations),
    ]


# -- before an installation


def _before(weight: int) -> dict[str, dict[str, str]]:
    annotations = {
        APPLY: "before",
        "helm.sh/hook": "pre-install,pre-upgrade",
        "helm.sh/hook-delete-policy": "before-hook-creation,hook-succeeded",
        "helm.sh/hook-weight": str(weight),
    }
    return {"labels": {"hub.jupyter.org/deletable": "true"}, "annotations": annotations}


def hook(scope: Scope) -> list[Manifest]:
    section = scope.settings.pre_puller.hook
    puller, awaiter = "hook-image-puller-serviceaccount", "hook-image-awaiter-serviceaccount"
    marks = _before(-10)
    marks["annotations"] |= section.daemonset_annotations
    early, late = _before(-10), _before(0)
    found = [
        *rbac.service_account(scope, puller, "image-puller", section.service_account_image_puller, **early),
        _daemon_set(scope, "hook-image-puller", _pod(scope, scope.names[puller]), **marks),
        *rbac.service_account(scope, awaiter, "image-puller", section.service_account, **late),
    ]
    if scope.settings.rbac.create:
        granted = rbac.Grant(
            name=scope.names["hook-image-awaiter"],
            component="image-puller",
            rules=[rbac.rule(["daemonsets"], ["get"], group="apps")],
            account=scope.names[awaiter],
        )
        found += granted.manifests(scope, **late)
    return [*found, _awaiter(scope)]


def _awaiter(scope: Scope) -> Manifest:
    section, names = scope.settings.pre_puller.hook, scope.names
    container = {
        "name": "hook-image-awaiter",
        **pods.other_image(section.image),
        "command": [
            "/image-awaiter",
            f"-ca-path={_ACCOUNT_DIR}/ca.crt",
            f"-auth-token-path={_ACCOUNT_DIR}/token",
            "-api-server-address=https://kubernetes.default.svc:$(KUBERNETES_SERVICE_PORT)",
            f"-namespace={scope.release.namespace}",
            f"-daemonset={names['hook-image-puller']}",
            f"-pod-scheduling-wait-duration={section.pod_scheduling_wait_duration}",
        ],
        **present(resources=section.resources, securityContext=section.container_security_context),
    }
    pod = {
        "restartPolicy": "Never",
        **pods.account(scope, "hook-image-awaiter-serviceaccount"),
        **pods.core_placement(scope, section.node_selector, section.tolerations),
        **present(imagePullSecrets=pods.pull_secrets(scope, section.image)),
        "containers": [container],
    }
    template = {
        "metadata": {
            "labels": {**scope.pod_labels("image-puller"), **scope.settings.pre_puller.labels},
            **present(annotations=scope.settings.pre_puller.annotations),
        },
        "spec": pod,
    }
    marks = _before(10)
    metadata = scope.metadata(
        names["hook-image-awaiter"], "image-puller", labels=marks["labels"], annotations=marks["annotations"]
    )
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": {"template": template}}
