"""Kubernetes quantities ("1.5G", "500m") as exact numbers."""

import re
from decimal import Decimal

_QUANTITY = re.compile(r"^(?P<number>[+-]?(\d+(\.\d*)?|\.\d+))(?P<suffix>[eE][+-]?\d+|[numkMGTPE]|[KMGTPE]i|)$")
_POWERS = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_BINARY = {"Ki": 1, "Mi": 2, "Gi": 3, "Ti": 4, "Pi": 5, "Ei": 6}


def is_quantity(value: object) -> bool:
    return _QUANTITY.match(str(value)) is not None


def amount(value: object) -> Decimal:
    """Raises `ValueError` with the API server's words."""
    match = _QUANTITY.match(str(value))
    if match is None:
        raise ValueError("quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'")
    number, suffix = Decimal(match["number"]), match["suffix"]
    if suffix in _BINARY:
        return number * (Decimal(1024) ** _BINARY[suffix])
    if suffix in _POWERS:
        return number.scaleb(_POWERS[suffix])
    return number.scaleb(int(suffix[1:]))


def kept(value: object) -> object:
    """As the API server keeps it: a number as a string, a fraction in thousandths. What is none is for validation."""
    plain = re.fullmatch(r"\d+\.\d+", str(value)) is not None or isinstance(value, int)
    return written(amount(value)) if plain else value


def written(value: Decimal, like: object = "") -> str:
    """Plainly; in the unit of `like` where that divides it."""
    suffix = re.sub(r"^[+-]?[0-9.]+", "", str(like))
    if suffix in _BINARY:
        scaled = value / (Decimal(1024) ** _BINARY[suffix])
        if scaled == scaled.to_integral_value():
            return f"{int(scaled)}{suffix}"
    if value == value.to_integral_value():
        return str(int(value))
    return f"{int(value.scaleb(3).to_integral_value())}m"
