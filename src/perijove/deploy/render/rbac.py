"""Service accounts, and what the hub may do in the cluster.

z2jh's hub may read and delete every Secret and Service of its namespace. KubeSpawner needs neither, so
ours may not, unless the configuration brings code of its own, which may count on what z2jh grants.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from perijove.config.schema.pod import ServiceAccount
from perijove.deploy.render.scope import Manifest, Scope

_GROUP: Final = "rbac.authorization.k8s.io"
# What z2jh grants for everything that it grants.
_MANAGE: Final = ["get", "list", "watch", "create", "delete"]
_MAKE: Final = ["get", "create", "delete"]


def rule(resources: list[str], verbs: list[str], *, group: str = "", names: list[str] | None = None) -> Manifest:
    named = {"resourceNames": names} if names else {}
    return {"apiGroups": [group], "resources": resources, **named, "verbs": verbs}


def service_account(
    scope: Scope,
    key: str,
    component: str,
    section: ServiceAccount,
    *,
    labels: Mapping[str, str] | None = None,
    annotations: Mapping[str, str] | None = None,
) -> list[Manifest]:
    """The account under z2jh's name for it, where one is to be made."""
    if not section.create:
        return []
    metadata = scope.metadata(
        scope.names[key], component, labels=labels, annotations={**(annotations or {}), **section.annotations}
    )
    return [{"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata}]


@dataclass(frozen=True, kw_only=True)
class Grant:
    """Rules for an account (by name; "" is the namespace's own), in the namespace or in the whole cluster."""

    name: str
    component: str
    rules: list[Manifest]
    account: str
    cluster: bool = False

    def manifests(self, scope: Scope, **marks: Mapping[str, str]) -> list[Manifest]:
        kind = "ClusterRole" if self.cluster else "Role"
        labels, annotations = marks.get("labels"), marks.get("annotations")
        metadata = scope.metadata(
            self.name, self.component, labels=labels, annotations=annotations, namespaced=not self.cluster
        )
        account = self.account or "default"
        subject = {"kind": "ServiceAccount", "name": account, "namespace": scope.release.namespace}
        reference = {"apiGroup": _GROUP, "kind": kind, "name": self.name}
        api = {"apiVersion": f"{_GROUP}/v1"}
        return [
            {**api, "kind": kind, "metadata": metadata, "rules": self.rules},
            {**api, "kind": f"{kind}Binding", "metadata": metadata, "subjects": [subject], "roleRef": reference},
        ]


def manifests(scope: Scope) -> list[Manifest]:
    """The hub's account, and its rights where any are to be made."""
    settings = scope.settings
    found = service_account(scope, "hub-serviceaccount", "hub", settings.hub.service_account)
    if not settings.rbac.create:
        return found
    account = scope.names["hub-serviceaccount"]
    own = Grant(name=scope.names["hub"], component="hub", rules=hub_rules(scope), account=account)
    found += own.manifests(scope)
    if rules := cluster_rules(scope):
        name = f"{scope.names['fullname'] or scope.release.name}-hub"
        found += Grant(name=name, component="hub", rules=rules, account=account, cluster=True).manifests(scope)
    return found


def hub_rules(scope: Scope) -> list[Manifest]:
    rules = _of_servers(scope)
    if brings_code(scope):
        rules.append(rule(["persistentvolumeclaims", "secrets", "services"], _MANAGE))
    if uses_letsencrypt(scope):
        rules.append(rule(["secrets"], ["get", "update", "patch"], names=[scope.names["proxy-public-tls"]]))
    return [*rules, *scope.settings.rbac.extra_rules]


def cluster_rules(scope: Scope) -> list[Manifest]:
    rules = list(scope.settings.rbac.cluster_rules)
    if _trait(scope, "enable_user_namespaces"):
        rules += [rule(["namespaces"], ["create"]), *_of_servers(scope)]
    return rules


def _of_servers(scope: Scope) -> list[Manifest]:
    """What a stock KubeSpawner needs where its pods are. A test compares it to what one is seen to use."""
    rules = [
        rule(["pods"], _MANAGE),
        rule(["persistentvolumeclaims"], ["get", "list", "create", "delete"]),
        # The last lines of a server that did not start, and why not.
        rule(["pods/log"], ["get"]),
        rule(["events"], ["list", "watch"]),
    ]
    # One of each for every pod.
    if encrypted := (scope.settings.hub.config.get("JupyterHub") or {}).get("internal_ssl"):
        rules.append(rule(["secrets"], _MAKE))
    if encrypted or _trait(scope, "services_enabled"):
        rules.append(rule(["services"], _MAKE))
    return rules


def uses_letsencrypt(scope: Scope) -> bool:
    https = scope.settings.proxy.https
    return bool(https.enabled and https.type in ("letsencrypt", "", None) and https.hosts)


def brings_code(scope: Scope) -> bool:
    """Whether anything may run in the hub that was not written for it."""
    hub = scope.settings.hub
    spawner = (hub.config.get("JupyterHub") or {}).get("spawner_class")
    return bool(
        hub.extra_config
        or hub.extra_config_files
        or spawner not in (None, "kubespawner.KubeSpawner", "kubespawner")
        or any(file.mount_path.endswith(".py") for file in hub.extra_files.values())
    )


def _trait(scope: Scope, name: str) -> Any:
    return (scope.settings.hub.config.get("KubeSpawner") or {}).get(name)
