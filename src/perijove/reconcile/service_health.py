"""Asking services with pages whether they answer, at an interval, all at once and none for long."""

import asyncio
from datetime import timedelta

import aiohttp

from perijove.lib.log import get_logger
from perijove.reconcile.chores import Chore
from perijove.services import service_health
from perijove.services.context import HubContext
from perijove.services.registry import ServiceRow, list_services

log = get_logger(__name__)

_TIMEOUT = aiohttp.ClientTimeout(total=5)
_LONGEST = timedelta(minutes=10)
# A service that fails says so by its status; one that wants a login, or has no page there, is well.
_SERVER_ERROR = 500


def health_chore(http: aiohttp.ClientSession, every: timedelta) -> Chore:
    async def run(hub: HubContext) -> None:
        await look(hub, http, every)

    return Chore("service health", every, run)


async def look(hub: HubContext, http: aiohttp.ClientSession, every: timedelta) -> None:
    known = await service_health.health_of_all(hub)
    services = {service.name: service for service in await list_services(hub) if service.url}
    now = hub.store.now()
    due = [
        service
        for service in services.values()
        if service_health.is_due(known.get(service.name), url=service.url, now=now, every=every, longest=_LONGEST)
    ]
    problems = await asyncio.gather(*(_problem(hub, http, service) for service in due))
    found = {name: health for name, health in known.items() if name in services}
    for service, problem in zip(due, problems, strict=True):
        before = found.get(service.name)
        health = service_health.following(before, url=service.url, problem=problem, now=now)
        found[service.name] = health
        if before is None or before.up is not health.up:
            note = log.info if health.up else log.warning
            note("service answers" if health.up else "service does not answer", service=service.name, problem=problem)
    if found != known:
        await service_health.write(hub, found)


async def _problem(hub: HubContext, http: aiohttp.ClientSession, service: ServiceRow) -> str:
    """What is wrong with it; "" when it answers."""
    url = f"{service.url.rstrip('/')}{service.prefix(hub.options.base_url)}"
    try:
        async with http.get(url, allow_redirects=False, timeout=_TIMEOUT) as response:
            return "" if response.status < _SERVER_ERROR else f"answers with status {response.status}"
    except TimeoutError:
        return f"no answer within {_TIMEOUT.total:g} seconds"
    except (aiohttp.ClientError, OSError, ValueError) as error:
        return f"{type(error).__name__}: {error}"[:200]
