"""The given tree against the schema: every problem with its place, what was expected, what to write.

pydantic finds what is wrong; this module says it in the words of the file: where it stands, what is
there instead, and the nearest key that exists.
"""

import re
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any, Final

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from perijove.config.app_traits import APP_TRAITS
from perijove.config.merge import coalesce
from perijove.config.problems import KeyPath, Note, NoteKind, Problem, ProblemKind, dotted, is_secret, nearest
from perijove.config.schema.base import KUBERNETES, Section
from perijove.config.schema.settings import Settings
from perijove.config.yaml import Node

# Traits that people look for among the keys of `singleuser`, where the chart never had them.
SPAWNER_TRAITS = frozenset(
    {
        "args", "automount_service_account_token", "container_security_context",
        "delete_pvc", "delete_stopped_pods", "enable_user_namespaces", "environment",
        "extra_container_config", "gid", "http_timeout", "hub_connect_ip", "ip",
        "modify_pod_hook", "namespace", "notebook_dir", "pod_security_context", "port", "pre_spawn_hook",
        "priority_class_name", "privileged", "scheduler_name",
        "supplemental_gids", "user_namespace_template", "working_dir",
    }
)  # fmt: skip
# What such a value looks like when only its quotes are wrong.
_UNQUOTED: Final = {
    "bool_type": re.compile("true|false|yes|no|on|off", re.IGNORECASE),
    "int_type": re.compile(r"[-+]?\d+"),
    "float_type": re.compile(r"[-+]?\d+(\.\d*)?"),
}
_EXPECTED = {
    "string_type": "a string",
    "bool_type": "true or false",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "list_type": "a list",
    "dict_type": "a map",
    "model_type": "a map",
    "model_attributes_type": "a map",
}


def section_fields(section: type[Section]) -> dict[str, Any]:
    """A section's fields by the names they have in YAML."""
    return {info.alias or name: info for name, info in section.model_fields.items()}


def subsection(info: Any) -> type[Section] | None:
    """The section that a field holds, if it holds one."""
    for kind in (info.annotation, *getattr(info.annotation, "__args__", ())):
        if isinstance(kind, type) and issubclass(kind, Section):
            # `dict[str, SomeSection]` holds several under free names, which is something else.
            return kind if getattr(info.annotation, "__origin__", None) is not dict else None
    return None


def section_at(path: KeyPath) -> type[Section] | None:
    """The section whose keys stand directly under `path`."""
    section: type[Section] | None = Settings
    for step in path:
        info = section_fields(section).get(str(step)) if section else None
        section = subsection(info) if info else None
    return section


