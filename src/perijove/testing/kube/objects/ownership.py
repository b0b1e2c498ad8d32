"""Which manager owns which field: server-side apply, and what every other write leaves behind in managedFields.

A field set is a set of paths; a path is a tuple of steps as FieldsV1 spells them (`f:spec`, `k:{"name":"hub"}`,
`v:"x"`), so that writing it down is turning it into a tree and nothing more.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from perijove.testing.kube.objects import schema as schemas
from perijove.testing.kube.objects.resources import Object
from perijove.testing.kube.objects.schema import Schema, Shape

Path = tuple[str, ...]

_UNOWNED_ROOTS = frozenset({"apiVersion", "kind"})
_UNOWNED_METADATA = frozenset(
    {
        "name",
        "namespace",
        "uid",
        "creationTimestamp",
        "resourceVersion",
        "generation",
        "managedFields",
        "selfLink",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
    }
)
_ITEM = "."


def leaves(schema: Schema | None, item: Object) -> dict[Path, Any]:
    """Every owned path with its value; an item of a keyed list is there itself too, with value None."""
    return dict(_walk(schema, _ownable(item), ()))


def _ownable(item: Object) -> Object:
    kept = {key: value for key, value in item.items() if key not in _UNOWNED_ROOTS}
    if metadata := kept.pop("metadata", None):
        owned = {key: value for key, value in metadata.items() if key not in _UNOWNED_METADATA}
        if owned:
            kept["metadata"] = owned
    return kept


def _walk(schema: Schema | None, value: Any, path: Path) -> Iterator[tuple[Path, Any]]:
    match schemas.shape(schema, value):
        case Shape.FIELDS if value or not path:
            for key, below in value.items():
                yield from _walk(schemas.child(schema, key), below, (*path, f"f:{key}"))
        case Shape.KEYED if value:
            for entry in value:
                here = (*path, f"k:{schemas.key_of(schema, entry)}")
                yield here, None
                yield from _walk(schemas.items(schema), entry, here)
        case Shape.MEMBERS if value:
            for member in value:
                yield (*path, f"v:{json.dumps(member)}"), None
        case _:
            yield path, value


def merged(schema: Schema | None, live: Any, applied: Any) -> Any:
    """`applied` laid over `live`: fields into fields, items into items of the same keys."""
    if isinstance(live, dict) and isinstance(applied, dict) and schemas.shape(schema, applied) is Shape.FIELDS:
        result = dict(live)
        for key, value in applied.items():
            result[key] = merged(schemas.child(schema, key), live.get(key), value)
        return result
    if isinstance(live, list) and isinstance(applied, list):
        kind = schemas.shape(schema, applied)
        if kind is Shape.KEYED:
            return _merged_items(schema, live, applied)
        if kind is Shape.MEMBERS:
            return live + [member for member in applied if member not in live]
    return applied


def _merged_items(schema: Schema | None, live: list[Any], applied: list[Any]) -> list[Any]:
    by_key = {schemas.key_of(schema, item): item for item in live}
    below = schemas.items(schema)
    for item in applied:
        key = schemas.key_of(schema, item)
        by_key[key] = merged(below, by_key.get(key), item)
    return list(by_key.values())


def without(schema: Schema | None, item: Object, paths: Iterable[Path]) -> Object:
    """`item` less the values at these paths; maps and lists that they leave empty go as well."""
    result: Any = item
    chosen = set(paths)
    # Within an item that goes as a whole nothing needs to be looked for.
    whole = [path for path in chosen if not any(path[:depth] in chosen for depth in range(1, len(path)))]
    for path in sorted(whole, key=len, reverse=True):
        result = _removed(schema, result, path)
    kept: Object = result
    return kept


def _removed(schema: Schema | None, value: Any, path: Path) -> Any:
    step, rest = path[0], path[1:]
    if isinstance(value, dict) and step.startswith("f:"):
        return _field_removed(schema, value, step[2:], rest)
    if isinstance(value, list) and step.startswith("k:"):
        return list(_items_without(schema, value, step[2:], rest))
    if isinstance(value, list) and step.startswith("v:"):
        return [member for member in value if json.dumps(member) != step[2:]]
    return value


def _field_removed(schema: Schema | None, value: Object, key: str, rest: Path) -> Object:
    if key not in value:
        return value
    left = _removed(schemas.child(schema, key), value[key], rest) if rest else None
    if not rest or (left in ({}, []) and value[key] not in ({}, [])):
        return {name: below for name, below in value.items() if name != key}
    return value | {key: left}


def _items_without(schema: Schema | None, value: list[Any], key: str, rest: Path) -> Iterator[Any]:
    for item in value:
        identifies = len(rest) == 1 and rest[0].removeprefix("f:") in schemas.keys(schema)
        if schemas.key_of(schema, item) != key or identifies:
            yield item
        elif rest:
            yield _removed(schemas.items(schema), item, rest)


@dataclass
class Owner:
    """One entry of managedFields."""

    manager: str
    operation: str
    api_version: str
    subresource: str = ""
    time: str = ""
    paths: set[Path] = field(default_factory=set)

    @property
    def identity(self) -> tuple[str, str, str, str]:
        return self.manager, self.operation, self.api_version, self.subresource

    @property
    def words(self) -> str:
        """As conflict messages name it."""
        said = f'"{self.manager}"'
        if self.subresource:
            said += f' with subresource "{self.subresource}"'
        return said if self.operation == "Apply" else f"{said} using {self.api_version}"

    def written(self) -> Object:
        entry: Object = {
            "manager": self.manager,
            "operation": self.operation,
            "apiVersion": self.api_version,
            "time": self.time,
            "fieldsType": "FieldsV1",
            "fieldsV1": _tree(self.paths),
        }
        if self.subresource:
            entry["subresource"] = self.subresource
        return entry


def _tree(paths: set[Path]) -> Object:
    root: Object = {}
    for path in sorted(paths):
        node = root
        for step in path:
            node = node.setdefault(step, {})
        if path[-1].startswith("k:"):
            node[_ITEM] = {}
    return root


def _paths(tree: Object, path: Path = ()) -> Iterator[Path]:
    for step, below in tree.items():
        if step == _ITEM:
            yield path
        elif below:
            yield from _paths(below, (*path, step))
        else:
            yield (*path, step)


def owners_of(item: Object) -> list[Owner]:
    return [
        Owner(
            entry.get("manager", ""),
            entry.get("operation", "Update"),
            entry.get("apiVersion", ""),
            entry.get("subresource", ""),
            entry.get("time", ""),
            set(_paths(entry.get("fieldsV1") or {})),
        )
        for entry in item.get("metadata", {}).get("managedFields") or ()
    ]


def said(path: Path) -> str:
    """A path as messages have it: `.spec.template.spec.containers[name="hub"].image`."""
    words = ""
    for step in path:
        kind, _, rest = step.partition(":")
        if kind == "f":
            words += f".{rest}"
        elif kind == "k":
            pairs = json.loads(rest).items()
            words += "[" + ",".join(f"{key}={json.dumps(value)}" for key, value in pairs) + "]"
        else:
            words += f"[={rest}]"
    return words


def changed(schema: Schema | None, before: Object, after: Object) -> tuple[set[Path], set[Path]]:
    """Paths that were set or altered, and paths that are gone."""
    old, new = leaves(schema, before), leaves(schema, after)
    written = {path for path, value in new.items() if path not in old or old[path] != value}
    return written, set(old) - set(new)


def after_update(schema: Schema | None, before: Object, after: Object, author: Owner) -> list[Owner]:
    """Owners once `author` has turned `before` into `after` by anything but apply."""
    written, removed = changed(schema, before, after)
    owners = owners_of(before)
    if not written and not removed:
        return owners
    if all(owner.identity != author.identity for owner in owners):
        owners.append(author)
    for owner in owners:
        mine = owner.identity == author.identity
        owner.paths = (owner.paths | written if mine else owner.paths - written) - removed
        if mine:
            owner.time = author.time
    return [owner for owner in owners if owner.paths]


@dataclass
class Applied:
    item: Object
    owners: list[Owner]
    # (who, where) of every field that somebody else owns with another value.
    conflicts: list[tuple[str, str]]


def apply(schema: Schema | None, live: Object, wanted: Object, author: Owner) -> Applied:
    """Server-side apply. With conflicts, `item` and `owners` are what forcing would give."""
    mine_before: set[Path] = set()
    others: list[Owner] = []
    for owner in owners_of(live):
        if owner.identity == author.identity:
            mine_before = owner.paths
        elif (owner.manager, owner.operation, owner.subresource) == (author.manager, "Apply", author.subresource):
            # The same applier under another version of the group.
            mine_before |= owner.paths
        else:
            others.append(owner)
    author.paths = set(leaves(schema, wanted))
    result = merged(schema, live, wanted)
    written, _ = changed(schema, live, result)
    conflicts: list[tuple[str, str]] = []
    for owner in others:
        taken = owner.paths & written & author.paths
        conflicts += [(owner.words, said(path)) for path in sorted(taken)]
        owner.paths = owner.paths - taken
    theirs = {path[:depth] for owner in others for path in owner.paths for depth in range(1, len(path) + 1)}
    result = without(schema, result, mine_before - author.paths - theirs)
    return Applied(result, [*[owner for owner in others if owner.paths], author], conflicts)
