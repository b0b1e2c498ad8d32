"""A cluster that is a dictionary: for logic that asks and writes, and needs no server's judgement.

What the API server refuses, merges or defaults belongs to tests against one; here a test says what is answered.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from perijove.kube.client import Listing, Written
from perijove.kube.errors import KubeError, ObjectExists, ObjectNotFound
from perijove.kube.refs import Object, Ref

Judge = Callable[[Object, bool], Written]


@dataclass
class Shelf:
    """Takes the place of a `Client`."""

    objects: dict[Ref, Object] = field(default_factory=dict)
    # Raised where an object is looked at, or a kind is listed.
    unseen: dict[Ref | str, KubeError] = field(default_factory=dict)
    # What the server makes of an apply, given the manifest and whether by force; else it takes all.
    judge: Judge | None = None
    written: list[str] = field(default_factory=list)

    def put(self, *items: Object) -> None:
        for number, item in enumerate(items, len(self.objects)):
            item["metadata"].setdefault("uid", f"uid-{number}")
            self.objects[Ref.of(item)] = item

    async def find(self, ref: Ref) -> Object | None:
        if ref in self.unseen:
            raise self.unseen[ref]
        return self.objects.get(ref)

    async def get(self, ref: Ref) -> Object:
        if (item := await self.find(ref)) is None:
            raise ObjectNotFound(f"{ref} not found")
        return item

    async def list(
        self, api_version: str, kind: str, namespace: str = "", *, labels: str = "", fields: str = ""
    ) -> Listing:
        assert not fields, "fields are not looked at here"
        if kind in self.unseen:
            raise self.unseen[kind]
        there = [item for ref, item in self.objects.items() if (ref.api_version, ref.kind) == (api_version, kind)]
        near = [item for item in there if namespace in ("", item["metadata"].get("namespace"))]
        return Listing([item for item in near if _matches(item, labels)], "1")

    async def create(self, manifest: Object, *, manager: str) -> Object:
        assert manager
        if (ref := Ref.of(manifest)) in self.objects:
            raise ObjectExists(f"{ref} exists")
        self.put(manifest)
        self.written.append(f"create {ref}")
        return manifest

    async def apply(self, manifest: Object, *, manager: str, force: bool = False, dry_run: bool = False) -> Written:
        assert manager
        written = self.judge(manifest, force) if self.judge is not None else Written(manifest)
        if not dry_run:
            self.put(written.item)
            self.written.append(f"apply {Ref.of(manifest)}")
        return written

    async def patch(self, ref: Ref, patch: Mapping[str, Any], *, manager: str) -> Object:
        """Annotations only."""
        assert manager
        metadata = (await self.get(ref))["metadata"]
        merged = {**(metadata.get("annotations") or {}), **patch["metadata"]["annotations"]}
        metadata["annotations"] = {key: value for key, value in merged.items() if value is not None}
        return self.objects[ref]

    async def delete(self, ref: Ref, *, uid: str = "") -> bool:
        item = self.objects.get(ref)
        if item is None or uid not in ("", item["metadata"]["uid"]):
            return False
        del self.objects[ref]
        self.written.append(f"delete {ref}")
        return True


def _matches(item: Object, selector: str) -> bool:
    labels = item["metadata"].get("labels") or {}
    terms = [term.partition("=") for term in selector.split(",") if term]
    return all(labels.get(key) == value if equals else key in labels for key, equals, value in terms)
