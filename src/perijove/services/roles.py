"""Roles: the four default ones, those of the configuration, and who has which.

Every user has `user` and every admin (user or service) has `admin`; neither is stored as an
assignment, so flag and role cannot disagree and no start-up walks over all users.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from perijove.services.context import HubContext


async def reconcile(hub: "HubContext") -> None:
    """At start: default roles, `load_roles`, `load_groups`, services and configured tokens into rows.

    Idempotent and O(what is configured). Raises `ConfigError`-style `Invalid` for unknown scopes or services.
    """
    raise NotImplementedError
