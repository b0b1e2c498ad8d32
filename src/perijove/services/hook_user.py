"""The user that hooks of `c.JupyterHub` are handed: what they look at of JupyterHub's own object."""

from dataclasses import dataclass


class GroupName(str):
    """Hooks ask groups for their `name`; templates show them as they are."""

    __slots__ = ()

    @property
    def name(self) -> str:
        return str(self)


@dataclass(frozen=True, slots=True)
class HookUser:
    name: str
    admin: bool
    groups: tuple[GroupName, ...]
