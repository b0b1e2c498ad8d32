"""Import this first where memory counts: structlog without rich.

structlog paints tracebacks with rich where it finds it: five megabytes in every proxy, for nothing in a log. It
looks once, when it is imported; afterwards rich is as importable as before. Where structlog is loaded already,
importing this changes nothing.
"""

import sys

if "structlog" not in sys.modules:
    sys.modules["rich"] = None  # type: ignore[assignment]  # how an import is made to fail
    import structlog  # noqa: F401 - for its look around

    del sys.modules["rich"]
