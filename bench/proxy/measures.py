"""What is measured of proxies, and what must come out. Every ratio is so that more is better for us."""

import asyncio
import json
import os
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass

from bench.proxy.rig import HERE, TOKEN, Proxy, built
from bench.rig import LOAD_CPU


class Failed(Exception):
    """A round that measured nothing, because requests failed."""


@dataclass(frozen=True)
class Sample:
    """One round of one proxy: what is shown, and what it cost the proxy's processor."""

    value: float
    cpu_us: float = 0.0


@dataclass(frozen=True)
class Row:
    """One published number, with the ratios to configurable-http-proxy and to nginx that are wanted."""

    name: str
    unit: str
    target: float
    of_nginx: float = 0.0
    more_is_better: bool = True


@dataclass(frozen=True)
class Measure:
    """One load, which may give several rows."""

    key: str
    rows: tuple[Row, ...]
    run: Callable[[Proxy, float], tuple[Sample, ...]]
    # How many users have a route meanwhile.
    routes: int = 1
    tls: bool = False
    limits: bool = True


def wrk(
    proxy: Proxy,
    seconds: float,
    kind: str,
    *,
    connections: int,
    routes: int = 1,
    tls: bool = False,
    pinned: bool = True,
) -> dict:
    """wrk's numbers, the processor time a request cost the proxy, and that of the busiest of its workers."""
    url = f"http{'s' if tls else ''}://127.0.0.1:{proxy.port}/"
    command = ["wrk", "-t1", f"-c{connections}", f"-d{max(1, round(seconds))}s", "--timeout", "20s"]
    if pinned:
        command = ["taskset", "-c", LOAD_CPU, *command]
    environment = {**os.environ, "KIND": kind, "ROUTES": str(routes)}
    before, of_each = proxy.cpu_seconds(), proxy.worker_seconds()
    done = subprocess.run(
        [*command, "-s", str(HERE / "load.lua"), url], check=True, capture_output=True, text=True, env=environment
    )
    used = proxy.cpu_seconds() - before
    busiest = max(now - of_each.get(pid, 0.0) for pid, now in proxy.worker_seconds().items())
    result = json.loads(done.stdout.strip().splitlines()[-1])
    if result["bad"] or not result["requests"]:
        raise Failed(f"{proxy.name}, {kind}: {result['bad']} of {result['requests']} requests failed")
    result["rate"] = result["requests"] / result["seconds"]
    result["cpu_us"] = used / result["requests"] * 1e6
    result["busiest_us"] = busiest / result["requests"] * 1e6
    return result


def small(kind: str, routes: int = 1, tls: bool = False) -> Callable[[Proxy, float], tuple[Sample, ...]]:
    def run(proxy: Proxy, seconds: float) -> tuple[Sample, ...]:
        found = wrk(proxy, seconds, kind, connections=64, routes=routes, tls=tls)
        return Sample(found["rate"], found["cpu_us"]), Sample(found["p99_ms"])

    return run


def latency(proxy: Proxy, seconds: float) -> tuple[Sample, ...]:
    found = wrk(proxy, seconds, "small", connections=1)
    return (Sample(found["p50_ms"] * 1000, found["cpu_us"]),)


def bodies(kind: str) -> Callable[[Proxy, float], tuple[Sample, ...]]:
    def run(proxy: Proxy, seconds: float) -> tuple[Sample, ...]:
        found = wrk(proxy, seconds, kind, connections=4)
        return (Sample(found["rate"] * 10, found["cpu_us"]),)

    return run


def echo(proxy: Proxy, seconds: float) -> tuple[Sample, ...]:
    command = ["taskset", "-c", LOAD_CPU, str(built("websockets")), str(proxy.port), "32", str(seconds), "64"]
    before = proxy.cpu_seconds()
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    rate = float(done.stdout.split()[0])
    return (Sample(rate, (proxy.cpu_seconds() - before) / (rate * seconds) * 1e6),)


def one_user(port: int) -> dict[str, object]:
    """A route as JupyterHub sets it."""
    target = f"http://127.0.0.1:{port}"
    return {"target": target, "user": "somebody", "server_name": "", "jupyterhub": True}


def fill(proxy: Proxy, count: int, upstream: int) -> None:
    """So many users' routes; through whatever is quickest."""
    if proxy.name == "perijove":
        proxy.api(
            "PUT", body={"/": one_user(upstream)} | {f"/user/u{n}": one_user(upstream) for n in range(1, count + 1)}
        )
    elif proxy.api_port:
        asyncio.run(add(proxy, count, upstream))


async def add(proxy: Proxy, count: int, upstream: int) -> float:
    """One by one over 32 connections, as a hub with its semaphore wide open would; the seconds it took."""
    body = json.dumps(one_user(upstream)).encode()
    numbers = iter(range(1, count + 1))

    async def work() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.api_port)
        for number in numbers:
            head = f"POST /api/routes/user/u{number} HTTP/1.1\r\nHost: h\r\nAuthorization: token {TOKEN}\r\n"
            writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
            line = await reader.readuntil(b"\r\n\r\n")
            if b" 201 " not in line[:20]:
                raise SystemExit(f"{proxy.name}: adding a route: {line[:60]!r}")
            if b"chunked" in line.lower():
                await reader.readuntil(b"0\r\n\r\n")
        writer.close()

    began = time.perf_counter()
    await asyncio.gather(*(work() for _ in range(32)))
    return time.perf_counter() - began


_P99 = Row("p99 at 64 connections", "ms", 3.33, more_is_better=False)
MEASURES = (
    Measure("small", (Row("small responses, 1 route", "requests/s", 4, 0.6), _P99), small("small")),
    Measure("browser", (Row("browser-like heads with 1 KB of cookies", "requests/s", 3.5, 0.5),), small("browser")),
    Measure("varied", (Row("browser-like heads, no two alike", "requests/s", 3.5, 0.5),), small("varied")),
    Measure("latency", (Row("1 connection, median", "us", 1, more_is_better=False),), latency),
    Measure("download", (Row("10 MB downloads, 4 connections", "MB/s", 3),), bodies("download")),
    Measure("upload", (Row("10 MB uploads, 4 connections", "MB/s", 2.5),), bodies("upload")),
    Measure("echo", (Row("websocket echo, 32 connections", "round trips/s", 1.3, 0.9),), echo),
    Measure("tls", (Row("small responses over TLS", "requests/s", 3.5),), small("small", tls=True), tls=True),
    Measure("5k", (Row("small responses, 5,000 routes", "requests/s", 4, 0.6),), small("small", 5000), routes=5000),
    Measure(
        "100k", (Row("small responses, 100,000 routes", "requests/s", 4, 0.6),), small("small", 100_000), routes=100_000
    ),
)
ROUTES = (
    Row("routes added one by one, 32 connections", "routes/s", 1),
    Row("5,000 routes in bulk", "s", 5, more_is_better=False),
    Row("memory with 5,000 routes", "MB", 1.67, more_is_better=False),
    Row("memory per idle websocket, 5,000 open", "kB", 2.86, more_is_better=False),
)
WORKERS = Row("two workers, requests a processor second of the busiest", "requests/s", 1.7)
