"""Finds a plug-in class by entry-point name, dotted path or as itself.

A wrong name is the commonest mistake in a first configuration, so the one error here says what was
asked for, what is registered, and what to install or write.
"""

from difflib import get_close_matches
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Any

_REMEDY = (
    "Give a registered name, a dotted path (package.module.ClassName) or a class; "
    "install the package into the hub's environment if it is missing"
)


class PluginNotFound(Exception):
    """The configured plug-in class cannot be loaded."""


def registered(kind: str) -> dict[str, EntryPoint]:
    """Entry points of `jupyterhub.<kind>s` by lower-case name."""
    return {point.name.lower(): point for point in entry_points(group=f"jupyterhub.{kind}s")}


def find_class(kind: str, wanted: Any, base: type) -> type:
    """`kind` is "spawner" or "authenticator"; the result is a subclass of `base`."""
    found = wanted if isinstance(wanted, type) else _find_by_name(kind, wanted)
    if not (isinstance(found, type) and issubclass(found, base)):
        raise PluginNotFound(
            f"{kind}_class = {wanted!r} is not a subclass of {base.__module__}.{base.__name__}. {_REMEDY}."
        )
    return found


def _find_by_name(kind: str, wanted: Any) -> Any:
    if not isinstance(wanted, str) or not wanted.strip():
        raise PluginNotFound(f"{kind}_class = {wanted!r} is neither a name nor a class. {_REMEDY}.")
    names = registered(kind)
    if point := names.get(wanted.strip().lower()):
        return _loaded(kind, wanted, point.load)
    module, _, attribute = wanted.strip().rpartition(".")
    if not module:
        near = get_close_matches(wanted.lower(), names, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise PluginNotFound(
            f"{kind}_class = {wanted!r}: no {kind} of that name is installed.{hint} "
            f"Registered: {_listing(names)}. {_REMEDY}."
        )
    return _loaded(kind, wanted, lambda: getattr(import_module(module), attribute))


def _loaded(kind: str, wanted: str, load: Any) -> Any:
    try:
        return load()
    # An import runs the package's code: anything can come out of it.
    except Exception as exc:
        raise PluginNotFound(
            f"{kind}_class = {wanted!r} cannot be imported ({type(exc).__name__}: {exc}). "
            f"Registered: {_listing(registered(kind))}. {_REMEDY}."
        ) from exc


def _listing(names: dict[str, EntryPoint]) -> str:
    return ", ".join(f"{name} ({point.value.replace(':', '.')})" for name, point in sorted(names.items()))
