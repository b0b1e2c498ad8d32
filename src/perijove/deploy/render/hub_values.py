"""The Secret and the ConfigMap `hub`: everything the hub's pods are told.

The Secret has z2jh's entries. `values.yaml` holds what the files say, merged, in their own
spelling and without defaults: the hub reads it as `perijove hub -f` reads any file, so that a cluster
and a laptop cannot understand it differently. Other programs in the pod find it where z2jh mounts it.
"""

import base64
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from perijove.config import extra_files
from perijove.config.schema.pod import ExtraFile
from perijove.deploy.release import AUTH_TOKEN, COOKIE_SECRET, CRYPT_KEYS, PULLED_IMAGES
from perijove.deploy.render import pullers
from perijove.deploy.render.scope import Manifest, Scope, digest
from perijove.deploy.render.text import to_yaml

# The API server refuses more.
_MOST_BYTES: Final = 1024 * 1024
_ENTRY: Final = re.compile(r"[-._a-zA-Z0-9]+")


def manifests(scope: Scope) -> list[Manifest]:
    return [secret(scope), config_map(scope)]


def secret(scope: Scope) -> Manifest:
    entries = {
        **secret_entries(scope),
        **file_entries(scope, ("hub", "extraFiles"), scope.settings.hub.extra_files),
    }
    if (size := sum(map(len, entries.values()))) > _MOST_BYTES:
        scope.problem(
            (),
            f"the configuration has {size} bytes; Kubernetes keeps at most {_MOST_BYTES} in one Secret",
            "move large files of hub.extraFiles into ConfigMaps of their own and mount them with hub.extraVolumes",
        )
    return opaque(scope, scope.names["hub"], "hub", entries)


def opaque(scope: Scope, name: str, component: str, entries: Mapping[str, bytes]) -> Manifest:
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": scope.metadata(name, component),
        "type": "Opaque",
        # Not `stringData`: the server forgets which of it somebody applied.
        "data": {key: base64.b64encode(content).decode() for key, content in entries.items()},
    }


def secret_entries(scope: Scope) -> dict[str, bytes]:
    values: dict[str, Any] = scope.loaded.merged.plain()
    code = _extra_config_files(scope)
    if code:
        values["hub"]["extraConfigFiles"] = list(code)
    entries = {"values.yaml": to_yaml(values).encode()}
    for name, text in generated(scope).items():
        entries[name] = text.encode()
    return {**entries, **code}


def generated(scope: Scope) -> dict[str, str]:
    """What hub and proxies share and what was made once, unless the configuration says it."""
    settings, kept = scope.settings, scope.secrets
    config = settings.hub.config

    def trait(section: str, name: str) -> str:
        value = (config.get(section) or {}).get(name)
        return ";".join(map(str, value)) if isinstance(value, list) else str(value or "")

    return {
        COOKIE_SECRET: trait("JupyterHub", "cookie_secret") or settings.hub.cookie_secret or kept.cookie_secret,
        AUTH_TOKEN: trait("ConfigurableHTTPProxy", "auth_token")
        or trait("JupyterHub", "proxy_auth_token")
        or settings.proxy.secret_token
        or kept.auth_token,
        CRYPT_KEYS: trait("CryptKeeper", "keys") or kept.crypt_keys,
    }


def _extra_config_files(scope: Scope) -> dict[str, bytes]:
    """The files that `hub.extraConfigFiles` names, which are on this machine and not in the pod.

    The one thing that a rendering reads besides its arguments.
    """
    entries: dict[str, bytes] = {}
    for index, name in enumerate(scope.settings.hub.extra_config_files):
        path = ("hub", "extraConfigFiles", index)
        file = scope.given.nearest(path).position.file.parent / name
        try:
            content = file.read_bytes()
        except OSError as exc:
            scope.problem(path, f"{file} cannot be read: {exc.strerror}", "the path is relative to this file")
            continue
        entries[f"extra-config-{index}-{_entry_name(Path(name).name)}"] = content
    return entries


def _entry_name(text: str) -> str:
    return re.sub(r"[^-._a-zA-Z0-9]", "-", text)


def file_entries(scope: Scope, path: tuple[str, ...], files: Mapping[str, ExtraFile]) -> dict[str, bytes]:
    """`extraFiles`: one entry for each, under its name in the file."""
    entries = {}
    for name, file in files.items():
        if not _ENTRY.fullmatch(name):
            remedy = f"call it `{_entry_name(name)}`; where it goes is what mountPath says"
            scope.problem((*path, name), "a Secret cannot have an entry of this name", remedy)
            continue
        try:
            entries[name] = extra_files.content(file)
        except ValueError as exc:
            scope.problem((*path, name), f"this file cannot be made: expected {exc}", "")
    return entries


def config_map(scope: Scope) -> Manifest:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": scope.metadata(scope.names["hub"], "hub"),
        "data": {**scope.names, PULLED_IMAGES: pullers.images_digest(scope)},
    }


def config_hash(found: Manifest) -> str:
    """Changes whenever the Secret holds something else."""
    return digest(found["data"])
