"""A directory as configuration: a mounted Secret in z2jh's layout, which is what `hub.existingSecret` names.

Its entry `values.yaml` is a file like any other; each other entry is one value, and its name is the
path: `hub.config.GitHubOAuthenticator.client_secret`. Entries win over `values.yaml`.
"""

import re
from functools import reduce
from pathlib import Path
from typing import Final

from perijove.config.merge import merge_files
from perijove.config.problems import ConfigError, Position, Problem
from perijove.config.yaml import Document, Node, mapping, read

_VALUES: Final = "values.yaml"
_PATH: Final = re.compile(r"[a-z]\w*(\.\w+)+")
# The proxies read it from the release's own Secret alone, so the hub must not have another.
_NOT_HERE: Final = frozenset(["hub.config.ConfigurableHTTPProxy.auth_token"])


def read_directory(directory: Path) -> Document:
    """Raises `ConfigError`. An empty directory says nothing."""
    document = read(values) if (values := directory / _VALUES).is_file() else _nothing(directory)
    entries = [_value(file) for file in sorted(directory.iterdir()) if _is_value(file)]
    return Document(directory, reduce(merge_files, entries, document.root), document.notes)


def _nothing(directory: Path) -> Document:
    return Document(directory, mapping(Position(directory, 1, 1)))


def _is_value(file: Path) -> bool:
    return _PATH.fullmatch(file.name) is not None and file.name not in {_VALUES, *_NOT_HERE} and file.is_file()


def _value(file: Path) -> Node:
    at = Position(file, 1, 1)
    try:
        text = file.read_text(encoding="utf-8").removesuffix("\n")
    except (OSError, UnicodeDecodeError) as exc:
        raise ConfigError([Problem((), f"cannot be read as text: {exc}", at)]) from exc
    node = Node(text, at, at, text, '"')
    for step in reversed(file.name.split(".")):
        node = Node({step: node}, at, at)
    return node
