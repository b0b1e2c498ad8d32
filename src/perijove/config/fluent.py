"""The `c` that configuration code sees: traitlets' `Config`, forgiving where its users expect it.

Stock `Config` answers a trait that nobody set with a `LazyConfigValue`, which knows `.append` and
`.update` but no `+=`, `.setdefault` or `[]`; real files use all of these, because in z2jh the traits
are plain dicts and lists. So: traits known to be empty containers by default are made on first use,
everything else unset stays lazy, with these operations added (a lazy value keeps a plug-in's own
default, which a plain container would overwrite). And each assignment remembers its line.
"""

import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import FrameType
from typing import Any, Final, Self

from traitlets.config import Config
from traitlets.config.loader import LazyConfigValue

from perijove.config.problems import Position

_JUPYTERHUB_DICTS: Final = frozenset(
    [
        "api_tokens",
        "custom_scopes",
        "db_kwargs",
        "jinja_environment_options",
        "load_groups",
        "service_tokens",
        "template_vars",
        "tornado_settings",
    ]
)
_JUPYTERHUB_LISTS: Final = frozenset(
    ["extra_handlers", "load_roles", "services", "template_paths", "trusted_alt_names", "trusted_downstream_ips"]
)
_SPAWNER_DICTS: Final = frozenset(
    [
        "common_labels",
        "environment",
        "extra_annotations",
        "extra_container_config",
        "extra_labels",
        "extra_pod_config",
        "extra_resource_guarantees",
        "extra_resource_limits",
        "group_overrides",
        "lifecycle_hooks",
        "node_selector",
        "popen_kwargs",
        "storage_extra_annotations",
        "storage_extra_labels",
        "storage_selector",
        "user_namespace_annotations",
        "user_namespace_labels",
        "singleuser_extra_pod_config",
        "singleuser_extra_labels",
    ]
)
_SPAWNER_LISTS: Final = frozenset(
    [
        "args",
        "extra_containers",
        "image_pull_secrets",
        "init_containers",
        "node_affinity_preferred",
        "node_affinity_required",
        "oauth_client_allowed_scopes",
        "oauth_roles",
        "pod_affinity_preferred",
        "pod_affinity_required",
        "pod_anti_affinity_preferred",
        "pod_anti_affinity_required",
        "profile_list",
        "server_token_scopes",
        "ssl_alt_names",
        "storage_access_modes",
        "supplemental_gids",
        "tolerations",
        "volume_mounts",
        "volumes",
    ]
)
_AUTHENTICATOR_SETS: Final = frozenset(["admin_users", "allowed_users", "blocked_users"])


class DictValue(dict[Any, Any]):
    """A dict that `+=` works on."""

    def __iadd__(self, other: Any) -> Self:
        self.update(other)
        return self


class ListValue(list[Any]):
    """A list that takes a set's operations too: YAML has no sets, the trait may be one."""

    def add(self, item: Any) -> None:
        if item not in self:
            self.append(item)

    def update(self, items: Iterable[Any]) -> None:
        for item in items:
            self.add(item)

    def __ior__(self, items: Iterable[Any]) -> Self:
        self.update(items)
        return self


class SetValue(set[Any]):
    """A set that takes a list's operations too."""

    def append(self, item: Any) -> None:
        self.add(item)

    def extend(self, items: Iterable[Any]) -> None:
        self.update(items)

    def __iadd__(self, items: Iterable[Any]) -> Self:
        self.update(items)
        return self


_WRAPPERS: Final[dict[type, Callable[[Any], Any]]] = {dict: DictValue, list: ListValue, set: SetValue}


