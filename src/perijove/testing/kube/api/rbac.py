"""Roles and bindings, evaluated as the API server does, and its refusal in its own words."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from perijove.testing.kube.api.identity import ADMIN_GROUP, User
from perijove.testing.kube.api.request import RequestInfo
from perijove.testing.kube.api.store import Store
from perijove.testing.kube.objects.failures import ApiFailure, forbidden
from perijove.testing.kube.objects.resources import Object, Registry, Resource

GROUP = "rbac.authorization.k8s.io"
Rule = Mapping[str, Any]

# What everybody who has a token may ask.
_DISCOVERY = ("/api", "/apis", "/version", "/openapi", "/healthz", "/livez", "/readyz")
_OWN_REVIEWS = frozenset({"selfsubjectaccessreviews", "selfsubjectrulesreviews"})


@dataclass
class Authorizer:
    store: Store
    registry: Registry

    def check(self, user: User, info: RequestInfo) -> None:
        """Raises 403."""
        if not info.is_resource:
            if not self._may_path(user, info):
                message = f'forbidden: User "{user.name}" cannot {info.verb} path "{info.path}"'
                raise ApiFailure(403, "Forbidden", message, details={})
            return
        if not self.allows(user, info.verb, info.group, info.resource, namespace=_scope(info), name=_object_name(info)):
            raise self._refusal(user, info)

    def allows(self, user: User, verb: str, group: str, resource: str, *, namespace: str = "", name: str = "") -> bool:
        if ADMIN_GROUP in user.groups:
            return True
        if resource in _OWN_REVIEWS and user.groups != ("system:unauthenticated",):
            return True
        return any(_matches(rule, verb, group, resource, name) for rule in self.rules(user, namespace))

    def rules(self, user: User, namespace: str) -> Iterator[Rule]:
        for binding in self.store.items(self.registry.named(f"clusterrolebindings.{GROUP}")):
            if _binds(binding, user, ""):
                yield from self._role_rules(binding["roleRef"], "")
        if namespace:
            for binding in self.store.items(self.registry.named(f"rolebindings.{GROUP}"), namespace):
                if _binds(binding, user, namespace):
                    yield from self._role_rules(binding["roleRef"], namespace)

    def _role_rules(self, reference: Mapping[str, str], namespace: str) -> Sequence[Rule]:
        plural = "roles" if reference["kind"] == "Role" else "clusterroles"
        role = self.store.get(self.registry.named(f"{plural}.{GROUP}"), namespace, reference["name"])
        if role is None:
            return ()
        rules: list[Rule] = list(role.get("rules") or ())
        for selector in (role.get("aggregationRule") or {}).get("clusterRoleSelectors") or ():
            labels = selector.get("matchLabels") or {}
            for other in self.store.items(self.registry.named(f"clusterroles.{GROUP}")):
                present = other["metadata"].get("labels") or {}
                if labels and labels.items() <= present.items():
                    rules += other.get("rules") or ()
        return rules

    def check_grant(self, user: User, resource: Resource, item: Object) -> None:
        """Nobody gives others what they do not hold, but with the verbs `escalate` and `bind`. Raises 403."""
        if ADMIN_GROUP in user.groups or resource.group != GROUP:
            return
        namespace, name = item["metadata"].get("namespace", ""), item["metadata"]["name"]
        if resource.kind in ("Role", "ClusterRole"):
            verb, target, rules = "escalate", resource.plural, list(item.get("rules") or ())
        else:
            reference = item["roleRef"]
            verb = "bind"
            target = "roles" if reference["kind"] == "Role" else "clusterroles"
            name = reference["name"]
            rules = list(self._role_rules(reference, namespace))
        if self.allows(user, verb, GROUP, target, namespace=namespace, name=name):
            return
        if lacking := [rule for rule in rules if not self._holds(user, rule, namespace)]:
            said = "\n".join(_said(rule) for rule in lacking)
            why = (
                f'user "{user.name}" (groups={_quoted(user.groups)}) is attempting to grant RBAC permissions '
                f"not currently held:\n{said}"
            )
            raise forbidden(resource, item["metadata"]["name"], why)

    def _holds(self, user: User, rule: Rule, namespace: str) -> bool:
        held = list(self.rules(user, namespace))
        names = rule.get("resourceNames") or [""]
        return all(
            any(_matches(one, verb, group, target, name) for one in held)
            for verb in rule.get("verbs") or ()
            for group in rule.get("apiGroups") or ()
            for target in rule.get("resources") or ()
            for name in names
        )

    def _may_path(self, user: User, info: RequestInfo) -> bool:
        if ADMIN_GROUP in user.groups or info.path == "/" or info.path.startswith(_DISCOVERY):
            return True
        paths = (path for rule in self.rules(user, "") for path in rule.get("nonResourceURLs") or ())
        return any(info.path == path or (path.endswith("*") and info.path.startswith(path[:-1])) for path in paths)

    def _refusal(self, user: User, info: RequestInfo) -> ApiFailure:
        resource = self.registry.find(info.group, info.version, info.plural)
        assert resource is not None
        namespace = _scope(info)
        where = f'in the namespace "{namespace}"' if namespace else "at the cluster scope"
        why = f'User "{user.name}" cannot {info.verb} resource "{info.resource}" in API group "{info.group}" {where}'
        return forbidden(resource, info.name, why)


def _scope(info: RequestInfo) -> str:
    return info.namespace


def _object_name(info: RequestInfo) -> str:
    """Lists and watches of one object by field selector count as asking for that one."""
    if info.name or info.verb not in ("list", "watch", "deletecollection"):
        return info.name
    selector = info.query.get("fieldSelector", "")
    return selector.removeprefix("metadata.name=") if selector.startswith("metadata.name=") else ""


def _binds(binding: Object, user: User, namespace: str) -> bool:
    for subject in binding.get("subjects") or ():
        kind, name = subject.get("kind"), subject.get("name", "")
        if kind == "ServiceAccount" and user.service_account == (subject.get("namespace") or namespace, name):
            return True
        if (kind == "User" and name == user.name) or (kind == "Group" and name in user.groups):
            return True
    return False


def _matches(rule: Rule, verb: str, group: str, resource: str, name: str) -> bool:
    names = rule.get("resourceNames") or ()
    return (
        _among(verb, rule.get("verbs"))
        and _among(group, rule.get("apiGroups"))
        and _covers(resource, rule.get("resources") or ())
        and (not names or name in names)
    )


def _among(value: str, allowed: Sequence[str] | None) -> bool:
    return bool(allowed) and ("*" in (allowed or ()) or value in (allowed or ()))


def _covers(resource: str, allowed: Sequence[str]) -> bool:
    subresource = resource.partition("/")[2]
    return "*" in allowed or resource in allowed or (bool(subresource) and f"*/{subresource}" in allowed)


def _quoted(values: Sequence[str]) -> str:
    return "[" + " ".join(f'"{value}"' for value in values) + "]"


def _said(rule: Rule) -> str:
    parts = [("APIGroups", "apiGroups"), ("Resources", "resources"), ("ResourceNames", "resourceNames")]
    said = [f"{title}:{_quoted(rule[key])}" for title, key in parts if rule.get(key)]
    return "{" + ", ".join([*said, f"Verbs:{_quoted(rule.get('verbs') or ())}"]) + "}"
