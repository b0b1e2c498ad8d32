"""`perijove check`: what a configuration comes to, without starting anything."""

import json
import tempfile
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer
from rich.markup import escape

from perijove.cli.console import err, out, show_notes
from perijove.cli.exits import Exit
from perijove.cli.options import Files, Target

if TYPE_CHECKING:
    from perijove.config import Loaded, Note, Problem
    from perijove.config.trait_settings import TraitSetting

EPILOG = """
[bold]Examples[/]

  perijove check -f config.yaml -f secrets.yaml

  perijove check -f config.yaml --target kubernetes --strict

  perijove check -f config.yaml --format json | jq '.problems[].path'
"""
_LONGEST: Final = 100


class Format(StrEnum):
    TEXT = "text"
    JSON = "json"


@dataclass(frozen=True)
class Found:
    """What there is to say about a configuration."""

    problems: "tuple[Problem, ...]" = ()
    notes: "tuple[Note, ...]" = ()
    traits: "tuple[TraitSetting, ...]" = ()


def register(app: typer.Typer) -> None:
    app.command(epilog=EPILOG)(check)


def check(
    *,
    files: Files = None,
    target: Annotated[
        Target, typer.Option("--target", help="What the configuration is for: this machine, or a cluster.")
    ] = Target.LOCAL,
    strict: Annotated[
        bool,
        typer.Option(
            "--strict", help="Also refuse keys given twice, what has no effect, and what could not be tried here."
        ),
    ] = False,
    run_code: Annotated[
        bool,
        typer.Option("--run/--no-run", help="Also execute hub.extraConfig, as a hub would at its start."),
    ] = True,
    output: Annotated[Format, typer.Option("--format", help="For a person or for a program.")] = Format.TEXT,
) -> None:
    """Say everything that is wrong with a configuration, at once, and what authenticator and spawner are set to.

    Exit code 2 if anything is wrong. What only the cluster has (modules of the hub's image, variables from Secrets) is
    noted where it is missing.
    """
    from perijove.config import ConfigError, load

    try:
        loaded = load(files or [])
        found = _examine(loaded, target, run_code=run_code)
    except ConfigError as error:
        found = Found(error.problems, error.notes)
    if strict:
        found = _strict(found)
    _show_json(found) if output is Format.JSON else _show_text(found)
    if found.problems:
        raise typer.Exit(Exit.USAGE)


def _examine(loaded: "Loaded", target: Target, *, run_code: bool) -> Found:
    from perijove.config import ConfigError, compile_config

    # A data directory that is thrown away: a check leaves nothing behind.
    with tempfile.TemporaryDirectory(prefix="perijove-check-") as scratch:
        try:
            compiled = compile_config(
                loaded, data_dir=Path(scratch), target=target.value, trial=True, run_code=run_code
            )
            found = Found(compiled.problems, compiled.notes, compiled.trait_settings)
        except ConfigError as error:
            found = Found(error.problems, error.notes)
    if target is Target.LOCAL or not loaded.files:
        return found
    problems, notes = _rendering(loaded)
    # Both ways may find the same.
    everything = tuple(dict.fromkeys((*found.problems, *problems)))
    return Found(everything, tuple(dict.fromkeys((*found.notes, *notes))), found.traits)


def _rendering(loaded: "Loaded") -> "tuple[tuple[Problem, ...], tuple[Note, ...]]":
    """What making manifests of it has to say, for a release that does not exist."""
    from perijove.config import ConfigError
    from perijove.deploy.release import GeneratedSecrets, Release
    from perijove.deploy.render import render

    try:
        return (), render(loaded, Release(name="jhub", namespace="jhub"), GeneratedSecrets.generate()).notes
    except ConfigError as error:
        return error.problems, error.notes


def _strict(found: Found) -> Found:
    from perijove.config import NoteKind, Problem

    refused = (NoteKind.DUPLICATE, NoteKind.UNKNOWN_TRAIT, NoteKind.UNUSED, NoteKind.MISSING)
    problems = [Problem(note.path, note.message, note.position) for note in found.notes if note.kind in refused]
    kept = tuple(note for note in found.notes if note.kind not in refused)
    return Found((*found.problems, *problems), kept, found.traits)


def _show_json(found: Found) -> None:
    from perijove.config import ConfigError

    lists: dict[str, list[dict[str, Any]]] = {
        # In the order of the files.
        "problems": [problem.as_dict() for problem in ConfigError(found.problems).problems],
        "notes": [note.as_dict() for note in found.notes],
        "traits": [setting.as_dict() for setting in found.traits],
    }
    typer.echo(json.dumps(lists, indent=2, ensure_ascii=False))


def _show_text(found: Found) -> None:
    from perijove.config import ConfigError

    show_notes(found.notes)
    # What z2jh's chart leaves empty says nothing.
    for setting in (each for each in found.traits if each.position or each.value not in ({}, [])):
        value = json.dumps(setting.value, ensure_ascii=False)
        shown = value if len(value) <= _LONGEST else f"{value[:_LONGEST]}…"
        at = f"  [dim]{escape(str(setting.position))}[/]" if setting.position else ""
        out.print(f"c.{setting.section}.{setting.trait} = {escape(shown)}{at}")
    if found.problems:
        err.print(str(ConfigError(found.problems)), markup=False)
    else:
        out.print("The configuration is good.")
