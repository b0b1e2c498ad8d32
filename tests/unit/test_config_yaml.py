"""YAML means what Helm takes it to mean, and every value knows where it stands."""

from pathlib import Path
from typing import Any

import pytest

from perijove.config.merge import coalesce, merge_files
from perijove.config.problems import ConfigError, NoteKind
from perijove.config.yaml import parse

FILE = Path("values.yaml")


def value_of(text: str) -> Any:
    return parse(f"key: {text}\n", FILE).root.plain()["key"]


def problems_of(text: str):
    with pytest.raises(ConfigError) as caught:
        parse(text, FILE)
    return caught.value.problems


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        *((word, True) for word in ["yes", "Yes", "YES", "on", "On", "ON", "true", "True", "TRUE", "y", "Y"]),
        *((word, False) for word in ["no", "No", "NO", "off", "Off", "OFF", "false", "False", "FALSE", "n", "N"]),
        *((word, None) for word in ("", "~", "null", "Null", "NULL")),
        ("yEs", "yEs"),
        ("0644", 0o644),
        ("0o644", 0o644),
        ("-010", -8),
        ("08", 8.0),
        ("0x1F", 31),
        ("0b101", 5),
        ("1_000", 1000),
        ("+12", 12),
        ("0", 0),
        ("1.10", 1.1),
        (".5", 0.5),
        ("1e3", 1000.0),
        ("1.", 1.0),
        ("1:30", "1:30"),
        ("2026-01-02", "2026-01-02"),
        ("1.2.3", "1.2.3"),
        ("--", "--"),
        ('"yes"', "yes"),
        ("'0644'", "0644"),
        ("!!str 12", "12"),
        ("!!int 12", 12),
        ("!!float 1", 1.0),
        ("!!binary aGk=", "hi"),
        ("!custom abc", "abc"),
    ],
)
def test_a_scalar_is_read_as_helm_reads_it(text, meaning):
    found = value_of(text)
    assert (found, type(found)) == (meaning, type(meaning))


@pytest.mark.parametrize(
    ("key", "name"), [("1", "1"), ("yes", "true"), ("off", "false"), ("1.5", "1.5"), ('"1"', "1"), ("0x10", "16")]
)
def test_every_map_key_becomes_a_string(key, name):
    assert parse(f"{key}: x", FILE).root.plain() == {name: "x"}


def test_anchors_and_merge_keys_share_values_and_own_keys_win():
    document = parse("a: &a {x: 1, z: 2}\nb:\n  <<: *a\n  z: 3\nc:\n  <<: [{x: 9}, *a]\nd: *a\n", FILE)
    assert document.root.plain() == {
        "a": {"x": 1, "z": 2},
        "b": {"z": 3, "x": 1},
        "c": {"x": 9, "z": 2},
        "d": {"x": 1, "z": 2},
    }


def test_a_value_and_its_key_know_file_line_and_column():
    node = parse("hub:\n  db:\n    url: abc\n", FILE).root.at(("hub", "db", "url"))
    assert str(node.position) == "values.yaml:3:10"
    assert str(node.where) == "values.yaml:3:5"


def test_of_a_duplicate_key_the_last_one_counts_and_a_note_names_both_lines():
    document = parse("hub:\n  a: {one: 1}\n  b: 2\n  a: {two: 3}\n", FILE)
    assert document.root.plain() == {"hub": {"a": {"two": 3}, "b": 2}}
    (note,) = document.notes
    assert (note.kind, note.path) == (NoteKind.DUPLICATE, ("hub", "a"))
    assert "line 2 and on line 4" in note.message
    assert note.position.line == 4


def test_keys_that_only_become_equal_as_strings_are_duplicates_too():
    document = parse('1: a\n"1": b\n', FILE)
    assert document.root.plain() == {"1": "b"}
    assert "given twice" in document.notes[0].message


@pytest.mark.parametrize(
    ("text", "message", "remedy"),
    [
        ("a:\n\tb: 1\n", "not YAML", "spaces"),
        ("a: b: c\n", "mapping values are not allowed", "indentation"),
        ("a: *nope\n", "anchor", ""),
        ("a: .inf\n", "JSON", "quotes"),
        ("- a\n", "not a map", ""),
        ("a: {{ .Values.x }}\n", "key is itself a map", "template"),
        ("null: 1\n", "missing", ""),
        ("<<: 3\n", "merge", ""),
        ("a: &x [*x]\n", "anchor", ""),
        ("a: &x {b: *x}\n", "anchor", ""),
        ('a: "\n', "not YAML", ""),
    ],
)
def test_malformed_files_are_refused_with_what_to_do(text, message, remedy):
    problem = problems_of(text)[0]
    assert message in problem.message
    assert remedy in problem.remedy


def test_anchors_cannot_be_used_to_exhaust_memory():
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]
    assert "values" in problems_of("\n".join(lines))[0].message


def test_only_the_first_document_is_read_and_a_note_says_so():
    document = parse("a: 1\n---\na: 2\n", FILE)
    assert document.root.plain() == {"a": 1}
    assert "second YAML document" in document.notes[0].message


@pytest.mark.parametrize("text", ["", "# nothing\n", "---\n", "null\n"])
def test_an_empty_file_is_an_empty_map(text):
    assert parse(text, FILE).root.plain() == {}


def test_files_merge_maps_deep_and_replace_everything_else():
    first = parse("a: {x: 1, l: [1, 2]}\nb: 1\nc: {y: 1}\n", Path("one.yaml")).root
    second = parse("a: {l: [3], z: 0}\nb: null\nc: 5\n", Path("two.yaml")).root
    merged = merge_files(first, second)
    assert merged.plain() == {"a": {"x": 1, "l": [3], "z": 0}, "b": None, "c": 5}
    assert merged.at(("a", "x")).position.file == Path("one.yaml")
    assert merged.at(("a", "l")).position.file == Path("two.yaml")


def test_null_removes_a_default_and_stays_where_there_is_none():
    defaults = {"a": {"x": 1, "y": 2}, "b": 1}
    assert coalesce(defaults, {"a": {"x": None}, "b": None, "c": None}) == {"a": {"y": 2}, "c": None}
