"""What commands show to a person. Results go to stdout; errors and notes to stderr."""

from rich.console import Console
from rich.markup import escape

from perijove.cli.exits import CommandFailed

out = Console(highlight=False, soft_wrap=True)
err = Console(stderr=True, highlight=False, soft_wrap=True)


def show_failure(failure: CommandFailed) -> None:
    err.print(f"[bold red]error:[/] {escape(failure.message)}")
    if failure.remedy:
        err.print(f"[bold]hint:[/]  {escape(failure.remedy)}")
