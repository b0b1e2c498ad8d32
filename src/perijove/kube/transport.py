"""One HTTP request to the API server, repeated while repeating can help.

Repeated are answers 429 and 5xx, broken connections and silence. That is safe for everything this package
asks: reads, server-side apply and deletions may be repeated, and whoever creates or updates learns from
`ObjectExists` or `ObjectChanged` that a lost answer was a success.
"""

import json
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Final

import aiohttp

from perijove import __version__
from perijove.kube.access import Access
from perijove.kube.errors import ClusterUnavailable, KubeError, from_status
from perijove.lib.clock import Clock, SystemClock

# Told before every pause: why, and how many seconds it will be.
OnRetry = Callable[[str, float], None]

# etcd's largest object is 1.5 MiB, and a watch sends each on one line.
_READ_BUFFER: Final = 2**22


@dataclass(frozen=True, kw_only=True)
class Patience:
    """How long to bear with a server: one attempt, and all of them."""

    attempt_seconds: float = 30
    deadline_seconds: float = 90
    first_pause_seconds: float = 0.25
    longest_pause_seconds: float = 10


@dataclass(frozen=True, slots=True)
class Answer:
    """`warnings` are the server's, for people."""

    body: Any
    warnings: tuple[str, ...] = ()


def _silent(_why: str, _seconds: float) -> None:
    return


@dataclass(kw_only=True)
class Transport:
    access: Access
    patience: Patience = field(default_factory=Patience)
    clock: Clock = field(default_factory=SystemClock)
    on_retry: OnRetry = _silent
    agent: str = f"perijove/{__version__}"
    _session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Any = None,
        content_type: str = "application/json",
        text: bool = False,
    ) -> Answer:
        """Raises `KubeError`. With `text`, the body is not JSON."""
        doing = f"{method} {path}"

        async def attempt() -> Answer:
            timeout = aiohttp.ClientTimeout(total=self.patience.attempt_seconds)
            async with self._open(method, path, query, timeout, body=body, content_type=content_type) as response:
                raw = await response.read()
                if response.status >= HTTPStatus.BAD_REQUEST:
                    raise _failure(response, raw, doing)
                warnings = tuple(_warnings(response.headers.getall("Warning", [])))
                return Answer(raw.decode(errors="replace") if text else _decoded(raw), warnings)

        return await self._patiently(attempt, doing)

    @asynccontextmanager
    async def lines(
        self, path: str, query: Mapping[str, str], *, silence_seconds: float
    ) -> AsyncIterator[aiohttp.StreamReader]:
        """A stream of lines, once: whoever reads knows how to go on after its end."""
        timeout = aiohttp.ClientTimeout(sock_connect=self.patience.attempt_seconds, sock_read=silence_seconds)
        async with AsyncExitStack() as stack:
            try:
                response = await stack.enter_async_context(self._open("GET", path, query, timeout))
                if response.status >= HTTPStatus.BAD_REQUEST:
                    raise _failure(response, await response.read(), f"watch {path}")
            except (aiohttp.ClientError, TimeoutError) as exc:
                raise ClusterUnavailable(self._unreachable(exc)) from exc
            yield response.content

    async def _patiently(self, attempt: Callable[[], Awaitable[Answer]], doing: str) -> Answer:
        deadline = self.clock.monotonic() + self.patience.deadline_seconds
        pause = self.patience.first_pause_seconds
        while True:
            try:
                return await attempt()
            except ClusterUnavailable as exc:
                failure = exc
            except (aiohttp.ClientSSLError, aiohttp.InvalidURL) as exc:
                # No certificate gets better by waiting.
                raise ClusterUnavailable(self._unreachable(exc)) from exc
            except (aiohttp.ClientError, TimeoutError) as exc:
                failure = ClusterUnavailable(self._unreachable(exc))
            # Spread, so that many clients that were turned away together do not come back together.
            wait = max(failure.retry_after_seconds, pause * random.uniform(0.75, 1.25))  # noqa: S311 - no secret
            if self.clock.monotonic() + wait > deadline:
                raise ClusterUnavailable(
                    f"{failure.message} ({doing}, tried for {self.patience.deadline_seconds:g} s)",
                    status=failure.status,
                    retry_after_seconds=failure.retry_after_seconds,
                ) from failure
            self.on_retry(failure.message, wait)
            await self.clock.sleep(wait)
            pause = min(pause * 2, self.patience.longest_pause_seconds)

    @asynccontextmanager
    async def _open(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None,
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109 - aiohttp's own
        *,
        body: Any = None,
        content_type: str = "application/json",
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """With credentials that are fetched anew, once, where the server does not accept them."""
        for fresh in (False, True):
            headers = {"Accept": "application/json", "User-Agent": self.agent}
            if authorization := await self.access.authorization(fresh):
                headers["Authorization"] = authorization
            data = None
            if body is not None:
                data = json.dumps(body).encode()
                headers["Content-Type"] = content_type
            async with self._http().request(
                method,
                f"{self.access.url}{path}",
                params=query,
                data=data,
                headers=headers,
                ssl=self.access.tls if self.access.tls is not None else True,
                server_hostname=self.access.server_name,
                proxy=self.access.http_proxy,
                timeout=timeout,
            ) as response:
                if response.status == HTTPStatus.UNAUTHORIZED and not fresh:
                    continue
                yield response
                return

    def _http(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(trust_env=True, read_bufsize=_READ_BUFFER)
        return self._session

    def _unreachable(self, exc: Exception) -> str:
        words = "no answer" if isinstance(exc, TimeoutError) else str(exc) or type(exc).__name__
        return f"the API server at {self.access.url} cannot be reached: {words}"


def _failure(response: aiohttp.ClientResponse, raw: bytes, doing: str) -> KubeError:
    try:
        body = _decoded(raw)
    except ValueError:
        # A load balancer in front of the API server answers in its own format.
        body = {"message": raw[:500].decode(errors="replace").strip()}
    asked = response.headers.get("Retry-After", "")
    return from_status(
        response.status,
        body if isinstance(body, dict) else {},
        doing=doing,
        retry_after_seconds=int(asked) if asked.isdigit() else None,
    )


def _decoded(raw: bytes) -> Any:
    return json.loads(raw) if raw else {}


def _warnings(headers: list[str]) -> list[str]:
    """`299 - "the words"`."""
    found = []
    for header in headers:
        _, _, rest = header.partition('"')
        found.append(rest.rpartition('"')[0].replace('\\"', '"') or header)
    return found
