"""Our OpenAPI document beside the one that JupyterHub publishes (jupyterhub-openapi.json: its facts, not its words).

Whatever a client was written or generated against is there, and what differs is more."""

import json
import re
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from perijove.web.api import ENDPOINTS
from perijove.web.api.openapi.document import document
from perijove.web.api.openapi.operations import DOCS

PUBLISHED = json.loads(Path(__file__).with_name("jupyterhub-openapi.json").read_text(encoding="utf-8"))
OURS = json.loads(json.dumps(document(ENDPOINTS, "/")))
OPERATIONS = [(path, method) for path, methods in PUBLISHED["paths"].items() for method in methods]

# Where the published document says something else than JupyterHub does, and ours says what both do.
MISTAKEN = {
    # A dict by name.
    ("/services", "get", "200"),
    # These are shares, not codes.
    ("/users/{name}/shared", "get", "200"),
    # Removed in 2.0: it only says so.
    ("/authorizations/token", "post", "200"),
}


def resolved(root, schema):
    while "$ref" in schema:
        found = root
        for part in schema["$ref"].removeprefix("#/").split("/"):
            found = found[part]
        schema = {**found, **{key: value for key, value in schema.items() if key != "$ref"}}
    return schema


def kinds(schema):
    kind = schema.get("type", ())
    return {kind} if isinstance(kind, str) else set(kind)


def properties(root, schema):
    """Of the schema and all that it is composed of."""
    schema = resolved(root, schema)
    found = dict(schema.get("properties", {}))
    for word in ("allOf", "oneOf", "anyOf"):
        for part in schema.get(word, ()):
            found |= properties(root, part)
    return found


def assert_covers(theirs, ours, where, *, depth=4):
    """Everything that `theirs` names is in `ours`, of the same type or a wider one."""
    theirs, ours = resolved(PUBLISHED, theirs), resolved(OURS, ours)
    branches = [ours, *(resolved(OURS, part) for word in ("oneOf", "anyOf", "allOf") for part in ours.get(word, ()))]
    known = set().union(*map(kinds, branches))
    wanted = kinds(theirs)
    if known and wanted and not wanted <= known:
        assert wanted == {"number"}, f"{where}: {wanted} is not in {known}"
        assert "integer" in known, where
    if enum := theirs.get("enum"):
        assert not ours.get("enum") or set(enum) <= set(ours["enum"]), where
    if depth == 0:
        return
    mine = properties(OURS, ours)
    for name, schema in properties(PUBLISHED, theirs).items():
        assert name in mine, f"{where}: no {name}"
        assert_covers(schema, mine[name], f"{where}.{name}", depth=depth - 1)
    if "items" in theirs:
        listed = next((branch["items"] for branch in branches if "items" in branch), None)
        assert listed is not None, f"{where}: no list"
        assert_covers(theirs["items"], listed, f"{where}[]", depth=depth - 1)


def test_every_operation_of_the_published_document_is_there_under_its_id():
    assert len(OPERATIONS) == 54
    missing = [key for key in OPERATIONS if key[1] not in OURS["paths"].get(key[0], {})]
    assert missing == []
    for path, method in OPERATIONS:
        assert OURS["paths"][path][method]["operationId"] == PUBLISHED["paths"][path][method]["operationId"]


@pytest.mark.parametrize(("path", "method"), OPERATIONS)
def test_an_operation_takes_and_answers_what_is_published(path, method):
    theirs, ours = PUBLISHED["paths"][path][method], OURS["paths"][path][method]
    where = f"{method} {path}"
    mine = {(p["name"], p["in"]): p for p in ours.get("parameters", ())}
    for parameter in theirs.get("parameters", ()):
        published = resolved(PUBLISHED, parameter)
        assert (published["name"], published["in"]) in mine, where
        found = mine[published["name"], published["in"]]
        assert found["required"] is published.get("required", False), where
        assert_covers(published["schema"], found["schema"], f"{where} {published['name']}")
    # What we take beyond that may be left out.
    published_names = {resolved(PUBLISHED, p)["name"] for p in theirs.get("parameters", ())}
    assert not [p for (name, _), p in mine.items() if name not in published_names and p["required"]]
    if "requestBody" in theirs and (path, method) != ("/authorizations/token", "post"):
        assert set(theirs["requestBody"]["content"]) <= set(ours["requestBody"]["content"]), where
        for media, content in theirs["requestBody"]["content"].items():
            if path != "/proxy":  # any object: ours follow the hub
                assert_covers(content["schema"], ours["requestBody"]["content"][media]["schema"], f"{where} body")
        assert ours["requestBody"]["required"] <= theirs["requestBody"].get("required", False), where
    for status, response in theirs["responses"].items():
        if (path, method, status) in MISTAKEN:
            continue
        assert status in ours["responses"], f"{where}: no {status}"
        for media, content in response.get("content", {}).items():
            assert_covers(content["schema"], ours["responses"][status]["content"][media]["schema"], f"{where} {status}")


def test_no_schema_of_the_published_document_is_narrower_in_ours():
    for name, schema in PUBLISHED["components"]["schemas"].items():
        assert_covers(schema, OURS["components"]["schemas"][name], name)


def test_every_operation_is_described_and_has_an_id_of_its_own():
    handlers = {operation.handler for endpoint in ENDPOINTS for operation in endpoint.operations.values()}
    assert handlers == set(DOCS)
    ids = [operation["operationId"] for methods in OURS["paths"].values() for operation in methods.values()]
    assert len(ids) == len(set(ids))


def test_the_document_refers_to_nothing_that_is_not_there():
    for reference in set(re.findall(r'"\$ref": "(#[^"]+)"', json.dumps(OURS))):
        resolved(OURS, {"$ref": reference})
    for schema in OURS["components"]["schemas"].values():
        Draft202012Validator.check_schema(schema)
