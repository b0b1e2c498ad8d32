"""What configuration files say, and how to get it: read, merge, translate old spellings, validate.

Nothing here runs anybody's code. The work is in `reading.py`, imported only when there are files: a hub
without any starts without the schema.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from perijove.config.problems import Note, NoteKind

if TYPE_CHECKING:
    from perijove.config.schema.settings import Settings
    from perijove.config.yaml import Node

Target = Literal["local", "kubernetes"]


@dataclass(frozen=True, slots=True)
class Contents:
    """What one or more files say."""

    settings: "Settings"
    # What was given, merged and translated, with positions; defaults are not in it.
    given: "Node"
    # The values as Helm would hand them to the chart, defaults included: what `z2jh.get_config` reads.
    values: dict[str, Any]
    # The files merged and nothing else, in their own spelling: what another process may load again.
    merged: "Node"


@dataclass(frozen=True, slots=True)
class Loaded:
    """What the files say; with no files, nothing but the defaults."""

    files: tuple[Path, ...] = ()
    notes: tuple[Note, ...] = ()
    contents: Contents | None = field(default=None, repr=False)

    @property
    def settings(self) -> "Settings":
        return self._contents().settings

    @property
    def given(self) -> "Node":
        return self._contents().given

    @property
    def merged(self) -> "Node":
        return self._contents().merged

    @property
    def values(self) -> dict[str, Any]:
        return self._contents().values

    def notes_for(self, target: Target) -> tuple[Note, ...]:
        """Without what is only to be known where there is no cluster."""
        return tuple(note for note in self.notes if target == "local" or note.kind is not NoteKind.KUBERNETES)

    def _contents(self) -> Contents:
        if self.contents is not None:
            return self.contents
        from perijove.config.reading import defaults  # noqa: PLC0415 - see above

        return defaults()


def load(files: Sequence[Path]) -> Loaded:
    """Read and check configuration files. Raises `ConfigError` with every problem in all of them."""
    if not files:
        return Loaded()
    from perijove.config.reading import read_files  # noqa: PLC0415 - see above

    return read_files(files)
