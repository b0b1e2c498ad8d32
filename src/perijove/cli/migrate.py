"""`perijove migrate`: a configuration of any age in the current spelling, its comments kept."""

import difflib
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from perijove.cli.console import out, show_notes
from perijove.cli.exits import CommandFailed, Exit

if TYPE_CHECKING:
    from perijove.config.migrate import Migrated

EPILOG = """
[bold]Examples[/]

  perijove migrate config.yaml --diff

  perijove migrate config.yaml

  perijove migrate config.yaml secrets.yaml --check
"""


def register(app: typer.Typer) -> None:
    app.command(epilog=EPILOG)(migrate)


def migrate(
    files: Annotated[
        list[Path],
        typer.Argument(help="Configuration files; each is rewritten by itself.", exists=True, dir_okay=False),
    ],
    *,
    check: Annotated[
        bool, typer.Option("--check", help="Write nothing; exit code 1 if there is something to translate.")
    ] = False,
    diff: Annotated[bool, typer.Option("--diff", help="Write nothing; show what would change.")] = False,
) -> None:
    """Write old spellings as the current ones, in place. A file that has none is not touched.

    What changed its meaning over the years is said on stderr, as by `perijove check`.
    """
    changes = [(file, _migrated(file)) for file in files]
    old = [(file, found) for file, found in changes if found.notes]
    for file, found in old:
        show_notes(found.notes)
        if diff:
            typer.echo(_diff(file, found.text), nl=False)
        elif not check:
            _replace(file, found.text)
            out.print(f"Wrote {file}.", markup=False)
    if not old:
        out.print("Nothing to translate.")
    elif check:
        raise typer.Exit(Exit.FAILURE)


def _migrated(file: Path) -> "Migrated":
    from perijove.config import ConfigError
    from perijove.config.migrate import migrate as migrated

    try:
        return migrated(file.read_bytes().decode("utf-8-sig"), file)
    except (OSError, UnicodeDecodeError) as error:
        raise CommandFailed(f"{file} cannot be read: {error}", code=Exit.USAGE) from error
    except ConfigError as error:
        raise CommandFailed(f"The configuration cannot be migrated.\n\n{error}", code=Exit.USAGE) from error


def _diff(file: Path, text: str) -> str:
    before = file.read_text(encoding="utf-8-sig").splitlines(keepends=True)
    return "".join(difflib.unified_diff(before, text.splitlines(keepends=True), str(file), f"{file} (migrated)"))


def _replace(file: Path, text: str) -> None:
    """Whole or not at all: it may be the only copy. A link stays one."""
    target = file.resolve()
    beside = target.with_name(f".{target.name}.perijove")
    try:
        # Secrets are readable by nobody else, at no time.
        beside.touch(mode=0o600)
        beside.write_text(text, encoding="utf-8", newline="")
        shutil.copymode(target, beside)
        os.replace(beside, target)  # noqa: PTH105 - one call that is atomic
    except OSError as error:
        beside.unlink(missing_ok=True)
        raise CommandFailed(f"{file} cannot be written: {error}") from error
