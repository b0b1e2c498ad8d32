"""What every test gets: nothing of the person's own environment, and loops that close."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

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
