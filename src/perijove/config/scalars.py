"""YAML 1.1 scalars as Helm reads them.

Helm turns YAML into JSON with the Go library it carries, whose reading differs from both YAML
standards and from PyYAML: `yes`, `no`, `on`, `off`, `y` and `n` are booleans, `0644` and `0o644` are
octal, `08` is the float 8.0, `1_000` is an integer, `1:30` and dates are strings. A file that Helm
accepts must mean the same here, so the rules are spelt out instead of borrowed from a Python library.
"""

import base64
import binascii
import re
from typing import Final

# Stands for a value that only the cluster has, in a trial: passes for a key, a number and a text alike.
STAND_IN: Final = "0" * 64
Scalar = str | int | float | bool | None

_WORDS: Final[dict[str, bool | None]] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("y", "Y", "yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON"), True),
    **dict.fromkeys(("n", "N", "no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF"), False),
}
_INTEGER: Final = re.compile(r"[-+]?(0[xX][0-9a-fA-F]+|0[bB][01]+|0[oO]?[0-7]+|0|[1-9][0-9]*)")
_FLOAT: Final = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_NOT_A_NUMBER: Final = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_TAG: Final = "tag:yaml.org,2002:"


def _integer(text: str) -> int:
    sign = -1 if text[0] == "-" else 1
    digits = text.lstrip("+-").lower()
    if len(digits) > 1 and digits[0] == "0" and digits[1] not in "xbo":
        return sign * int(digits, 8)
    return sign * int(digits, 0)


def resolve_plain(text: str) -> Scalar:
    """The value of an unquoted scalar. Raises ValueError for what JSON cannot hold."""
    if text in _WORDS:
        return _WORDS[text]
    if text[0] not in "+-.0123456789":
        return text
    if _NOT_A_NUMBER.fullmatch(text):
        raise ValueError(f"{text} is a number that JSON, and so Helm, cannot hold")
    digits = text.replace("_", "")
    if _INTEGER.fullmatch(digits):
        return _integer(digits)
    if _FLOAT.fullmatch(digits):
        return float(digits)
    return text


def resolve_tagged(tag: str, text: str) -> Scalar:
    """The value of a scalar with an explicit tag. Raises ValueError when the two do not fit."""
    short = tag.removeprefix(_TAG).removeprefix("!!")
    if short == "binary":
        try:
            return base64.b64decode(text, validate=False).decode()
        except (binascii.Error, UnicodeDecodeError) as exc:
            raise ValueError(f"!!binary does not hold base64 text: {exc}") from exc
    if short in ("int", "float", "bool", "null"):
        return _checked(short, resolve_plain(text))
    return text


def _checked(short: str, value: Scalar) -> Scalar:
    match short:
        case "float" if isinstance(value, int | float) and not isinstance(value, bool):
            return float(value)
        case "int" if isinstance(value, int) and not isinstance(value, bool):
            return value
        case "bool" if isinstance(value, bool):
            return value
        case "null" if value is None:
            return None
    raise ValueError(f"{value!r} is no {short}")


def key_text(value: Scalar) -> str:
    """A map key as JSON has it: always a string."""
    match value:
        case bool():
            return "true" if value else "false"
        case float():
            return f"{value:g}"
        case None:
            raise ValueError("a map key is missing (null)")
    return str(value)
