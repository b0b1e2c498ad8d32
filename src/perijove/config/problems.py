"""What is wrong with a configuration, and what is merely worth saying.

A `Problem` names the place, what was expected and what to write instead; all of them are collected
before anybody is told. A `Note` never stops anything. Neither knows about terminals or exit codes:
`render` makes plain text of them, and the command line decides the rest.
"""

import difflib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

KeyPath = tuple[str | int, ...]


@dataclass(frozen=True, slots=True, order=True)
class Position:
    """A place in a file; line and column count from 1."""

    file: Path
    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


def dotted(path: KeyPath) -> str:
    """`("hub", "services", 0, "name")` as `hub.services[0].name`."""
    text = ""
    for step in path:
        if isinstance(step, int):
            text += f"[{step}]"
        elif "." in step:
            text += f'["{step}"]'
        else:
            text += f".{step}" if text else step
    return text


class ProblemKind(StrEnum):
    """Told apart because charts of some age took some of them."""

    WRONG = "wrong"
    UNKNOWN = "unknown"  # a key that is unlike those that belong there
    MISPLACED_AMONG_CLASSES = "misplaced-among-classes"  # `hub.config.singleuser`
    EMPTY_SECTION = "empty-section"


@dataclass(frozen=True, slots=True)
class Problem:
    """One reason why a configuration cannot be used."""

    path: KeyPath
    message: str
    position: Position | None = None
    expected: str = ""
    remedy: str = ""
    kind: ProblemKind = ProblemKind.WRONG

    def as_dict(self) -> dict[str, str | int | None]:
        """For `--format json`."""
        at = self.position
        return {
            "file": str(at.file) if at else None,
            "line": at.line if at else None,
            "column": at.column if at else None,
            "path": dotted(self.path),
            "message": self.message,
            "expected": self.expected,
            "remedy": self.remedy,
        }


class NoteKind(StrEnum):
    TRANSLATED = "translated"  # an old spelling; the message shows the new one
    KUBERNETES = "kubernetes"  # valid, but without effect on one machine
    UNKNOWN_TRAIT = "unknown-trait"  # a class setting nobody reads, probably misspelt
    DUPLICATE = "duplicate"  # a key given twice in one map; the last one counts
    MISSING = "missing"  # only the cluster has it, so it could not be tried here
    UNUSED = "unused"  # known to JupyterHub, without meaning here
    INFO = "info"


@dataclass(frozen=True, slots=True)
class Note:
    """Something the operator should know; the configuration is used all the same."""

    kind: NoteKind
    message: str
    path: KeyPath = ()
    position: Position | None = None

    def as_dict(self) -> dict[str, str | int | None]:
        at = self.position
        return {
            "kind": str(self.kind),
            "file": str(at.file) if at else None,
            "line": at.line if at else None,
            "column": at.column if at else None,
            "path": dotted(self.path),
            "message": self.message,
        }

    def __str__(self) -> str:
        where = f"{self.position}: " if self.position else ""
        return f"{where}{self.message}"


class ConfigError(Exception):
    """The configuration cannot be used; `problems` holds every reason found."""

    def __init__(self, problems: Iterable[Problem], notes: Iterable[Note] = ()) -> None:
        self.problems = tuple(sorted(problems, key=_order))
        self.notes = tuple(notes)
        super().__init__(render(self.problems))


def _order(problem: Problem) -> tuple[str, int, int]:
    at = problem.position
    return (str(at.file), at.line, at.column) if at else ("", 0, 0)


def nearest(word: str, choices: Iterable[str], *, cutoff: float = 0.6) -> str | None:
    """The choice that `word` most probably was meant to be. Case and `-`/`_` count for little."""

    def plain(text: str) -> str:
        return text.lower().replace("_", "").replace("-", "")

    by_plain: dict[str, str] = {}
    for choice in choices:
        by_plain.setdefault(plain(choice), choice)
    found = difflib.get_close_matches(plain(word), by_plain, n=1, cutoff=cutoff)
    return by_plain[found[0]] if found else None


# A line of the file is quoted under a problem, but never one that may hold a secret.
_SECRET = re.compile(r"passw|secret|token|key|credential|cert|url|consumers", re.IGNORECASE)


def is_secret(path: KeyPath) -> bool:
    """Whether what stands at `path` may be a secret, judged by the names of the keys."""
    return any(isinstance(step, str) and _SECRET.search(step) for step in path)


def at_text(position: Position) -> Position:
    """Where the text of the line begins: Python knows the line of a statement, not its place in a YAML file."""
    line = _line(position) or ""
    return replace(position, column=len(line) - len(line.lstrip()) + 1) if line.strip() else position


def _source_line(position: Position, path: KeyPath) -> str | None:
    line = None if is_secret(path) else _line(position)
    # Something encrypted or binary would not be read, but rung and blinked.
    return line if line is None or line.replace("\t", " ").isprintable() else None


def _line(position: Position) -> str | None:
    try:
        lines = position.file.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        # The file is only read again to quote it; a message without the quote is still right.
        return None
    return lines[position.line - 1] if 0 < position.line <= len(lines) else None


def _render_one(problem: Problem) -> list[str]:
    at = problem.position
    lines = [f"{at}  {dotted(problem.path)}".rstrip() if at else dotted(problem.path) or "configuration"]
    lines.append(f"    {problem.message}")
    source = _source_line(at, problem.path) if at else None
    if at and source is not None:
        number = str(at.line)
        lines.append(f"      {number} | {source.rstrip()}")
        lines.append(f"      {' ' * len(number)} | {' ' * (at.column - 1)}^")
    if problem.expected:
        lines.append(f"    expected: {problem.expected}")
    for index, part in enumerate(problem.remedy.splitlines()):
        lines.append(f"    {'fix: ' if index == 0 else '     '}{part}")
    return lines


def render(problems: Sequence[Problem]) -> str:
    """Every problem as plain text, in the order of the files."""
    blocks = ["\n".join(_render_one(problem)) for problem in problems]
    count = len(problems)
    blocks.append(f"{count} problem{'s' if count != 1 else ''} found")
    return "\n\n".join(blocks)
