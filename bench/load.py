"""Load generators: wrk for one request over and over, our own client where cookies and forms must follow.

Both run on the CPU that the hubs do not use. Our own client speaks plain sockets: a general client
library would spend more on a login than the faster hub does, and flatter the slower one.
"""

import asyncio
import json
import os
import re
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlencode

from bench.rig import LOAD_CPU, Hub

HERE = Path(__file__).parent
# Users in one request.
BATCH = 200
TOKEN_FIELD = re.compile(rb'name="_xsrf"[^>]*value="([^"]+)"|value="([^"]+)"[^>]*name="_xsrf"')


@dataclass(frozen=True)
class Rate:
    per_second: float
    p50_ms: float
    p99_ms: float


def wrk(
    url: str,
    *,
    seconds: float,
    token: str = "",
    connections: int = 32,
    script: str = "wrk.lua",
    tokens: Path | None = None,
    pinned: bool = True,
) -> Rate:
    command = ["taskset", "-c", LOAD_CPU] if pinned else []
    command += ["wrk", "-t1", f"-c{connections}", f"-d{round(seconds)}s"]
    command += ["-s", str(HERE / script)]
    if token:
        command += ["-H", f"Authorization: token {token}"]
    environment = {**os.environ, "BENCH_DIRECTORY": str(HERE), "BENCH_TOKENS": str(tokens or "")}
    done = subprocess.run([*command, url], check=True, capture_output=True, text=True, env=environment)
    result = json.loads(done.stdout.strip().splitlines()[-1])
    if result["bad"]:
        raise SystemExit(f"{url}: {result['bad']} of {result['requests']} requests failed")
    return Rate(result["requests"] / result["seconds"], result["p50_ms"], result["p99_ms"])


class Client:
    """One browser on one connection: sends a request, reads the answer."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def connect(self) -> None:
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)

    async def request(self, head: str, body: bytes = b"") -> tuple[int, bytes, bytes]:
        """Status, raw headers, body."""
        if self._writer is None:
            await self.connect()
        length = f"Content-Length: {len(body)}\r\n" if body else ""
        self._writer.write(f"{head}Host: 127.0.0.1:{self._port}\r\n{length}\r\n".encode() + body)
        headers = await self._reader.readuntil(b"\r\n\r\n")
        status = int(headers[9:12])
        lowered = headers.lower()
        if match := re.search(rb"\r\ncontent-length: *(\d+)", lowered):
            data = await self._reader.readexactly(int(match[1]))
        elif b"chunked" in lowered:
            data = await self._chunks()
        else:
            data = b""
        if b"\r\nconnection: close" in lowered:
            self.close()
        return status, headers, data

    async def _chunks(self) -> bytes:
        parts = []
        while size := int(await self._reader.readline(), 16):
            parts.append(await self._reader.readexactly(size))
            await self._reader.readline()
        await self._reader.readline()
        return b"".join(parts)

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None


def cookies(headers: bytes) -> dict[str, str]:
    found = re.findall(rb"\r\nset-cookie: *([^=;]+)=([^;\r]*)", headers, re.IGNORECASE)
    return {name.decode(): value.decode() for name, value in found}


async def log_in(client: Client, user: str) -> None:
    """What a browser without cookies does: fetch the form, send it with its token."""
    status, headers, page = await client.request("GET /hub/login HTTP/1.1\r\n")
    field = TOKEN_FIELD.search(page)
    if status != 200 or field is None:
        raise SystemExit(f"GET /hub/login answered {status} or has no _xsrf field")
    jar = "; ".join(f"{name}={value}" for name, value in cookies(headers).items())
    token = (field[1] or field[2]).decode()
    form = urlencode({"username": user, "password": "bench", "_xsrf": token}).encode()
    status, headers, page = await client.request(
        f"POST /hub/login?next= HTTP/1.1\r\nCookie: {jar}\r\nContent-Type: application/x-www-form-urlencoded\r\n",
        form,
    )
    if status != 302:
        raise SystemExit(f"POST /hub/login answered {status}: {page[:500]!r}")


async def logins(port: int, users: list[str], *, seconds: float, clients: int = 16) -> Rate:
    """Logins a second by `clients` browsers, each one login after the other."""
    loop = asyncio.get_running_loop()
    end = loop.time() + seconds
    names = iter(users * 100)
    took: list[float] = []

    async def browse() -> None:
        client = Client(port)
        while (began := loop.time()) < end:
            await log_in(client, next(names))
            took.append(loop.time() - began)
        client.close()

    began = loop.time()
    await asyncio.gather(*(browse() for _ in range(clients)))
    return _rate(took, loop.time() - began)


async def start_servers(port: int, users: list[str], *, token: str, clients: int = 32) -> None:
    names = iter(users)

    async def start() -> None:
        client = Client(port)
        for name in names:
            head = f"POST /hub/api/users/{name}/server HTTP/1.1\r\nAuthorization: token {token}\r\n"
            status, _, body = await client.request(head, b"{}")
            if status not in (201, 202):
                raise SystemExit(f"starting the server of {name} answered {status}: {body[:300]!r}")
        client.close()

    await asyncio.gather(*(start() for _ in range(clients)))


def populate(hub: Hub, users: list[str], servers: int) -> None:
    """By the API, as an administrator would; the first `servers` of them have a running server."""
    for start in range(0, len(users), BATCH):
        hub.call("POST", "/users", {"usernames": users[start : start + BATCH]})
    asyncio.run(start_servers(hub.port, users[:servers], token=hub.token))


async def sequential(port: int, path: str, *, token: str, count: int) -> Rate:
    """One request after the other on one connection."""
    client = Client(port)
    took: list[float] = []
    began = time.perf_counter()
    for _ in range(count):
        start = time.perf_counter()
        status, _, body = await client.request(f"GET {path} HTTP/1.1\r\nAuthorization: token {token}\r\n")
        took.append(time.perf_counter() - start)
        if status != 200:
            raise SystemExit(f"GET {path} answered {status}: {body[:300]!r}")
    client.close()
    return _rate(took, time.perf_counter() - began)


def _rate(took: list[float], seconds: float) -> Rate:
    ordered = sorted(took)
    at = lambda share: ordered[min(len(ordered) - 1, int(len(ordered) * share))] * 1000  # noqa: E731
    return Rate(len(ordered) / seconds, at(0.5), at(0.99))
