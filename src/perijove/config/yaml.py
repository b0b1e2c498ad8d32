"""YAML files with the place of every value kept.

ruamel.yaml only scans and parses here; values are built from its events, because the meaning must be
Helm's (`scalars.py`), duplicate keys must name both lines, and every value must know where it stands,
through anchors and merge keys too.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from perijove.config.problems import ConfigError, KeyPath, Note, NoteKind, Position, Problem, dotted
from perijove.config.scalars import Scalar, key_text, resolve_plain, resolve_tagged

_GIT_CRYPT = b"\0GITCRYPT\0"
# Anchors can grow a file without bound ("billion laughs"); no hand-written file comes near this.
_MOST_NODES = 1_000_000


@dataclass(slots=True)
class Node:
    """A value and where it stands. `key_position` is that of the key it belongs to, if any."""

    value: "dict[str, Node] | list[Node] | Scalar"
    position: Position
    key_position: Position | None = None
    # How a scalar was written: its source text and style ("", "'", '"', "|", ">").
    text: str = ""
    style: str = ""

    @property
    def where(self) -> Position:
        """What a message about this value should point at."""
        return self.key_position or self.position

    def at(self, path: KeyPath) -> "Node | None":
        """The node at `path` below this one."""
        node = self
        for step in path:
            match node.value:
                case dict() as items if isinstance(step, str) and step in items:
                    node = items[step]
                case list() as elements if isinstance(step, int) and step < len(elements):
                    node = elements[step]
                case _:
                    return None
        return node

    def nearest(self, path: KeyPath) -> "Node":
        """The node at `path`, or the closest one above it."""
        for length in range(len(path), 0, -1):
            if (found := self.at(path[:length])) is not None:
                return found
        return self

    def plain(self) -> Any:
        """The value as dicts, lists and scalars, nothing shared."""
        match self.value:
            case dict() as items:
                return {key: node.plain() for key, node in items.items()}
            case list() as elements:
                return [node.plain() for node in elements]
        return self.value

    def code_line(self) -> int:
        """The line of the file on which the first line of a text value stands."""
        return self.position.line + 1 if self.style in ("|", ">") else self.position.line


def mapping(position: Position, items: dict[str, Node] | None = None) -> Node:
    """A map that no file wrote: the result of a translation or of having no file."""
    return Node({} if items is None else items, position)


@dataclass(slots=True)
class Document:
    """One parsed file."""

    file: Path
    root: Node
    notes: list[Note] = field(default_factory=list)


class _Builder:
    """Builds nodes from one file's events."""

    def __init__(self, file: Path, events: Iterator[Any]) -> None:
        self.file = file
        self.events = events
        self.anchors: dict[str, Node] = {}
        self.problems: list[Problem] = []
        self.notes: list[Note] = []
        self.count = 0

    def place(self, mark: Any) -> Position:
        return Position(self.file, mark.line + 1, mark.column + 1)

    def problem(self, path: KeyPath, message: str, at: Position, remedy: str = "") -> None:
        self.problems.append(Problem(path, message, at, remedy=remedy))

    def document(self) -> Node:
        empty = mapping(Position(self.file, 1, 1))
        root: Node | None = None
        for event in self.events:
            kind = type(event).__name__
            if kind == "DocumentStartEvent":
                if root is not None:
                    at = self.place(event.start_mark)
                    text = "a second YAML document starts here; like Helm, only the first is read"
                    self.notes.append(Note(NoteKind.INFO, text, position=at))
                    break
                root = self.node(next(self.events), ())
        if root is None or root.value is None:
            return empty
        if not isinstance(root.value, dict):
            self.problem((), "the file is not a map of keys and values", root.position)
            return empty
        return root

    def node(self, event: Any, path: KeyPath) -> Node:
        self.count += 1
        if self.count > _MOST_NODES:
            text = f"more than {_MOST_NODES} values; are anchors nested too deep?"
            raise ConfigError([Problem(path, text, self.place(event.start_mark))])
        match type(event).__name__:
            case "AliasEvent":
                return self.alias(event, path)
            case "ScalarEvent":
                built = self.scalar(event, path)
            case "SequenceStartEvent":
                built = self.sequence(event, path)
            case _:
                built = self.map(event, path)
        # Only now: an anchor around its own alias would make a tree without end.
        if event.anchor:
            self.anchors[event.anchor] = built
        return built

    def alias(self, event: Any, path: KeyPath) -> Node:
        at = self.place(event.start_mark)
        target = self.anchors.get(event.anchor)
        if target is None:
            self.problem(path, f"*{event.anchor} refers to an anchor that is not set above", at)
            return Node(None, at)
        self.count += _size(target)
        return Node(target.value, at, text=target.text, style=target.style)

    def scalar(self, event: Any, path: KeyPath) -> Node:
        at = self.place(event.start_mark)
        style = event.style or ""
        tag = str(event.tag) if event.tag else ""
        try:
            if tag and tag != "!":
                value = resolve_tagged(tag, event.value)
            elif style or tag:
                value = event.value
            else:
                value = resolve_plain(event.value)
        except ValueError as exc:
            self.problem(path, str(exc), at, "put it in quotes to make it a string")
            value = None
        return Node(value, at, text=event.value, style=style)

    def sequence(self, event: Any, path: KeyPath) -> Node:
        elements: list[Node] = []
        built = Node(elements, self.place(event.start_mark))
        for inner in self.events:
            if type(inner).__name__ == "SequenceEndEvent":
                break
            elements.append(self.node(inner, (*path, len(elements))))
        return built

    def map(self, event: Any, path: KeyPath) -> Node:
        own: dict[str, Node] = {}
        merged: list[Node] = []
        built = Node(own, self.place(event.start_mark))
        for key_event in self.events:
            if type(key_event).__name__ == "MappingEndEvent":
                break
            at = self.place(key_event.start_mark)
            if _is_merge_key(key_event):
                merged.append(self.node(next(self.events), path))
                continue
            key = self.key(key_event, path)
            value = self.node(next(self.events), (*path, key))
            if value.key_position is not None:
                value = Node(value.value, value.position, text=value.text, style=value.style)
            value.key_position = at
            if (earlier := own.get(key)) is not None:
                self.duplicate((*path, key), earlier.where, at)
            own[key] = value
        for source in merged:
            self.merge_into(own, source, path)
        return built

    def duplicate(self, path: KeyPath, first: Position, second: Position) -> None:
        """Helm's reader takes the last one and says nothing; so must we, and say it."""
        text = f"`{dotted(path)}` is given twice, on line {first.line} and on line {second.line}: "
        text += f"everything that line {first.line} says is dropped, as by Helm; keep one of the two"
        self.notes.append(Note(NoteKind.DUPLICATE, text, path, second))

    def key(self, event: Any, path: KeyPath) -> str:
        at = self.place(event.start_mark)
        node = self.node(event, path)
        if isinstance(node.value, dict | list):
            remedy = "a {{ template }} must be filled in first; anything else belongs in quotes"
            self.problem(path, "a key is itself a map or a list", at, remedy)
            return f"?{at.line}"
        try:
            return key_text(node.value)
        except ValueError as exc:
            self.problem(path, str(exc), at)
            return f"?{at.line}"

    def merge_into(self, own: dict[str, Node], source: Node, path: KeyPath) -> None:
        """`<<: *defaults`: keys already there win; of several maps, the first."""
        match source.value:
            case dict() as items:
                for key, node in items.items():
                    own.setdefault(key, node)
            case list() as elements if all(isinstance(element.value, dict) for element in elements):
                for element in elements:
                    self.merge_into(own, element, path)
            case _:
                self.problem(path, "`<<` needs a map, or a list of maps, to merge", source.position)


