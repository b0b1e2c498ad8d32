"""The document in words: each operation with what it takes and answers, for the page of a hub and for the reference."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final


@dataclass(frozen=True, slots=True)
class Described:
    """One operation, as the page shows it."""

    id: str
    method: str
    path: str
    summary: str
    description: str
    deprecated: bool
    scopes: tuple[str, ...]
    public: bool
    parameters: tuple[Mapping[str, Any], ...]
    # Name of the schema, kind and description of each field of the body.
    body: tuple[tuple[str, str, str], ...]
    answers: tuple[tuple[str, str], ...]


# Of one operation each, and all about the hub itself.
_ABOUT_THE_HUB: Final = frozenset({"health", "info", "shutdown", "user"})


def by_tag(document: Mapping[str, Any]) -> dict[str, list[Described]]:
    """Every operation below its heading, in the document's order."""
    found: dict[str, list[Described]] = {}
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            tag = operation["tags"][0]
            heading = "hub" if tag in _ABOUT_THE_HUB else tag
            found.setdefault(heading, []).append(_operation(document, path, method, operation))
    return found


def schemas(document: Mapping[str, Any]) -> dict[str, list[tuple[str, str, str]]]:
    """Of each schema its fields: name, kind and description."""
    return {name: list(_fields(document, schema)) for name, schema in document["components"]["schemas"].items()}


def _operation(document: Mapping[str, Any], path: str, method: str, operation: Mapping[str, Any]) -> Described:
    content = operation.get("requestBody", {}).get("content", {})
    body = [field for media in content.values() for field in _fields(document, media["schema"])]
    return Described(
        id=operation["operationId"],
        method=method.upper(),
        path=path,
        summary=operation["summary"],
        description=operation.get("description", ""),
        deprecated=operation.get("deprecated", False),
        scopes=tuple(operation.get("x-scopes", ())),
        public=operation.get("security") == [],
        parameters=tuple(operation.get("parameters", ())),
        body=tuple(body),
        answers=tuple(
            ("else" if status == "default" else status, _kind_of_answer(answer))
            for status, answer in operation["responses"].items()
        ),
    )


def _kind_of_answer(answer: Mapping[str, Any]) -> str:
    content = answer.get("content", {})
    return ", ".join(_kind(media["schema"]) for media in content.values()) or answer["description"]


def _fields(document: Mapping[str, Any], schema: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Name, kind and description."""
    if name := _referred(schema):
        schema = document["components"]["schemas"][name]
    for part in schema.get("allOf", ()):
        yield from _fields(document, part)
    required = schema.get("required", ())
    for name, field in schema.get("properties", {}).items():
        kind = _kind(field)
        yield name, f"{kind}, required" if name in required else kind, field.get("description", "")


def _referred(schema: Mapping[str, Any]) -> str:
    return str(schema.get("$ref", "")).rpartition("/")[2]


def _kind(schema: Mapping[str, Any]) -> str:
    """In words: `list of User`, `text or null`."""
    if name := _referred(schema):
        return re.sub(r"Body$", "", name)
    if enum := schema.get("enum"):
        return " | ".join(str(value) for value in enum)
    for word, between in (("oneOf", " or "), ("anyOf", " or "), ("allOf", " and ")):
        if word in schema:
            return between.join(dict.fromkeys(_kind(part) for part in schema[word]))
    if "items" in schema:
        return f"list of {_kind(schema['items'])}"
    kind = schema.get("type", "anything")
    return kind if isinstance(kind, str) else " or ".join(kind)
