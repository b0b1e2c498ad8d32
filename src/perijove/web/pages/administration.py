"""What the admin pages share: who may open them, and the way from one to another."""

from dataclasses import dataclass

from starlette.requests import Request

from perijove.services.identity import Identity, require
from perijove.web.pages.view import Pages

# In the order of the page's navigation: path, label, and a scope that fills it, with whatever filter.
_SECTIONS = (
    ("admin", "Users", "list:users"),
    ("admin/groups", "Groups", "list:groups"),
    ("admin/roles", "Roles", "read:roles"),
    ("admin/services", "Services", "list:services"),
    ("admin/audit", "Audit trail", "read:audit"),
)


@dataclass(frozen=True, slots=True)
class Section:
    url: str
    label: str
    here: bool


async def administrator(pages: Pages, request: Request, *scopes: str) -> Identity:
    """Whoever may open the admin pages and holds any of `scopes`. Raises `LoginNeeded`, `Forbidden`, `NotFound`."""
    identity = await pages.user(request)
    await require(pages.hub, identity, "admin-ui")
    if scopes:
        await require(pages.hub, identity, *scopes)
    return identity


def sections(pages: Pages, identity: Identity, here: str) -> list[Section]:
    """Those with anything in them for this person. `here`: the path of the page that is shown."""
    return [
        Section(f"{pages.prefix}{path}", label, path == here)
        for path, label, scope in _SECTIONS
        if identity.scopes.grant(scope) is not None
    ]
