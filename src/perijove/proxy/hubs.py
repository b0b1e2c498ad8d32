"""The hubs as the proxy's own client: any replica will do, and a dead one is passed over.

aiohttp, not the data plane: a few requests a minute, where time-outs and clarity matter more than microseconds.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp

from perijove.proxy.options import ProxyOptions
from perijove.proxy.targets import target_tls

CLIENT_ERRORS = (aiohttp.ClientError, TimeoutError, OSError)


class HubRefused(Exception):
    """A hub answered with a status that cannot be worked with."""

    def __init__(self, url: str, status: int) -> None:
        super().__init__(f"{url} answered {status}")
        self.status = status


class Hubs:
    """One session, a list of addresses, and which of them answered last."""

    def __init__(self, options: ProxyOptions) -> None:
        self._urls = [url.rstrip("/") for url in options.hub_urls]
        self._base_url = options.base_url
        self._token = options.token
        self._tls = target_tls(options) if any(url.startswith("https:") for url in self._urls) else True
        self._current = 0
        self._session: aiohttp.ClientSession | None = None

    def __len__(self) -> int:
        return len(self._urls)

    async def open(self) -> None:
        # The public side's limit on connections must not keep the follower from its hub.
        connector = aiohttp.TCPConnector(limit=0, ssl=self._tls)
        self._session = aiohttp.ClientSession(connector=connector, auto_decompress=True)

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    def pass_over(self) -> None:
        """The current hub does not answer: ask the next."""
        self._current = (self._current + 1) % len(self._urls)

    @property
    def current(self) -> str:
        return self._urls[self._current]

    @asynccontextmanager
    async def request(
        self, method: str, path: str, *, within: aiohttp.ClientTimeout, authorized: bool = True, **rest: Any
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Ask the current hub for `path` under the base URL. Raises one of CLIENT_ERRORS."""
        if self._session is None:
            raise aiohttp.ClientConnectionError("closed")
        headers = {"Authorization": f"token {self._token}"} if authorized else {}
        url = f"{self.current}{self._base_url}{path}"
        async with self._session.request(
            method, url, headers=headers, timeout=within, allow_redirects=False, **rest
        ) as response:
            yield response
