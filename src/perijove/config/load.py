"""Files to settings: read, merge, translate old spellings, validate. Nothing here runs anybody's code."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import reduce
from pathlib import Path
from typing import Any

from perijove.config.legacy import translate
from perijove.config.merge import coalesce, merge_files
from perijove.config.problems import ConfigError, KeyPath, Note, Position, Problem
from perijove.config.schema.settings import Settings
from perijove.config.validate import kubernetes_note, validate
from perijove.config.yaml import Document, Node, mapping, read


@dataclass(frozen=True, slots=True)
class Loaded:
    """What the files say. With no files: the defaults, and `files` empty."""

    settings: Settings
    files: tuple[Path, ...] = ()
    # What was given, merged and translated, with positions; defaults are not in it.
    given: Node = field(default_factory=lambda: mapping(Position(Path(), 1, 1)))
    # The values as Helm would hand them to the chart, defaults included: what `z2jh.get_config` reads.
    values: dict[str, Any] = field(default_factory=dict)
    notes: tuple[Note, ...] = ()


def load(files: Sequence[Path]) -> Loaded:
    """Read and check configuration files. Raises `ConfigError` with every problem in all of them."""
    documents: list[Document] = []
    problems: list[Problem] = []
    for file in files:
        try:
            documents.append(read(Path(file)))
        except ConfigError as exc:
            problems += exc.problems
    if problems:
        raise ConfigError(problems)
    if not documents:
        return Loaded(Settings(), values=default_values())
    merged = reduce(merge_files, (document.root for document in documents))
    translation = translate(merged)
    settings, found = validate(translation.root)
    problems = [*translation.problems, *found]
    notes = [note for document in documents for note in document.notes] + translation.notes
    if problems or settings is None:
        raise ConfigError(problems, notes)
    values = coalesce(default_values(), translation.root.plain())
    for path, node in translation.moved.items():
        _restore(values, path, node.plain())
    return Loaded(
        settings,
        tuple(Path(file) for file in files),
        translation.root,
        values,
        (*notes, *kubernetes_note(translation.root)),
    )


def _restore(values: dict[str, Any], path: KeyPath, value: Any) -> None:
    """Keep an old name readable: old code in extraConfig may still ask for it."""
    for step in path[:-1]:
        below = values.setdefault(str(step), {})
        if not isinstance(below, dict):
            return
        values = below
    values.setdefault(str(path[-1]), value)


def default_values() -> dict[str, Any]:
    """The chart's default values, and the names of a release that code may ask for."""
    values: dict[str, Any] = Settings().model_dump(mode="python", exclude_none=False)
    return {
        **values,
        "Chart": {"Name": "jupyterhub", "Version": "4.2.0"},
        "Release": {"Name": "jhub", "Namespace": "jhub", "Service": "Helm"},
    }
