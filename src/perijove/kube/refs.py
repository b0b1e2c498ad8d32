"""Which object is meant, in the words of its manifest."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

Object = dict[str, Any]


@dataclass(frozen=True, slots=True, order=True)
class Ref:
    """One object; `namespace` is "" for what belongs to the whole cluster."""

    api_version: str
    kind: str
    name: str
    namespace: str = ""

    @classmethod
    def of(cls, manifest: Mapping[str, Any]) -> Self:
        metadata = manifest["metadata"]
        return cls(manifest["apiVersion"], manifest["kind"], metadata["name"], metadata.get("namespace") or "")

    @property
    def group(self) -> str:
        return self.api_version.rpartition("/")[0]

    @property
    def identity(self) -> tuple[str, str, str, str]:
        """The same for every version of the API: `batch/v1beta1` and `batch/v1` name one object."""
        return self.group, self.kind, self.namespace, self.name

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"
