"""Plain data as YAML that reads well and means the same to every reader.

A string is left unquoted only where no YAML version, and not Helm either, could take it for something
else; text of several lines becomes a block, so that code in a Secret keeps its lines. Written by hand
because a rendering has to be the same on every machine and quick: ruamel needs most of a second for
what this does in milliseconds.
"""

import json
import re
from collections.abc import Iterable, Iterator
from typing import Any, Final

_PLAIN: Final = re.compile(r"[A-Za-z/][A-Za-z0-9_./-]*(:[A-Za-z0-9_./-]+)*")
_WORDS: Final = frozenset(["y", "n", "yes", "no", "on", "off", "true", "false", "null", "none", "nan", "inf"])
# What a block keeps exactly: no control characters but tab and newline.
_UNPRINTABLE: Final = re.compile(r"[\x7f-\x9f\u2028\u2029\ud800-\udfff\ufeff\ufffe\uffff]")
_BLOCK: Final = re.compile(r"(?:[^\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\ufeff\ufffe\uffff])+")


def to_yaml(value: Any) -> str:
    """One document."""
    return "\n".join(_lines(value, 0)) + "\n"


def all_to_yaml(documents: Iterable[Any]) -> str:
    """Several documents, as `kubectl apply -f` takes them."""
    return "---\n".join(to_yaml(document) for document in documents)


def _lines(value: Any, depth: int) -> Iterator[str]:
    """The lines of a value that stands on lines of its own."""
    indent = "  " * depth
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from _entry(f"{indent}{_scalar(str(key))}:", inner, depth)
    elif isinstance(value, list) and value:
        for inner in value:
            yield from _element(indent, inner, depth)
    else:
        yield f"{indent}{_scalar(value)}"


def _entry(start: str, value: Any, depth: int) -> Iterator[str]:
    if isinstance(value, dict | list) and value:
        yield start
        yield from _lines(value, depth if isinstance(value, list) else depth + 1)
    elif _is_block(value):
        yield from _block(start, value, depth + 1)
    else:
        yield f"{start} {_scalar(value)}"


def _element(indent: str, value: Any, depth: int) -> Iterator[str]:
    if isinstance(value, dict | list) and value:
        first, *rest = _lines(value, depth + 1)
        yield f"{indent}- {first[len(indent) + 2 :]}"
        yield from rest
    elif _is_block(value):
        yield from _block(f"{indent}-", value, depth + 1)
    else:
        yield f"{indent}- {_scalar(value)}"


def _is_block(value: Any) -> bool:
    if not isinstance(value, str) or "\n" not in value or not _BLOCK.fullmatch(value):
        return False
    # Blank lines at the ends need indicators that not every reader gets right.
    return bool(value.strip("\n")) and value[0] not in "\n\t" and not value.endswith("\n\n")


def _block(start: str, text: str, depth: int) -> Iterator[str]:
    indent = "  " * depth
    # Where the first line is indented itself, the block's own indentation has to be said.
    indentation = "2" if text.startswith(" ") else ""
    keep = "" if text.endswith("\n") else "-"
    yield f"{start} |{indentation}{keep}"
    for line in text.removesuffix("\n").split("\n"):
        yield f"{indent}{line}" if line else ""


def _scalar(value: Any) -> str:
    if isinstance(value, str):
        if _PLAIN.fullmatch(value) and value.lower() not in _WORDS:
            return value
        return _UNPRINTABLE.sub(_escaped, json.dumps(value, ensure_ascii=False))
    text = json.dumps(value, allow_nan=False)
    # YAML 1.1 takes 1e-07 for a string.
    return text.replace("e", ".0e") if isinstance(value, float) and "." not in text else text


def _escaped(match: re.Match[str]) -> str:
    return f"\\U{ord(match[0]):08x}"
