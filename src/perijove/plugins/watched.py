"""What a class that keeps its servers in a cluster, in sight of every hub, offers beyond JupyterHub's `Spawner`.

Apart from the one that does (`kube_pods`), so that a hub without Kubernetes needs none of its packages.
"""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from perijove.domain.errors import SpawnFailed
from perijove.domain.ids import ServerId, UserId
from perijove.domain.ports import Found, Mishap, ServerName, ServerSpec, UserFacts, Volume

# For an instance that looks at all servers and is none.
NOBODYS: Final = ServerSpec(id=ServerId(0), user=UserFacts(id=UserId(0), name="nobody"), name="")


@dataclass(frozen=True, slots=True)
class Marking:
    """Under which start and which lease an instance acts."""

    hub_id: str
    server_id: ServerId
    generation: int
    epoch: int


class Watched:
    """Mixed in front of a spawner class. `marking` is set before any other method is called."""

    marking: Marking
    # Whether `poll()` knows no more of a server that runs than `living()` does.
    in_sight: bool = False
    # Why it ended, once `poll()` has said that it did.
    ended: SpawnFailed | None = None
    # What befell it, once `poll()` has said that it runs.
    mishap: Mishap | None = None

    @abstractmethod
    async def why_late(self) -> SpawnFailed | None:
        """What keeps it from being up, if that can be seen."""

    @abstractmethod
    async def tail(self, count: int) -> tuple[str, ...]:
        """Last lines it wrote."""

    @abstractmethod
    async def sweep(self) -> None:
        """Remove what is left of a server that ended, and return when it is gone."""

    @abstractmethod
    async def find_all(self) -> Sequence[Found]:
        """Of any server of this hub."""

    @abstractmethod
    async def destroy(self, found: Found) -> None:
        """Remove exactly that, not what came after it."""

    @abstractmethod
    async def volumes_of_user(self, others: Sequence[Any]) -> Sequence[Volume]:
        """Of this server and of the user's other ones, given instances of them. `volumes` is a trait of KubeSpawner."""

    @abstractmethod
    async def delete_volume(self, volume: Volume) -> None:
        """Exactly that one. Raises `Conflict`, and what the plug-in's own client raises."""

    @abstractmethod
    async def living(self) -> Mapping[str, ServerId | ServerName]:
        """What runs of this hub, by a name that nothing else will ever have, and that changes with a mishap."""
