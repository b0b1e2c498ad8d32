"""`perijove check`: what a configuration comes to, without starting anything."""

import json
import tempfile
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from perijove.cli.console import err, out
from perijove.cli.exits import Exit
from perijove.cli.options import Files

EPILOG = """
[bold]Examples[/]

  perijove check -f config.yaml -f secrets.yaml

  perijove check -f config.yaml --format json | jq '.problems[].path'
"""


class Format(StrEnum):
    TEXT = "text"
    JSON = "json"


def register(app: typer.Typer) -> None:
    app.command(epilog=EPILOG)(check)


def check(
    *,
    files: Files = None,
    run_code: Annotated[
        bool,
        typer.Option("--run/--no-run", help="Also execute hub.extraConfig, as a hub would at its start."),
    ] = True,
    output: Annotated[Format, typer.Option("--format", help="For a person or for a program.")] = Format.TEXT,
) -> None:
    """Say everything that is wrong with a configuration, at once. Exit code 2 if anything is."""
    from perijove.config import ConfigError, compile_config, load

    try:
        loaded = load(files or [])
        notes = loaded.notes
        if run_code:
            # A data directory that is thrown away: a check leaves nothing behind.
            with tempfile.TemporaryDirectory(prefix="perijove-check-") as scratch:
                notes = compile_config(loaded, data_dir=Path(scratch)).notes
    except ConfigError as error:
        _show(output, [problem.as_dict() for problem in error.problems], error.notes, str(error))
        raise typer.Exit(Exit.USAGE) from error
    _show(output, [], notes, "")


def _show(output: Format, problems: list[dict[str, Any]], notes: Any, text: str) -> None:
    if output is Format.JSON:
        typer.echo(json.dumps({"problems": problems, "notes": [note.as_dict() for note in notes]}, indent=2))
        return
    for note in notes:
        err.print(f"[bold blue]note:[/]  {escape(str(note))}")
    if problems:
        err.print(text, markup=False)
    else:
        out.print("The configuration is good.")
