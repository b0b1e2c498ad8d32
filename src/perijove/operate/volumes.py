"""Users' volumes in a cluster: each with whose it is, how that is known, and what holds it."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from perijove.kube.client import Client
from perijove.kube.errors import NotPermitted
from perijove.kube.refs import Object, Ref
from perijove.lib.concurrently import all_of
from perijove.operate.naming import Naming
from perijove.operate.people import People
from perijove.plugins import kube_claims
from perijove.plugins.kube_life import is_over

CLAIM: Final = "PersistentVolumeClaim"
_SERVER: Final = "singleuser-server"
_AT_ONCE: Final = 8


@dataclass(frozen=True, slots=True)
class Holder:
    """A pod that has the volume, and which part of it."""

    pod: str
    phase: str
    # Of whom it is a server; "" for other pods, and where nothing tells.
    user: str = ""
    is_server: bool = False
    sub_paths: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class UserVolume:
    namespace: str
    name: str
    uid: str = field(repr=False)
    # "" where nothing tells.
    user: str = ""
    server: str = ""
    # annotation, remembered, label, name, or held: by the one who has it mounted.
    known_by: str = ""
    size: str = ""
    storage_class: str = ""
    phase: str = ""
    bound_to: str = ""
    reclaim: str = ""
    created: str = ""
    last_used: str = ""
    held_by: tuple[Holder, ...] = ()
    deleting: bool = False
    # Files of several users are in it.
    shared: bool = False
    # It bears what KubeSpawner writes on claims; else only its name speaks for it.
    marked: bool = True

    @property
    def ref(self) -> Ref:
        return Ref("v1", CLAIM, self.name, self.namespace)

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


async def read_volumes(
    client: Client, namespaces: Sequence[str], naming: Naming, *, users: Iterable[str] = (), people: People | None
) -> list[UserVolume]:
    """All that are users'. `users`: whose names the names of claims are compared with besides those of `people`."""
    policies = await _reclaim_policies(client)
    owners = _Owners(naming, people, users)
    found: list[UserVolume] = []
    for volumes in await all_of((_of(client, one, owners, policies) for one in namespaces), at_once=_AT_ONCE):
        found += volumes
    return sorted(found, key=lambda volume: (volume.user, volume.namespace, volume.name))


async def _of(client: Client, namespace: str, owners: "_Owners", policies: dict[str, str]) -> list[UserVolume]:
    claims = (await client.list("v1", CLAIM, namespace)).items
    holders = _holders((await client.list("v1", "Pod", namespace)).items)
    volumes = []
    for claim in claims:
        held = tuple(holders.get(claim["metadata"]["name"], ()))
        if kube_claims.looks_like_a_users(claim) or owners.remembered(claim) is not None:
            volumes.append(_volume(claim, owners, held, policies))
        elif any(holder.is_server for holder in held) or claim["metadata"]["name"] == owners.naming.static_claim:
            # Nobody's own, and users' servers mount it.
            volumes.append(_volume(claim, owners, held, policies, shared=True))
    return volumes


def _volume(
    claim: Object, owners: "_Owners", held: tuple[Holder, ...], policies: dict[str, str], *, shared: bool = False
) -> UserVolume:
    metadata, spec, status = claim["metadata"], claim.get("spec") or {}, claim.get("status") or {}
    user, server, known_by = ("", "", "") if shared else owners.of(claim)
    users = {holder.user for holder in held if holder.user}
    if not user and not shared and len(users) == 1:
        user, known_by = users.pop(), "held"
    capacity = status.get("capacity") or (spec.get("resources") or {}).get("requests") or {}
    bound_to = str(spec.get("volumeName") or "")
    return UserVolume(
        namespace=metadata["namespace"],
        name=metadata["name"],
        uid=metadata["uid"],
        user=user,
        server=server,
        known_by=known_by,
        size=str(capacity.get("storage") or ""),
        storage_class=str(spec.get("storageClassName") or ""),
        phase=str(status.get("phase") or ""),
        bound_to=bound_to,
        reclaim=policies.get(bound_to, ""),
        created=str(metadata.get("creationTimestamp") or ""),
        last_used=owners.people.last_used.get((user, server), "") if owners.people else "",
        held_by=held,
        deleting="deletionTimestamp" in metadata,
        shared=shared,
        marked=kube_claims.is_marked(claim),
    )


