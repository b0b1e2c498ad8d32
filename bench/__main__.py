"""`make bench`: our hub and the peer's, rounds of each in turn, one table at the end.

Rounds alternate so that whatever else the machine does falls on both. The users are made the same
way on both, through the REST API. The peer's database is kept between runs, because making it
takes a minute; ours is made anew, because its schema may have changed.
"""

import os
import shutil
import signal
import statistics
import sys
import tempfile
import time
from argparse import ArgumentDefaultsHelpFormatter, ArgumentParser, Namespace
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from bench import interruption, load, report, rig, startup, two_hubs
from bench.measures import MEASURES, STORM, Bench, Measure
from bench.rig import Hub
from bench.stores import SQLite, Store, store

DATABASES = ("sqlite", "postgresql")
START, TWO_HUBS, INTERRUPTION = "start", "two-hubs", "interruption"
KEYS = (START, *(measure.key for measure in MEASURES), TWO_HUBS, INTERRUPTION)
# What depends on nothing that the database does is measured on SQLite alone.
STORED = set(KEYS) - {"health"}


def arguments() -> Namespace:
    parser = ArgumentParser(prog="python -m bench", description=__doc__, formatter_class=ArgumentDefaultsHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="rounds of each measure")
    parser.add_argument("--seconds", type=float, default=4, help="length of a round")
    parser.add_argument("--users", type=int, default=10_000, help="users in the databases")
    parser.add_argument("--servers", type=int, default=1000, help="of these, users with a running server")
    parser.add_argument("--database", action="append", choices=DATABASES, help="default: all of them, one by one")
    parser.add_argument("--only", action="append", choices=KEYS, help="may be given several times")
    parser.add_argument("--out", type=Path, default=rig.HERE / "results" / "latest.json")
    return parser.parse_args()


def start_peer(directory: Path, users: list[str], servers: int, place: Store) -> Hub:
    """The peer with its users, from the copy of an earlier run where there is one."""
    hub = rig.peer(directory, place.new_url())
    kept = rig.cache_dir() / f"jupyterhub-{rig.peer_version()}-{len(users)}-{servers}.sqlite"
    keeps = place.name == SQLite.name
    directory.mkdir(parents=True, exist_ok=True)
    if keeps and kept.exists():
        shutil.copy(kept, hub.file)
        hub.start()
        return hub
    hub.start()
    load.populate(hub, users, servers)
    # Stopped for the copy, and because a hub that has just made its users is not what is compared.
    hub.stop()
    if keeps:
        shutil.copy(hub.file, kept)
    hub.start()
    return hub


def start_ours(directory: Path, users: list[str], servers: int, place: Store) -> Hub:
    hub = rig.ours(directory, place.new_url())
    hub.start()
    load.populate(hub, users, servers)
    hub.stop()
    hub.start()
    return hub


@dataclass
class Taken:
    """Of one hub, round by round."""

    values: list[tuple[float, ...]] = field(default_factory=list)
    # How much of its processor the hub used. Where that is not nearly all, something else was the limit: the load,
    # the database, the proxy.
    busy: list[float] = field(default_factory=list)


def rounds(measure: Measure, bench: Bench, hubs: list[Hub], count: int) -> dict[str, Taken]:
    taken = {hub.name: Taken() for hub in hubs}
    for number in range(count):
        for hub in hubs if number % 2 == 0 else reversed(hubs):
            with hub.alone(*(other for other in hubs if other is not hub)):
                pid, before, began = hub.process.pid, rig.processor_seconds(hub.process.pid), time.perf_counter()
                values = measure.run(bench, hub)
            taken[hub.name].values.append(values)
            shown = ", ".join(f"{value:.4g} {row.unit}" for value, row in zip(values, measure.rows, strict=True))
            # A measure may start it again.
            if hub.process.pid == pid:
                busy = (rig.processor_seconds(pid) - before) / (time.perf_counter() - began)
                taken[hub.name].busy.append(busy)
                shown += f" (hub {busy:.0%} busy)"
            print(f"{measure.key} {number + 1}/{count} {hub.name}: {shown}", file=sys.stderr)
    return taken


def collect(measure: Measure, taken: dict[str, Taken], database: str) -> list[report.Result]:
    peer_name = f"JupyterHub {rig.peer_version()}"
    ours, peer = taken["perijove"], taken["jupyterhub"]
    busy = {
        f"processor of {name}'s hub": round(statistics.median(found.busy), 2)
        for name, found in (("Perijove", ours), ("JupyterHub", peer))
        if found.busy
    }
    return [
        report.result(
            row,
            [values[index] for values in ours.values],
            [values[index] for values in peer.values],
            peer_name,
            database,
            beside=busy,
        )
        for index, row in enumerate(measure.rows)
    ]


def beside(
    options: Namespace, wanted: set[str], place: Store, users: list[str], base: Path
) -> Iterator[list[report.Result]]:
    """What is asked of two hubs that run and hold the same users."""
    measures = [measure for measure in MEASURES if measure.key in wanted]
    if not measures:
        return
    bench = Bench(users, options.servers, options.seconds)
    hubs: list[Hub] = []
    try:
        hubs.append(start_ours(base / "ours", users, options.servers, place))
        hubs.append(start_peer(base / "peer", users, options.servers, place))
        for hub in hubs:
            hub.settle()
        for measure in measures:
            taken = rounds(measure, bench, hubs, min(options.rounds, measure.at_most))
            yield collect(measure, taken, place.name)
    finally:
        for hub in hubs:
            hub.close()


def measured(options: Namespace, base: Path) -> Iterator[list[report.Result] | list[report.Seen]]:
    """All that is wanted, part by part."""
    wanted = set(options.only or KEYS)
    databases = options.database or DATABASES
    users = [f"user{number:05}" for number in range(options.users)]
    for database in databases:
        here = wanted if database == SQLite.name else wanted & STORED
        with store(database) as place:
            if START in here:
                yield startup.measured(place, base / f"start-{database}", users, options.servers, options.rounds)
            yield from beside(options, here, place, users, base / database)
    if "postgresql" in databases:
        # These are about several hubs, for which it takes a server.
        if INTERRUPTION in wanted:
            yield interruption.measured(base / INTERRUPTION, options.rounds)
        if TWO_HUBS in wanted:
            yield two_hubs.measured(base / TWO_HUBS, users[:STORM], options.seconds, options.rounds)


def main() -> int:
    options = arguments()
    # As Ctrl-C: what was started ends.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    os.sched_setaffinity(0, {int(rig.LOAD_CPU)})
    results: list[report.Result | report.Seen] = []
    with rig.stub(), tempfile.TemporaryDirectory(prefix="perijove-bench-") as temporary:
        for found in measured(options, Path(temporary)):
            # At once: what comes later may fail.
            report.write(found, options.out)
            results += found
    beside_others = [row for row in results if isinstance(row, report.Result)]
    seen = [row for row in results if isinstance(row, report.Seen)]
    if beside_others:
        report.show(beside_others)
    if seen:
        report.show_seen(seen)
    return 0


if __name__ == "__main__":
    sys.exit(main())
