"""`make bench-proxy`: our proxy beside configurable-http-proxy, with nginx and haproxy as the limit.

Each is pinned to one processor, upstream and load generator to the other; rounds go round, so that whatever else
the machine does falls on all. Beside wall rates stands what a request costs the proxy's processor: that does not
depend on who else is busy.
"""

import asyncio
import os
import subprocess
import sys
import tempfile
import time
from argparse import ArgumentDefaultsHelpFormatter, ArgumentParser, Namespace
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from bench import rig as hub_rig
from bench.proxy import measures, report, rig
from bench.proxy.measures import MEASURES, ROUTES, WORKERS, Measure, Sample, fill, one_user
from bench.proxy.rig import Proxy

FEW_ROUTES = 5000
IDLE = 5000
CONNECTIONS = 256
KEYS = [*(measure.key for measure in MEASURES), "routes", "workers"]
Taken = dict[str, list[tuple[Sample, ...]]]


def arguments() -> Namespace:
    parser = ArgumentParser(
        prog="python -m bench.proxy", description=__doc__, formatter_class=ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5, help="rounds of each measure")
    parser.add_argument("--seconds", type=float, default=2, help="length of a round")
    parser.add_argument("--only", action="append", choices=KEYS)
    parser.add_argument("--out", type=Path, default=hub_rig.HERE / "results" / "latest.json")
    return parser.parse_args()


def rounds(measure: Measure, proxies: list[Proxy], options: Namespace) -> Taken:
    taken: Taken = {proxy.name: [] for proxy in proxies}
    for proxy in proxies:
        # Warm caches, pools and just-in-time compilers.
        measure.run(proxy, 1)
    for number in range(options.rounds):
        for proxy in proxies if number % 2 == 0 else reversed(proxies):
            try:
                samples = measure.run(proxy, options.seconds)
            except measures.Failed as error:
                print(f"{measure.key} {number + 1}/{options.rounds}: left out: {error}", file=sys.stderr)
                continue
            taken[proxy.name].append(samples)
            shown = ", ".join(f"{s.value:,.4g}" + (f" ({s.cpu_us:.1f} us)" if s.cpu_us else "") for s in samples)
            print(f"{measure.key} {number + 1}/{options.rounds} {proxy.name}: {shown}", file=sys.stderr)
    return taken


def data_plane(options: Namespace, wanted: list[str], place: Path, upstream: int) -> list[report.Line]:
    lines: list[report.Line] = []
    for tls in (False, True):
        chosen = [measure for measure in MEASURES if measure.key in wanted and measure.tls is tls]
        if not chosen:
            continue
        certificate = rig.certificate(place) if tls else None
        with ExitStack() as stack:
            proxies = [
                rig.ours(certificate),
                rig.chp(certificate),
                rig.nginx(upstream, place / f"nginx-{tls}", certificate),
                rig.haproxy(upstream, place / f"haproxy-{tls}", certificate),
            ]
            for proxy in proxies:
                stack.callback(proxy.stop)
            filled = 0
            for measure in chosen:
                if measure.routes != filled:
                    filled = measure.routes
                    for proxy in proxies:
                        fill(proxy, filled, upstream)
                taken = rounds(measure, proxies, options)
                if not taken["perijove"] or not taken["chp"]:
                    print(f"{measure.key}: no round succeeded", file=sys.stderr)
                    continue
                lines += [
                    report.line(
                        row, {name: [samples[index] for samples in found] for name, found in taken.items() if found}
                    )
                    for index, row in enumerate(measure.rows)
                ]
    return lines


