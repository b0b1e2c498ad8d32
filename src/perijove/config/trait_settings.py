"""What the chosen authenticator and spawner would be set to, each value with the place it comes from.

For `perijove check`: traitlets says that a value is of the wrong kind only when the class is made, which
for a spawner is when the first person starts a server, and then without the line. No plug-in is made
here; each value is put to its trait alone.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from traitlets import HasTraits, TraitError, TraitType
from traitlets.config import Config
from traitlets.config.loader import LazyConfigValue

from perijove.config.class_traits import Where, find_class, nearest_plugin
from perijove.config.problems import KeyPath, Note, NoteKind, Position, Problem
from perijove.config.scalars import STAND_IN

HIDDEN: Final = "…"
# Narrower than for quoting a line of the file: `key` of a toleration and a callback URL are to be seen.
_SECRET: Final = re.compile(r"passw|secret|token|credential|crypt|cookie|consumers|\w[-_]?keys?$", re.IGNORECASE)
_PASSWORD_IN_URL: Final = re.compile(r"://[^/@\s]*:[^/@\s]*@")


@dataclass(frozen=True, slots=True)
class TraitSetting:
    """One trait with its value, as data; secrets are left out."""

    role: str
    class_name: str
    section: str
    trait: str
    value: Any = field(repr=False)
    position: Position | None = None

    def as_dict(self) -> dict[str, Any]:
        at = self.position
        return {
            "role": self.role,
            "class": self.class_name,
            "name": f"{self.section}.{self.trait}",
            "value": self.value,
            "file": str(at.file) if at else None,
            "line": at.line if at else None,
            "column": at.column if at else None,
        }


@dataclass
class TraitReport:
    settings: list[TraitSetting] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)


def report(config: Config, where: Where, **chosen: Any) -> TraitReport:
    """`chosen`: role -> class, or its name; as in `spawner=KubeSpawner`."""
    result = TraitReport()
    for role, wanted in chosen.items():
        cls = find_class(role, wanted)
        if cls is None:
            path: KeyPath = ("hub", "config", "JupyterHub", f"{role}_class")
            at = where("JupyterHub", f"{role}_class")
            close = nearest_plugin(role, wanted)
            # One that is known by this very name, and lacks a package here, is like any other that cannot be imported.
            if close and close != wanted:
                text = f"no {role} is called {wanted}"
                result.problems.append(Problem(path, text, at, remedy=f"did you mean `{close}`?"))
                continue
            text = f"the {role} class {wanted} cannot be imported here, so its traits are not checked"
            result.notes.append(Note(NoteKind.MISSING, text, path, at))
        elif issubclass(cls, HasTraits):
            _of_class(config, where, role, cls, result)
    return result


def _of_class(config: Config, where: Where, role: str, cls: type[HasTraits], result: TraitReport) -> None:
    traits = cls.class_traits(config=True)
    for section, name, value in _effective(config, cls):
        at = where(section, name)
        shown = jsonable(value, name)
        result.settings.append(TraitSetting(role, cls.__name__, section, name, shown, at))
        if (trait := traits.get(name)) is not None and (expected := mistake(trait, value)):
            path: KeyPath = ("hub", "config", section, name)
            text = f"c.{section}.{name} of {cls.__name__} cannot have this value"
            result.problems.append(Problem(path, text, at, expected))


def _effective(config: Config, cls: type[HasTraits]) -> Iterator[tuple[str, str, Any]]:
    """Each trait once, from the section that wins: the one of the most derived class."""
    found: dict[str, tuple[str, str, Any]] = {}
    for section in (parent.__name__ for parent in reversed(cls.__mro__)):
        for name, value in config.get(section, {}).items():
            found[name] = (section, name, value)
    return iter(sorted(found.values()))


def mistake(trait: TraitType[Any, Any], value: Any) -> str:
    """What the trait expects instead of this value, or ""."""
    if isinstance(value, LazyConfigValue) or value == STAND_IN:
        return ""
    # `_validate` is what an assignment calls; a bare owner has no validators of its own to run.
    try:
        trait._validate(HasTraits(), value)  # noqa: SLF001 - see above
    except TraitError as exc:
        # The message of the innermost trait is the exact one ("item 2 of …"), but names the owner.
        return trait.info() if "HasTraits" in str(exc) else str(exc)
    except Exception as exc:  # noqa: BLE001 - a plug-in's own check may fail in any way; it is the value's fault
        return f"{trait.info()} ({type(exc).__name__}: {exc})"
    return ""


def jsonable(value: Any, name: str = "") -> Any:
    """For people and `--format json`: functions by name, secrets and what comes from the cluster not at all."""
    match value:
        case None | bool() | int() | float():
            return value
        case str():
            hidden = STAND_IN in value or _SECRET.search(name) or _PASSWORD_IN_URL.search(value)
            return HIDDEN if hidden else value
        case Mapping():
            return {
                str(key): jsonable(inner, name if _SECRET.search(name) else str(key)) for key, inner in value.items()
            }
        case list() | tuple():
            return [jsonable(inner, name) for inner in value]
        case set() | frozenset():
            return sorted((jsonable(inner, name) for inner in value), key=str)
    return jsonable(value.to_dict(), name) if isinstance(value, LazyConfigValue) else _named(value)


def _named(value: Callable[..., Any] | Any) -> str:
    kind = "class" if isinstance(value, type) else "function" if callable(value) else type(value).__name__
    name = getattr(value, "__name__", "")
    return f"<{kind} {name}>" if name else f"<{kind}>"
