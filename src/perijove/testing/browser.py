"""A browser without a screen: cookies, redirects and forms, for tests that are not about looks."""

import re
from types import TracebackType
from typing import Any, Self

import aiohttp
from yarl import URL

_FIELD = re.compile(r'<input[^>]*name="_xsrf"[^>]*>')
_VALUE = re.compile(r'value="([^"]*)"')

# Whoever waits longer for an answer in a test waits for ever.
TIMEOUT = aiohttp.ClientTimeout(total=30)


class Browser:
    """One person's cookie jar. Use it as `async with`."""

    def __init__(self, url: str) -> None:
        self.url = URL(url)
        # Cookies of numeric hosts are dropped by default; hubs under test have no others. What browsers hold of
        # loopback, that it is as good as https, goes for secure cookies here.
        self.session = aiohttp.ClientSession(
            cookie_jar=aiohttp.CookieJar(unsafe=True, treat_as_secure_origin=self.url.origin()), timeout=TIMEOUT
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.session.close()

    async def get(self, path: str, **options: Any) -> tuple[aiohttp.ClientResponse, str]:
        """The answer after redirects, and its text."""
        async with self.session.get(self.url.join(URL(path, encoded=True)), **options) as response:
            return response, await response.text()

    async def post(self, path: str, form: dict[str, str], **options: Any) -> tuple[aiohttp.ClientResponse, str]:
        async with self.session.post(self.url.join(URL(path, encoded=True)), data=form, **options) as response:
            return response, await response.text()

    async def log_in(self, user: str, password: str = "", *, path: str = "hub/login") -> tuple[int, str]:
        """Fetch the form and send it, as a browser does. Returns status and URL of the page this ends on."""
        _, page = await self.get(path)
        form = {"username": user, "password": password, "_xsrf": xsrf_of(page)}
        response, _ = await self.post(path, form)
        return response.status, str(response.url)


def xsrf_of(page: str) -> str:
    """The token in a page's form. Raises ValueError when there is none."""
    field = _FIELD.search(page)
    value = _VALUE.search(field[0]) if field else None
    if value is None:
        raise ValueError(f"no form with an _xsrf field in: {page[:500]}")
    return value[1]
