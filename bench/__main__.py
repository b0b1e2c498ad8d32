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
from pathlib import Path

from bench import load, report, rig
from bench.measures import COLD_START, MEASURES, Bench, Measure
from bench.rig import Hub

BATCH = 200


def arguments() -> Namespace:
    parser = ArgumentParser(prog="python -m bench", description=__doc__, formatter_class=ArgumentDefaultsHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="rounds of each measure")
    parser.add_argument("--seconds", type=float, default=4, help="length of a round")
    parser.add_argument("--users", type=int, default=10_000, help="users in the databases")
    parser.add_argument("--servers", type=int, default=1000, help="of these, users with a running server")
    parser.add_argument("--only", action="append", choices=[m.key for m in (COLD_START, *MEASURES)])
    parser.add_argument("--out", type=Path, default=rig.HERE / "results" / "latest.json")
    parser.add_argument("--peer-only", action="store_true", help="show the peer's numbers and stop")
    return parser.parse_args()


def populate(hub: Hub, users: list[str], servers: int) -> None:
    for start in range(0, len(users), BATCH):
        hub.call("POST", "/users", {"usernames": users[start : start + BATCH]})
    asyncio.run(load.start_servers(hub.port, users[:servers], token=hub.token))


def start_peer(directory: Path, users: list[str], servers: int) -> Hub:
    """The peer with its users, from the copy of an earlier run where there is one."""
    hub = rig.peer(directory)
    kept = rig.cache_dir() / f"jupyterhub-{rig.peer_version()}-{len(users)}-{servers}.sqlite"
    database = Path(hub.environment["BENCH_DATABASE"])
    directory.mkdir(parents=True)
    if kept.exists():
        shutil.copy(kept, database)
        hub.start()
        return hub
    hub.start()
    populate(hub, users, servers)
    # Stopped for the copy, and because a hub that has just made its users is not what is compared.
    hub.stop()
    shutil.copy(database, kept)
    hub.start()
    return hub


def start_ours(directory: Path, users: list[str], servers: int) -> Hub:
    hub = rig.ours(directory)
    hub.start()
    populate(hub, users, servers)
    hub.stop()
    hub.start()
    return hub


def user_token(hub: Hub, user: str) -> str:
    return hub.call("POST", f"/users/{user}/tokens", {"note": "bench"})["token"]


def rounds(measure: Measure, bench: Bench, hubs: list[Hub], count: int) -> dict[str, list[tuple[float, ...]]]:
    taken: dict[str, list[tuple[float, ...]]] = {hub.name: [] for hub in hubs}
    for number in range(count):
        for hub in hubs if number % 2 == 0 else reversed(hubs):
            values = measure.run(bench, hub)
            taken[hub.name].append(values)
            shown = ", ".join(f"{value:.4g} {row.unit}" for value, row in zip(values, measure.rows, strict=True))
            print(f"{measure.key} {number + 1}/{count} {hub.name}: {shown}", file=sys.stderr)
    return taken


def collect(measure: Measure, taken: dict[str, list[tuple[float, ...]]], peer_name: str) -> list[report.Result]:
    return [
        report.result(
            row,
            [values[index] for values in taken["perijove"]],
            [values[index] for values in taken["jupyterhub"]],
            peer_name,
        )
        for index, row in enumerate(measure.rows)
        if "perijove" in taken
    ]


def main() -> int:
    options = arguments()
    os.sched_setaffinity(0, {int(rig.LOAD_CPU)})
    wanted = [m for m in (COLD_START, *MEASURES) if not options.only or m.key in options.only]
    users = [f"user{number:05}" for number in range(options.users)]
    peer_name = f"JupyterHub {rig.peer_version()}"
    results: list[report.Result] = []
    hubs: list[Hub] = []
    with rig.stub(), tempfile.TemporaryDirectory(prefix="perijove-bench-") as temporary:
        base = Path(temporary)
        try:
            if COLD_START in wanted:
                pair = [rig.peer(base / "cold-peer")]
                if not options.peer_only:
                    pair.insert(0, rig.ours(base / "cold"))
                nothing = Bench([], {}, options.seconds)
                results += collect(COLD_START, rounds(COLD_START, nothing, pair, options.rounds), peer_name)
            hubs.append(start_peer(base / "peer", users, options.servers))
            if not options.peer_only:
                hubs.insert(0, start_ours(base / "ours", users, options.servers))
            for hub in hubs:
                hub.settle()
            tokens = {hub.name: user_token(hub, users[-1]) for hub in hubs}
            bench = Bench(users, tokens, options.seconds)
            for measure in wanted:
                if measure is not COLD_START:
                    results += collect(measure, rounds(measure, bench, hubs, options.rounds), peer_name)
        finally:
            for hub in hubs:
                hub.stop()
    if results:
        report.show(results)
        report.write(results, options.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
