"""Several values files into one, and that over the defaults: the two merges of Helm.

Among files, maps merge deep, everything else is replaced, and a `null` is a value like any other. Over
the defaults the same, except that a `null` removes the default.
"""

import copy
from collections.abc import Mapping
from typing import Any

from perijove.config.yaml import Node


def merge_files(base: Node, over: Node) -> Node:
    """`over` on top of `base`; positions go with the values."""
    if not isinstance(base.value, dict) or not isinstance(over.value, dict):
        return over
    items = dict(base.value)
    for key, node in over.value.items():
        items[key] = merge_files(items[key], node) if key in items else node
    return Node(items, over.position, over.key_position)


def coalesce(defaults: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """`given` over `defaults`; a `null` over a default removes it."""
    result: dict[str, Any] = {}
    for key, default in defaults.items():
        if key not in given:
            result[key] = copy.deepcopy(default)
            continue
        value = given[key]
        if value is None:
            continue
        both = isinstance(value, Mapping) and isinstance(default, Mapping)
        result[key] = coalesce(default, value) if both else copy.deepcopy(value)
    for key, value in given.items():
        if key not in defaults:
            result[key] = copy.deepcopy(value)
    return result
