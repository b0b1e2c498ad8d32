"""Services in the admin pages: what they are, whether they answer, and how often those the hub starts had to be."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.responses import Response

from perijove.domain.errors import Forbidden
from perijove.services import registry, service_ends
from perijove.services.registry import ServiceRow
from perijove.web.pages.administration import administrator, sections
from perijove.web.pages.view import Pages

# How long a service has to take a connection; all are asked at once.
PATIENCE_SECONDS = 1.0
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
    ends, answers = await asyncio.gather(service_ends.ends_since(pages.hub, since), _answering(found))
    held = await service_ends.running_somewhere(pages.hub, [service.name for service in found])
    views = [
        _view(pages, service, ends.get(service.name), answers=answers.get(service.name), held=service.name in held)
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
    pages: Pages, service: ServiceRow, ends: service_ends.Ends | None, *, answers: bool | None, held: bool
) -> ServiceView:
    return ServiceView(
        name=service.name,
        kind=_kind(service),
        url=service.url,
        href=service.prefix(pages.hub.options.base_url),
        admin=service.admin,
        roles=service.roles,
        status=_status(service, answers=answers, held=held),
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
    return ""


async def _answering(services: Sequence[ServiceRow]) -> dict[str, bool]:
    """Those with a URL, and whether something takes a connection there."""
    with_url = [service for service in services if service.url]
    answers = await asyncio.gather(*(_connects(service.url) for service in with_url))
    return {service.name: answer for service, answer in zip(with_url, answers, strict=True)}


async def _connects(url: str) -> bool:
    try:
        parts = urlsplit(url)
        port = parts.port or (443 if parts.scheme == "https" else 80)
        async with asyncio.timeout(PATIENCE_SECONDS):
            _, writer = await asyncio.open_connection(parts.hostname, port)
    except (OSError, TimeoutError, ValueError):
        return False
    writer.close()
    return True
