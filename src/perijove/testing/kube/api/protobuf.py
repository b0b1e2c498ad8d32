"""The little of Protocol Buffers that clients send: Helm writes its records so, and asks for deletions.

Answers are JSON, which every client takes. Messages are k8s.io's, decoded by the numbers of their fields; one that is
not listed is refused and not dropped.
"""

import base64
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

MAGIC: Final = b"k8s\x00"
_VARINT, _BYTES = 0, 2


class NotUnderstood(ValueError):
    """A message, or a field of one, that is not known here."""


@dataclass(frozen=True, slots=True)
class _Field:
    """`kind`: text, base64, number, flag, texts, map, bytes-map, none, or the name of a message."""

    name: str
    kind: str = "text"


_MESSAGES: Final[Mapping[str, Mapping[int, _Field]]] = {
    "Secret": {
        1: _Field("metadata", "ObjectMeta"),
        2: _Field("data", "bytes-map"),
        3: _Field("type"),
        4: _Field("stringData", "map"),
        5: _Field("immutable", "flag"),
    },
    "DeleteOptions": {
        1: _Field("gracePeriodSeconds", "number"),
        2: _Field("preconditions", "Preconditions"),
        3: _Field("orphanDependents", "flag"),
        4: _Field("propagationPolicy"),
        5: _Field("dryRun", "texts"),
    },
    "Preconditions": {1: _Field("uid"), 2: _Field("resourceVersion")},
    "ObjectMeta": {
        1: _Field("name"),
        2: _Field("generateName"),
        3: _Field("namespace"),
        4: _Field("selfLink", "none"),
        5: _Field("uid"),
        6: _Field("resourceVersion"),
        7: _Field("generation", "number"),
        # What the server writes, and takes from nobody.
        8: _Field("creationTimestamp", "none"),
        9: _Field("deletionTimestamp", "none"),
        10: _Field("deletionGracePeriodSeconds", "none"),
        11: _Field("labels", "map"),
        12: _Field("annotations", "map"),
        14: _Field("finalizers", "texts"),
        17: _Field("managedFields", "none"),
    },
}


def decoded(raw: bytes) -> dict[str, Any]:
    """As the same in JSON. Raises `NotUnderstood`."""
    try:
        envelope = dict(_fields(raw[len(MAGIC) :]))
        words = {number: bytes(value).decode() for number, value in _fields(envelope[1])}
        return {"apiVersion": words[1], "kind": words[2], **_message(words[2], envelope.get(2, b""))}
    except (IndexError, KeyError, UnicodeDecodeError, TypeError) as error:
        raise NotUnderstood(f"no message of Kubernetes: {error!r}") from error


def _message(name: str, raw: bytes) -> dict[str, Any]:
    known = _MESSAGES.get(name)
    if known is None:
        raise NotUnderstood(f"{name} in Protocol Buffers")
    found: dict[str, Any] = {}
    for number, value in _fields(raw):
        if (field := known.get(number)) is None:
            raise NotUnderstood(f"field {number} of {name}")
        match field.kind:
            case "none":
                continue
            case "text":
                found[field.name] = value.decode()
            case "number":
                found[field.name] = value
            case "flag":
                found[field.name] = bool(value)
            case "texts":
                found.setdefault(field.name, []).append(value.decode())
            case "map" | "bytes-map":
                entry = dict(_fields(value))
                content = entry.get(2, b"")
                text = content.decode() if field.kind == "map" else base64.b64encode(content).decode()
                found.setdefault(field.name, {})[entry.get(1, b"").decode()] = text
            case _:
                found[field.name] = _message(field.kind, value)
    # Go writes empty texts too.
    return {key: value for key, value in found.items() if value not in ("", b"")}


def _fields(raw: bytes) -> Iterator[tuple[int, Any]]:
    at = 0
    while at < len(raw):
        tag, at = _varint(raw, at)
        number, wire = tag >> 3, tag & 7
        if wire == _VARINT:
            value, at = _varint(raw, at)
            yield number, value
        elif wire == _BYTES:
            size, at = _varint(raw, at)
            yield number, raw[at : at + size]
            at += size
        else:
            raise NotUnderstood(f"wire type {wire}")


def _varint(raw: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = raw[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if not byte & 0x80:
            return value, at
        shift += 7
