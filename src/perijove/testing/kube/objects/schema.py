"""What the published Kubernetes schemas say about a value: its fields, how it merges, whether it fits.

The schemas are those of the package kubernetes-validate, generated from each release's OpenAPI document, with the
`x-kubernetes-*` extensions that say how lists and maps merge. Nothing here knows a kind by name.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum
from functools import cache
from importlib.resources import files
from typing import Any

from perijove.testing.kube.objects.failures import bad_request
from perijove.testing.kube.objects.resources import Object, Resource

VERSION = "1.34"
Schema = dict[str, Any]

# List keys that may be left out of an item stand for these.
_KEY_DEFAULTS = {"protocol": "TCP"}


class Shape(Enum):
    """How a value is owned and merged."""

    LEAF = "scalar or atomic"
    FIELDS = "each field by itself"
    KEYED = "each item of the list by its keys"
    MEMBERS = "each scalar of the list by its value"


@cache
def definitions(version: str = VERSION) -> dict[str, Schema]:
    folder = files("kubernetes_validate") / "kubernetes-json-schema" / f"v{version}.0-local-strict"
    found: dict[str, Schema] = json.loads((folder / "_definitions.json").read_text(encoding="utf-8"))["$defs"]
    return found


def of_resource(resource: Resource) -> Schema | None:
    if resource.schema is not None:
        return _with_metadata(resource.schema)
    return definitions().get(resource.definition)


def _with_metadata(schema: Schema) -> Schema:
    """A custom kind's schema says nothing of what every object has."""
    meta = {"$ref": "#/$defs/io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"}
    every = {"apiVersion": {"type": "string"}, "kind": {"type": "string"}, "metadata": meta}
    return schema | {"properties": (schema.get("properties") or {}) | every}


def resolve(schema: Schema | None) -> Schema | None:
    while schema is not None and "$ref" in schema:
        schema = definitions()[schema["$ref"].rpartition("/")[2]]
    return schema


def child(schema: Schema | None, key: str) -> Schema | None:
    """The schema of a field or of a map's value; None where nothing is known."""
    resolved = resolve(schema)
    if resolved is None:
        return None
    found = (resolved.get("properties") or {}).get(key)
    if found is None and isinstance(resolved.get("additionalProperties"), dict):
        found = resolved["additionalProperties"]
    return found


def items(schema: Schema | None) -> Schema | None:
    resolved = resolve(schema)
    return None if resolved is None else resolved.get("items")


def shape(schema: Schema | None, value: Any) -> Shape:
    resolved = resolve(schema) or {}
    if isinstance(value, dict):
        return Shape.LEAF if resolved.get("x-kubernetes-map-type") == "atomic" else Shape.FIELDS
    if isinstance(value, list):
        kind = (schema or {}).get("x-kubernetes-list-type") or resolved.get("x-kubernetes-list-type")
        if kind == "map":
            return Shape.KEYED
        return Shape.MEMBERS if kind == "set" else Shape.LEAF
    return Shape.LEAF


def keys(schema: Schema | None) -> Sequence[str]:
    found: Sequence[str] = (resolve(schema) or {}).get("x-kubernetes-list-map-keys") or ()
    return found


def key_of(schema: Schema | None, item: Object) -> str:
    """An item's identity in a keyed list, as managed fields spell it."""
    chosen = {
        key: item.get(key, _KEY_DEFAULTS.get(key))
        for key in sorted(keys(schema))
        if key in item or key in _KEY_DEFAULTS
    }
    return json.dumps(chosen, separators=(",", ":"), ensure_ascii=False)


def patch_strategy(schema: Schema | None) -> str:
    found: str = (schema or {}).get("x-kubernetes-patch-strategy") or (resolve(schema) or {}).get(
        "x-kubernetes-patch-strategy", ""
    )
    return found


def patch_key(schema: Schema | None) -> str:
    found: str = (schema or {}).get("x-kubernetes-patch-merge-key", "")
    return found


# id of a schema -> the schema itself, which keeps that id taken, and the types it allows.
_TYPES: dict[int, tuple[Schema, set[str]]] = {}


@dataclass
class Decoded:
    """A body as the server understands it."""

    value: Object
    # Paths of fields that no schema knows: dropped, warned about or refused as the request says.
    unknown: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)


