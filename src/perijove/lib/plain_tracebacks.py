"""Import this first where memory counts: structlog without rich, and what else paints tracebacks if it can.

structlog paints with rich, and mako, which alembic brings along, with pygments, where they find them: five megabytes
in every hub and proxy, for nothing in a log. They look once, when they are imported; afterwards both are as
importable as before, and as loaded. Where structlog is loaded already, importing this changes nothing.
"""

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["load_mako", "structlog"]


@contextmanager
def _absent(name: str) -> Iterator[None]:
    """Importing this package fails in the block."""
    loaded = sys.modules.get(name)
    sys.modules[name] = None  # type: ignore[assignment]  # how an import is made to fail
    try:
        yield
    finally:
        if loaded is None:
            del sys.modules[name]
        else:
            sys.modules[name] = loaded


with _absent("rich"):
    import structlog


def load_mako() -> None:
    """For processes that will load it anyhow."""
    with _absent("pygments"):
        importlib.import_module("mako.exceptions")
