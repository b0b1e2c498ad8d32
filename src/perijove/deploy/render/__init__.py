"""Settings to plain Kubernetes manifests: the same for the same input, without a cluster, in no time.

Each part of a deployment has a module that returns its manifests; this one puts them together. What a
manifest needs to know of the cluster (which release, which secrets are there) comes as an argument.
"""

from dataclasses import dataclass, field
from typing import Final

from perijove.config.loaded import Loaded
from perijove.config.problems import ConfigError, Note
from perijove.deploy.release import GeneratedSecrets, Release
from perijove.deploy.render import (
    database,
    entrances,
    https,
    hub,
    hub_values,
    network,
    proxy,
    pull_secret,
    pullers,
    rbac,
    scheduling,
    without_effect,
)
from perijove.deploy.render.scope import APPLY, CONFIG_HASH, MANAGED_BY, Manifest, Scope

__all__ = ["APPLY", "CONFIG_HASH", "MANAGED_BY", "Manifest", "Rendered", "render"]

# What others refer to comes first.
_ORDER: Final = (
    "PriorityClass", "NetworkPolicy", "PodDisruptionBudget", "ServiceAccount", "Secret", "ConfigMap",
    "PersistentVolumeClaim", "ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding", "Service", "DaemonSet",
    "Deployment", "StatefulSet", "Job", "Certificate", "Ingress", "HTTPRoute", "HTTPProxy",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Rendered:
    """`manifests` in the order in which to apply them; those that hold secrets are among them."""

    manifests: list[Manifest] = field(repr=False)
    notes: tuple[Note, ...] = ()


def render(loaded: Loaded, release: Release, secrets: GeneratedSecrets) -> Rendered:
    """Raises `ConfigError` where the configuration asks for what cannot be."""
    scope = Scope(loaded, release, secrets)
    database.look(scope)
    hub_secret, hub_config = hub_values.manifests(scope)
    tls = https.read(scope)
    found = [
        hub_secret,
        hub_config,
        *pull_secret.manifests(scope),
        *rbac.manifests(scope),
        *hub.manifests(scope, hub_secret),
        *https.manifests(scope, tls),
        *proxy.manifests(scope, hub_secret, tls),
        *network.manifests(scope),
        *entrances.manifests(scope, tls),
        *_user_files(scope),
        *scheduling.manifests(scope),
        *pullers.manifests(scope),
    ]
    without_effect.notes(scope)
    if scope.problems:
        raise ConfigError(scope.problems, scope.notes)
    # Two objects may have the same to say.
    return Rendered(sorted(found, key=_place), tuple(dict.fromkeys(scope.notes)))


def _user_files(scope: Scope) -> list[Manifest]:
    """`singleuser.extraFiles`, which users' pods mount."""
    files = scope.settings.singleuser.extra_files
    if not files:
        return []
    entries = hub_values.file_entries(scope, ("singleuser", "extraFiles"), files)
    return [hub_values.opaque(scope, scope.names["singleuser"], "singleuser", entries)]


def _place(manifest: Manifest) -> tuple[bool, int, str]:
    metadata = manifest["metadata"]
    later = metadata.get("annotations", {}).get(APPLY) != "before"
    return later, _ORDER.index(manifest["kind"]), metadata["name"]