def _is_merge_key(event: Any) -> bool:
    return type(event).__name__ == "ScalarEvent" and event.value == "<<" and not event.style


def _size(node: Node) -> int:
    match node.value:
        case dict() as items:
            return 1 + sum(_size(inner) for inner in items.values())
        case list() as elements:
            return 1 + sum(_size(inner) for inner in elements)
    return 1


def parse(text: str, file: Path) -> Document:
    """Read YAML text. Raises `ConfigError` with everything that is wrong with its form."""
    reader = YAML(typ="safe", pure=True)
    builder = _Builder(file, iter(reader.parse(text)))
    try:
        root = builder.document()
    except MarkedYAMLError as exc:
        raise ConfigError([*builder.problems, _malformed(exc, file, text)]) from exc
    except (YAMLError, ValueError, RecursionError) as exc:
        message = "nested too deep" if isinstance(exc, RecursionError) else str(exc).splitlines()[0]
        raise ConfigError([Problem((), f"not YAML: {message}", Position(file, 1, 1))]) from exc
    if builder.problems:
        raise ConfigError(builder.problems)
    return Document(file, root, builder.notes)


def _malformed(exc: MarkedYAMLError, file: Path, text: str) -> Problem:
    mark = exc.problem_mark or exc.context_mark
    at = Position(file, mark.line + 1, mark.column + 1) if mark else Position(file, 1, 1)
    message = " ".join(part for part in (exc.context, exc.problem) if part)
    lines = text.splitlines()
    line = lines[at.line - 1] if at.line <= len(lines) else ""
    remedy = ""
    if any(mark in line for mark in ("{{", "{%", "%{")):
        remedy = "this looks like a template; give the file that is made from it"
    elif re.search(r"^(<{7}|>{7})( |$)", text, re.MULTILINE):
        remedy = "there are marks of an unfinished merge in the file; decide what is to stay"
    elif "'\\t'" in message:
        remedy = "indent with spaces; YAML does not allow tabs there"
    elif "mapping values are not allowed" in message:
        remedy = "look at the indentation of this line and the one above; a value that has `: ` needs quotes"
    elif "could not find expected ':'" in message:
        remedy = "a `:` and a space are missing after the key, or the line is indented wrongly"
    return Problem((), f"not YAML: {message}", at, remedy=remedy)


def read(file: Path) -> Document:
    """Read a file. Raises `ConfigError`."""
    at = Position(file, 1, 1)
    try:
        content = file.read_bytes()
        text = content.decode("utf-8-sig")
    except OSError as exc:
        raise ConfigError([Problem((), f"cannot be read: {exc.strerror or exc}", at)]) from exc
    except UnicodeDecodeError as exc:
        if content.startswith(_GIT_CRYPT):
            problem = Problem((), "the file is encrypted with git-crypt", at, remedy="run `git-crypt unlock` first")
        else:
            problem = Problem((), f"this is no text in UTF-8: {exc.reason}", at, remedy="save it as UTF-8")
        raise ConfigError([problem]) from exc
    return parse(text, file)