def key_paths(section: type[Section], path: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    for name, info in section_fields(section).items():
        yield (*path, name)
        if inner := subsection(info):
            yield from key_paths(inner, (*path, name))


@cache
def _homes() -> dict[str, list[tuple[str, ...]]]:
    """Every key's name, and the places where a key of that name belongs."""
    homes: dict[str, list[tuple[str, ...]]] = {}
    for path in key_paths(Settings, ()):
        homes.setdefault(path[-1], []).append(path)
    return homes


def over_defaults(section: type[Section], given: Mapping[str, Any]) -> dict[str, Any]:
    """`given`, with the defaults of free maps merged in as Helm does; sections fill their own."""
    fields = section_fields(section)
    result: dict[str, Any] = {}
    for name, value in given.items():
        info = fields.get(name)
        if info is None or not isinstance(value, Mapping):
            result[name] = value
            continue
        default = info.get_default(call_default_factory=True, validated_data={})
        if inner := subsection(info):
            result[name] = over_defaults(inner, value)
        else:
            result[name] = coalesce(default, value) if isinstance(default, dict) else value
    return result


def validate(root: Node) -> tuple[Settings | None, list[Problem]]:
    """The settings, or every reason why there are none."""
    try:
        return Settings.model_validate(over_defaults(Settings, root.plain())), []
    except ValidationError as exc:
        found: dict[KeyPath, Problem] = {}
        for error in exc.errors(include_url=False):
            problem = _problem(root, error)
            # A value that may be of several kinds fails once for each: the first says enough.
            found.setdefault(problem.path, problem)
        return None, _without_explained(root, found)


def _without_explained(root: Node, found: dict[KeyPath, Problem]) -> list[Problem]:
    """Leave out `proxy:` being empty where the key that slipped out of it is reported."""
    explained = {
        home[:-1]
        for path, problem in found.items()
        if problem.message.startswith("unknown key") and (home := _slipped_from(root, path))
    }
    return [problem for path, problem in found.items() if path not in explained]


def _slipped_from(root: Node, path: KeyPath) -> tuple[str, ...] | None:
    """Where an unknown key belongs, if that is an empty section right beside it: an indentation lost."""
    for home in _homes().get(str(path[-1]), []):
        parent = root.at(home[:-1])
        if parent is not None and parent.value is None and home[:-2] == path[:-1]:
            return home
    return None


def _problem(root: Node, error: ErrorDetails) -> Problem:
    below = error.get("ctx", {}).get("below")
    path, node = _place(root, error["loc"] if below is None else (*error["loc"], below))
    kind = error["type"]
    if kind == "extra_forbidden" or _section_among_classes(path):
        return _unknown_key(root, path, node)
    if kind == "missing":
        missing = (*path, str(error["loc"][-1]))
        return Problem(missing, f"`{missing[-1]}` is missing", node.where, remedy=f"add `{missing[-1]}:`")
    if is_secret(path) and not isinstance(node.value, dict | list):
        node = Node(node.value, node.position, node.key_position, text="…")
        message = "this is of the wrong kind" if node.value is not None else "this is empty (null)"
    else:
        message = f"this is {describe(node.value)}"
    expected, remedy = _expectation(error, node)
    empty = node.value is None and section_at(path) is not None
    return Problem(
        path, message, node.where, expected, remedy, ProblemKind.EMPTY_SECTION if empty else ProblemKind.WRONG
    )


def _section_among_classes(path: KeyPath) -> bool:
    """`hub.config.singleuser`: a part of the file that is indented too far."""
    return path[:-1] == ("hub", "config") and path[-1] in section_fields(Settings)


def _place(root: Node, loc: tuple[int | str, ...]) -> tuple[KeyPath, Node]:
    """The part of pydantic's path that is in the file; it appends the names of alternatives."""
    node, path = root, []
    for step in loc:
        below = node.at((step,))
        if below is None:
            break
        node = below
        path.append(step)
    return tuple(path), node


def _expectation(error: ErrorDetails, node: Node) -> tuple[str, str]:
    context = error.get("ctx", {})
    match error["type"]:
        case "expected":
            return context["what"], context["remedy"].replace("{text}", node.text)
        case "literal_error":
            # pydantic writes 'a', 'b' or 'c'.
            choices = re.findall(r"'([^']*)'", str(context["expected"]))
            close = nearest(str(node.value), choices)
            text = "one of " + ", ".join(choice for choice in choices if choice)
            return text, f"did you mean `{close}`?" if close else ""
        case "greater_than_equal":
            return f"at least {context['ge']}", ""
        case kind:
            return _EXPECTED.get(kind, error["msg"]), _type_remedy(kind, node)


def _type_remedy(kind: str, node: Node) -> str:
    value = node.value
    if kind == "string_type" and isinstance(value, bool | int | float):
        return f'write it in quotes: "{node.text}"'
    if kind in ("bool_type", "int_type", "float_type") and isinstance(value, str):
        if value.lower() in ("none", "null", "nil"):
            return "write null, or leave the line out"
        return f"remove the quotes: {node.text}" if _UNQUOTED[kind].fullmatch(value) else ""
    if kind == "list_type" and isinstance(value, str | int | float | bool):
        return f"write it as a list: [{node.text}]"
    if kind.startswith(("model", "dict")) and value is None:
        return "indent the keys that belong under it, or remove this line"
    return ""


def describe(value: Any) -> str:
    match value:
        case None:
            return "empty (null)"
        case bool():
            return "true" if value else "false"
        case int() | float():
            return f"the number {value}"
        case str():
            return "a string of several lines" if "\n" in value else f'the string "{value}"'
        case list():
            return "a list"
    return "a map"


# As most other charts have images, Bitnami's of JupyterHub among them.
_OF_IMAGES: Final = frozenset({("image", "registry"), ("image", "repository")})


def _unknown_key(root: Node, path: KeyPath, node: Node) -> Problem:
    name = str(path[-1])
    section = section_at(path[:-1])
    known = list(section_fields(section)) if section else []
    message = f"unknown key `{name}`"
    kind = ProblemKind.MISPLACED_AMONG_CLASSES if _section_among_classes(path) else ProblemKind.WRONG
    if home := _slipped_from(root, path):
        indented = "\n".join(f"{'  ' * depth}{step}:" for depth, step in enumerate(home))
        remedy = f"it belongs under `{dotted(home[:-1])}`, which is empty; indent it:\n{indented}"
    elif path[-2:] in _OF_IMAGES:
        remedy = "registry, repository and name are one here: `name: docker.io/jupyter/scipy-notebook`"
    elif close := nearest(name, known, cutoff=0.75):
        remedy = f"did you mean `{close}`?"
    elif homes := _likely_homes(path):
        remedy = "it belongs " + " or ".join(_home_text(home) for home in homes)
        kind = kind if kind is ProblemKind.MISPLACED_AMONG_CLASSES else ProblemKind.UNKNOWN
    elif path[:-1] == ("singleuser",) and (trait := _snake(name)) in SPAWNER_TRAITS:
        remedy = f"as a trait of the spawner it is `hub.config.KubeSpawner.{trait}`"
    elif path[:-1] == ("hub",) and (trait := _snake(name)) in APP_TRAITS:
        remedy = f"as a trait of the application it is `hub.config.JupyterHub.{trait}`"
    else:
        close = nearest(name, known)
        remedy = f"did you mean `{close}`?" if close else ""
        kind = ProblemKind.UNKNOWN
    expected = f"one of {', '.join(sorted(known))}" if 0 < len(known) <= 12 else ""  # noqa: PLR2004 - a line
    return Problem(path, message, node.where, expected, remedy, kind)


def _likely_homes(path: KeyPath) -> list[tuple[str, ...]]:
    """Where a key of this name belongs, unless that would be guessing."""
    homes = _homes().get(str(path[-1]), [])
    nearby = [home for home in homes if home[0] == path[0]]
    if len(nearby) == 1:
        return nearby
    return homes if len(homes) <= 2 else []  # noqa: PLR2004 - more would be guessing


def _home_text(home: tuple[str, ...]) -> str:
    return f"at `{dotted(home)}`" if len(home) > 1 else f"at the top level, as `{home[0]}:` without indentation"


def _snake(name: str) -> str:
    return re.sub(r"([A-Z])", lambda match: f"_{match[1].lower()}", name)


def without_effect_here(root: Node) -> list[KeyPath]:
    """The given keys that only matter on Kubernetes."""
    return list(_kubernetes_keys(Settings, root, ()))


def _kubernetes_keys(section: type[Section], node: Node, path: KeyPath) -> Iterator[KeyPath]:
    if not isinstance(node.value, dict):
        return
    fields = section_fields(section)
    for name, inner in node.value.items():
        info = fields.get(name)
        if info is None:
            continue
        if (info.json_schema_extra or {}).get(KUBERNETES):
            yield (*path, name)
        elif below := subsection(info):
            yield from _kubernetes_keys(below, inner, (*path, name))


def kubernetes_note(root: Node) -> list[Note]:
    """One note for all of them, or none."""
    keys = sorted(dotted(path) for path in without_effect_here(root))
    if not keys:
        return []
    return [Note(NoteKind.KUBERNETES, f"applies on Kubernetes, not on one machine: {', '.join(keys)}")]
