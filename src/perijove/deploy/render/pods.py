"""The parts that pods of every kind have in common."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from perijove.config.schema.base import memory_bytes
from perijove.config.schema.pod import DeploymentStrategy, Image, PodDisruptionBudget
from perijove.config.schema.scheduling import ExtraImage
from perijove.deploy.render.scope import Manifest, Scope, present

PURPOSE: Final = "hub.jupyter.org/node-purpose"


def image_reference(image: Image | ExtraImage) -> str:
    return f"{image.name}:{image.tag}" if image.tag else image.name


def own_image(scope: Scope) -> Manifest:
    """The container fields that say which Perijove runs."""
    image = scope.settings.perijove.image
    return {
        "image": image_reference(image) if image.name else scope.release.image,
        **present(imagePullPolicy=image.pull_policy),
    }


def other_image(image: Image | ExtraImage) -> Manifest:
    return {"image": image_reference(image), **present(imagePullPolicy=image.pull_policy)}


def pull_secrets(scope: Scope, *images: Image) -> list[Manifest]:
    """Secrets for pulling: the images' own, those of all pods, and the one that is made here."""
    settings = scope.settings
    found = [secret for image in images for secret in image.pull_secrets] + settings.image_pull_secrets
    if settings.image_pull_secret.create and settings.image_pull_secret.automatic_reference_injection:
        found.append({"name": scope.names["image-pull-secret"]})
    return list({str(secret.get("name")): secret for secret in found}.values())


def environment(*sources: Mapping[str, Any]) -> list[Manifest]:
    """Several maps as one list; of two variables with one name, the later map's."""
    merged: dict[str, Any] = {}
    for source in sources:
        merged.update(source)
    return [
        {"name": name, **value} if isinstance(value, Mapping) else {"name": name, "value": value}
        for name, value in merged.items()
    ]


def from_secret(secret: str, entry: str) -> Manifest:
    return {"valueFrom": {"secretKeyRef": {"name": secret, "key": entry}}}


def probe(section: Any, path: str, port: str, *, scheme: str = "", **instead: Any) -> Manifest:
    """`instead`: values that differ from the schema's default where nobody gave another. {} is none."""
    if not section.enabled:
        return {}
    values = section.model_dump(mode="json", exclude={"enabled"}, exclude_none=True)
    return {**values, **instead, "httpGet": {"path": path, "port": port, **present(scheme=scheme)}}


# -- where pods land


def _purpose(purpose: str) -> Manifest:
    return {"matchExpressions": [{"key": PURPOSE, "operator": "In", "values": [purpose]}]}


def _node_affinity(match: str, purpose: str, required: Sequence[Manifest], preferred: Sequence[Manifest]) -> Manifest:
    if match == "require":
        required = [_purpose(purpose), *required]
    elif match == "prefer":
        preferred = [{"weight": 100, "preference": _purpose(purpose)}, *preferred]
    return present(
        requiredDuringSchedulingIgnoredDuringExecution=present(nodeSelectorTerms=list(required)),
        preferredDuringSchedulingIgnoredDuringExecution=list(preferred),
    )


def core_placement(scope: Scope, node_selector: Mapping[str, str], tolerations: Sequence[Manifest]) -> Manifest:
    """Hub, proxy and the like: nodes with the purpose `core`."""
    core = scope.settings.scheduling.core_pods
    return present(
        priorityClassName=default_priority(scope),
        nodeSelector=dict(node_selector),
        tolerations=[*core.tolerations, *tolerations],
        affinity=present(nodeAffinity=_node_affinity(core.node_affinity.match_node_purpose, "core", [], [])),
    )


def default_priority(scope: Scope) -> str:
    return scope.names["priority"] if scope.settings.scheduling.pod_priority.enabled else ""


def user_node_affinity(scope: Scope) -> Manifest:
    extra = scope.settings.singleuser.extra_node_affinity
    match = scope.settings.scheduling.user_pods.node_affinity.match_node_purpose
    return _node_affinity(match, "user", extra.required, extra.preferred)


def user_affinity(scope: Scope) -> Manifest:
    """All that decides about the node of a user's pod."""
    user = scope.settings.singleuser

    def pods(terms: Any) -> Manifest:
        return present(
            requiredDuringSchedulingIgnoredDuringExecution=terms.required,
            preferredDuringSchedulingIgnoredDuringExecution=terms.preferred,
        )

    return present(
        nodeAffinity=user_node_affinity(scope),
        podAffinity=pods(user.extra_pod_affinity),
        podAntiAffinity=pods(user.extra_pod_anti_affinity),
    )


def user_tolerations(scope: Scope) -> list[Manifest]:
    return [*scope.settings.scheduling.user_pods.tolerations, *scope.settings.singleuser.extra_tolerations]


def user_resources(scope: Scope) -> Manifest:
    """What a user's pod asks for by default, as KubeSpawner writes it: memory in bytes."""
    user = scope.settings.singleuser

    def amounts(cpu: float | None, memory: Any, extra: Mapping[str, Any]) -> Manifest:
        size = memory_bytes(memory)
        own = present(cpu=cpu and f"{cpu:g}", memory=size and str(size))
        return {**own, **{name: str(value) for name, value in extra.items()}}

    return present(
        requests=amounts(user.cpu.guarantee, user.memory.guarantee, user.extra_resource.guarantees),
        limits=amounts(user.cpu.limit, user.memory.limit, user.extra_resource.limits),
    )


def spread(scope: Scope, component: str) -> list[Manifest]:
    """Replicas on different nodes and in different zones, as far as there are such."""
    selector = {"matchLabels": scope.selector(component)}
    return [
        {
            "maxSkew": 1,
            "topologyKey": key,
            "whenUnsatisfiable": "ScheduleAnyway",
            "labelSelector": selector,
            # Without it a rolling update would spread old pods and new ones together.
            "matchLabelKeys": ["pod-template-hash"],
        }
        for key in ("kubernetes.io/hostname", "topology.kubernetes.io/zone")
    ]


# -- around pods


def account(scope: Scope, key: str) -> Manifest:
    return present(serviceAccountName=scope.names[key])


def strategy(section: DeploymentStrategy, kind: str) -> Manifest:
    """Always with its settings: a default that the server filled in would stay when the type changes."""
    if kind == "Recreate":
        return {"type": "Recreate"}
    given = section.rolling_update
    # The new pod has to serve before an old one goes.
    return {"type": kind, "rollingUpdate": given if isinstance(given, dict) else {"maxSurge": 1, "maxUnavailable": 0}}


def disruption_budget(
    scope: Scope, name: str, component: str, section: PodDisruptionBudget, path: tuple[str, ...]
) -> Manifest:
    """The API takes one of the two numbers; a given one wins over the other's default."""
    numbers = {"maxUnavailable": section.max_unavailable, "minAvailable": section.min_available}
    chosen = {key: number for key, number in numbers.items() if number is not None}
    if len(chosen) > 1:
        given = {key: number for key, number in chosen.items() if scope.is_given(*path, key)} or chosen
        if len(given) > 1:
            scope.note(path, "has both maxUnavailable and minAvailable, of which Kubernetes takes one: maxUnavailable")
        chosen = dict([next(iter(given.items()))])
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": scope.metadata(name, component),
        "spec": {**chosen, "selector": {"matchLabels": scope.selector(component)}},
    }
