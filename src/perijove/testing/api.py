"""A client of the REST API, for tests: it says who asks, and keeps the whole answer."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import aiohttp
import msgspec
from yarl import URL

from perijove.testing.browser import Browser


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    text: str

    @property
    def json(self) -> Any:
        """Raises when the body is not JSON: every answer with a body should be."""
        return msgspec.json.decode(self.text)

    @property
    def message(self) -> str:
        return str(self.json["message"])


class ApiClient:
    """One caller: by token, or by the cookies of a `Browser`. Use it as `async with`."""

    def __init__(self, url: str, token: str = "", *, browser: Browser | None = None) -> None:
        """`url`: what people open; the API is below it."""
        self._url = f"{url}hub/api"
        self._headers = {"Authorization": f"token {token}"} if token else {}
        self._session = browser.session if browser else aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar())
        self._own = browser is None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        if self._own:
            await self._session.close()

    async def __call__(
        self, method: str, path: str, body: Any = None, *, headers: Mapping[str, str] | None = None, data: Any = None
    ) -> Answer:
        """`body` is sent as JSON, `data` as it is. Redirects are not followed; `path` goes out as written."""
        sent = {**self._headers, **(headers or {})}
        if body is not None:
            data, sent = msgspec.json.encode(body), {"Content-Type": "application/json", **sent}
        async with self._session.request(
            method, URL(self._url + path, encoded=True), data=data, headers=sent, allow_redirects=False
        ) as response:
            return Answer(response.status, response.headers, await response.text())
