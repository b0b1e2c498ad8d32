"""Kubeconfig files, as kubectl reads them: several merged, paths relative to the file that has them.

kubernetes-asyncio reads them too, but importing any of it imports its thousand models (half a second, and a second
more where its optional packages are installed), for every command that talks to a cluster. It also takes no client
certificates of exec plug-ins. It is still asked for what few files have: `auth-provider`.
"""

import base64
import binascii
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

_NAMED: Final = {"clusters": "cluster", "users": "user", "contexts": "context"}


class Unusable(Exception):
    """In words that go on after `the file x does not lead to a cluster:`."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One cluster, user or context; `directory` is that of its file."""

    values: Mapping[str, Any]
    directory: Path

    def text(self, key: str) -> str:
        return str(self.values.get(key) or "")

    def path(self, key: str) -> Path | None:
        return self.directory / self.text(key) if self.values.get(key) else None

    def content(self, key: str) -> bytes:
        """Of `<key>-data`, or of the file that `<key>` names; empty for neither."""
        if data := self.values.get(f"{key}-data"):
            try:
                # Lines of a folded text are joined by spaces.
                return base64.b64decode("".join(str(data).split()), validate=True)
            except binascii.Error as exc:
                raise Unusable(f"{key}-data is no base64") from exc
        path = self.path(key)
        return path.read_bytes() if path else b""


@dataclass(frozen=True, slots=True)
class Chosen:
    """What a context leads to."""

    cluster: Entry
    user: Entry
    namespace: str


def read(files: str, context: str | None = None) -> Chosen:
    """`files` as in KUBECONFIG; the first that says something wins. Raises `Unusable` and `OSError`."""
    found: dict[str, dict[str, Entry]] = {section: {} for section in _NAMED}
    current = ""
    for name in filter(None, files.split(os.pathsep)):
        path = Path(name).expanduser()
        if not path.exists():
            # As kubectl: a list may name files that are not there yet.
            continue
        content = _parsed(path)
        current = current or str(content.get("current-context") or "")
        for section, key in _NAMED.items():
            for item in content.get(section) or ():
                if not isinstance(item, dict) or not isinstance(item.get(key) or {}, dict):
                    raise Unusable(f"`{section}` of {path} is no list of names and `{key}`")
                entry = Entry(item.get(key) or {}, path.parent)
                found[section].setdefault(str(item.get("name")), entry)
    return _chosen(found, context or current)


def _parsed(path: Path) -> Mapping[str, Any]:
    try:
        content = YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8"))
    except (YAMLError, UnicodeDecodeError) as exc:
        raise Unusable(f"{path} is no YAML: {exc}") from exc
    if content is None:
        return {}
    if not isinstance(content, dict) or any(not isinstance(content.get(key) or [], list) for key in _NAMED):
        raise Unusable(f"{path} is no kubeconfig")
    return content


def _chosen(found: Mapping[str, Mapping[str, Entry]], name: str) -> Chosen:
    contexts = found["contexts"]
    if not name:
        hint = f"; its contexts are {', '.join(sorted(contexts))}" if contexts else ""
        raise Unusable(f"it names no current-context{hint}")
    if (context := contexts.get(name)) is None:
        there = f"it has {', '.join(sorted(contexts))}" if contexts else "it has none"
        raise Unusable(f"there is no context {name}; {there}")
    cluster = found["clusters"].get(context.text("cluster"))
    if cluster is None or not cluster.text("server"):
        raise Unusable(f"context {name} names the cluster {context.text('cluster')!r}, of which there is no server")
    user = found["users"].get(context.text("user"))
    if user is None:
        if context.text("user"):
            raise Unusable(f"context {name} names the user {context.text('user')!r}, and there is none")
        user = Entry({}, cluster.directory)
    return Chosen(cluster, user, context.text("namespace"))
