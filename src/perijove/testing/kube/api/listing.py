"""LIST: selectors, and pages that stay one snapshot."""

import secrets
from dataclasses import dataclass, field

from perijove.testing.kube.api.request import RequestInfo
from perijove.testing.kube.api.store import Store
from perijove.testing.kube.objects.failures import bad_request, expired
from perijove.testing.kube.objects.resources import Object, Resource
from perijove.testing.kube.objects.selectors import Predicate, field_predicate, label_predicate


def selection(resource: Resource, info: RequestInfo) -> Predicate:
    labels = label_predicate(info.query.get("labelSelector", ""))
    fields = field_predicate(resource.plural, info.query.get("fieldSelector", ""))
    name = info.name
    return lambda item: labels(item) and fields(item) and name in ("", item["metadata"]["name"])


@dataclass
class _Snapshot:
    revision: int
    rest: list[Object]


@dataclass
class Lists:
    store: Store
    _open: dict[str, _Snapshot] = field(default_factory=dict)

    def page(self, resource: Resource, info: RequestInfo) -> Object:
        """Raises 400 and 410."""
        limit = int(info.query.get("limit") or 0)
        if token := info.query.get("continue", ""):
            snapshot = self._continued(token)
        else:
            self._check_revision(info)
            chosen = selection(resource, info)
            found = [item for item in self.store.items(resource, info.namespace) if chosen(item)]
            snapshot = _Snapshot(self.store.revision, found)
        items, rest = (snapshot.rest[:limit], snapshot.rest[limit:]) if limit else (snapshot.rest, [])
        metadata: Object = {"resourceVersion": str(snapshot.revision)}
        if rest:
            token = secrets.token_urlsafe(12)
            self._open[token] = _Snapshot(snapshot.revision, rest)
            metadata |= {"continue": token, "remainingItemCount": len(rest)}
        kind = f"{resource.kind}List"
        return {"kind": kind, "apiVersion": resource.api_version, "metadata": metadata, "items": items}

    def _continued(self, token: str) -> _Snapshot:
        snapshot = self._open.get(token)
        if snapshot is None:
            raise bad_request("continue key is not valid: encoding/json: invalid character")
        if snapshot.revision < self.store.compacted:
            raise expired(
                "The provided continue parameter is too old to display a consistent list result. You can start a new "
                "list without the continue parameter, or use the continue token in this response to retrieve the "
                "remainder of the results."
            )
        return snapshot

    def _check_revision(self, info: RequestInfo) -> None:
        asked = info.query.get("resourceVersion") or "0"
        if not asked.isdigit():
            raise bad_request(f'resourceVersion: Invalid value: "{asked}": strconv.ParseUint: invalid syntax')
        if info.query.get("resourceVersionMatch") == "Exact" and int(asked) < self.store.compacted:
            raise expired(f"The resourceVersion for the provided list is too old: {asked}")