def control_plane(options: Namespace, upstream: int) -> list[report.Line]:
    """Routes by the API, and memory, of processes that do nothing else."""
    taken: dict[str, list[list[float]]] = {}
    for number in range(min(3, options.rounds)):
        makers: list[Callable[[], Proxy]] = [rig.ours, rig.chp]
        for make in makers if number % 2 == 0 else reversed(makers):
            proxy = make()
            try:
                seconds = asyncio.run(measures.add(proxy, FEW_ROUTES, upstream))
                memory = proxy.rss_kb()
                bulk = bulk_seconds(proxy, upstream) if proxy.name == "perijove" else seconds
                idle = memory_per_websocket(proxy)
            finally:
                proxy.stop()
            values = [FEW_ROUTES / seconds, bulk, memory / 1000, idle]
            taken.setdefault(proxy.name, []).append(values)
            print(f"routes {number + 1} {proxy.name}: {[round(value, 3) for value in values]}", file=sys.stderr)
    return [
        report.line(row, {name: [Sample(values[index]) for values in found] for name, found in taken.items()})
        for index, row in enumerate(ROUTES)
    ]


def bulk_seconds(proxy: Proxy, upstream: int) -> float:
    body = {f"/user/u{number}": one_user(upstream) for number in range(FEW_ROUTES)}
    began = time.perf_counter()
    proxy.api("PUT", body=body)
    return time.perf_counter() - began


def memory_per_websocket(proxy: Proxy) -> float:
    """kB, while so many say nothing."""
    before = proxy.rss_kb()
    command = ["taskset", "-c", hub_rig.LOAD_CPU, str(rig.built("websockets")), str(proxy.port), str(IDLE), "0", "64"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        if process.stdout.readline() != b"open\n":
            raise SystemExit(f"{proxy.name} did not open {IDLE} websockets")
        return (proxy.rss_kb() - before) / IDLE
    finally:
        process.kill()
        process.wait()


def workers(options: Namespace, upstream: int) -> list[report.Line]:
    """How much more two workers can do than one, on two processors that the load generator needs as well.

    It would take most of the second one, so a rate says nothing. What limits workers is the one of them that is busy
    first: requests served by all for each second of *its* processor time. That counts both what sharing costs and how
    unevenly the kernel deals out connections (SO_REUSEPORT hashes them, so there are as many as a small hub has).
    Everything may run on both processors, for one worker as for two: else one would pay for waking the load generator
    on another processor, and two would not.
    """
    taken: dict[str, list[Sample]] = {"perijove": [], "chp": []}
    one, two = rig.ours(cpus="0,1"), rig.ours(workers=2, cpus="0,1")
    os.sched_setaffinity(0, {0, 1})
    try:
        for proxy in (one, two):
            fill(proxy, 1, upstream)
            measures.wrk(proxy, 1, "small", connections=CONNECTIONS, pinned=False)
        for number in range(options.rounds):
            for name, proxy in (("chp", one), ("perijove", two)) if number % 2 else (("perijove", two), ("chp", one)):
                found = measures.wrk(proxy, options.seconds, "small", connections=CONNECTIONS, pinned=False)
                taken[name].append(Sample(1e6 / found["busiest_us"], found["cpu_us"]))
                share = found["busiest_us"] / found["cpu_us"]
                shown = f"{found['cpu_us']:.1f} us a request, {share:.0%} of it the busiest worker's"
                print(f"workers {number + 1} {'one' if name == 'chp' else 'two'}: {shown}", file=sys.stderr)
    finally:
        one.stop()
        two.stop()
    return [report.line(WORKERS, taken, peer="one worker")]


def main() -> int:
    options = arguments()
    os.sched_setaffinity(0, {int(hub_rig.LOAD_CPU)})
    wanted = options.only or KEYS
    with tempfile.TemporaryDirectory(prefix="perijove-bench-") as temporary, rig.upstream() as upstream:
        parts: list[Callable[[], list[report.Line]]] = [
            lambda: data_plane(options, wanted, Path(temporary), upstream),
            *([lambda: control_plane(options, upstream)] if "routes" in wanted else []),
            *([lambda: workers(options, upstream)] if "workers" in wanted else []),
        ]
        lines: list[report.Line] = []
        for part in parts:
            found = part()
            # At once: what comes later may fail.
            report.write(found, options.out)
            lines += found
    report.show(lines)
    return 0


if __name__ == "__main__":
    sys.exit(main())
