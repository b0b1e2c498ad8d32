"""What every part of a rendering shares: settings, names, labels, and where notes go."""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final

from perijove.config.loaded import Loaded
from perijove.config.problems import KeyPath, Note, NoteKind, Problem, dotted
from perijove.config.release_names import app_label, release_names
from perijove.config.schema.settings import Settings
from perijove.config.yaml import Node
from perijove.deploy.release import GeneratedSecrets, Release

Manifest = dict[str, Any]

MANAGED_BY: Final = "perijove"
# On a pod: what it was started with. Another value is another pod.
CONFIG_HASH: Final = "perijove.io/config-hash"
# On an object: `before` is applied and waited for before everything else, and deleted afterwards.
APPLY: Final = "perijove.io/apply"

HUB_PORT: Final = 8081
HTTP_PORT: Final = 8000
HTTPS_PORT: Final = 8443
METRICS_PORT: Final = 8002
NOTEBOOK_PORT: Final = 8888
_LONGEST_LABEL: Final = 63


@dataclass
class Scope:
    """One rendering."""

    loaded: Loaded
    release: Release
    secrets: GeneratedSecrets
    notes: list[Note] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)

    @cached_property
    def settings(self) -> Settings:
        return self.loaded.settings

    @cached_property
    def names(self) -> dict[str, str]:
        return dict(release_names(self.settings, self.release.name))

    @cached_property
    def base_url(self) -> str:
        """Starts and ends with a slash."""
        traits = self.settings.hub.config.get("JupyterHub") or {}
        given = str(traits.get("base_url") or self.settings.hub.base_url).strip("/")
        return f"/{given}/" if given else "/"

    # -- what the files say

    @cached_property
    def given(self) -> Node:
        return self.loaded.given

    def is_given(self, *path: str) -> bool:
        """Whether a file sets this key, to anything but null."""
        node = self.given.at(path)
        return node is not None and node.value is not None

    def note(self, path: KeyPath, text: str, kind: NoteKind = NoteKind.INFO) -> None:
        self.notes.append(Note(kind, f"{dotted(path)}: {text}", path, self.given.nearest(path).where))

    def problem(self, path: KeyPath, text: str, remedy: str) -> None:
        self.problems.append(Problem(path, text, self.given.nearest(path).where, remedy=remedy))

    # -- naming and labelling, as z2jh does

    def selector(self, component: str) -> dict[str, str]:
        """The labels that selectors are made of; they can never change."""
        return {"component": component, "app": app_label(self.settings), "release": self.release.name}

    def pod_labels(self, component: str) -> dict[str, str]:
        return {
            **self.selector(component),
            "app.kubernetes.io/name": app_label(self.settings),
            "app.kubernetes.io/instance": self.release.name,
            "app.kubernetes.io/component": component,
        }

    def metadata(
        self,
        name: str,
        component: str,
        *,
        labels: Mapping[str, str] | None = None,
        annotations: Mapping[str, str] | None = None,
        namespaced: bool = True,
    ) -> Manifest:
        """`labels` and `annotations` besides those that every object has."""
        own = {**self.pod_labels(component), "app.kubernetes.io/managed-by": MANAGED_BY}
        return {
            "name": name,
            **({"namespace": self.release.namespace} if namespaced else {}),
            "labels": {**own, **(labels or {})},
            **present(annotations=dict(annotations or {})),
        }


def dns_label(text: str) -> str:
    """`text` in the letters that names inside of a pod may have: lower case, digits and `-`."""
    return re.sub(r"[^a-z0-9-]+", "-", text.lower())[:_LONGEST_LABEL].strip("-") or "unnamed"


def digest(value: Any) -> str:
    """The same for equal data on every machine and Python."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


def present(**fields: Any) -> Manifest:
    """Fields that say something: not None, "", [] or {}. Numbers and booleans always do."""
    return {name: value for name, value in fields.items() if value not in (None, "", [], {})}