class FluentLazyValue(LazyConfigValue):
    """A lazy value with the operations of a dict or list that people use."""

    def __iadd__(self, other: Any) -> Self:
        if isinstance(other, Mapping | set | frozenset):
            self.update(other)
        else:
            self.extend(other)
        return self

    __ior__ = __iadd__

    def setdefault(self, key: Any, value: Any = None) -> Any:
        if key not in self._items():
            self.update({key: value})
        return self._items()[key]

    def get(self, key: Any, default: Any = None) -> Any:
        return self._items().get(key, default)

    def __setitem__(self, key: Any, value: Any) -> None:
        self.update({key: value})

    def __getitem__(self, key: Any) -> Any:
        return self._items()[key]

    def __contains__(self, key: Any) -> bool:
        return key in self._items()

    def _items(self) -> dict[Any, Any]:
        return self._update if isinstance(self._update, dict) else {}


class Origins:
    """Where traits were set last, by code in files that we run."""

    def __init__(self) -> None:
        self.files: dict[str, Path] = {}
        self.at: dict[tuple[str, str], Position] = {}
        # Containers made because somebody looked; dropped again if nothing was put into them.
        self.made: dict[tuple[str, str], Any] = {}

    def record(self, section: str, trait: str) -> None:
        frame: FrameType | None = sys._getframe(2)  # noqa: SLF001 - the only way to know the line that assigns
        for _ in range(4):
            if frame is None:
                return
            if (file := self.files.get(frame.f_code.co_filename)) is not None:
                self.at[section, trait] = Position(file, frame.f_lineno, 1)
                return
            frame = frame.f_back


class FluentConfig(Config):
    """`c`, or one section of it."""

    def __init__(self, section: str = "", origins: Origins | None = None) -> None:
        object.__setattr__(self, "_section", section)
        object.__setattr__(self, "_origins", origins or Origins())
        super().__init__()

    @property
    def origins(self) -> Origins:
        found: Origins = self.__dict__["_origins"]
        return found

    def __getitem__(self, key: str) -> Any:
        section: str = self.__dict__["_section"]
        if dict.__contains__(self, key):
            value = dict.__getitem__(self, key)
            if type(value) in _WRAPPERS:
                value = _WRAPPERS[type(value)](value)
                dict.__setitem__(self, key, value)
            return value
        if key[:1].isupper():
            value = FluentConfig(key, self.origins)
        elif key.startswith("_"):
            raise KeyError(key)
        else:
            value = _empty(section, key)
            self.origins.record(section, key)
            self.origins.made[section, key] = value
        dict.__setitem__(self, key, value)
        return value

    def __setitem__(self, key: str, value: Any) -> None:
        section: str = self.__dict__["_section"]
        if isinstance(value, dict) and key[:1].isupper() and not isinstance(value, Config):
            sub = FluentConfig(key, self.origins)
            sub.update(value)
            value = sub
        self.origins.record(section, key)
        super().__setitem__(key, value)

    def finished(self) -> Config:
        """A plain traitlets `Config`, without what was only looked at."""
        return _finished(self, self.origins, self.__dict__["_section"])


def _empty(section: str, trait: str) -> Any:
    """What a trait that nobody set starts from."""
    kinds = {"JupyterHub": (_JUPYTERHUB_DICTS, _JUPYTERHUB_LISTS)}
    spawner = (_SPAWNER_DICTS, _SPAWNER_LISTS) if section.endswith("Spawner") else (frozenset(), frozenset())
    dicts, lists = kinds.get(section, spawner)
    if trait in dicts or trait == "username_map":
        return DictValue()
    if trait in lists:
        return ListValue()
    return SetValue() if trait in _AUTHENTICATOR_SETS else FluentLazyValue()


def _untouched(value: Any) -> bool:
    if isinstance(value, FluentLazyValue):
        return not value.to_dict()
    return not value


def _finished(config: Config, origins: Origins, section: str) -> Config:
    result = Config()
    for key, value in config.items():
        if isinstance(value, Config):
            inner = _finished(value, origins, key)
            if inner:
                result[key] = inner
        elif origins.made.get((section, key)) is value and _untouched(value):
            continue
        else:
            result[key] = plain_value(value)
    return result


def plain_value(value: Any) -> Any:
    """Without our subclasses, as plug-ins expect it."""
    match value:
        case DictValue():
            return dict(value)
        case ListValue():
            return list(value)
        case SetValue():
            return set(value)
    return value
