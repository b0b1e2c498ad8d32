"""What every test gets: nothing of the person's own environment, and loops that close."""

import os
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import pytest

from perijove.testing.databases import DatabaseMissing, DatabaseServer, MariaDB, PostgreSQL

# Settings of a person or of a surrounding hub that would change what is tested.
_FOREIGN = ("JUPYTERHUB_", "JUPYTER_", "PERIJOVE_", "CONFIGPROXY_")


@pytest.fixture(autouse=True, scope="session")
def plain_environment() -> Iterator[None]:
    """Tests see no configuration that came with the shell."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith(_FOREIGN)]:
            patch.delenv(name)
        yield


@pytest.fixture(scope="session")
def singleuser5() -> Path:
    """`jupyterhub-singleuser` of JupyterHub 5, from its own environment."""
    path = Path(__file__).parents[1] / "build" / "singleuser5" / "bin" / "jupyterhub-singleuser"
    assert path.exists(), "make build/singleuser5/.stamp installs it, as `make test` does"
    return path


@pytest.fixture(scope="session")
def postgres() -> Iterator[DatabaseServer]:
    """A PostgreSQL for all tests of the session: take a database from it, and leave the server in peace."""
    yield from _server(PostgreSQL)


@pytest.fixture(scope="session")
def mariadb() -> Iterator[DatabaseServer]:
    """A MariaDB for all tests of the session, likewise."""
    yield from _server(MariaDB)


@pytest.fixture(scope="module", params=[PostgreSQL, MariaDB], ids=["postgres", "mariadb"])
def own_server(request: pytest.FixtureRequest) -> Iterator[DatabaseServer]:
    """One for the module alone, of each kind in turn: it may be killed, frozen and filled, and is left running."""
    yield from _server(request.param)


def _server(kind: type[DatabaseServer]) -> Iterator[DatabaseServer]:
    try:
        server = kind()
    except DatabaseMissing as missing:
        pytest.skip(f"{missing}; scripts/system-packages test installs it")
    with server:
        yield server


@pytest.fixture(params=["sqlite", "postgres", "mariadb"])
def new_database(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], str]:
    """Makes an empty database and returns its URL; the test runs with each kind in turn."""
    if request.param == "sqlite":
        numbers = count()
        return lambda: f"sqlite:///{tmp_path}/hub-{next(numbers)}.sqlite"
    server: DatabaseServer = request.getfixturevalue(request.param)
    return server.create_database


@pytest.fixture
def database(new_database: Callable[[], str]) -> str:
    """The URL of an empty database, of each kind in turn."""
    return new_database()
