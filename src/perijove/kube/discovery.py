"""Which path a kind has: asked once for each group, and again for a kind that was not there."""

from dataclasses import dataclass, field
from typing import Any, Final

from perijove.kube.errors import KindUnknown, ObjectNotFound
from perijove.kube.refs import Ref
from perijove.kube.transport import Transport

_REMEDIES: Final = {
    "gateway.networking.k8s.io": "Install the Gateway API in the cluster, or switch off `httpRoute.enabled`.",
    "projectcontour.io": "Install Contour in the cluster, or switch off `httpProxy.enabled`.",
    "cert-manager.io": "Install cert-manager in the cluster, or use a certificate from a Secret.",
}


@dataclass(frozen=True, slots=True)
class Resource:
    """One kind in one version."""

    api_version: str
    kind: str
    plural: str
    namespaced: bool

    def path(self, namespace: str = "", name: str = "", subresource: str = "") -> str:
        """All namespaces for ""."""
        root = f"/apis/{self.api_version}" if "/" in self.api_version else f"/api/{self.api_version}"
        parts = [root]
        if self.namespaced and namespace:
            parts += ["namespaces", namespace]
        parts += [self.plural, name, subresource]
        return "/".join(part for part in parts if part)


@dataclass
class Discovery:
    transport: Transport
    _known: dict[str, dict[str, Resource]] = field(default_factory=dict)

    async def find(self, api_version: str, kind: str) -> Resource:
        """Raises `KindUnknown`, whose remedy says what to install."""
        for fresh in (False, True):
            if fresh or api_version not in self._known:
                self._known[api_version] = await self._ask(api_version)
            if (found := self._known[api_version].get(kind)) is not None:
                return found
        group = api_version.rpartition("/")[0]
        raise KindUnknown(
            f"the cluster knows no {kind} of {api_version}",
            remedy=_REMEDIES.get(group, "The cluster may be too old for it, or an extension is not installed."),
        )

    async def of(self, ref: Ref) -> Resource:
        return await self.find(ref.api_version, ref.kind)

    async def _ask(self, api_version: str) -> dict[str, Resource]:
        root = "/apis" if "/" in api_version else "/api"
        try:
            answer = await self.transport.request("GET", f"{root}/{api_version}")
        except ObjectNotFound:
            return {}
        return {item["kind"]: _resource(api_version, item) for item in answer.body["resources"] if _is_whole(item)}


def _is_whole(item: dict[str, Any]) -> bool:
    return "/" not in item["name"]


def _resource(api_version: str, item: dict[str, Any]) -> Resource:
    return Resource(api_version, item["kind"], item["name"], bool(item["namespaced"]))
