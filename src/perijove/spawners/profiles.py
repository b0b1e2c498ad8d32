"""Profiles: the choices offered before a server starts, in KubeSpawner's format.

The form's fields and the resulting options have KubeSpawner's names, so that links, scripts and stored
choices stay good when a hub moves between one machine and a cluster. Names and descriptions are the
administrator's HTML, as they are there; everything a user can influence is escaped or checked.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Any, Final

Profile = Mapping[str, Any]
_UNLISTED: Final = "unlisted-choice"


class UnknownChoice(ValueError):
    """The chosen profile or option does not exist; the message is for the user."""


def slug(profile: Profile) -> str:
    """What a profile is called in forms and options."""
    name = str(profile.get("slug") or profile.get("display_name") or "")
    return str(profile.get("slug") or re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-"))


def default_profile(profiles: Sequence[Profile]) -> Profile:
    return next((profile for profile in profiles if profile.get("default")), profiles[0])


def _default_choice(option: Mapping[str, Any]) -> str:
    choices = option.get("choices") or {}
    return next((name for name, choice in choices.items() if choice.get("default")), next(iter(choices), ""))


def _unlisted(option: Mapping[str, Any]) -> Mapping[str, Any]:
    unlisted = option.get("unlisted_choice") or {}
    return unlisted if unlisted.get("enabled") else {}


# -- the form ------------------------------------------------------------------------------------


def form(profiles: Sequence[Profile]) -> str:
    """Radio buttons, and below each profile what can be chosen in it. Works without scripts."""
    chosen = default_profile(profiles)
    rows = "".join(_row(profile, checked=profile is chosen) for profile in profiles)
    return f'<fieldset class="profiles"><legend>Profile</legend>{rows}</fieldset>'


def _row(profile: Profile, *, checked: bool) -> str:
    name = escape(slug(profile))
    mark = " checked" if checked else ""
    description = profile.get("description") or ""
    text = f'<p id="profile-{name}-description">{description}</p>' if description else ""
    described = f' aria-describedby="profile-{name}-description"' if description else ""
    options = "".join(_select(name, *item) for item in (profile.get("profile_options") or {}).items())
    return (
        f'<div class="profile"><label for="profile-{name}">'
        f'<input type="radio" name="profile" id="profile-{name}" value="{name}"{mark}{described}> '
        f"<strong>{profile.get('display_name', name)}</strong></label>{text}{options}</div>"
    )


def _select(profile: str, name: str, option: Mapping[str, Any]) -> str:
    field = f"profile-option-{profile}--{escape(name)}"
    default = _default_choice(option)
    choices = "".join(
        f'<option value="{escape(key)}"{" selected" if key == default else ""}>'
        f"{choice.get('display_name', key)}</option>"
        for key, choice in (option.get("choices") or {}).items()
    )
    label = option.get("display_name", name)
    unlisted = _unlisted(option)
    if not unlisted:
        return f'<label for="{field}">{label}</label><select id="{field}" name="{field}">{choices}</select>'
    other = unlisted.get("display_name_in_choices", "Other…")
    free = f"{field}--{_UNLISTED}"
    return (
        f'<label for="{field}">{label}</label>'
        f'<select id="{field}" name="{field}">{choices}<option value="{_UNLISTED}">{other}</option></select>'
        f'<label for="{free}">{unlisted.get("display_name", label)}</label>'
        f'<input type="text" id="{free}" name="{free}" pattern="{escape(unlisted.get("validation_regex", ".*"))}">'
    )


def from_form(fields: Mapping[str, Sequence[Any]]) -> dict[str, Any]:
    """`{"profile": slug, option: choice, …}` from what a browser sends; fields of other profiles go."""
    chosen = fields.get("profile")
    if not chosen:
        return {}
    name = str(chosen[0])
    options: dict[str, Any] = {"profile": name}
    prefix = f"profile-option-{name}--"
    for field, values in fields.items():
        if field.startswith(prefix) and values and values[0] != "":
            options[field.removeprefix(prefix)] = str(values[0])
    return options


# -- what a choice means -------------------------------------------------------------------------


def overrides(profiles: Sequence[Profile], options: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """The `kubespawner_override`s that the options select, in order. Raises `UnknownChoice`."""
    if not profiles:
        return
    profile = _selected(profiles, options)
    yield profile.get("kubespawner_override") or {}
    for name, option in (profile.get("profile_options") or {}).items():
        choice = options.get(name)
        free = options.get(f"{name}--{_UNLISTED}")
        if _unlisted(option) and free and choice in (None, _UNLISTED):
            yield _free(name, option, str(free))
        elif option.get("choices"):
            yield _listed(name, option, choice)


def _selected(profiles: Sequence[Profile], options: Mapping[str, Any]) -> Profile:
    name = options.get("profile")
    if not name:
        return default_profile(profiles)
    for profile in profiles:
        if slug(profile) == name or profile.get("display_name") == name:
            return profile
    known = ", ".join(slug(profile) for profile in profiles)
    raise UnknownChoice(f"There is no profile {name!r}. There are: {known}")


def _listed(name: str, option: Mapping[str, Any], choice: Any) -> Mapping[str, Any]:
    choices = option["choices"]
    key = choice if choice is not None else _default_choice(option)
    if key not in choices:
        raise UnknownChoice(f"There is no choice {key!r} for {name}. There are: {', '.join(choices)}")
    found: Mapping[str, Any] = choices[key].get("kubespawner_override") or {}
    return found


def _free(name: str, option: Mapping[str, Any], value: str) -> Mapping[str, Any]:
    unlisted = _unlisted(option)
    if not re.fullmatch(unlisted.get("validation_regex", ".*"), value):
        message = unlisted.get("validation_message") or f"{value!r} is not possible for {name}."
        raise UnknownChoice(message)
    return {
        key: text.replace("{value}", value) if isinstance(text, str) else text
        for key, text in (unlisted.get("kubespawner_override") or {}).items()
    }
