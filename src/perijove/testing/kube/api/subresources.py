"""What is served under objects besides themselves: scale, eviction, binding, tokens; and reviews of access."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from perijove.testing.kube.api.deletion import Deletion
from perijove.testing.kube.api.identity import Tokens, User, service_account
from perijove.testing.kube.api.objects import Objects
from perijove.testing.kube.api.options import WriteOptions, delete_options
from perijove.testing.kube.api.request import RequestInfo
from perijove.testing.kube.api.store import copied
from perijove.testing.kube.objects import failures, patches
from perijove.testing.kube.objects.resources import Object, Resource
from perijove.testing.kube.objects.selectors import object_selector


@dataclass
class Subresources:
    objects: Objects
    deletion: Deletion
    tokens: Tokens

    def create(self, resource: Resource, info: RequestInfo, body: Object, options: WriteOptions) -> Object:
        match (resource.qualified, info.subresource):
            case ("pods", "eviction"):
                return self._evict(resource, info, body)
            case ("pods", "binding"):
                return self._bind(resource, info, body)
            case ("serviceaccounts", "token"):
                return self._token(resource, info, body)
            case _:
                raise failures.method_not_supported(options.subresource)

    def scale(self, resource: Resource, info: RequestInfo) -> Object:
        item = self.objects.get(resource, info.namespace, info.name)
        keys = ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")
        return {
            "kind": "Scale",
            "apiVersion": "autoscaling/v1",
            "metadata": {key: item["metadata"][key] for key in keys},
            "spec": {"replicas": item["spec"].get("replicas", 0)},
            "status": {"replicas": item.get("status", {}).get("replicas", 0)},
        }

    def set_scale(
        self, resource: Resource, info: RequestInfo, body: Object, options: WriteOptions, *, kind: str
    ) -> Object:
        """`kind` is the content type: of a patch, or empty for the whole Scale."""
        if kind:
            body = patches.merge(self.scale(resource, info), body)
        item = copied(self.objects.get(resource, info.namespace, info.name))
        item["spec"]["replicas"] = body["spec"]["replicas"]
        # Its writer is remembered as such: an autoscaler is told by it.
        options.subresource = "scale"
        self.objects.replace(resource, info.namespace, info.name, item, options)
        return self.scale(resource, info)

    def review(self, resource: Resource, body: Object, user: User) -> Object:
        """Access and token reviews are answered, not stored."""
        if resource.kind == "TokenReview":
            return body | {"status": self._who(body["spec"].get("token", ""))}
        spec = body["spec"]
        if resource.kind == "SubjectAccessReview":
            user = User(spec.get("user", ""), tuple(spec.get("groups") or ()))
        asked = spec.get("resourceAttributes") or {}
        target = asked.get("resource", "")
        if asked.get("subresource"):
            target = f"{target}/{asked['subresource']}"
        allowed = self.objects.authorizer.allows(
            user,
            asked.get("verb", ""),
            asked.get("group", ""),
            target,
            namespace=asked.get("namespace", ""),
            name=asked.get("name", ""),
        )
        return body | {"status": {"allowed": allowed}}

    def _who(self, token: str) -> Object:
        try:
            user = self.tokens.user(f"Bearer {token}")
        except failures.ApiFailure as failure:
            return {"authenticated": False, "error": failure.message}
        return {"authenticated": True, "user": {"username": user.name, "groups": list(user.groups)}}

    def _evict(self, resource: Resource, info: RequestInfo, body: Object) -> Object:
        """Raises 429 where a budget has nothing left."""
        pod = self.objects.get(resource, info.namespace, info.name)
        labels = pod["metadata"].get("labels") or {}
        for budget in self.objects.store.items(self.objects.resource("poddisruptionbudgets.policy"), info.namespace):
            covers = object_selector(budget["spec"].get("selector"))(labels)
            if covers and budget.get("status", {}).get("disruptionsAllowed", 0) < 1:
                why = "Cannot evict pod as it would violate the pod's disruption budget."
                raise failures.too_many_requests(10, why)
        options = delete_options(body.get("deleteOptions") or {}, "", "", dry_run=False)
        self.deletion.delete(resource, info.namespace, info.name, options)
        return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}

    def _bind(self, resource: Resource, info: RequestInfo, body: Object) -> Object:
        pod = copied(self.objects.get(resource, info.namespace, info.name))
        if pod["spec"].get("nodeName"):
            raise failures.conflict(resource, info.name, f"pod {info.name} is already assigned to a node")
        pod["spec"]["nodeName"] = body["target"]["name"]
        self.objects.store.put(resource, pod)
        return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}

    def _token(self, resource: Resource, info: RequestInfo, body: Object) -> Object:
        self.objects.get(resource, info.namespace, info.name)
        token = self.tokens.mint(service_account(info.namespace, info.name))
        seconds = (body.get("spec") or {}).get("expirationSeconds") or 3600
        expires = (datetime.now(UTC) + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")
        kind = {"kind": "TokenRequest", "apiVersion": "authentication.k8s.io/v1"}
        return body | kind | {"status": {"token": token, "expirationTimestamp": expires}}
