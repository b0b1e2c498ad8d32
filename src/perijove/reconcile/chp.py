"""A stock configurable-http-proxy in the place of our own: routes are pushed to it, because it cannot follow.

One replica does it at a time (a named lease, taken again while it works): two that push the same change in another
order would leave the older state. What the proxy has is compared with the rows at the start and every few seconds
after, because it forgets everything when it restarts, and tells nobody. Routes that are not a hub's are left alone.
"""

import asyncio
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from http import HTTPStatus
from time import perf_counter
from typing import Any
from urllib.parse import quote, unquote, urlsplit

import aiohttp
from yarl import URL

from perijove.domain.addresses import Addresses
from perijove.domain.errors import HubError
from perijove.domain.events import Event, Kind, Lagged
from perijove.lib import metrics
from perijove.lib.log import get_logger
from perijove.services import activity, proxy_address
from perijove.services import routes as table
from perijove.services.context import HubContext
from perijove.store.named_leases import NamedLease

log = get_logger(__name__)

HOLD = timedelta(seconds=30)
COMPARE_SECONDS = 5.0
RETRY_SECONDS = 1.0
_AT_ONCE = 10
_TIMEOUT = aiohttp.ClientTimeout(total=30, connect=5)

Routes = Mapping[str, Mapping[str, Any]]
"""Prefix -> target and data, as the proxy's API has them."""


class ProxyRefused(Exception):
    """The proxy answered with a status that cannot be worked with."""


