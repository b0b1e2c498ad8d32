"""docs/reference/rest-api.md, out of the OpenAPI document: nothing about the API is written twice."""

from collections.abc import Iterator
from typing import Final

from perijove.web.api import ENDPOINTS
from perijove.web.api.openapi import words
from perijove.web.api.openapi.document import document
from perijove.web.api.openapi.words import Described

_INTRODUCTION: Final = """# REST API

Below `<base URL>hub/api`, as JupyterHub's: send `Authorization: token <token>`, made on the page *Tokens* or with
`perijove token`. Any one of the scopes opens an operation; one that ends in `!user`, `!server` or `!group` is needed
for what the path names only. A listing shows what the caller's scopes reveal.

A hub serves the same as an OpenAPI 3.1 document at `<base URL>hub/api/openapi.json`, and to read at
`<base URL>hub/api-docs`. Who asks for too much at once gets 429 with `Retry-After`, bodies beyond a megabyte get 413;
every refusal is `{"status": …, "message": …}`."""


def markdown() -> str:
    found = document(ENDPOINTS, "/")
    parts = [_INTRODUCTION]
    for tag, operations in words.by_tag(found).items():
        parts.append(f"## {tag.capitalize()}")
        for operation in operations:
            parts += _operation(operation)
    parts.append("## Schemas")
    for name, fields in words.schemas(found).items():
        if fields:
            parts += [f"### {name}", _fields(fields)]
    return "\n\n".join(parts)


def _operation(operation: Described) -> Iterator[str]:
    yield f"### `{operation.method} {operation.path}`"
    yield " ".join(filter(None, [f"{operation.summary}.", operation.description, *_deprecated(operation)]))
    scopes = ", ".join(f"`{scope}`" for scope in operation.scopes)
    lines = [f"- scopes: {scopes or ('none, and no credentials' if operation.public else 'any credentials')}"]
    query = [parameter for parameter in operation.parameters if parameter["in"] == "query"]
    lines += [f"- query `{p['name']}`: {p.get('description', '')}".removesuffix(": ") for p in query]
    lines += [_field("body", *field) for field in operation.body]
    lines.append("- answers: " + ", ".join(f"{status} {kind}" for status, kind in operation.answers))
    yield "\n".join(lines)


def _deprecated(operation: Described) -> Iterator[str]:
    if operation.deprecated:
        yield "*Deprecated.*"


def _field(where: str, name: str, kind: str, description: str) -> str:
    return f"- {where} `{name}`: {kind}" + (f". {description}" if description else "")


def _fields(fields: list[tuple[str, str, str]]) -> str:
    rows = (f"| `{name}` | {_cell(kind)} | {_cell(description)} |" for name, kind, description in fields)
    return "\n".join(["| field | kind | meaning |", "| --- | --- | --- |", *rows])


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
