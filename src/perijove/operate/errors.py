"""Why something an operator asked for is not done. Each says what to do instead."""

from perijove.kube.errors import KubeError


class UsersUnknown(KubeError):
    """Who the hub's users are is not known."""


class VolumeInUse(KubeError):
    """The volume is in use."""


class NothingFound(KubeError):
    """There is no such thing."""