class PushedProxy:
    """Keeps one configurable-http-proxy equal to the rows."""

    def __init__(self, hub: HubContext, hub_url: str) -> None:
        self._hub = hub
        self._hub_url = hub_url.rstrip("/")
        self._lease = NamedLease(hub.store, "chp", hub.replica_id, HOLD)
        self._session: aiohttp.ClientSession | None = None
        self._base = ""
        self._address = proxy_address.Address("", "")
        self._seen: dict[str, str] = {}
        self._failing = False

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            try:
                self._address = await proxy_address.current(self._hub)
                await self._push_there()
            except HubError as error:
                self._note_failure(error)
                await asyncio.sleep(RETRY_SECONDS)

    async def _push_there(self) -> None:
        """Until the proxy is said to be somewhere else."""
        connector, self._base = _reach(self._address.api_url)
        headers = {"Authorization": f"token {self._address.auth_token}"}
        async with aiohttp.ClientSession(connector=connector, headers=headers, timeout=_TIMEOUT) as self._session:
            while not await self._moved():
                try:
                    if await self._lease.take():
                        await self._push()
                except (aiohttp.ClientError, OSError, ProxyRefused, HubError) as error:
                    self._note_failure(error)
                await asyncio.sleep(RETRY_SECONDS)

    async def _moved(self) -> bool:
        return await proxy_address.current(self._hub) != self._address

    def _note_failure(self, error: Exception) -> None:
        # The first of a row is news, the rest is noise.
        note = log.debug if self._failing else log.warning
        self._failing = True
        note("cannot set the proxy's routes", url=self._base, problem=str(error) or type(error).__name__)

    # -- pushing

    async def _push(self) -> None:
        """Compare, then follow the rows; returns when the lease is gone or changes were missed."""
        with self._hub.bus.subscribe(Kind.SERVER, Kind.ROUTE) as subscription:
            last = await self._compare()
            compared = asyncio.get_running_loop().time()
            if self._failing:
                log.info("the proxy's routes are set again", url=self._base)
            self._failing = False
            while True:
                taken = await subscription.take(COMPARE_SECONDS)
                if any(isinstance(item, Lagged) for item in taken):
                    return
                events = await table.events_since(self._hub, last)
                if events is None:
                    return
                last = max((event.revision for event in events), default=last)
                await self._change(events)
                if asyncio.get_running_loop().time() - compared > COMPARE_SECONDS:
                    if await self._moved() or not await self._lease.take():
                        return
                    last = await self._compare()
                    compared = asyncio.get_running_loop().time()

    async def _change(self, events: list[Event]) -> None:
        if events:
            put, delete = await table.changes(self._hub, events)
            await self._apply(self._wanted(put), delete)

    async def _compare(self) -> int:
        """Make the proxy's table what the rows say; the revision that it then has."""
        began = perf_counter()
        there = await self._there()
        metrics.proxy_poll_duration.observe(perf_counter() - began)
        revision, routes = await table.all_routes(self._hub)
        wanted = self._wanted(routes)
        put = {prefix: route for prefix, route in wanted.items() if not _same(there.get(prefix), route)}
        await self._apply(put, [prefix for prefix in there if prefix not in wanted])
        metrics.check_routes_duration.observe(perf_counter() - began)
        await self._report(there)
        return revision

    def _wanted(self, routes: Iterable[table.Route]) -> dict[str, dict[str, Any]]:
        return {
            route["prefix"]: {
                **route["data"],
                "target": self._hub_url if route["target"] == table.HUB_TARGET else route["target"],
                "jupyterhub": True,
            }
            for route in routes
        }

    async def _there(self) -> dict[str, dict[str, Any]]:
        """The proxy's routes that are a hub's, by prefix."""
        _, body = await self._call("GET", "/")
        return {_prefix(key, self._hub.addresses): route for key, route in body.items() if "jupyterhub" in route}

    async def _apply(self, put: Routes, delete: Iterable[str]) -> None:
        room = asyncio.Semaphore(_AT_ONCE)

        async def call(method: str, prefix: str, body: Mapping[str, Any] | None = None) -> None:
            metric = metrics.proxy_delete_duration if method == "DELETE" else metrics.proxy_add_duration
            async with room:
                with metrics.timed(metric):
                    await self._call(method, prefix, body)

        # Deletions first: a prefix may be among both, and then it is wanted.
        for calls in (
            [call("DELETE", prefix) for prefix in delete],
            [call("POST", prefix, route) for prefix, route in put.items()],
        ):
            for outcome in await asyncio.gather(*calls, return_exceptions=True):
                if isinstance(outcome, BaseException):
                    raise outcome

    async def _call(self, method: str, prefix: str, body: Mapping[str, Any] | None = None) -> tuple[int, Any]:
        assert self._session is not None
        path = "/" + prefix.strip("/")
        url = f"{self._base}/api/routes{path}"
        # Escaped already, and not to be escaped otherwise.
        async with self._session.request(method, URL(url, encoded=True), json=body) as response:
            text = await response.text()
            gone = method == "DELETE" and response.status == HTTPStatus.NOT_FOUND
            if response.status >= HTTPStatus.MULTIPLE_CHOICES and not gone:
                raise ProxyRefused(f"{method} {path} answered {response.status}: {text[:200]}")
            return response.status, await response.json() if method == "GET" else None

    # -- activity

    async def _report(self, there: Routes) -> None:
        """What the proxy has seen of users since we last looked."""
        changed = {
            prefix: str(route["last_activity"])
            for prefix, route in there.items()
            if "user" in route and "last_activity" in route and self._seen.get(prefix) != route["last_activity"]
        }
        self._seen = {prefix: str(route.get("last_activity", "")) for prefix, route in there.items()}
        await activity.report_routes(self._hub, {prefix: datetime.fromisoformat(at) for prefix, at in changed.items()})


def _same(there: Mapping[str, Any] | None, wanted: Mapping[str, Any]) -> bool:
    return there is not None and all(there.get(key) == value for key, value in wanted.items())


def _prefix(key: str, addresses: Addresses) -> str:
    """The proxy keeps paths unescaped, without their last slash, and hosts as the first part of paths."""
    prefix = quote(key, safe="@/~").rstrip("/") + "/"
    return prefix.removeprefix("/") if addresses.domain and prefix != "/" else prefix


def _reach(url: str) -> tuple[aiohttp.BaseConnector, str]:
    """How to connect, and the base of its URLs; `http+unix://%2Fpath` is a socket."""
    parts = urlsplit(url)
    if parts.scheme in ("http+unix", "unix+http"):
        return aiohttp.UnixConnector(unquote(parts.netloc)), "http://localhost"
    return aiohttp.TCPConnector(), url.rstrip("/")
