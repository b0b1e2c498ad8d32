"""Details of a failure with what the server itself wrote at the end: that part is its owner's to read, the rest is not.

One text, because that is what a row, a log and a progress event hold; so both parts are told apart by one line.
"""

from collections.abc import Sequence
from typing import Final

_HEADING: Final = "Last lines of the server's log:"


def with_last_lines(details: str, lines: Sequence[str]) -> str:
    return "\n".join([*([f"{details.rstrip()}\n"] if details.strip() else []), _HEADING, *lines]) if lines else details


def split_last_lines(details: str) -> tuple[str, list[str]]:
    """The hub's and the cluster's words, and the server's own."""
    before, heading, after = f"\n{details}".rpartition(f"\n{_HEADING}\n")
    return (before.strip("\n"), after.splitlines()) if heading else (details, [])
