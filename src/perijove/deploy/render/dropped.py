"""What an existing release has and a rendering does not: for people to read before anything is deleted.

Rendering cannot know what is in the cluster, so whoever deploys hands it in. An object belongs to the
release by z2jh's labels; what Kubernetes or the hub made for somebody (pods, users' volumes) is never
in question.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from perijove.deploy.render.scope import Manifest

_NOT_IN_QUESTION: Final = frozenset(
    ["ControllerRevision", "EndpointSlice", "Endpoints", "Event", "Lease", "PersistentVolumeClaim", "Pod", "ReplicaSet"]
)
# What z2jh has and Perijove does without: its name there without prefix, and why.
_REASONS: Final[dict[tuple[str, str], str]] = {
    ("Service", "proxy-api"): "nobody tells the proxies their routes; they ask the hub",
    **{
        (kind, "autohttps"): "the proxies end TLS themselves"
        for kind in ("Deployment", "ConfigMap", "Role", "RoleBinding", "ServiceAccount", "NetworkPolicy")
    },
    ("PodDisruptionBudget", "autohttps"): "the proxies end TLS themselves",
    ("Service", "proxy-http"): "the proxies end TLS themselves, so nothing has to reach them behind it",
}


@dataclass(frozen=True, slots=True)
class Dropped:
    """An object that would go; `reason` is "" where the configuration, not Perijove, does without it."""

    kind: str
    name: str
    namespace: str
    reason: str

    def __str__(self) -> str:
        return f"{self.kind} {self.name}{f': {self.reason}' if self.reason else ''}"


def dropped(manifests: Sequence[Manifest], existing: Iterable[Mapping[str, Any]], release: str) -> list[Dropped]:
    """`existing`: objects as the API returns them, with their `kind`."""
    rendered = {_key(manifest) for manifest in manifests}
    found = []
    for item in existing:
        metadata = item["metadata"]
        labels = metadata.get("labels") or {}
        own = labels.get("release") == release and labels.get("component") != "singleuser-server"
        # With an owner it goes when that goes.
        if own and not metadata.get("ownerReferences") and _key(item) not in rendered:
            found.append(Dropped(item["kind"], metadata["name"], metadata.get("namespace", ""), reason(item)))
    return sorted(
        (item for item in found if item.kind not in _NOT_IN_QUESTION), key=lambda item: (item.kind, item.name)
    )


def _key(manifest: Mapping[str, Any]) -> tuple[str, str, str]:
    metadata = manifest["metadata"]
    return manifest["kind"], metadata.get("namespace", ""), metadata["name"]


def reason(item: Mapping[str, Any]) -> str:
    """Why Perijove has no use for an object of z2jh's; "" where the configuration has none."""
    name = str(item["metadata"]["name"])
    for (kind, plain), why in _REASONS.items():
        if item["kind"] == kind and (name == plain or name.endswith(f"-{plain}")):
            return why
    if "helm.sh/hook" in (item["metadata"].get("annotations") or {}):
        return "left over from an installation"
    return ""
