"""How a release names claims and namespaces of users: read from the values that its hub runs with.

Only for claims that nobody wrote a user's name on. Whoever may not read the release's Secret gets the names that
KubeSpawner and z2jh use by themselves.
"""

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Final

from perijove.config import ConfigError
from perijove.config.yaml import parse
from perijove.kube.client import Client
from perijove.kube.errors import NotPermitted
from perijove.kube.refs import Object

_VALUES: Final = "values.yaml"
_USER_NAMESPACES: Final = "{hubnamespace}-{username}"
_HUB: Final = "component=hub"


@dataclass(frozen=True, slots=True, kw_only=True)
class Naming:
    templates: tuple[str, ...] = ()
    # Of users' own namespaces, as in `jhub-*`; "" where all are in the release's.
    user_namespaces: str = ""
    # The claim that all share under `storage.type: static`, and where in it a user's files are.
    static_claim: str = ""
    notes: tuple[str, ...] = field(default=())


async def read_naming(client: Client, namespace: str) -> Naming:
    try:
        secrets = (await client.list("v1", "Secret", namespace, labels=_HUB)).items
    except NotPermitted as error:
        return Naming(notes=(f"names of volumes are guessed by KubeSpawner's own schemes: {error.message}",))
    for secret in secrets:
        if text := (secret.get("data") or {}).get(_VALUES):
            return of_values(_plain(base64.b64decode(text).decode()), namespace)
    return Naming()


def _plain(text: str) -> Mapping[str, Any]:
    try:
        found = parse(text, Path(_VALUES)).root.plain()
    except ConfigError:
        return {}
    return found if isinstance(found, Mapping) else {}


def of_values(values: Mapping[str, Any], namespace: str) -> Naming:
    storage = _at(values, "singleuser", "storage")
    spawner = _at(values, "hub", "config", "KubeSpawner")
    templates = (_at(storage, "dynamic").get("pvcNameTemplate"), spawner.get("pvc_name_template"))
    own = ""
    if spawner.get("enable_user_namespaces"):
        template = str(spawner.get("user_namespace_template") or _USER_NAMESPACES)
        own = re.sub(r"\{[^}]*\}", "*", template.replace("{hubnamespace}", namespace))
    static = str(_at(storage, "static").get("pvcName") or "") if storage.get("type") == "static" else ""
    return Naming(templates=tuple(str(one) for one in templates if one), user_namespaces=own, static_claim=static)


def _at(values: Mapping[str, Any], *path: str) -> Mapping[str, Any]:
    for key in path:
        found = values.get(key)
        values = found if isinstance(found, Mapping) else {}
    return values


async def namespaces_of(client: Client, namespace: str, pattern: str) -> list[str]:
    """The release's, and those of its users. Never one where another hub lives, whatever the pattern says."""
    if not pattern:
        return [namespace]
    found: list[Object] = (await client.list("v1", "Namespace")).items
    names = [item["metadata"]["name"] for item in found if fnmatchcase(item["metadata"]["name"], pattern)]
    hubs = (await client.list("apps/v1", "Deployment", labels=_HUB)).items if names else []
    others = {hub["metadata"]["namespace"] for hub in hubs} - {namespace}
    return [namespace, *sorted(set(names) - others - {namespace})]
