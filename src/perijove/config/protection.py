"""Whether a configuration keeps strangers out.

Anybody who can log in runs code on this machine. Without real authentication the hub must not listen
to more than this machine unless somebody says so; the command line asks this question.
"""

from typing import Any, Final

from traitlets.config import Config

_OPEN: Final = {
    "dummy": "the dummy authenticator lets everybody in under any name",
    "tmp": "the tmp authenticator lets everybody in",
}


def missing_protection(authenticator_class: Any, traits: Config) -> str:
    """Why anybody who reaches the port gets in, or ""."""
    names = _names(authenticator_class)
    if names & {"dummy", "dummyauthenticator"}:
        password = _trait(traits, ("DummyAuthenticator", "Authenticator"), "password")
        return f"{_OPEN['dummy']}{', with one password for all' if password else ''}"
    if names & {"tmp", "tmpauthenticator"}:
        return _OPEN["tmp"]
    return ""


def _names(authenticator_class: Any) -> set[str]:
    if isinstance(authenticator_class, str):
        return {authenticator_class.rsplit(".", 1)[-1].lower()}
    return {cls.__name__.lower() for cls in authenticator_class.__mro__}


def _trait(traits: Config, sections: tuple[str, ...], trait: str) -> Any:
    for section in sections:
        if section in traits and trait in traits[section]:
            return traits[section][trait]
    return None
