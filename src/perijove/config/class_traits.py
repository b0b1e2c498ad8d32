"""Traits of plug-in classes that nobody reads, most often because they are misspelt.

traitlets drops them with a line in the log. A trait may stand under any class that the configured one
derives from (`c.Spawner.x` for a trait of KubeSpawner), so it is unknown only if the configured class
does not have it.
"""

from collections.abc import Callable, Iterator
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any, Final

from traitlets.config import Config

from perijove.config.problems import KeyPath, Note, NoteKind, Position, nearest

# Classes of JupyterHub that are neither authenticator nor spawner.
_OTHER_CLASSES: Final = frozenset({"Application", "ConfigurableHTTPProxy", "CryptKeeper", "JupyterHub", "Proxy"})
# Traits that JupyterHub's hub acts upon, and ours does not.
WITHOUT_EFFECT: Final = {
    "delete_invalid_users": "nobody is deleted because a directory of accounts did not know them at a start; remove "
    "users on the admin page, through the REST API or with cull.users",
}
Where = Callable[[str, str], Position | None]


def find_class(kind: str, wanted: Any) -> type | None:
    """The class, or None: that it cannot be had is said by what needs it, with the reason."""
    if not isinstance(wanted, str):
        return wanted if isinstance(wanted, type) else None
    for entry in entry_points(group=f"jupyterhub.{kind}s"):
        if entry.name.lower() == wanted.lower():
            return _loaded(entry.load)
    module, _, name = wanted.rpartition(".")
    return _loaded(lambda: getattr(import_module(module), name)) if module else None


def _loaded(load: Callable[[], Any]) -> type | None:
    try:
        found = load()
    except (ImportError, AttributeError):
        return None
    return found if isinstance(found, type) else None


def unknown_traits(config: Config, where: Where, *, authenticator: Any, spawner: Any) -> Iterator[Note]:
    """A note for each trait that the configured classes do not have."""
    for cls in (find_class("authenticator", authenticator), find_class("spawner", spawner)):
        names = getattr(cls, "class_trait_names", None)
        if cls is None or names is None:
            continue
        known = set(names(config=True))
        sections = {parent.__name__ for parent in cls.__mro__} & set(config)
        for section in sorted(sections):
            for trait in sorted(set(config[section]) - known):
                yield _note(section, trait, cls.__name__, known, where)
            for trait in sorted(set(config[section]) & set(WITHOUT_EFFECT)):
                path: KeyPath = ("hub", "config", section, trait)
                text = f"c.{section}.{trait} has no effect: {WITHOUT_EFFECT[trait]}"
                yield Note(NoteKind.UNUSED, text, path, where(section, trait))


def unknown_classes(config: Config, where: Where, **chosen: Any) -> Iterator[Note]:
    """A note for each section that is named almost like a class, and not like any."""
    known = _OTHER_CLASSES | {
        entry.value.rpartition(":")[2] for kind in chosen for entry in entry_points(group=f"jupyterhub.{kind}s")
    }
    for kind, wanted in chosen.items():
        cls = find_class(kind, wanted)
        known |= {parent.__name__ for parent in cls.__mro__} if cls else {str(wanted).rpartition(".")[2]}
    for section in sorted(set(config) - known):
        # One letter or so: most classes that nobody knows belong to code or to packages that are not here.
        if close := nearest(section, known, cutoff=0.92):
            path: KeyPath = ("hub", "config", section)
            trait = min(config[section], default="")
            text = f"no class is called {section}; did you mean `{close}`?"
            yield Note(NoteKind.UNKNOWN_TRAIT, text, path, where(section, trait))


def nearest_plugin(kind: str, wanted: Any) -> str | None:
    """What a short name was probably meant to be."""
    names = [entry.name for entry in entry_points(group=f"jupyterhub.{kind}s")]
    return nearest(wanted, names, cutoff=0.75) if isinstance(wanted, str) and "." not in wanted else None


def _note(section: str, trait: str, class_name: str, known: set[str], where: Where) -> Note:
    close = nearest(trait, known, cutoff=0.7)
    hint = f"; did you mean `{close}`?" if close else ""
    path: KeyPath = ("hub", "config", section, trait)
    text = f"c.{section}.{trait} is not known to {class_name}{hint}"
    return Note(NoteKind.UNKNOWN_TRAIT, text, path, where(section, trait))
