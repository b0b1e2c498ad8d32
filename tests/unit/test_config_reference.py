"""The schema, its JSON form and its documentation say the same, and z2jh's own values fit."""

import json
from pathlib import Path

import jsonschema
import pytest
from ruamel.yaml import YAML

from perijove.config import ConfigError, load
from perijove.config.reference import markdown, schema_json
from perijove.config.schema.settings import Settings
from perijove.config.validate import key_paths, over_defaults, section_at, section_fields, subsection

ROOT = Path(__file__).parents[2]
REFERENCE = ROOT.parent / "shared" / "reference"
without_reference = pytest.mark.skipif(
    not REFERENCE.exists(), reason="no directory ../shared/reference with z2jh's values"
)


def test_the_committed_page_is_current():
    committed = (ROOT / "docs" / "reference" / "config.md").read_text(encoding="utf-8")
    assert committed.split("\n", 2)[2].strip() == markdown().strip(), "run `make docs`"


def test_every_key_is_documented_with_a_meaning():
    page = markdown()
    for line in page.splitlines():
        if line.startswith("| `"):
            assert line.count(" | ") >= 3
            assert not line.endswith("|  |")
    for path in key_paths(Settings, ()):
        name = ".".join(path)
        assert f"`{name}`" in page or f"`{name}." in page or f"## {name}" in page, name


@pytest.fixture(scope="module")
def validator():
    schema = json.loads(schema_json())
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


@pytest.mark.parametrize(
    ("text", "valid"),
    [
        ("hub: {extraEnv: [{name: A, value: b}]}", True),
        ("hub: {extraEnv: {A: 1}}", True),
        ("hub: {extraConfig: 'x = 1'}", True),
        ("singleuser: {cmd: [a], memory: {limit: 512M}, storage: {extraVolumes: {a: {}}}}", True),
        ("hub: {baseURL: /}", False),
        ("cull: {timeout: many}", False),
        ("hub: {config: {lower: {}}}", False),
    ],
)
def test_the_json_schema_agrees_with_the_loader(validator, tmp_path, text, valid):
    assert validator.is_valid(YAML(typ="safe", pure=True).load(text)) is valid
    (tmp_path / "config.yaml").write_text(text)
    if valid:
        load([tmp_path / "config.yaml"])
    else:
        with pytest.raises(ConfigError):
            load([tmp_path / "config.yaml"])


@without_reference
def test_z2jhs_default_values_fit_and_are_ours(validator):
    """Every key of z2jh is known; where a default differs, it is one of these."""
    theirs = YAML(typ="safe", pure=True).load((REFERENCE / "z2jh-values.yaml").read_text())
    assert not list(validator.iter_errors(theirs))
    ours = Settings().model_dump()
    differing = {".".join(path) for path in _differences(theirs, ours)}
    assert {name for name in differing if not name.endswith("image.tag")} == {
        "singleuser.cmd",
        "singleuser.storage.extraVolumeMounts",
        "singleuser.storage.extraVolumes",
    }


def _differences(theirs, ours, path=()):
    for key, value in theirs.items():
        if isinstance(value, dict) and isinstance(ours.get(key), dict):
            yield from _differences(value, ours[key], (*path, key))
        elif key not in ours or ours[key] != value:
            yield (*path, key)


@without_reference
def test_every_key_of_z2jhs_schema_is_known():
    """Their schema names keys without a default too."""
    schema = YAML(typ="safe", pure=True).load((REFERENCE / "z2jh-values.schema.yaml").read_text())
    known = set(key_paths(Settings, ()))
    free = {path for path in known if not any(other[: len(path)] == path and other != path for other in known)}
    for path in _schema_keys(schema):
        assert path in known or any(path[:length] in free for length in range(1, len(path))), ".".join(path)


def _schema_keys(schema, path=()):
    for part in (schema, schema.get("then") or {}):
        for key, inner in (part.get("properties") or {}).items():
            yield (*path, key)
            yield from _schema_keys(inner, (*path, key))


def test_every_key_has_an_example_that_the_schema_takes():
    """Beside what its section cannot do without."""
    cells = [line.split(" | ") for line in markdown().splitlines() if line.startswith("| `")]
    rows = [(row[0].strip("| `"), row[3].strip("`").partition(": ")[2]) for row in cells]
    keys = [path for path in key_paths(Settings, ()) if not subsection(section_fields(section_at(path[:-1]))[path[-1]])]
    assert [tuple(name.split(".")) for name, _ in rows] == keys
    for name, text in rows:
        path = tuple(name.split("."))
        given = {path[-1]: json.loads(text.replace("\\|", "|"))}
        if path[:-1] in NAMED:
            given = {"name": "n", **given}
        for step in reversed(path[:-1]):
            given = {step: given}
        Settings.model_validate(over_defaults(Settings, given))


NAMED = {("httpRoute", "gateway"), ("httpProxy", "tls", "issuer")}