def decode(resource: Resource, body: Object, *, keep_nulls: bool = False) -> Decoded:
    """Drop what the schema does not know, and nulls. Raises a 400 for a value of another type."""
    result = Decoded({})
    schema = of_resource(resource)
    if schema is None:
        result.value = body
    else:
        result.value = _Walk(resource, result, keep_nulls=keep_nulls).fields(schema, body, "", resource.kind)
    return result


class _Walk:
    def __init__(self, resource: Resource, result: Decoded, *, keep_nulls: bool) -> None:
        self._resource = resource
        self._result = result
        # An applied null is a wish: that nothing be there.
        self._keep_nulls = keep_nulls

    def value(self, schema: Schema | None, value: Any, path: str, owner: str) -> Any:
        where = resolve(schema)
        if where is None:
            return value
        self._fits(where, value, path, owner)
        if isinstance(value, dict):
            return self.fields(where, value, path, _struct(schema) or owner)
        if isinstance(value, list):
            below = items(where)
            return [self.value(below, item, f"{path}[{index}]", owner) for index, item in enumerate(value)]
        return value

    def fields(self, schema: Schema, value: Object, path: str, owner: str) -> Object:
        known = schema.get("properties") or {}
        rest = schema.get("additionalProperties")
        free = not known and not isinstance(rest, dict)
        free = free or bool(schema.get("x-kubernetes-preserve-unknown-fields")) or rest is True
        kept: Object = {}
        for key, entry in value.items():
            here = f"{path}.{key}" if path else key
            below = known.get(key) or (rest if isinstance(rest, dict) else None)
            if below is None and not free:
                self._result.unknown.append(here)
            elif entry is None and self._keep_nulls:
                kept[key] = None
            elif entry is not None:
                kept[key] = self.value(below, entry, here, owner)
            elif isinstance(rest, dict) and _types(rest) & {"string"}:
                # Go decodes null in a map of strings as an empty one.
                kept[key] = ""
        required = [key for key in schema.get("required") or () if key not in kept]
        self._result.missing += [f"{path}.{key}" if path else key for key in required]
        return kept

    def _fits(self, schema: Schema, value: Any, path: str, owner: str) -> None:
        allowed = _types(schema)
        if not allowed or schema.get("x-kubernetes-int-or-string"):
            return
        given = _type_name(value)
        if given in allowed or (given == "integer" and "number" in allowed):
            return
        plain = "".join(part.partition("[")[0] + "." for part in path.split(".")).rstrip(".")
        words = {"integer": "number", "boolean": "bool"}.get(given, given)
        wanted = _go_type(schema, allowed)
        kind, version = self._resource.kind, self._resource.version
        message = (
            f'{kind} in version "{version}" cannot be handled as a {kind}: '
            f"json: cannot unmarshal {words} into Go struct field {owner}.{plain} of type {wanted}"
        )
        raise bad_request(message)


def _struct(schema: Schema | None) -> str:
    reference = (schema or {}).get("$ref", "")
    return str(reference).rpartition(".")[2]


def _types(schema: Schema) -> set[str]:
    """Remembered by identity: schemas are shared, never altered, and asked for at every value of every write."""
    known = _TYPES.get(id(schema))
    if known is not None and known[0] is schema:
        return known[1]
    found = _declared(schema)
    _TYPES[id(schema)] = (schema, found)
    return found


def _declared(schema: Schema) -> set[str]:
    found: set[str] = set()
    for option in schema.get("oneOf") or schema.get("anyOf") or [schema]:
        declared = option.get("type")
        found |= set(declared) if isinstance(declared, list) else {declared} if declared else set()
    return found - {"null"}


def _type_name(value: Any) -> str:
    match value:
        case bool():
            return "boolean"
        case int():
            return "integer"
        case float():
            return "number"
        case str():
            return "string"
        case list():
            return "array"
        case _:
            return "object"


def _go_type(schema: Schema, allowed: set[str]) -> str:
    if "integer" in allowed:
        return str(schema.get("format", "int64"))
    named = {"boolean": "bool", "string": "string", "number": "float64"}
    if allowed & {"array"}:
        below = items(schema)
        return f"[]{_struct(below) or 'string'}"
    return named.get(next(iter(allowed)), "map[string]string")
