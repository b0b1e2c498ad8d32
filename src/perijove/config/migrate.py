"""A file in old spelling as the same file in the current one, with its comments, order and quoting.

What is to change is the difference between the parsed tree and its translation (`legacy.py`); it is
made in ruamel.yaml's own document, so that everything else stays as somebody wrote it. The result is
parsed again before anybody gets it: it must mean the same, and have nothing left to translate.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any, Final

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.constructor import RoundTripConstructor
from ruamel.yaml.error import YAMLError
from ruamel.yaml.scalarstring import DoubleQuotedScalarString

from perijove.config.legacy import translate
from perijove.config.problems import ConfigError, Note, NoteKind, Position, Problem
from perijove.config.scalars import Scalar, resolve_plain
from perijove.config.unheeded import validated
from perijove.config.wrapping import find
from perijove.config.yaml import Document, Node, parse

# Indentation of lists below their key: (sequence, offset); the file's own is the one that changes least.
_LISTS: Final = ((2, 0), (4, 2))
_GONE: Final = "# Comments of keys that are gone:"


@dataclass(frozen=True, slots=True)
class Migrated:
    text: str
    # What was translated, each with its place in the old file.
    notes: tuple[Note, ...]


class _LastOfDuplicates(RoundTripConstructor):
    """Of a key given twice the last one counts, as everywhere here."""

    def check_mapping_key(self, node: Any, key_node: Any, mapping: Any, key: Any, value: Any) -> bool:
        del node, key_node, value
        mapping.pop(key, None)
        return True


def migrate(text: str, file: Path) -> Migrated:
    """Raises `ConfigError` for what is no YAML, what has no translation, and what only a person can move."""
    document = parse(text, file)
    wrapped = find(document)
    translation = translate(wrapped.values)
    if translation.problems:
        raise ConfigError(translation.problems, document.notes)
    # What is only taken because the file is old would be refused in the new one.
    validated(translation, old=translation.is_old)
    notes = (*_duplicates(document), *translation.notes)
    if not notes:
        return Migrated(text, ())
    try:
        plain = text.replace("\r\n", "\n")
        new = _wrapped_again(document.root, wrapped.path, translation.root)
        found = min((_written(plain, document.root, new, lists) for lists in _LISTS), key=_distance(plain))
    except (YAMLError, KeyError, TypeError, AttributeError) as exc:
        raise ConfigError([_by_hand(file)], notes) from exc
    found = _with_lost_comments(plain, found)
    again = parse(found, file)
    if _duplicates(again) or translate(find(again).values).notes or again.root.plain() != new.plain():
        raise ConfigError([_by_hand(file)], notes)
    return Migrated(found.replace("\n", "\r\n") if "\r\n" in text else found, notes)


def _wrapped_again(root: Node, path: tuple[str, ...], values: Node) -> Node:
    """`root` with other values: what is around them belongs to other charts, and stays."""
    if not path:
        return values
    items = _items(root)
    return Node({**items, path[0]: _wrapped_again(items[path[0]], path[1:], values)}, root.position, root.key_position)


def _duplicates(document: Document) -> list[Note]:
    return [note for note in document.notes if note.kind is NoteKind.DUPLICATE]


def _by_hand(file: Path) -> Problem:
    text = "what has to change here is shared between places, by anchors or `<<`"
    return Problem((), text, Position(file, 1, 1), remedy="write the new spellings, which the notes show, by hand")


def _yaml(lists: tuple[int, int]) -> YAML:
    yaml = YAML(typ="rt", pure=True)
    yaml.Constructor = _LastOfDuplicates
    yaml.preserve_quotes = True
    yaml.width = 1_000_000
    yaml.indent(mapping=2, sequence=lists[0], offset=lists[1])
    return yaml


def _written(text: str, old: Node, new: Node, lists: tuple[int, int]) -> str:
    yaml = _yaml(lists)
    documents = list(yaml.load_all(text))
    if new.value:
        _Edit(documents[0], old).change(documents[0], old, new)
    stream = StringIO()
    yaml.dump_all(documents, stream)
    return stream.getvalue()


def _distance(text: str) -> Any:
    lines = set(text.splitlines())
    return lambda candidate: sum(line not in lines for line in candidate.splitlines())


class _Edit:
    """One document under change: where each old value is in it."""

    def __init__(self, document: CommentedMap, root: Node) -> None:
        # A map and its first value may start at the same place, so the kind belongs to it.
        self.there: dict[tuple[Position, type], tuple[Node, Any, Any]] = {}
        self._index(root, document, None)

    def _index(self, node: Node, value: Any, comment: Any) -> None:
        self.there[node.position, type(node.value)] = (node, value, comment)
        if isinstance(node.value, dict) and isinstance(value, CommentedMap):
            for name, inner in node.value.items():
                if name in value:
                    self._index(inner, value[name], value.ca.items.get(name))

    def change(self, target: CommentedMap, old: Node, new: Node) -> None:
        """Make `target`, which says `old`, say `new`."""
        before, after = _items(old), _items(new)
        for name in [name for name in before if name not in after]:
            del target[name]
            target.ca.items.pop(name, None)
        for name, node in after.items():
            present = before.get(name)
            if present is None:
                self._insert(target, name, node)
            elif type(present.value) is not type(node.value):
                # In the place of the old value.
                target[name] = self._value(node)
            elif isinstance(node.value, dict) and isinstance(target[name], CommentedMap):
                self.change(target[name], present, node)
            elif present.value is not node.value and present.plain() != node.plain():
                target[name] = self._value(node)

    def _insert(self, target: CommentedMap, name: str, node: Node) -> None:
        target[name] = self._value(node)
        _, _, comment = self._source(node)
        if comment is not None:
            target.ca.items[name] = comment

    def _source(self, node: Node) -> tuple[Node | None, Any, Any]:
        """The old value that this one is: itself, the document's form of it, and its comment."""
        place = (node.position, type(node.value))
        inner = node.value.values() if isinstance(node.value, dict) else ()
        # A map that a translation made around a value says that it stands where the value does.
        made = any((each.position, type(each.value)) == place for each in inner)
        return (None, None, None) if made else self.there.get(place, (None, None, None))

    def _value(self, node: Node) -> Any:
        """The document's own value, with its comments, if it is one from there; or a new one."""
        old, value, _ = self._source(node)
        match node.value:
            case dict() as items:
                if old is not None and isinstance(value, CommentedMap) and items:
                    self.change(value, old, node)
                    return value
                made = CommentedMap()
                for name, inner in items.items():
                    self._insert(made, name, inner)
                return made
            case list() as elements:
                return value if old is node else CommentedSeq([self._value(inner) for inner in elements])
            case scalar:
                return value if old is not None and old.value == scalar else _scalar(scalar)


def _items(node: Node) -> dict[str, Node]:
    if not isinstance(node.value, dict):
        raise TypeError("not a map")
    return node.value


def _scalar(value: Scalar) -> Any:
    if isinstance(value, str) and resolve_plain(value) != value:
        return DoubleQuotedScalarString(value)
    return value


def _with_lost_comments(before: str, after: str) -> str:
    """A comment on a key that is gone may say why it was there."""
    lost = [comment for comment in _comments(before) if comment not in after]
    if not lost:
        return after
    return after + "\n".join([_GONE, *lost]) + "\n"


def _comments(text: str) -> Iterator[str]:
    yaml = YAML(typ="rt", pure=True)
    for token in yaml.scan(text):
        for comment in token.comment or ():
            for part in comment if isinstance(comment, list) else [comment]:
                if part is not None:
                    yield from (line.strip() for line in part.value.splitlines() if line.strip())
