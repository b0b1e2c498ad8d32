"""`kubespawner_override`s that would end a start with a traceback, made harmless with a warning.

KubeSpawner sets whatever an override names: a null where the trait takes none, or a map under a name it
does not know, raises when a user picks that profile. Old files have both.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from traitlets import HasTraits
from traitlets.config import Config

from perijove.config.class_traits import find_class
from perijove.config.problems import KeyPath, Note, NoteKind, Problem, dotted, nearest
from perijove.config.trait_settings import mistake
from perijove.config.yaml import Node

Locate = Callable[[KeyPath], Node]


class Profiles:
    """The overrides of one configuration; `checked` gives them back without what cannot be set."""

    def __init__(self, spawner: Any, locate: Locate) -> None:
        found = find_class("spawner", spawner)
        self.cls = found if found is not None and issubclass(found, HasTraits) else None
        self.traits = self.cls.class_traits(config=True) if self.cls else {}
        self.locate = locate
        self.notes: list[Note] = []
        # Values of the wrong kind; they raise too, but leaving them out would start another server than asked for.
        self.problems: list[Problem] = []

    def check(self, config: Config) -> None:
        """Change `profile_list` of every section that has one as a list; a function makes its own when it is called."""
        for section in config.values():
            profiles = section.get("profile_list") if isinstance(section, Config) else None
            if self.cls is not None and isinstance(profiles, list):
                section["profile_list"] = [
                    self._profile(entry, ("singleuser", "profileList", index)) for index, entry in enumerate(profiles)
                ]

    def _profile(self, entry: Any, path: KeyPath) -> Any:
        """A copy, without what cannot be set, at whatever depth overrides stand."""
        if not isinstance(entry, Mapping):
            return entry
        return {name: self._below(name, value, (*path, name)) for name, value in entry.items()}

    def _below(self, name: str, value: Any, path: KeyPath) -> Any:
        if name == "kubespawner_override" and (value is None or isinstance(value, Mapping)):
            return dict(self._settable(value or {}, path))
        return self._profile(value, path) if isinstance(value, Mapping) else value

    def _settable(self, override: Mapping[str, Any], path: KeyPath) -> Iterator[tuple[str, Any]]:
        for name, value in override.items():
            trait = self.traits.get(name)
            here = (*path, name)
            if trait is None and not hasattr(self.cls, name):
                close = nearest(name, self.traits, cutoff=0.7)
                hint = f"; did you mean `{close}`?" if close else ""
                self._left_out(here, f"`{name}` is not known to {self._name()}{hint}")
            elif trait is not None and value is None and mistake(trait, None):
                self._left_out(here, f"`{name}` cannot be null, so it stays as it is without this profile")
            else:
                yield name, value
                # `{value}` is filled in with what the user writes.
                unlisted = "unlisted_choice" in path
                if trait is not None and not callable(value) and not unlisted and (wanted := mistake(trait, value)):
                    text = f"`{name}` of {self._name()} cannot have this value"
                    self.problems.append(Problem(here, text, self.locate(here).where, wanted))

    def _left_out(self, path: KeyPath, why: str) -> None:
        text = f"{dotted(path)} is left out: {why}"
        self.notes.append(Note(NoteKind.UNUSED, text, path, self.locate(path).where))

    def _name(self) -> str:
        return self.cls.__name__ if self.cls else ""
