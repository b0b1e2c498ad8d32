"""What commands show to a person. Results go to stdout; errors and notes to stderr."""

from collections.abc import Iterable
from typing import Any

from rich.console import Console
from rich.markup import escape

from perijove.cli.exits import CommandFailed

# No emoji: `config.yaml:100:7` is a place in a file.
out = Console(highlight=False, soft_wrap=True, emoji=False)
err = Console(stderr=True, highlight=False, soft_wrap=True, emoji=False)


def show_notes(notes: Iterable[Any]) -> None:
    """Each as one paragraph; its further lines are indented so that they are seen to belong to it."""
    for note in notes:
        err.print(f"[bold blue]note:[/]  {escape(str(note))}".replace("\n", "\n         "))


def show_failure(failure: CommandFailed) -> None:
    err.print(f"[bold red]error:[/] {escape(failure.message)}")
    if failure.remedy:
        err.print(f"[bold]hint:[/]  {escape(failure.remedy)}")
