"""Clusters on each kind of database, and a record of what was promised and kept.

`@pytest.mark.promise(who, event, step)` says which cell of the failure matrix a test fills: what happens to whom,
in the middle of what. `pytest tests/replicas --record-promises FILE` writes which of them were kept, for
`scripts/replica-matrix`, which makes the page about replicas of it.
"""

import itertools
import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from perijove.testing.replicas import Cluster, run_cluster
from perijove.testing.simulated_world import World, run_world

_numbers = itertools.count(1)
_kept: dict[str, dict[str, Any]] = {}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--record-promises", metavar="FILE", help="Write which promises of the failure matrix were kept.")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        for mark in item.iter_markers("promise"):
            who, event, step = mark.args
            promised = {"who": who, "event": event, "step": step}
            item.user_properties.append(("promise", promised))
        item.user_properties.append(("database", _database(item)))
        item.user_properties.append(("holds", _sentence(item)))


def _sentence(item: pytest.Item) -> str:
    """What the test says in its first line, or else in its name."""
    assert isinstance(item, pytest.Function)
    if item.function.__doc__:
        return str(item.function.__doc__).strip().partition("\n")[0]
    words = item.originalname.removeprefix("test_").replace("_", " ")
    return f"{words[0].upper()}{words[1:]}."


def _database(item: pytest.Item) -> str:
    """By the test's parameters, its mark, or its module."""
    parameters = item.nodeid.partition("[")[2]
    told = [mark.kwargs["database"] for mark in item.iter_markers("promise") if "database" in mark.kwargs]
    by_name = [name for name in ("sqlite", "postgres", "mariadb") if name in parameters]
    return str([*by_name, *told, getattr(item.module, "DATABASE", "")][0])


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    _note(report.nodeid, report.user_properties, report.outcome)


def pytest_collection_finish(session: pytest.Session) -> None:
    """With --collect-only the promises are written as they stand."""
    if session.config.option.collectonly:
        for item in session.items:
            _note(item.nodeid, item.user_properties, "collected")


def _note(nodeid: str, properties: list[tuple[str, Any]], outcome: str) -> None:
    promises = [value for name, value in properties if name == "promise"]
    if promises:
        entry = _kept.setdefault(nodeid, {"promises": promises, "outcome": outcome})
        entry |= {name: value for name, value in properties if name != "promise"}
        if outcome != "passed":
            entry["outcome"] = outcome


def pytest_sessionfinish(session: pytest.Session) -> None:
    path = session.config.getoption("record_promises", None)
    if path and not hasattr(session.config, "workerinput"):
        Path(path).write_text(json.dumps(_kept, indent=1, sort_keys=True) + "\n", encoding="utf-8")


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with run_world() as world:
        yield world


@pytest.fixture(scope="module")
def new_cluster(
    tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest, world: World
) -> Iterator[Callable[..., Cluster]]:
    """`new_cluster("postgres", config, hubs=2, …)`: it lives until the next is made, or the module ends."""
    with ExitStack() as stack:

        def make(database: str, config: Any = None, **options: Any) -> Cluster:
            if database not in {"", "sqlite"} and "://" not in database:
                database = request.getfixturevalue(database).create_database()
            stack.close()
            directory = tmp_path_factory.mktemp("cluster")
            url = "" if database == "sqlite" else database
            return stack.enter_context(run_cluster(directory, config, database=url, world=world, **options))

        yield make


@pytest.fixture
async def cluster(shared: Cluster) -> Cluster:
    """The module's, as it is to be at the beginning of a test."""
    await shared.ready()
    assert shared.world is not None
    shared.world.behave()
    return shared


@pytest.fixture
def name() -> str:
    """Of a user, or of several with something behind it; no other test's."""
    return f"ada{next(_numbers)}"


@pytest.fixture(params=["sqlite", "postgres", "mariadb"], scope="module")
def each_database(request: pytest.FixtureRequest) -> str:
    return str(request.param)
