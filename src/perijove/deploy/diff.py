"""What would change, as text; what secrets hold is never shown, only whether it changes."""

import base64
import binascii
import difflib
import hmac
import secrets
from collections.abc import Iterator
from typing import Any, Final

from perijove.deploy.render.text import to_yaml
from perijove.kube.refs import Object

# What the server writes: no news in a diff.
_SERVERS: Final = (
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "selfLink",
    "managedFields",
)
# Another one in every process: from a plain digest in a log a weak password could be guessed.
_KEY: Final = secrets.token_bytes(16)
_SERVERS_ANNOTATIONS: Final = ("deployment.kubernetes.io/revision", "deprecated.daemonset.template.generation")


def cleaned(item: Object) -> Object:
    """What somebody asked for, without what became of it."""
    metadata = {key: value for key, value in item.get("metadata", {}).items() if key not in _SERVERS}
    if annotations := metadata.get("annotations"):
        kept = {key: value for key, value in annotations.items() if key not in _SERVERS_ANNOTATIONS}
        metadata["annotations"] = kept
        if not kept:
            del metadata["annotations"]
    rest = {key: value for key, value in item.items() if key not in ("metadata", "status")}
    return {"apiVersion": item["apiVersion"], "kind": item["kind"], "metadata": metadata, **rest}


def is_changed(before: Object, after: Object) -> bool:
    return cleaned(before) != cleaned(after)


def text(before: Object | None, after: Object | None) -> str:
    """A unified diff of two versions; None is no object."""
    old, new = _lines(before), _lines(after)
    return "\n".join(line.rstrip("\n") for line in list(difflib.unified_diff(old, new, n=3))[2:])


def _lines(item: Object | None) -> list[str]:
    return to_yaml(_masked(cleaned(item))).splitlines(keepends=True) if item is not None else []


def _masked(item: Object) -> Object:
    if item["kind"] != "Secret":
        return item
    masked = {key: _digest(value) for key, value in (item.get("data") or {}).items()}
    rest = {key: value for key, value in item.items() if key not in ("data", "stringData")}
    return {**rest, "data": masked} if masked else rest


def _digest(value: Any) -> str:
    """Changes with the content, and tells nobody what it is."""
    try:
        content = base64.b64decode(str(value), validate=True)
    except binascii.Error:
        content = str(value).encode()
    return f"({len(content)} bytes, {hmac.new(_KEY, content, 'sha256').hexdigest()[:12]})"


def paths(before: Any, after: Any, path: str = "") -> Iterator[str]:
    """Where two values differ: `.spec.replicas`. Items of lists count by position."""
    if isinstance(before, dict) and isinstance(after, dict):
        for key in sorted(before.keys() | after.keys(), key=str):
            if before.get(key) != after.get(key):
                yield from paths(before.get(key), after.get(key), f"{path}.{key}")
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        for index, (one, other) in enumerate(zip(before, after, strict=True)):
            if one != other:
                yield from paths(one, other, f"{path}[{index}]")
    elif before != after:
        yield path or "."
