"""Why a deploy ends: each names what can be done, and most say that nothing was changed."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from perijove.kube.errors import HeldField
from perijove.kube.refs import Ref


class DeployFailed(Exception):
    """`message` says what happened, `remedy` what to do about it."""

    def __init__(self, message: str, *, remedy: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy


class NamespaceMissing(DeployFailed):
    """The namespace is not there, and was not to be made."""


class ReleaseUnclear(DeployFailed):
    """Several releases in the namespace, or another than the one named."""


class AlreadyRunning(DeployFailed):
    """Somebody else deploys this release right now."""


class OtherDeployer(DeployFailed):
    """The chart's controller deploys this release, or a person does, and not the one who asks."""


class LockLost(DeployFailed):
    """Somebody else took over while this process stood still."""


class NothingDeployed(DeployFailed):
    """There is no such release, or no such revision of it."""


class RolloutFailed(DeployFailed):
    """What was applied does not come up."""


@dataclass(frozen=True, slots=True)
class Obstacle:
    """One object that cannot be applied as things are."""

    ref: Ref
    reason: str
    conflicts: tuple[HeldField, ...] = field(default=())
    remedy: str = ""

    def __str__(self) -> str:
        lines = [f"{self.ref}: {self.reason}"]
        lines += [f"    {held.field} is managed by {held.manager}" for held in self.conflicts]
        return "\n".join(lines)


class Blocked(DeployFailed):
    """Objects that cannot be applied; found before anything was changed."""

    def __init__(self, obstacles: Sequence[Obstacle]) -> None:
        self.obstacles = tuple(obstacles)
        listed = "\n".join(f"  {line}" for obstacle in obstacles for line in str(obstacle).splitlines())
        remedies = dict.fromkeys(obstacle.remedy for obstacle in obstacles if obstacle.remedy)
        super().__init__(f"Nothing was changed, because this cannot be applied:\n{listed}", remedy=" ".join(remedies))
