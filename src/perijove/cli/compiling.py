"""From `-f` files and command-line options to what a hub runs with; every problem at once, exit code 2."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.markup import escape

from perijove.cli.console import err
from perijove.cli.exits import CommandFailed, Exit

if TYPE_CHECKING:
    from perijove.config import Compiled
    from perijove.config.compile import Target as TargetName


def compile_files(
    files: list[Path] | None, data_dir: Path, *, target: "TargetName" = "local", **given: Any
) -> "Compiled":
    """`given` are fields of `HubOptions` from the command line; None leaves what the files say."""
    from perijove.config import ConfigError, compile_config, load

    try:
        compiled = compile_config(load(files or []), data_dir=data_dir, target=target)
    except ConfigError as error:
        raise CommandFailed(f"The configuration cannot be used.\n\n{error}", code=Exit.USAGE) from error
    changes = {name: value for name, value in given.items() if value is not None}
    return replace(compiled, options=replace(compiled.options, **changes))


def show_notes(compiled: "Compiled") -> None:
    """What is worth knowing but stops nothing, once, at start-up."""
    for note in compiled.notes:
        err.print(f"[bold blue]note:[/]  {escape(str(note))}")
