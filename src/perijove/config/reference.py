"""The schema as a page of documentation and as JSON Schema, so that neither can say anything else."""

import json
from collections.abc import Iterator
from functools import cache
from typing import Any, Final

from pydantic_core import PydanticUndefined

from perijove.config.examples import example
from perijove.config.schema.base import KUBERNETES, Section
from perijove.config.schema.settings import Settings
from perijove.config.validate import section_fields, subsection

_LONGEST_DEFAULT: Final = 60
_INTRODUCTION: Final = """# Configuration

Every key of `config.yaml`, with its default, an example and its meaning. The keys are those of Zero to
JupyterHub's chart, so its files work here as they are; keys that it does not know are marked **Perijove**. An
example stands on one line, in the brackets of JSON; YAML takes it like that, or spread over several lines.

- Several files (`-f one.yaml -f two.yaml`) are merged as Helm merges them: maps deep, lists replaced; `null`
  removes a default.
- Keys marked *Kubernetes* are checked everywhere and have an effect there only.
- `perijove check -f config.yaml` says everything that is wrong with a file at once.
- Code in `hub.extraConfig` and `hub.extraConfigFiles` runs with the rights of the hub, at its start and in
  `perijove check` (unless `--no-run`)."""


def schema_json() -> str:
    """JSON Schema (draft 2020-12) of config.yaml, for editors and Helm."""
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "Perijove config.yaml"} | {
        key: value for key, value in _schema().items() if key != "title"
    }
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def markdown() -> str:
    """docs/reference/config.md."""
    parts = [_INTRODUCTION]
    for name, info in section_fields(Settings).items():
        inner = subsection(info)
        parts.append(f"## {name}")
        parts.append(str(info.description))
        rows = list(_rows(inner, (name,), kubernetes=_kubernetes(info))) if inner else [_row((name,), info)]
        parts.append(
            "\n".join(["| key | type | default | example | meaning |", "| --- | --- | --- | --- | --- |", *rows])
        )
    return "\n\n".join(parts)


def _kubernetes(info: Any) -> bool:
    return bool((info.json_schema_extra or {}).get(KUBERNETES))


def _rows(section: type[Section], path: tuple[str, ...], *, kubernetes: bool) -> Iterator[str]:
    for name, info in section_fields(section).items():
        only = kubernetes or _kubernetes(info)
        if inner := subsection(info):
            yield from _rows(inner, (*path, name), kubernetes=only)
        else:
            yield _row((*path, name), info, kubernetes=only)


def _row(path: tuple[str, ...], info: Any, *, kubernetes: bool = False) -> str:
    meaning = str(info.description)
    if " Not known to z2jh." in meaning:
        meaning = f"**Perijove.** {meaning.replace(' Not known to z2jh.', '')}"
    mark = " *Kubernetes.*" if kubernetes or _kubernetes(info) else ""
    kind = _type(path)
    cells = (f"`{'.'.join(path)}`", kind, _default(info), _example(path, info, kind), f"{meaning}{mark}")
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"


def _default(info: Any) -> str:
    value = info.get_default(call_default_factory=True, validated_data={})
    if value is PydanticUndefined:
        return "required"
    text = json.dumps(value, ensure_ascii=False)
    return f"`{text}`" if len(text) <= _LONGEST_DEFAULT else "…"


def _example(path: tuple[str, ...], info: Any, kind: str) -> str:
    """As one line of YAML, of which JSON is a part."""
    default = info.get_default(call_default_factory=True, validated_data={})
    return f"`{path[-1]}: {json.dumps(example(path, default, kind), ensure_ascii=False)}`"


def _type(path: tuple[str, ...]) -> str:
    """In the words of JSON Schema, which knows about the several shapes of a value."""
    node = _schema()
    for step in path:
        # A section that may be null is one of two alternatives.
        alternatives = map(_resolved, (node, *node.get("anyOf", ())))
        node = _resolved(next(part for part in alternatives if "properties" in part)["properties"][step])
    return " or ".join(_words(node))


def _words(node: dict[str, Any]) -> list[str]:
    node = _resolved(node)
    if "anyOf" in node:
        found = [word for part in node["anyOf"] for word in _words(part)]
    elif "enum" in node:
        found = [f"`{value}`" for value in node["enum"] if value]
    else:
        kinds = node.get("type", "any")
        found = [_NAMES.get(kind, kind) for kind in ([kinds] if isinstance(kinds, str) else kinds)]
    return [word for word in dict.fromkeys(found) if word != "null"] or ["null"]


_NAMES: Final = {"object": "map", "array": "list"}


@cache
def _schema() -> dict[str, Any]:
    return Settings.model_json_schema(by_alias=True, mode="validation")


def _resolved(node: dict[str, Any]) -> dict[str, Any]:
    while "$ref" in node:
        found = _schema()["$defs"][node["$ref"].rpartition("/")[2]]
        node = {**found, **{key: value for key, value in node.items() if key != "$ref"}}
    return node
