"""Editing a tree of located values: what translations of old spellings are made of."""

from dataclasses import dataclass, field

from perijove.config.problems import KeyPath, Note, NoteKind, Problem, dotted
from perijove.config.scalars import Scalar
from perijove.config.yaml import Node


@dataclass(slots=True)
class Rewrite:
    """A tree under translation; what was given is not touched."""

    root: Node
    notes: list[Note] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    # Old paths that are gone from the tree, with what they held.
    moved: dict[KeyPath, Node] = field(default_factory=dict)
    # There was something of the time before charts had a schema.
    is_old: bool = False

    @classmethod
    def of(cls, root: Node) -> "Rewrite":
        return cls(_own(root))

    def take(self, path: tuple[str, ...]) -> Node | None:
        """Remove what is at `path` and return it."""
        parent = self.root.at(path[:-1])
        if parent is None or not isinstance(parent.value, dict) or path[-1] not in parent.value:
            return None
        node = parent.value.pop(path[-1])
        self.moved[path] = node
        return node

    def put(self, path: tuple[str, ...], node: Node) -> bool:
        """Set `path`, unless it is given already: the new spelling wins over the old one."""
        parent = self.root
        for step in path[:-1]:
            if not isinstance(parent.value, dict):
                return False
            below = parent.value.get(step)
            if below is None or below.value is None:
                below = parent.value[step] = Node({}, node.position, node.key_position)
            parent = below
        if not isinstance(parent.value, dict):
            return False
        present = parent.value.get(path[-1])
        if present is None:
            parent.value[path[-1]] = node
            return True
        if isinstance(present.value, dict) and isinstance(node.value, dict):
            for name, inner in node.value.items():
                self.put((*path, name), inner)
            return True
        return False

    def note(self, old: KeyPath, node: Node, message: str) -> None:
        self.notes.append(Note(NoteKind.TRANSLATED, message, old, node.where))

    def move(self, old: tuple[str, ...], new: tuple[str, ...], value: Node | None = None) -> bool:
        """`old` is now called `new`; `value` where its meaning changed too."""
        node = self.take(old)
        if node is None or is_empty(node):
            # Copies of a chart's defaults are full of `key:` and `key: {}`; they never meant anything.
            return False
        target = dotted(new)
        if self.put(new, node if value is None else value):
            self.note(old, node, f"`{dotted(old)}` is now `{target}`{_shown(value or node)}")
        else:
            self.note(old, node, f"`{dotted(old)}` is left out: `{target}` is its new name and is given too")
        return True

    def drop(self, old: tuple[str, ...], why: str) -> None:
        node = self.take(old)
        if node is not None and not is_empty(node):
            self.note(old, node, f"`{dotted(old)}` is left out: {why}")


def is_empty(node: Node) -> bool:
    """Whether there is nothing behind the key: null, "", [] or {}, or only such below it."""
    match node.value:
        case dict() as items:
            return all(is_empty(inner) for inner in items.values())
        case list() as elements:
            return not elements
    return node.value is None or node.value == ""


def scalar(value: Scalar, like: Node) -> Node:
    """A value that a translation makes up, standing where its cause stands."""
    return Node(value, like.position, like.key_position, text=str(value))


def _own(node: Node) -> Node:
    if not isinstance(node.value, dict):
        return node
    items = {name: _own(inner) for name, inner in node.value.items()}
    return Node(items, node.position, node.key_position)


def _shown(node: Node) -> str:
    """A short harmless value, to make the new spelling concrete."""
    return f": {str(node.value).lower()}" if isinstance(node.value, bool) else ""
