"""Plug-in values in JSON columns.

Uploaded files arrive in `user_options` as bytes. They are stored as JupyterHub stores them, so that
options of an imported database are read back; what has no JSON form becomes None, as it does there.
"""

import base64
from collections.abc import Mapping
from typing import Any

_BYTES = "__jupyterhub_bytes__"


def to_json(value: Any) -> Any:
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, bytes):
        return {_BYTES: True, "data": base64.b64encode(value).decode("ascii")}
    if isinstance(value, Mapping):
        return {str(key): to_json(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [to_json(item) for item in value]
    return None


def from_json(value: Any) -> Any:
    """The inverse; always a fresh structure, so that a plug-in may change it."""
    if isinstance(value, Mapping):
        if value.get(_BYTES):
            return base64.b64decode(value.get("data", ""))
        return {key: from_json(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [from_json(item) for item in value]
    return value
