"""`python -m bench.scale`: 100,000 users and 10,000 running servers in PostgreSQL, and everything asked for.

Two hubs, as an operator starts them, on one database. Start-up without users and with all; the median of every
page and endpoint; what the hubs do when nobody asks, with all servers being polled at their interval.
"""

import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from argparse import ArgumentDefaultsHelpFormatter, ArgumentParser, Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import Path

import aiohttp
import psutil
from sqlalchemy import func, select, text, update
from sqlalchemy.engine import make_url

from bench.rig import COMMON, HERE
from perijove.cli.listening import free_port
from perijove.store import engines
from perijove.store.schema import servers
from perijove.testing.browser import Browser
from perijove.testing.databases import PostgreSQL
from perijove.testing.hub import write_config
from perijove.testing.replicas import Cluster, run_cluster
from perijove.testing.scale.asking import ADMIN, SCOPES, SERVICE, USER, Ask, everything
from perijove.testing.scale.crowd import statements

TARGET_MS = 100
ASKED, SEEN = "bench.no_spawner.NoSpawner", "bench.scale.seen_spawner.SeenSpawner"


def config(spawner: str) -> dict[str, object]:
    return {
        "hub": {
            "config": {
                "JupyterHub": {"spawner_class": spawner, "authenticate_prometheus": False},
                "NoSpawner": {"options_form": "<input name=size>"},
            },
            "loadRoles": {"testing": {"scopes": SCOPES, "services": ["testing"]}},
        },
        "cull": {"enabled": False},
    }


def arguments() -> Namespace:
    parser = ArgumentParser(
        prog="python -m bench.scale", description=__doc__, formatter_class=ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--users", type=int, default=100_000)
    parser.add_argument("--servers", type=int, default=10_000, help="of these, users with a running server")
    parser.add_argument("--settle", type=float, default=40, help="seconds for the first polls")
    parser.add_argument("--repeat", type=int, default=15, help="requests of each kind")
    parser.add_argument("--idle", type=float, default=90, help="seconds for looking at what idle hubs do")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "scale.json")
    return parser.parse_args()


async def started(cluster: Cluster, slot: int) -> float:
    """Seconds from exec to the first answer."""
    began = time.perf_counter()
    cluster.hubs[slot].start()
    await cluster.hubs[slot].ready()
    return time.perf_counter() - began


def filled(body: object, number: int) -> object:
    return None if body is None else json.loads(json.dumps(body).replace("{n}", str(number)))


async def ask(session: aiohttp.ClientSession, cluster: Cluster, what: Ask, number: int) -> float:
    path = what.path.format(n=number, user=f"user{number + 1:06}", idle=f"user{90_000 + number:06}")
    began = time.perf_counter()
    async with session.request(
        what.method, f"{cluster.hubs[0].url}{path}", json=filled(what.body, number), allow_redirects=False
    ) as response:
        body = await response.read()
    took = time.perf_counter() - began
    if response.status >= HTTPStatus.MULTIPLE_CHOICES:
        raise SystemExit(f"{what.method} {path} answered {response.status}: {body[:300]!r}")
    return took * 1000


def processor_ms(process: psutil.Process) -> float:
    """Of all its threads and children: what a request costs whatever else the machine does meanwhile."""
    used = 0
    for each in (process, *process.children(recursive=True)):
        for file in Path(f"/proc/{each.pid}/task").glob("*/schedstat"):
            used += int(file.read_text().split()[0])
    return used / 1e6


async def measured(cluster: Cluster, database: psutil.Process, options: Namespace) -> list[dict[str, object]]:
    hub = cluster.hubs[0]
    processes = [psutil.Process(hub.process.pid), database]
    sessions = {
        "nobody": aiohttp.ClientSession(),
        SERVICE: aiohttp.ClientSession(headers={"Authorization": f"token {cluster.token}"}),
    }
    browsers = {USER: Browser(hub.url), ADMIN: Browser(hub.url)}
    await browsers[USER].log_in(f"user{options.users:06}", path="hub/login?next=/hub/home")
    await browsers[ADMIN].log_in("admin", path="hub/login?next=/hub/home")
    sessions |= {who: browser.session for who, browser in browsers.items()}
    rows = []
    for what in everything(options.users):
        await ask(sessions[what.who], cluster, what, options.repeat)
        before = [processor_ms(process) for process in processes]
        took = [await ask(sessions[what.who], cluster, what, number) for number in range(options.repeat)]
        used = [(processor_ms(process) - was) / options.repeat for process, was in zip(processes, before, strict=True)]
        row = {
            "who": what.who,
            "what": what.name,
            "median_ms": round(statistics.median(took), 1),
            "slowest_ms": round(max(took), 1),
            "hub_processor_ms": round(used[0], 1),
            "database_processor_ms": round(used[1], 1),
            "whole": what.whole,
        }
        rows.append(row)
        print(row, file=sys.stderr)
    for session in sessions.values():
        await session.close()
    return rows


