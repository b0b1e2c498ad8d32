"""Services in the admin pages: what they are, whether they answer, and how often those the hub starts had to be."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from starlette.requests import Request
from starlette.responses import Response

from perijove.domain.errors import Forbidden
from perijove.services import registry, service_ends
from perijove.services.registry import ServiceRow
from perijove.services.service_health import Health, health_of_all
from perijove.web.pages.administration import administrator, sections
from perijove.web.pages.view import Pages

ENDS_SHOWN = timedelta(hours=24)


@dataclass(frozen=True, slots=True)
class ServiceView:
    name: str
    kind: str
    url: str
    # Below the hub's address, "" for who may not open it or where there are no pages.
    href: str
    admin: bool
    roles: tuple[str, ...]
    status: str
    # Why it does not answer, and since when what is said here is so.
    problem: str = ""
    since: datetime | None = None
    # Of managed ones, within `ENDS_SHOWN`.
    ends: int = 0
    last_end: datetime | None = None
    exit_code: int | None = None


async def show(pages: Pages, request: Request) -> Response:
    identity = await administrator(pages, request)
    listed = identity.scopes.grant("list:services")
    if listed is None:
        raise Forbidden("Listing services needs the scope list:services.")
    found = await registry.list_services(pages.hub, names=None if listed.everything else listed.service)
    since = pages.hub.store.now() - ENDS_SHOWN
    ends, health = await service_ends.ends_since(pages.hub, since), await health_of_all(pages.hub)
    held = await service_ends.running_somewhere(pages.hub, [service.name for service in found])
    views = [
        _view(pages, service, ends.get(service.name), health=health.get(service.name), held=service.name in held)
        for service in found
        if await pages.may(identity, f"read:services!service={service.name}")
    ]
    return await pages.render(
        request,
        "admin_services.html",
        here="admin",
        sections=sections(pages, identity, "admin/services"),
        services_listed=views,
        openable={view.name for view in views if await pages.may(identity, f"access:services!service={view.name}")},
    )


def _view(
    pages: Pages, service: ServiceRow, ends: service_ends.Ends | None, *, health: Health | None, held: bool
) -> ServiceView:
    known = health if health is not None and health.url == service.url else None
    return ServiceView(
        name=service.name,
        kind=_kind(service),
        url=service.url,
        href=service.prefix(pages.hub.options.base_url),
        admin=service.admin,
        roles=service.roles,
        status=_status(service, answers=known.up if known else None, held=held),
        problem=known.problem if known else "",
        since=known.since if known else None,
        ends=ends.count if ends else 0,
        last_end=ends.last if ends else None,
        exit_code=ends.exit_code if ends else None,
    )


def _kind(service: ServiceRow) -> str:
    if service.command:
        return "started by the hub"
    return "from the configuration" if service.from_config else "made through the API"


def _status(service: ServiceRow, *, answers: bool | None, held: bool) -> str:
    """One of the words that badges have."""
    if answers is not None:
        return "running" if answers else "failed"
    if service.command:
        return "running" if held else "stopped"
    return "unknown" if service.url else ""
