"""From exec to the first answer: with nobody in the database, and with so many that it should not matter."""

import shutil
import sys
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from bench import load, report, rig
from bench.measures import Row
from bench.rig import Hub
from bench.stores import Store

LARGER = 10
FASTER = 1 / 0.35
EMPTY = Row("cold start, empty database", "s", 1.25, more_is_better=False)
FULL = Row("start with 10,000 users and 1,000 running servers", "s", FASTER, more_is_better=False)
LARGE = Row("start with 100,000 users and 1,000 running servers", "s", FASTER, more_is_better=False)
# One is flat; a tenth is what rounds of one size differ by.
FLAT = Row("start with 100,000 users, beside our own with 10,000", "s", 0.9, more_is_better=False)
ROWS = (EMPTY, FULL, LARGE, FLAT)
MAKERS = {"perijove": rig.ours, "jupyterhub": rig.peer}


@dataclass(frozen=True)
class Case:
    row: Row
    name: str
    start: Callable[[], float]


def measured(store: Store, place: Path, users: list[str], servers: int, rounds: int) -> list[report.Result]:
    """All sizes of both hubs in turn, so that whatever else the machine does falls on each of them."""
    taken: dict[tuple[str, Row], list[float]] = {}
    with ExitStack() as stack:
        cases = []
        for name in MAKERS:
            cases.append(Case(EMPTY, name, lambda name=name: _cold(store, name, place / name)))
            for row, hub in zip((FULL, LARGE), _populated(store, name, place, users, servers), strict=True):
                stack.callback(hub.close)
                cases.append(Case(row, name, lambda hub=hub: _again(hub)))
        for number in range(rounds):
            for case in cases if number % 2 == 0 else reversed(cases):
                seconds = case.start()
                taken.setdefault((case.name, case.row), []).append(seconds)
                print(f"start {number + 1}/{rounds} {case.name}, {case.row.name}: {seconds:.3g} s", file=sys.stderr)
    peer = f"JupyterHub {rig.peer_version()}"
    beside = [
        report.result(row, taken["perijove", row], taken["jupyterhub", row], peer, store.name)
        for row in (EMPTY, FULL, LARGE)
    ]
    flat = report.result(FLAT, taken["perijove", LARGE], taken["perijove", FULL], "10,000 users", store.name)
    return [*beside, flat]


def _cold(store: Store, name: str, directory: Path) -> float:
    shutil.rmtree(directory, ignore_errors=True)
    hub = MAKERS[name](directory, store.new_url())
    try:
        hub.start()
    finally:
        hub.close()
    return hub.started_after


def _populated(store: Store, name: str, place: Path, users: list[str], servers: int) -> tuple[Hub, Hub]:
    """Both stopped. Those without a server have never been here, but for their rows."""
    hub = MAKERS[name](place / f"{name}-full", store.new_url())
    try:
        hub.start()
        load.populate(hub, users[:servers], servers)
    finally:
        hub.close()
    directory = place / f"{name}-large"
    large = MAKERS[name](directory, store.twin_url(hub, directory))
    store.add_crowd(hub, len(users) - servers)
    store.add_crowd(large, len(users) * LARGER - servers)
    return hub, large


def _again(hub: Hub) -> float:
    hub.start()
    hub.stop()
    return hub.started_after
