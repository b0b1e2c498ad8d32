"""Names of users in names of Kubernetes' objects, as KubeSpawner makes them: the current scheme and the one before.

KubeSpawner's own functions come with all of KubeSpawner, which takes a command seconds to load. They are promised
not to change, since users' volumes are called so; tests hold these to them.
"""

import re
from hashlib import sha256
from typing import Final

_LETTERS_AND_DIGITS: Final = frozenset(b"abcdefghijklmnopqrstuvwxyz0123456789")
_OBJECT: Final = re.compile(r"[a-z]([a-z0-9-]{0,61}[a-z0-9])?")
_LABEL: Final = re.compile(r"([a-zA-Z0-9]([a-zA-Z0-9._-]{0,61}[a-zA-Z0-9])?)?")
_SEPARATOR: Final = "---"
_HASH_LENGTH: Final = 8
_LENGTH: Final = 32
_JOINED_LENGTH: Final = 48


def escaped(name: str) -> str:
    """The scheme before KubeSpawner 7: `ada@x.org` is `ada-40x-2eorg`. May be no valid name."""
    return "".join(chr(byte) if byte in _LETTERS_AND_DIGITS else f"-{byte:02x}" for byte in name.encode())


def safe(name: str, max_length: int = 0) -> str:
    """Names that are valid stay; others are shortened to what is, with a hash."""
    fits = _OBJECT.fullmatch(name) and (not max_length or len(name) <= max_length)
    return name if fits and "--" not in name else _hashed(name, max_length or _LENGTH)


def safe_label(name: str) -> str:
    """The same for values of labels, of which more are valid."""
    return name if _LABEL.fullmatch(name) and "--" not in name else _hashed(name, _LENGTH)


def is_label(value: str) -> bool:
    return _LABEL.fullmatch(value) is not None


def joined(user: str, server: str) -> str:
    """Of a named server, where the two names beside each other would be too long."""
    digest = sha256(user.encode() + b"\xff" + server.encode()).hexdigest()[:_HASH_LENGTH]
    each = (_JOINED_LENGTH - _HASH_LENGTH - 1) // 2 - 2
    return f"{_words(user, each)}--{_words(server, each)}{_SEPARATOR}{digest}"


def _hashed(name: str, max_length: int) -> str:
    digest = sha256(name.encode()).hexdigest()[:_HASH_LENGTH]
    return f"{_words(name, max_length - _HASH_LENGTH - len(_SEPARATOR))}{_SEPARATOR}{digest}"


def _words(name: str, length: int) -> str:
    """What is left when it has to begin with a letter and contain nothing but letters, digits and single dashes."""
    words = re.sub(r"[^a-z0-9]+", "-", name.lower()).lstrip("-")[:length].rstrip("-")
    if words and not words[0].isalpha():
        words = f"x-{words[: length - 2]}"
    return words or "x"
