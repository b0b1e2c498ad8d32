"""Files to settings: read, merge, translate old spellings, validate."""

from collections.abc import Sequence
from functools import reduce
from pathlib import Path
from typing import Any

from perijove.config.legacy import translate
from perijove.config.loaded import Contents, Loaded
from perijove.config.merge import coalesce, merge_files
from perijove.config.mounted import read_directory
from perijove.config.problems import ConfigError, KeyPath, Note, Position, Problem
from perijove.config.schema.settings import Settings
from perijove.config.unheeded import validated
from perijove.config.validate import kubernetes_note
from perijove.config.wrapping import unwrapped
from perijove.config.yaml import Document, mapping, read


def read_files(files: Sequence[Path]) -> Loaded:
    """See `load`."""
    documents: list[Document] = []
    problems: list[Problem] = []
    for file in map(Path, files):
        try:
            documents.append(read_directory(file) if file.is_dir() else unwrapped(read(file)))
        except ConfigError as exc:
            problems += exc.problems
    if problems:
        raise ConfigError(problems)
    merged = reduce(merge_files, (document.root for document in documents))
    translation = translate(merged)
    settings, found = validated(translation, old=translation.is_old)
    problems = [*translation.problems, *found]
    notes = [note for document in documents for note in document.notes] + _in_order(translation.notes, files)
    if problems or settings is None:
        raise ConfigError(problems, notes)
    values = coalesce(default_values(), translation.root.plain())
    for path, node in translation.moved.items():
        _restore(values, path, node.plain())
    return Loaded(
        tuple(Path(file) for file in files),
        (*notes, *kubernetes_note(translation.root)),
        Contents(settings, translation.root, values, merged),
    )


def defaults() -> Contents:
    """What an empty file says."""
    nothing = mapping(Position(Path(), 1, 1))
    return Contents(Settings(), nothing, default_values(), nothing)


def _in_order(notes: Sequence[Note], files: Sequence[Path]) -> list[Note]:
    """As somebody reads the files, not as translations are tried."""
    order = {Path(file): index for index, file in enumerate(files)}

    def place(note: Note) -> tuple[int, int, int]:
        at = note.position
        return (order.get(at.file, len(order)), at.line, at.column) if at else (len(order), 0, 0)

    return sorted(notes, key=place)


def _restore(values: dict[str, Any], path: KeyPath, value: Any) -> None:
    """Keep an old name readable: old code in extraConfig may still ask for it."""
    if path[:2] == ("hub", "config"):
        # What stands there is set, under the old name too.
        return
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
