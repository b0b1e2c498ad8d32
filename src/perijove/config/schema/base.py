"""What every part of the schema is built from: sections, key descriptions, and values of varying shape.

A value that users write in several ways (a command as string or list, an environment as map or list)
is normalised here once, so that the rest of the program sees one shape. Such a validator raises
`expected(...)`, whose text ends up in the message beside file, line and column.
"""

import re
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Final, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema, model_validator
from pydantic.alias_generators import to_camel
from pydantic.config import JsonDict
from pydantic_core import PydanticCustomError

KUBERNETES: Final = "x-applies-on-kubernetes"


def expected(what: str, remedy: str = "", *, below: str | int | None = None) -> PydanticCustomError:
    """The error of a value that is not `what`. `below`: the key or index under which it is wrong.

    In `remedy`, `{text}` stands for what the file says there.
    """
    return PydanticCustomError("expected", "expected {what}", {"what": what, "remedy": remedy, "below": below})


class Section(BaseModel):
    """A map with known keys, camelCase in YAML, frozen once read."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        alias_generator=to_camel,
        arbitrary_types_allowed=False,
        serialize_by_alias=True,
    )
    _emptied: ClassVar[dict[type, dict[str, Any]]] = {}

    @model_validator(mode="before")
    @classmethod
    def _null_empties_containers(cls, data: Any) -> Any:
        """`key:` with nothing behind it: for a free map or a list, Helm has deleted the default."""
        if not isinstance(data, dict) or None not in data.values():
            return data
        empty = cls._empty_containers()
        return {key: empty[key]() if value is None and key in empty else value for key, value in data.items()}

    @classmethod
    def _empty_containers(cls) -> dict[str, Any]:
        if cls not in Section._emptied:
            found: dict[str, Any] = {}
            for name, info in cls.model_fields.items():
                kind = getattr(info.annotation, "__origin__", info.annotation)
                if kind in (dict, list):
                    found[info.alias or name] = kind
            Section._emptied[cls] = found
        return Section._emptied[cls]


def key(default: Any, meaning: str, *, kubernetes: bool = False, alias: str | None = None, **more: Any) -> Any:
    """A key: its default, what it means, and whether it only has an effect on Kubernetes."""
    extra: JsonDict = {KUBERNETES: True} if kubernetes else {}
    if isinstance(default, dict | list):
        more["default_factory"] = default.copy
    elif isinstance(default, type):
        more["default_factory"] = default
    else:
        more["default"] = default
    if alias is not None:
        more["alias"] = alias
    return Field(description=meaning, json_schema_extra=extra, **more)


# -- values of varying shape ---------------------------------------------------------------------


def _command(value: Any) -> Any:
    if value is None or (isinstance(value, list) and all(isinstance(part, str) for part in value)):
        return value
    if isinstance(value, str):
        return [value]
    raise expected("a command: a string, or a list of strings")


Command = Annotated[
    list[str] | None,
    BeforeValidator(_command),
    WithJsonSchema({"type": ["string", "array", "null"], "items": {"type": "string"}}),
]


def _text(value: Any) -> Any:
    match value:
        case bool():
            return "true" if value else "false"
        case int():
            return str(value)
        case float():
            raise expected("a string", 'write it in quotes: "{text}"')
    return value


# Kubernetes wants strings where people write `600` or `true`; those two are unambiguous.
Text = Annotated[str, BeforeValidator(_text), WithJsonSchema({"type": ["string", "integer", "boolean"]})]
Labels = dict[str, Text]


def _quoted(value: Any) -> Any:
    if isinstance(value, int | float) and not isinstance(value, bool):
        raise expected("a string", 'write it in quotes: "{text}"; unquoted, it is a number and loses zeros')
    return value


Tag = Annotated[str, BeforeValidator(_quoted)]

_MEMORY: Final = re.compile(r"[0-9]+(\.[0-9]+)?[KMGT]")
_MEMORY_LIKE: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*([KMGTkmgt])(i|b|B|iB)?")


def _memory(value: Any) -> Any:
    if value is None or (isinstance(value, int | float) and not isinstance(value, bool)):
        return value
    if isinstance(value, str):
        if _MEMORY.fullmatch(value):
            return value
        if re.fullmatch(r"[0-9]+", value):
            return int(value)
        if like := _MEMORY_LIKE.fullmatch(value.strip()):
            raise expected(
                "bytes, or a number with K, M, G or T (1024 based)",
                f"write {like[1]}{like[2].upper()}: it already means 1024-based units",
            )
    raise expected("bytes, or a number with K, M, G or T, as in 1.5G or 512M")


Memory = Annotated[
    str | int | float | None,
    BeforeValidator(_memory),
    WithJsonSchema({"type": ["string", "number", "null"], "examples": ["1.5G", "512M", 1073741824]}),
]


def memory_bytes(value: str | float | None) -> int | None:
    """`"1.5G"` as 1610612736."""
    if value is None:
        return None
    if isinstance(value, str):
        return int(float(value[:-1]) * 1024 ** ("KMGT".index(value[-1]) + 1))
    return int(value)


def _cpu(value: Any) -> Any:
    if isinstance(value, str):
        if milli := re.fullmatch(r"([0-9]+)m", value):
            raise expected("a number of CPUs", f"write {int(milli[1]) / 1000:g}")
        if re.fullmatch(r"[0-9]*\.?[0-9]+", value):
            raise expected("a number of CPUs", f"write {value} without quotes")
    return value


CPU = Annotated[float | None, BeforeValidator(_cpu), WithJsonSchema({"type": ["number", "null"]})]


def _quantity(value: Any) -> Any:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


Quantity = Annotated[str, BeforeValidator(_quantity), WithJsonSchema({"type": ["string", "integer"]})]

_VARIABLE: Final = re.compile(r"[-._a-zA-Z][-._a-zA-Z0-9]*")


def _variable(name: str, value: Any) -> Any:
    """One variable as a string, or as `{"valueFrom": {...}}`."""
    if not _VARIABLE.fullmatch(name):
        raise expected("the name of an environment variable: letters, digits and _", below=name)
    match value:
        case bool():
            return "true" if value else "false"
        case int() | float():
            return f"{value}"
        case None:
            return ""
        case str():
            return value
        case {"valueFrom": Mapping() as source}:
            return {"valueFrom": dict(source)}
        case {"value": inner}:
            return _variable(name, inner)
    raise expected("a string, or valueFrom", "put the value in quotes", below=name)


def _environment(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {
            str(inner.get("name", name)) if isinstance(inner, Mapping) else name: _variable(name, inner)
            for name, inner in value.items()
        }
    if isinstance(value, list):
        result = {}
        for index, entry in enumerate(value):
            if not isinstance(entry, Mapping) or not isinstance(entry.get("name"), str):
                raise expected("`name`, and `value` or `valueFrom`", "- name: X\n  value: y", below=index)
            result[entry["name"]] = _variable(entry["name"], {"value": "", **entry})
        return result
    if value is None:
        return {}
    raise expected("a map of NAME: value, or a list of name and value")


Environment = Annotated[
    dict[str, str | dict[str, Any]],
    BeforeValidator(_environment),
    WithJsonSchema(
        {
            "type": ["object", "array"],
            "additionalProperties": {"type": ["string", "number", "boolean", "object", "null"]},
            "items": {"type": "object", "required": ["name"]},
        }
    ),
]


def _named_list(value: Any) -> Any:
    """`{a: {...}, b: {...}}` and `[{...}]` both become a list; a map is sorted by its keys."""
    if isinstance(value, Mapping):
        if not all(isinstance(entry, Mapping) for entry in value.values()):
            raise expected("maps under each key")
        return [{"name": name, **value[name]} for name in sorted(value)]
    if value is None:
        return []
    return value


Volumes = Annotated[
    list[dict[str, Any]],
    BeforeValidator(_named_list),
    WithJsonSchema({"type": ["array", "object", "null"], "items": {"type": "object"}}),
]


def _unnamed_list(value: Any) -> Any:
    if isinstance(value, Mapping):
        if not all(isinstance(entry, Mapping) for entry in value.values()):
            raise expected("maps under each key")
        return [dict(value[name]) for name in sorted(value)]
    if value is None:
        return []
    return value


Mounts = Annotated[
    list[dict[str, Any]],
    BeforeValidator(_unnamed_list),
    WithJsonSchema({"type": ["array", "object", "null"], "items": {"type": "object"}}),
]


def _secrets(value: Any) -> Any:
    if isinstance(value, str):
        return [{"name": value}]
    if isinstance(value, list):
        return [{"name": entry} if isinstance(entry, str) else entry for entry in value]
    return value


# Each entry `{"name": ...}`, or only the name.
Secrets = Annotated[
    list[dict[str, Any]],
    BeforeValidator(_secrets),
    WithJsonSchema({"type": "array", "items": {"type": ["string", "object"]}}),
]


def is_optional(annotation: Any) -> bool:
    """Whether `null` is among a key's values."""
    return annotation is Any or type(None) in get_args(annotation)
