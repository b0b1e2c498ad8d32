"""Nobody grants what they do not hold: the one comparison behind roles, services and their clients.

A bare filter or `self` in what is granted means whoever gets it, so it is held only by who holds the scope for
everybody.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from perijove.domain.roles import ADMIN
from perijove.domain.scope_table import META, SELF
from perijove.domain.scopes import Scope, ScopeSet, parse
from perijove.services.owners import groups_of

if TYPE_CHECKING:
    from perijove.services.context import HubContext
    from perijove.services.identity import Identity

# Held by an admin whose credential may change users: it could make itself anything else.
_SUPERUSER = "admin:users"


async def not_held(hub: "HubContext", by: "Identity", scopes: Iterable[str]) -> list[str]:
    """Those of these scopes, or of what they contain, that `by` does not hold; sorted."""
    catalogue = hub.identities.catalogue
    wanted: set[str] = set()
    for text in scopes:
        if text == "self":
            wanted |= catalogue.expand(SELF)
        elif text not in META:
            scope = parse(text)
            for_everybody = scope.kind and scope.value is None
            wanted |= catalogue.expand([str(Scope(scope.base)) if for_everybody else text])
    asked = ScopeSet(wanted)
    membership: dict[str, tuple[str, ...]] = {}
    if by.scopes.has_group_filters:
        async with hub.store.read() as connection:
            membership = await groups_of(connection, asked.users_named())
    missing = asked.within(by.scopes, membership)
    if by.admin and by.scopes.covers(_SUPERUSER):
        # Custom scopes mean nothing to the hub, and are part of no role until somebody puts them there.
        missing = [text for text in missing if not text.startswith("custom:")]
    return missing


def is_full_admin(by: "Identity") -> bool:
    """An admin, with a credential that is not cut to less than changing users."""
    return by.admin and ADMIN in by.roles and by.scopes.covers(_SUPERUSER)
