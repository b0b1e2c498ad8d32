"""What a namespace holds already: which release, by whom, with which secrets, and what Helm left of one.

Read before anything is rendered: a release's name is part of selectors, which can never change, and its
secrets sign every cookie.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from perijove.config.loaded import Loaded
from perijove.config.release_names import release_names
from perijove.deploy import names
from perijove.deploy.errors import DeployFailed, ReleaseUnclear
from perijove.deploy.inventory import inventories
from perijove.deploy.release import PULLED_IMAGES, GeneratedSecrets, Release, release_name_of
from perijove.kube.client import Client
from perijove.kube.errors import KindUnknown, NotPermitted, ObjectExists
from perijove.kube.refs import Object, Ref
from perijove.lib.concurrently import all_of

# Where a chart's objects are looked for.
_NAMESPACED: Final = (
    ("v1", "ConfigMap"),
    ("v1", "Secret"),
    ("v1", "Service"),
    ("v1", "ServiceAccount"),
    ("v1", "PersistentVolumeClaim"),
    ("apps/v1", "Deployment"),
    ("apps/v1", "StatefulSet"),
    ("apps/v1", "DaemonSet"),
    ("batch/v1", "Job"),
    ("batch/v1", "CronJob"),
    ("policy/v1", "PodDisruptionBudget"),
    ("autoscaling/v2", "HorizontalPodAutoscaler"),
    ("networking.k8s.io/v1", "NetworkPolicy"),
    ("networking.k8s.io/v1", "Ingress"),
    ("rbac.authorization.k8s.io/v1", "Role"),
    ("rbac.authorization.k8s.io/v1", "RoleBinding"),
    ("gateway.networking.k8s.io/v1", "HTTPRoute"),
)
_CLUSTER_WIDE: Final = (
    ("scheduling.k8s.io/v1", "PriorityClass"),
    ("rbac.authorization.k8s.io/v1", "ClusterRole"),
    ("rbac.authorization.k8s.io/v1", "ClusterRoleBinding"),
)
_AT_ONCE: Final = 8
_HELM_RECORD: Final = "helm.sh/release.v1"
# Charts before 1.0 kept their secrets under this name.
_OLD_SECRET: Final = "hub-secret"  # noqa: S105 - a name


@dataclass(frozen=True)
class Existing:
    """`release` is ready for rendering."""

    release: Release
    secrets: GeneratedSecrets


async def read(client: Client, loaded: Loaded, namespace: str, wanted: str | None, *, image: str = "") -> Existing:
    """Raises `ReleaseUnclear`."""
    name = await find_release(client, namespace, wanted) or wanted or namespace
    hub = release_names(loaded.settings, name)["hub"]
    asked = (("Secret", hub), ("ConfigMap", hub), ("Secret", _OLD_SECRET))
    refs = [Ref("v1", kind, called, namespace) for kind, called in asked]
    secret, config_map, old_secret = await all_of(map(client.find, refs), at_once=_AT_ONCE)
    try:
        # Both: a release that was upgraded through 1.0 may hold some of its keys in the older one.
        kept = GeneratedSecrets.kept({"data": {**_data(old_secret), **_data(secret)}})
        pulled = _data(config_map).get(PULLED_IMAGES, "")
        more = {"image": image} if image else {}
        return Existing(Release(namespace=namespace, name=name, pulled_images=pulled, **more), kept)
    except ValueError as exc:
        raise DeployFailed(f"the release {name} cannot be deployed over: {exc}") from exc


def _data(item: Object | None) -> dict[str, str]:
    return (item or {}).get("data") or {}


async def find_release(client: Client, namespace: str, wanted: str | None) -> str | None:
    """The release that is installed, by Perijove or by z2jh; None where there is none."""
    found = {inventory.release for inventory in await inventories(client, namespace)}
    hubs = await client.list("apps/v1", "Deployment", namespace, labels="component=hub,release")
    found |= {name for item in hubs.items if (name := release_name_of(item))}
    if wanted in found:
        return wanted
    if wanted is not None:
        if found:
            others = ", ".join(sorted(found))
            raise ReleaseUnclear(
                f"the namespace {namespace} holds the release {others}, not {wanted}",
                remedy="Leave --release out to deploy over what is there, or use another namespace.",
            )
        return None
    if len(found) > 1:
        raise ReleaseUnclear(
            f"the namespace {namespace} holds several releases: {', '.join(sorted(found))}",
            remedy="Say which one with --release.",
        )
    return next(iter(found), None)


# -- what Helm left


@dataclass(frozen=True, slots=True)
class HelmObjects:
    """Objects that a chart made for this release, and Helm's own record of them."""

    objects: tuple[Object, ...] = ()
    records: tuple[Object, ...] = ()
    # Kinds that could not be looked at, with the reason.
    unseen: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.objects or self.records)


async def of_helm(client: Client, namespace: str, release: str) -> HelmObjects:
    objects: list[Object] = []
    records: list[Object] = []
    unseen: list[str] = []

    async def look(api_version: str, kind: str, where: str) -> None:
        try:
            listing = await client.list(api_version, kind, where)
        except KindUnknown:
            return
        except NotPermitted as exc:
            unseen.append(f"{kind}: {exc}")
            return
        for item in listing.items:
            if item.get("type") == _HELM_RECORD:
                if (item["metadata"].get("labels") or {}).get("name") == release:
                    records.append(item)
            elif is_of_helm(item, release, namespace):
                objects.append(item)

    places = [(*kind, namespace) for kind in _NAMESPACED] + [(*kind, "") for kind in _CLUSTER_WIDE]
    await all_of((look(*place) for place in places), at_once=_AT_ONCE)
    return HelmObjects(tuple(sorted(objects, key=Ref.of)), tuple(sorted(records, key=Ref.of)), tuple(sorted(unseen)))


def is_of_helm(item: Object, release: str, namespace: str) -> bool:
    """By Helm's annotations; objects of hooks have none, so theirs by the labels that charts write."""
    metadata = item["metadata"]
    if metadata.get("ownerReferences"):
        return False
    annotations, labels = metadata.get("annotations") or {}, metadata.get("labels") or {}
    if labels.get(names.PART_LABEL) == names.CHART:
        # Our own chart's: they are Helm's for good.
        return False
    if (by := annotations.get(names.HELM_RELEASE)) is not None:
        return bool(by == release and annotations.get(names.HELM_NAMESPACE, namespace) == namespace)
    if not metadata.get("namespace"):
        # Another release of the same name may be in another namespace.
        return False
    helm = labels.get("heritage") in ("Helm", "Tiller") or labels.get("app.kubernetes.io/managed-by") == "Helm"
    return helm and release in (labels.get("release"), labels.get("app.kubernetes.io/instance"))


def obsolete(found: HelmObjects, rendered: Iterable[Ref]) -> list[Object]:
    """What a chart made, and no rendering asks for."""
    wanted = {ref.identity for ref in rendered}
    return [item for item in found.objects if Ref.of(item).identity not in wanted]


async def namespace_exists(client: Client, namespace: str) -> bool:
    """Whoever may not look at namespaces is taken at their word."""
    try:
        return await client.find(Ref("v1", "Namespace", namespace)) is not None
    except NotPermitted:
        return True


async def make_namespace(client: Client, namespace: str) -> None:
    manifest: Object = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}
    try:
        await client.create(manifest, manager=names.MANAGER)
    except ObjectExists:
        # Somebody else made it, or we did and the answer was lost.
        return
