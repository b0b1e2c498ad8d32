"""Whatever a file holds, it is used or refused with reasons: nothing else ever comes out."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from traitlets.config import Config

from perijove.config import ConfigError, Problem, read_options
from perijove.config.app_traits import known_app_traits
from perijove.config.legacy import translate
from perijove.config.problems import Position
from perijove.config.schema.settings import Settings
from perijove.config.validate import key_paths, kubernetes_note, validate
from perijove.config.yaml import Node, parse

PATHS = [*key_paths(Settings, ()), ("auth", "type"), ("auth", "github"), ("auth",), ("userPods",), ("hub", "nope")]
SCALARS = st.one_of(st.none(), st.booleans(), st.integers(-5, 2**70), st.floats(allow_nan=False), st.text(max_size=8))
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["name", "value", "valueFrom", "users", "A", "x"]), inner, max_size=3)
    ),
    max_leaves=6,
)
SYNTAX = """ab:-[]{}&*!|>'"%@`#?,. \n\t0~<\\"""
HERE = Position(Path("fuzz.yaml"), 1, 1)


def node_of(value: Any) -> Node:
    match value:
        case dict():
            return Node({key: node_of(item) for key, item in value.items()}, HERE)
        case list():
            return Node([node_of(item) for item in value], HERE)
    return Node(value, HERE, text=str(value))


def problems_of(work: Callable[[], object]) -> Sequence[Problem]:
    try:
        work()
    except ConfigError as exc:
        return exc.problems
    return ()


@st.composite
def trees(draw) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for path in draw(st.lists(st.sampled_from(PATHS), min_size=1, max_size=4)):
        level = tree
        for step in path[:-1]:
            level = level.setdefault(step, {})
            if not isinstance(level, dict):
                break
        else:
            level[path[-1]] = draw(VALUES)
    return tree


@settings(max_examples=300, deadline=None)
@given(trees())
def test_any_values_at_any_keys_become_settings_or_problems_with_a_place(tree):
    translation = translate(node_of(tree))
    found, problems = validate(translation.root)
    assert (found is None) == bool(problems)
    kubernetes_note(translation.root)
    for problem in problems:
        assert problem.position == HERE
        assert problem.message


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet=SYNTAX, max_size=60))
def test_any_text_is_read_or_refused_with_a_place(text):
    assert all(problem.position is not None for problem in problems_of(lambda: parse(text, Path("fuzz.yaml"))))


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(st.sampled_from(sorted(known_app_traits())), VALUES, max_size=4))
def test_any_values_of_the_applications_traits_become_options_or_problems(traits):
    config = Config()
    for name, value in traits.items():
        config.JupyterHub[name] = value
    problems = problems_of(lambda: read_options(config, data_dir=Path("/nowhere")))
    assert all(problem.expected or problem.message for problem in problems)


@pytest.mark.parametrize("text", ["\x00", "a: \x07", "\ufeffa: 1", "a: \ud83d"])
def test_unusual_characters_are_read_or_refused(text):
    problems_of(lambda: parse(text, Path("fuzz.yaml")))