async def idle(cluster: Cluster, options: Namespace) -> dict[str, float]:
    """What each hub and the database use, and how many servers were polled meanwhile."""
    hubs = [psutil.Process(hub.process.pid) for hub in cluster.hubs]
    used = lambda: [sum(hub.cpu_times()[:2]) for hub in hubs]  # noqa: E731
    epochs = select(func.sum(servers.c.lease_epoch))
    before, polls, writes, began = (
        used(),
        (await cluster.rows(epochs))[0][0],
        await commits(cluster),
        time.perf_counter(),
    )
    await asyncio.sleep(options.idle)
    seconds = time.perf_counter() - began
    return {
        "seconds": round(seconds, 1),
        "cpu_percent": [round((after - was) / seconds * 100, 2) for after, was in zip(used(), before, strict=True)],
        "polls_per_second": round(((await cluster.rows(epochs))[0][0] - polls) / seconds, 1),
        "transactions_per_second": round((await commits(cluster) - writes) / seconds, 1),
        "memory_mb": [round(hub.memory_info().rss / 2**20) for hub in hubs],
    }


async def commits(cluster: Cluster) -> int:
    return (await cluster.rows(text("SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()")))[0][
        0
    ]


async def restarted(cluster: Cluster, spawner: str) -> float:
    """All hubs again, with this class; the seconds that the first took to answer."""
    write_config(cluster.directory / "config.yaml", config(spawner))
    for hub in cluster.hubs:
        if not hub.ended:
            await hub.stop()
    took = await started(cluster, 0)
    await started(cluster, 1)
    return round(took, 2)


async def fill(cluster: Cluster, options: Namespace, stub_url: str) -> None:
    engine = engines.engine(make_url(cluster.database_url), pool_size=1, writer=False)
    async with engine.connect() as connection:
        # Hubs are more impatient.
        await connection.execute(text("SET statement_timeout = 0"))
        for statement in statements(users=options.users, servers=options.servers, stub=stub_url):
            await connection.execute(statement)
        await connection.commit()
    await engine.dispose()


async def run(cluster: Cluster, database: psutil.Process, options: Namespace, stub_port: int) -> dict[str, object]:
    await started(cluster, 0)  # makes the schema
    found: dict[str, object] = {"users": options.users, "servers": options.servers}
    start_up = found["start_up_seconds"] = {"empty": await restarted(cluster, ASKED)}
    for hub in cluster.hubs:
        await hub.stop()
    await fill(cluster, options, f"http://127.0.0.1:{stub_port}")
    size = text("SELECT pg_database_size(current_database())")
    found["database_mb"] = round((await cluster.rows(size))[0][0] / 2**20)
    start_up["full"] = await restarted(cluster, ASKED)
    await asyncio.sleep(options.settle)
    found["polled one by one"] = await idle(cluster, options)
    print(found, file=sys.stderr)
    await restarted(cluster, SEEN)
    await asyncio.sleep(options.settle)
    found["polled by sight"] = await idle(cluster, options)
    await cluster.execute(update(servers).values(next_poll=text("now() + interval '1 day'")))
    await asyncio.sleep(options.settle / 10)
    found["nothing due"] = await idle(cluster, options)
    print(found, file=sys.stderr)
    found["requests"] = await measured(cluster, database, options)
    found["load_average"] = round(os.getloadavg()[1], 1)
    return found


@contextmanager
def stub() -> Iterator[int]:
    """What stands for all servers; its port."""
    port = free_port()
    process = subprocess.Popen([sys.executable, "-m", "bench.stub", str(port)], cwd=HERE.parent)
    try:
        yield port
    finally:
        process.kill()
        process.wait()


def main() -> int:
    options = arguments()
    with stub() as port, PostgreSQL() as server, tempfile.TemporaryDirectory(prefix="perijove-scale-") as temporary:
        directory = Path(temporary)
        with run_cluster(
            directory, config(ASKED), database=server.create_database(), hubs=2, proxies=0, links=False, start=False
        ) as cluster:
            for hub in cluster.hubs:
                hub.environment = {
                    **hub.environment,
                    **COMMON,
                    "BENCH_STUB_PORT": str(port),
                    "BENCH_SERVERS": str(options.servers),
                }
            found = asyncio.run(run(cluster, server.process, options, port))
    options.out.write_text(json.dumps(found, indent=2) + "\n")
    slow = [row for row in found["requests"] if not row["whole"] and row["median_ms"] > TARGET_MS]
    for row in slow:
        print(f"{row['who']}: {row['what']} takes {row['median_ms']} ms", file=sys.stderr)
    return 1 if slow else 0


if __name__ == "__main__":
    sys.exit(main())
