"""What a file is, before what it says: z2jh's values alone, or wrapped in something else.

BinderHub, daskhub, and the repositories of most institutions contain z2jh's chart, so their files have its
values below a key named after it. Flux keeps values inside of an object. Those are taken out with a note.
What is encrypted, or no values at all, is said in one sentence instead of one for each of its keys.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from perijove.config.problems import ConfigError, KeyPath, Note, NoteKind, Problem, dotted
from perijove.config.schema.settings import Settings
from perijove.config.validate import section_fields
from perijove.config.yaml import Document, Node

# What only z2jh's values have at their top.
_SECTIONS: Final = frozenset(["hub", "proxy", "singleuser", "auth", "prePuller", "scheduling", "cull"])
_CHART: Final = "jupyterhub"
_SHOWN: Final = 5


@dataclass(frozen=True, slots=True)
class Wrapped:
    """Where the values are in a file: `()` where they are all of it."""

    path: tuple[str, ...]
    values: Node


def unwrapped(document: Document) -> Document:
    """Raises `ConfigError` for what no values can be taken from."""
    found = find(document)
    if not found.path:
        return document
    return Document(document.file, found.values, [*document.notes, _note(document.root, found)])


def find(document: Document) -> Wrapped:
    """Raises `ConfigError` for what no values can be taken from."""
    root = document.root
    keys = _keys(root)
    if "sops" in keys and root.at(("sops", "mac")) is not None:
        remedy = "decrypt it, and give the result: sops --decrypt FILE > decrypted.yaml"
        raise _not_values(root, ("sops",), "the file is encrypted with SOPS", remedy)
    if {"apiVersion", "kind"} <= keys and not keys & _SECTIONS:
        return _in_object(root)
    if keys & _SECTIONS:
        return Wrapped((), root)
    candidates = list(_candidates(root))
    if len(candidates) > 1:
        places = " and ".join(f"`{dotted(each.path)}`" for each in candidates)
        text = f"there are several hubs in this file, below {places}"
        raise _not_values(root, candidates[1].path, text, "put each into a file of its own")
    return candidates[0] if candidates else Wrapped((), root)


def _candidates(root: Node) -> Iterator[Wrapped]:
    """Below the chart's name, at most two deep; below any other name where it can be nothing else."""
    for name, node in _items(root):
        keys = _keys(node)
        if (name == _CHART and _are_values(keys)) or len(keys & {"hub", "proxy", "singleuser"}) > 1:
            yield Wrapped((name,), node)
        inner = node.at((_CHART,))
        if inner is not None and _are_values(_keys(inner)):
            yield Wrapped((name, _CHART), inner)


def _are_values(keys: set[str]) -> bool:
    """Below the chart's name: a file over another one may set nothing but `ingress`."""
    return bool(keys & _SECTIONS) or bool(keys and keys <= section_fields(Settings).keys())


def _in_object(root: Node) -> Wrapped:
    path = ("spec", "values")
    values = root.at(path)
    kind = root.at(("kind",))
    if values is not None and kind is not None and kind.value == "HelmRelease":
        inner = find(Document(root.position.file, values))
        return Wrapped((*path, *inner.path), inner.values)
    name = kind.value if kind is not None else "Kubernetes"
    remedy = "give the values that Helm gets, in a file of their own"
    raise _not_values(root, ("kind",), f"this is an object of kind {name}, not a values file of z2jh", remedy)


def _not_values(root: Node, path: KeyPath, message: str, remedy: str) -> ConfigError:
    return ConfigError([Problem(path, message, root.nearest(path).where, remedy=remedy)])


def _note(root: Node, found: Wrapped) -> Note:
    others = sorted(_keys(root) - {found.path[0]})
    shown = ", ".join(others[:_SHOWN]) + (", …" if len(others) > _SHOWN else "")
    besides = f"; the rest of the file is for other charts and left out: {shown}" if others else ""
    text = f"what stands below `{dotted(found.path)}` is used{besides}"
    return Note(NoteKind.INFO, text, found.path, found.values.where)


def _items(node: Node) -> list[tuple[str, Node]]:
    return list(node.value.items()) if isinstance(node.value, dict) else []


def _keys(node: Node) -> set[str]:
    return {name for name, _ in _items(node)}
