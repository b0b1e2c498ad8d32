"""Which objects a release consists of: a ConfigMap, so that what the configuration drops can be found and deleted.

It names an object before that is made, and until it is gone, so that an interrupted deploy leaves nothing that
nobody knows of. Labels would not do: anybody may copy them onto objects of their own.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Literal, Self

from perijove.deploy import names
from perijove.kube.client import Client
from perijove.kube.refs import Object, Ref

Deployer = Literal["person", "controller"]


@dataclass(frozen=True, kw_only=True)
class Inventory:
    namespace: str
    release: str
    # In the order in which they are applied.
    objects: tuple[Ref, ...] = ()
    # Who deploys: a person's command, or the controller of the chart, which would undo what others do.
    deployer: Deployer = "person"
    exists: bool = field(default=False, compare=False)

    @property
    def ref(self) -> Ref:
        return Ref("v1", "ConfigMap", names.bookkeeping(self.release), self.namespace)

    @classmethod
    def read(cls, item: Object) -> Self:
        metadata, data = item["metadata"], item.get("data") or {}
        return cls(
            namespace=metadata["namespace"],
            release=metadata["labels"][names.RELEASE_LABEL],
            objects=tuple(Ref(*entry) for entry in json.loads(data.get("objects") or "[]")),
            deployer="controller" if data.get("deployer") == "controller" else "person",
            exists=True,
        )

    @classmethod
    async def load(cls, client: Client, namespace: str, release: str) -> Self:
        item = await client.find(cls(namespace=namespace, release=release).ref)
        return cls.read(item) if item is not None else cls(namespace=namespace, release=release)

    async def save(self, client: Client) -> Self:
        await client.apply(self.manifest(), manager=names.MANAGER, force=True)
        return replace(self, exists=True)

    def manifest(self) -> Object:
        lines = ",\n ".join(json.dumps([ref.api_version, ref.kind, ref.name, ref.namespace]) for ref in self.objects)
        metadata = {
            "name": self.ref.name,
            "namespace": self.namespace,
            "labels": names.labels(self.release, names.INVENTORY),
        }
        return {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": metadata,
            "data": {"objects": f"[{lines}]", "deployer": self.deployer},
        }

    def adding(self, refs: Iterable[Ref]) -> Self:
        """With these too; of two versions of an object, the new one's."""
        merged = {ref.identity: ref for ref in (*self.objects, *refs)}
        return replace(self, objects=tuple(merged.values()))

    def missing_from(self, refs: Iterable[Ref]) -> list[Ref]:
        """What is listed here and not there."""
        kept = {ref.identity for ref in refs}
        return [ref for ref in self.objects if ref.identity not in kept]


async def inventories(client: Client, namespace: str) -> list[Inventory]:
    """Of every release in the namespace."""
    listing = await client.list("v1", "ConfigMap", namespace, labels=f"{names.PART_LABEL}={names.INVENTORY}")
    return [Inventory.read(item) for item in listing.items]
