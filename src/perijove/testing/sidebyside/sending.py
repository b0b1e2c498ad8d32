"""Sends a script to one hub, and keeps of each answer what a client could depend on."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from http.cookies import SimpleCookie
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote, urlencode

import aiohttp
from yarl import URL

from perijove.testing.sidebyside.script import Step
from perijove.testing.waiting import until

_TIMEOUT = aiohttp.ClientTimeout(total=60)
_XSRF_FORM = re.compile(r"_xsrf=[^&]*")


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    cookies: Sequence[str]
    text: str

    @property
    def media(self) -> str:
        return self.headers.get("content-type", "").partition(";")[0].strip()

    @property
    def body(self) -> Any:
        """Decoded where it is JSON, or a stream of JSON; else its text."""
        if self.media == "text/event-stream":
            lines = self.text.splitlines()
            return [json.loads(line.removeprefix("data:")) for line in lines if line.startswith("data:")]
        try:
            return json.loads(self.text)
        except ValueError:
            return self.text


@dataclass
class _Browser:
    session: aiohttp.ClientSession

    def cookie(self, url: str, name: str) -> str:
        found = self.session.cookie_jar.filter_cookies(URL(url)).get(name)
        return found.value if found else ""


@dataclass
class Sender:
    """`url` ends without a slash. `saved`: tokens by caller, and whatever else later requests name."""

    url: str
    saved: dict[str, str]
    _browsers: dict[str, _Browser] = field(default_factory=dict)
    _plain: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._plain = aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar(), timeout=_TIMEOUT)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._plain is not None
        for session in (self._plain, *(browser.session for browser in self._browsers.values())):
            await session.close()

    async def send(self, step: Step) -> Answer:
        if not step.until:
            return await self._once(step)
        path, wanted = (part.strip() for part in step.until.split("=", 1))
        last: list[Answer] = []

        async def holds() -> bool:
            last.append(await self._once(step))
            return json.dumps(_at(last[-1].body, path)) == wanted

        await until(holds, seconds=20, every=0.05)
        return last[-1]

    async def _once(self, step: Step) -> Answer:
        session, headers = await self._as(step)
        data: str | None = None if step.body is None else self.fill(step.body)
        if step.form is not None:
            data = self._form(step)
            headers.setdefault("Content-Type", "application/x-www-form-urlencoded")
        elif data is not None:
            headers.setdefault("Content-Type", "application/json")
        url = URL(self.url + self.fill(step.path), encoded=True)
        async with session.request(
            step.method,
            url,
            data=None if data is None else data.encode(),
            headers=headers,
            allow_redirects=False,
            skip_auto_headers=("User-Agent", "Content-Type"),
        ) as response:
            text = await response.text(errors="replace")
            kept = {name.lower(): value for name, value in response.headers.items()}
            answer = Answer(response.status, kept, response.headers.getall("Set-Cookie", []), text)
        for name, where in step.save:
            self.saved[name] = self._found(answer, where)
        return answer

    async def _as(self, step: Step) -> tuple[aiohttp.ClientSession, dict[str, str]]:
        assert self._plain is not None
        headers = {name: self.fill(value) for name, value in step.headers}
        if "@" not in step.caller:
            if step.caller != "anon":
                headers.setdefault("Authorization", f"token {self.saved[step.caller]}")
            return self._plain, headers
        name = step.caller.partition("@")[0]
        browser = await self._browser(name)
        if step.xsrf and step.form is None and step.method not in {"GET", "HEAD", "OPTIONS"}:
            headers.setdefault("X-XSRFToken", browser.cookie(f"{self.url}/hub/", "_xsrf"))
        headers.setdefault("Accept", "text/html,application/xhtml+xml")
        return browser.session, headers

    def _form(self, step: Step) -> str:
        form = self.fill(step.form or "")
        if "@" in step.caller and step.xsrf:
            browser = self._browsers[step.caller.partition("@")[0]]
            proof = browser.cookie(f"{self.url}/hub/", "_xsrf")
            form = f"{form}&_xsrf={quote(proof)}" if form else f"_xsrf={quote(proof)}"
        return form

    async def _browser(self, name: str) -> _Browser:
        if name not in self._browsers:
            session = aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True), timeout=_TIMEOUT)
            browser = self._browsers[name] = _Browser(session)
            async with session.get(f"{self.url}/hub/login") as response:
                await response.read()
            if name:
                proof = browser.cookie(f"{self.url}/hub/", "_xsrf")
                fields = urlencode({"username": name, "password": "any", "_xsrf": proof})
                async with session.post(
                    f"{self.url}/hub/login?next=/hub/home",
                    data=fields,
                    headers={"Content-Type": "application/x-www-form-urlencoded"},
                    allow_redirects=False,
                ) as response:
                    assert response.status == 302, (response.status, await response.text())  # noqa: PLR2004 - HTTP
        return self._browsers[name]

    def fill(self, text: str) -> str:
        return re.sub(r"\$(\w+)", lambda found: self.saved.get(found[1], found[0]), text)

    def _found(self, answer: Answer, where: str) -> str:
        if where.startswith("/"):
            found = re.search(where.strip("/"), f"{answer.headers.get('location', '')}\n{answer.text}")
            value = found[1] if found else None
        else:
            value = _at(answer.body, where)
        if value is None:
            return "nothing-was-saved"
        return str(value)


def _at(value: Any, path: str) -> Any:
    for part in path.split("."):
        try:
            value = value[int(part)] if isinstance(value, list) else value[part]
        except (KeyError, IndexError, TypeError, ValueError):
            return None
    return value


def cookie_shapes(cookies: Sequence[str]) -> dict[str, str]:
    """Names and attributes of cookies that an answer sets or clears, without values."""
    shapes = {}
    for header in cookies:
        for name, morsel in SimpleCookie(header).items():
            gone = not morsel.value or morsel["max-age"] == "0"
            attributes = [f"path={morsel['path']}"]
            attributes += [flag for flag in ("httponly", "secure") if morsel[flag]]
            attributes += [f"samesite={morsel['samesite'].lower()}"] if morsel["samesite"] else []
            attributes += ["cleared"] if gone else ["lasting"] if morsel["expires"] or morsel["max-age"] else []
            shapes[name] = "; ".join(attributes)
    return shapes
