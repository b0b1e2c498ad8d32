"""Which pods an operator means: a user's, one server's, the hub's or the proxy's. Also ones that are gone by now."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from perijove.kube.client import Client
from perijove.kube.refs import Object
from perijove.operate.naming import Naming
from perijove.plugins import kube_claims

_SERVERS: Final = "component=singleuser-server"
_PODS: Final = ("jupyter-{user_server}", "jupyter-{username}", "jupyter-{username}--{servername}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """`component`: hub or proxy; else `user`, with all servers where `server` is None; else everything."""

    user: str = ""
    server: str | None = None
    component: str = ""

    @classmethod
    def of(cls, words: str) -> "Subject":
        """`ada`, `ada/gpu`; `ada/` is her default server."""
        user, slash, server = words.partition("/")
        return cls(user=user, server=server if slash else None)

    def __str__(self) -> str:
        if self.component:
            return f"the {self.component}"
        if not self.user:
            return "the release"
        return f"{self.user}/{self.server}" if self.server else self.user

    def names(self, naming: Naming) -> set[str]:
        """Of pods and claims that may be gone, or not made yet."""
        if not self.user:
            return set()
        servers = [self.server or ""]
        return {
            *kube_claims.expanded(self.user, servers, _PODS),
            *kube_claims.names_of(self.user, servers, naming.templates),
        }


async def pods_of(client: Client, namespaces: Sequence[str], subject: Subject) -> list[Object]:
    found: list[Object] = []
    labels = f"component={subject.component}" if subject.component else _SERVERS
    for namespace in namespaces:
        items = (await client.list("v1", "Pod", namespace, labels=labels)).items
        found += [pod for pod in items if not subject.user or _is_of(pod, subject)]
    return sorted(found, key=lambda pod: str(pod["metadata"].get("creationTimestamp")))


def _is_of(pod: Object, subject: Subject) -> bool:
    """KubeSpawner writes the names on its pods as on its claims."""
    owner = kube_claims.owner_of(pod)
    if owner is None:
        label = (pod["metadata"].get("labels") or {}).get(kube_claims.USERNAME)
        return label in kube_claims.label_values(subject.user) and not subject.server
    return owner[0] == subject.user and subject.server in (None, owner[1])
