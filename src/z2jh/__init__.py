"""The module that z2jh puts beside its jupyterhub_config.py, for code in `hub.extraConfig`.

In z2jh it reads a Secret mounted into the hub's pod; here the configuration compiler installs the
values before it runs anybody's code. It stays importable afterwards, because hooks call it when a
server starts.
"""

import os
import re
from collections.abc import Mapping
from typing import Any, Final

__all__ = [
    "camelCaseify",
    "get_config",
    "get_name",
    "get_name_env",
    "get_secret_value",
    "install",
    "set_config_if_not_none",
]

_MISSING: Final = object()


class _Installed:
    """What the last compiled configuration says. One hub lives in one process."""

    values: Mapping[str, Any] = {}
    environment: Mapping[str, str] = {}
    names: Mapping[str, str] = {}


def install(values: Mapping[str, Any], environment: Mapping[str, str], names: Mapping[str, str]) -> None:
    """Make available these values, stand-ins for variables that only exist in a pod, and the release's names."""
    _Installed.values = values
    _Installed.environment = environment
    _Installed.names = names


def _find(key: str) -> Any:
    value: Any = _Installed.values
    for step in key.split("."):
        if not isinstance(value, Mapping) or step not in value:
            return _MISSING
        value = value[step]
    return value


def get_config(key: str, default: Any = None) -> Any:
    """The chart's value at a dotted key, or `default` where there is none."""
    value = _find(key)
    return default if value is _MISSING else value


def get_secret_value(key: str, *default: Any) -> Any:
    """A value that the chart keeps in its Secret. KeyError without a value and a default."""
    value = _find(key)
    if value is _MISSING or value is None:
        if default:
            return default[0]
        raise KeyError(f"{key} is set neither in the configuration nor in a Secret")
    return value


def set_config_if_not_none(cparent: Any, name: str, key: str) -> None:
    """Set a trait from the chart's value at `key`, if it has one."""
    value = get_config(key)
    if value is not None:
        setattr(cparent, name, value)


def get_name(name: str) -> str:
    """The full name of one of the chart's resources."""
    return _Installed.names.get(name, f"{_Installed.names.get('fullname-dash', '')}{name}")


def get_name_env(name: str, suffix: str = "") -> str:
    """The environment variable that Kubernetes makes for one of the chart's services."""
    variable = (get_name(name) + suffix).upper().replace("-", "_")
    return os.environ[variable] if variable in os.environ else _Installed.environment[variable]


def camelCaseify(name: str) -> str:  # noqa: N802 - its name in z2jh's file
    """`some_value` as `someValue`."""
    return re.sub(r"_([a-z])", lambda match: match[1].upper(), name)
