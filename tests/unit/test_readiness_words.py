"""Which line of a dead server's log goes into the message."""

import pytest

from perijove.reconcile.readiness import telling_line


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        ((), ""),
        (("a", "b", ""), "b"),
        (
            ("[I 1 App] loaded", "[C 2 App] Running as root is not recommended.", "[I 3 App] skipped"),
            "[C 2 App] Running as root is not recommended.",
        ),
        (("Traceback:", "ModuleNotFoundError: No module named 'x'", ""), "ModuleNotFoundError: No module named 'x'"),
        (("sh: 1: lab: not found",), "sh: 1: lab: not found"),
        (("Killed", "goodbye"), "Killed"),
    ],
)
def test_the_line_that_sounds_like_the_reason_is_told(lines, told):
    assert telling_line(lines) == told
