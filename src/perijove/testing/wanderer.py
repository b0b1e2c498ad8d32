"""A browser of which every request meets another hub, redirects too: what no sticky session would forgive."""

from collections.abc import Sequence
from itertools import cycle
from typing import Any, Self

import aiohttp
from yarl import URL

from perijove.testing.browser import TIMEOUT, xsrf_of

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_MOST = 20


class Wanderer:
    """One person's cookie jar, and the addresses that it is sent to in turn. Use it as `async with`."""

    def __init__(self, urls: Sequence[str]) -> None:
        self._turn = cycle(urls)
        # Cookies know no ports, so all addresses of one machine are one site.
        self.session = aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True), timeout=TIMEOUT)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.session.close()

    def next_address(self, path: str) -> URL:
        """`path`, relative to the base URL or from the root, at whoever is next."""
        return URL(next(self._turn)).join(URL(path, encoded=True))

    async def once(self, method: str, path: str, **options: Any) -> tuple[aiohttp.ClientResponse, str]:
        """One request, no redirect followed."""
        address = self.next_address(path)
        async with self.session.request(method, address, allow_redirects=False, **options) as response:
            return response, await response.text()

    async def get(self, path: str, **options: Any) -> tuple[aiohttp.ClientResponse, str]:
        return await self._follow(*await self.once("GET", path, **options))

    async def post(self, path: str, form: dict[str, str], **options: Any) -> tuple[aiohttp.ClientResponse, str]:
        return await self._follow(*await self.once("POST", path, data=form, **options))

    async def _follow(self, response: aiohttp.ClientResponse, text: str) -> tuple[aiohttp.ClientResponse, str]:
        for _ in range(_MOST):
            if response.status not in _REDIRECTS:
                return response, text
            location = URL(response.headers["Location"], encoded=True)
            if location.absolute and location.host != response.url.host:
                return response, text
            response, text = await self.once("GET", str(location.relative() if location.absolute else location))
        raise RuntimeError(f"redirected {_MOST} times, at last to {response.headers.get('Location')}")

    async def log_in(self, user: str, password: str = "", *, path: str = "hub/login") -> tuple[int, str]:
        """Fetch the form from one and send it to another. Returns status and path of the page this ends on."""
        _, page = await self.get(path)
        form = {"username": user, "password": password, "_xsrf": xsrf_of(page)}
        response, _ = await self.post(path, form)
        return response.status, response.url.path