class _Owners:
    def __init__(self, naming: Naming, people: People | None, users: Iterable[str]) -> None:
        self.naming, self.people = naming, people
        servers = {user: people.servers.get(user, []) if people else [] for user in users}
        servers |= people.servers if people else {}
        # By name and by label, once: comparing each claim with each user would take minutes in a big hub.
        self._names: dict[str, tuple[str, str]] = {}
        self._labels: dict[str, str] = {}
        for user, names in servers.items():
            for server in ["", *names]:
                for name in kube_claims.names_of(user, [server], naming.templates):
                    self._names.setdefault(name, (user, server))
            for value in kube_claims.label_values(user):
                self._labels.setdefault(value, user)

    def remembered(self, claim: Object) -> tuple[str, str] | None:
        metadata = claim["metadata"]
        found = self.people.remembering(metadata["namespace"], metadata["name"]) if self.people else None
        return (found.user, found.server) if found else None

    def of(self, claim: Object) -> tuple[str, str, str]:
        """User, server, and how that is known. What a server remembers comes first: users are renamed."""
        if (found := self.remembered(claim)) is not None:
            return *found, "remembered"
        if (owner := kube_claims.owner_of(claim)) is not None:
            return *owner, "annotation"
        name = claim["metadata"]["name"]
        if name in self._names:
            return *self._names[name], "name"
        label = (claim["metadata"].get("labels") or {}).get(kube_claims.USERNAME, "")
        if label in self._labels:
            return self._labels[label], "", "label"
        decoded = kube_claims.decoded(name)
        return decoded, "", "name" if decoded else ""


def _holders(pods: Iterable[Object]) -> dict[str, list[Holder]]:
    found: dict[str, list[Holder]] = {}
    for pod in pods:
        metadata, spec = pod["metadata"], pod.get("spec") or {}
        phase = str((pod.get("status") or {}).get("phase") or "Unknown")
        if is_over(pod):
            continue
        server = (metadata.get("labels") or {}).get("component") == _SERVER
        user = str((metadata.get("annotations") or {}).get(kube_claims.USERNAME) or "") if server else ""
        for volume in spec.get("volumes") or ():
            claim = (volume.get("persistentVolumeClaim") or {}).get("claimName")
            if claim:
                paths = _sub_paths(spec, volume["name"])
                found.setdefault(claim, []).append(Holder(metadata["name"], phase, user, server, paths))
    return found


def _sub_paths(spec: Object, volume: str) -> tuple[str, ...]:
    containers = [*(spec.get("initContainers") or ()), *(spec.get("containers") or ())]
    mounts = [mount for one in containers for mount in one.get("volumeMounts") or () if mount["name"] == volume]
    return tuple(dict.fromkeys(mount["subPath"] for mount in mounts if mount.get("subPath")))


async def _reclaim_policies(client: Client) -> dict[str, str]:
    """Volumes belong to the whole cluster, and many operators may not read them."""
    try:
        items = (await client.list("v1", "PersistentVolume")).items
    except NotPermitted:
        return {}
    return {
        item["metadata"]["name"]: str((item.get("spec") or {}).get("persistentVolumeReclaimPolicy") or "")
        for item in items
    }


def is_orphan(volume: UserVolume, people: People) -> bool:
    """Of a user the hub does not have (any more). A name alone makes no orphan: anything may be called `claim-…`."""
    return volume.marked and not volume.shared and volume.user not in people.servers
