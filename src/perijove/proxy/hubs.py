"""The hubs as the proxy's own client: any replica will do, and a dead one is passed over."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from perijove.proxy.fetch import Fetched, Patience, fetch
from perijove.proxy.options import ProxyOptions
from perijove.proxy.upstreams import Upstreams


class HubRefused(Exception):
    """A hub answered with a status that cannot be worked with."""

    def __init__(self, url: str, status: int) -> None:
        super().__init__(f"{url} answered {status}")
        self.status = status


class Hubs:
    """A list of addresses, and which of them answered last."""

    def __init__(self, options: ProxyOptions, upstreams: Upstreams) -> None:
        self._urls = [url.rstrip("/") for url in options.hub_urls]
        self._pools = [upstreams.hub_pool(url) for url in self._urls]
        self._base_url = options.base_url
        self._token = options.token
        self._current = 0

    def __len__(self) -> int:
        return len(self._urls)

    def pass_over(self) -> None:
        """The current hub does not answer: ask the next."""
        self._current = (self._current + 1) % len(self._urls)

    @property
    def current(self) -> str:
        return self._urls[self._current]

    @asynccontextmanager
    async def request(
        self, method: str, path: str, *, patience: Patience, authorized: bool = True, body: bytes = b""
    ) -> AsyncIterator[Fetched]:
        """Ask the current hub for `path` under the base URL. Raises OSError."""
        fields = {"Authorization": f"token {self._token}"} if authorized else {}
        if body:
            fields["Content-Type"] = "application/json"
        pool = self._pools[self._current]
        async with fetch(
            pool, method, f"{self._base_url}{path}", fields=fields, body=body, patience=patience
        ) as fetched:
            yield fetched
