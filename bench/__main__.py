"""`make bench`: our hub and the peer's, rounds of each in turn, one table at the end.

Rounds alternate so that whatever else the machine does falls on both. The users are made the same
way on both, through the REST API. The peer's database is kept between runs, because making it
takes a minute; ours is made anew, because its schema may have changed.
"""

import asyncio
import os
import shutil
import sys
import tempfile
from argparse import ArgumentDefaultsHelpFormatter, ArgumentParser, Namespace
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from bench import load, report, rig
from bench.measures import BATCH, COLD_START, MEASURES, Bench, Measure
from bench.rig import Hub
from perijove.testing.databases import PostgreSQL

DATABASES = ("sqlite", "postgresql")
# What depends on the database; the rest is measured on SQLite alone.
STORED = {"user", "page", "login", "tokens", "activity", "listing", "storm", "restart", "create"}


def arguments() -> Namespace:
    parser = ArgumentParser(prog="python -m bench", description=__doc__, formatter_class=ArgumentDefaultsHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="rounds of each measure")
    parser.add_argument("--seconds", type=float, default=4, help="length of a round")
    parser.add_argument("--users", type=int, default=10_000, help="users in the databases")
    parser.add_argument("--servers", type=int, default=1000, help="of these, users with a running server")
    parser.add_argument("--database", action="append", choices=DATABASES, help="default: all of them, one by one")
    parser.add_argument("--only", action="append", choices=[m.key for m in (COLD_START, *MEASURES)])
    parser.add_argument("--out", type=Path, default=rig.HERE / "results" / "latest.json")
    parser.add_argument("--peer-only", action="store_true", help="show the peer's numbers and stop")
    return parser.parse_args()


def populate(hub: Hub, users: list[str], servers: int) -> None:
    for start in range(0, len(users), BATCH):
        hub.call("POST", "/users", {"usernames": users[start : start + BATCH]})
    asyncio.run(load.start_servers(hub.port, users[:servers], token=hub.token))


def start_peer(directory: Path, users: list[str], servers: int, database: str) -> Hub:
    """The peer with its users, from the copy of an earlier run where there is one."""
    hub = rig.peer(directory, database)
    kept = rig.cache_dir() / f"jupyterhub-{rig.peer_version()}-{len(users)}-{servers}.sqlite"
    file = directory / rig.PEER_DATABASE
    directory.mkdir(parents=True, exist_ok=True)
    if kept.exists() and not database:
        shutil.copy(kept, file)
        hub.start()
        return hub
    hub.start()
    populate(hub, users, servers)
    # Stopped for the copy, and because a hub that has just made its users is not what is compared.
    hub.stop()
    if not database:
        shutil.copy(file, kept)
    hub.start()
    return hub


def start_ours(directory: Path, users: list[str], servers: int, database: str) -> Hub:
    hub = rig.ours(directory, database)
    hub.start()
    populate(hub, users, servers)
    hub.stop()
    hub.start()
    return hub


def rounds(measure: Measure, bench: Bench, hubs: list[Hub], count: int) -> dict[str, list[tuple[float, ...]]]:
    taken: dict[str, list[tuple[float, ...]]] = {hub.name: [] for hub in hubs}
    for number in range(count):
        for hub in hubs if number % 2 == 0 else reversed(hubs):
            values = measure.run(bench, hub)
            taken[hub.name].append(values)
            shown = ", ".join(f"{value:.4g} {row.unit}" for value, row in zip(values, measure.rows, strict=True))
            print(f"{measure.key} {number + 1}/{count} {hub.name}: {shown}", file=sys.stderr)
    return taken


def collect(measure: Measure, taken: dict[str, list[tuple[float, ...]]], database: str) -> list[report.Result]:
    peer_name = f"JupyterHub {rig.peer_version()}"
    return [
        report.result(
            row,
            [values[index] for values in taken["perijove"]],
            [values[index] for values in taken["jupyterhub"]],
            peer_name,
            database,
        )
        for index, row in enumerate(measure.rows)
        if "perijove" in taken
    ]


@contextmanager
def urls(database: str) -> Iterator[Callable[[], str]]:
    """What makes an empty database, as its URL; "" for SQLite, which needs none."""
    if database == "sqlite":
        yield lambda: ""
        return
    # Beside the load, as the proxies, since children run where their parent does. It does not wait for the disk,
    # which is in favour of whoever commits more often.
    with PostgreSQL() as server:
        yield server.create_database


def measured(options: Namespace, database: str, base: Path) -> list[report.Result]:
    """All that is wanted, on one kind of database."""
    wanted = [m for m in (COLD_START, *MEASURES) if not options.only or m.key in options.only]
    wanted = [m for m in wanted if database == "sqlite" or m.key in STORED]
    users = [f"user{number:05}" for number in range(options.users)]
    bench = Bench(users, options.servers, options.seconds)
    results: list[report.Result] = []
    hubs: list[Hub] = []
    with urls(database) as new_url:
        try:
            if COLD_START in wanted:
                hubs += (
                    [rig.peer(base / "cold-peer")]
                    if options.peer_only
                    else [rig.ours(base / "cold"), rig.peer(base / "cold-peer")]
                )
                results += collect(COLD_START, rounds(COLD_START, bench, hubs, options.rounds), database)
                while hubs:
                    hubs.pop().close()
            hubs.append(start_peer(base / "peer", users, options.servers, new_url()))
            if not options.peer_only:
                hubs.insert(0, start_ours(base / "ours", users, options.servers, new_url()))
            for hub in hubs:
                hub.settle()
            for measure in wanted:
                if measure is not COLD_START:
                    taken = rounds(measure, bench, hubs, min(options.rounds, measure.at_most))
                    results += collect(measure, taken, database)
        finally:
            for hub in hubs:
                hub.close()
    return results


def main() -> int:
    options = arguments()
    os.sched_setaffinity(0, {int(rig.LOAD_CPU)})
    results: list[report.Result] = []
    for database in options.database or DATABASES:
        with rig.stub(), tempfile.TemporaryDirectory(prefix="perijove-bench-") as temporary:
            results += measured(options, database, Path(temporary))
    if results:
        report.show(results)
        report.write(results, options.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
