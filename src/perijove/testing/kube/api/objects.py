"""Create, replace, patch, apply: what happens to an object between a request and the store.

HTTP calls this, and so do the controllers, which are spared the wire but nothing else.
"""

import base64
import random
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field

from perijove.testing.kube.api.options import WriteOptions, now
from perijove.testing.kube.api.rbac import Authorizer
from perijove.testing.kube.api.store import Store, copied
from perijove.testing.kube.objects import failures, ownership, patches
from perijove.testing.kube.objects import schema as schemas
from perijove.testing.kube.objects.defaults import set_defaults
from perijove.testing.kube.objects.ownership import Owner
from perijove.testing.kube.objects.resources import Object, Registry, Resource
from perijove.testing.kube.objects.validation import problems

_SUFFIX = "bcdfghjklmnpqrstvwxz2456789"
_SUFFIX_LENGTH = 5
_NAME_LIMIT = 63
_SYSTEM = ("uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "generation", "selfLink")

# Looks at an object about to be stored; may alter it, may refuse it. `before` is None at creation.
Admission = Callable[[Resource, Object, Object | None, WriteOptions], None]


@dataclass
class Objects:
    store: Store
    registry: Registry
    authorizer: Authorizer
    admissions: list[Admission] = field(default_factory=list)
    suffixes: random.Random = field(default_factory=random.Random)

    def resource(self, qualified: str) -> Resource:
        return self.registry.named(qualified)

    def get(self, resource: Resource, namespace: str, name: str) -> Object:
        """Raises 404."""
        if (item := self.store.get(resource, namespace, name)) is None:
            raise failures.not_found(resource, name)
        return item

    def create(self, resource: Resource, namespace: str, body: Object, options: WriteOptions) -> Object:
        item = self._decoded(resource, body, options)
        metadata = item.setdefault("metadata", {})
        self._place(resource, namespace, metadata)
        self._name(resource, metadata)
        if resource.status and resource.qualified not in ("nodes", "persistentvolumes"):
            item.pop("status", None)
        owners = ownership.after_update(
            schemas.of_resource(resource), {}, item, self._author(resource, options, "Update")
        )
        return self._born(resource, item, owners, options)

    def _born(self, resource: Resource, item: Object, owners: list[Owner], options: WriteOptions) -> Object:
        metadata = item["metadata"]
        self._check_namespace(resource, metadata)
        if self.store.get(resource, metadata.get("namespace", ""), metadata["name"]) is not None:
            raise failures.already_exists(resource, metadata["name"])
        for key in _SYSTEM:
            metadata.pop(key, None)
        metadata.pop("resourceVersion", None)
        metadata |= {"uid": str(uuid.uuid4()), "creationTimestamp": now()}
        if resource.plural not in _WITHOUT_GENERATION:
            metadata["generation"] = 1
        item |= {"apiVersion": resource.api_version, "kind": resource.kind}
        _plain_secret(resource, item)
        set_defaults(resource, item)
        self.authorizer.check_grant(options.user, resource, item)
        for admit in self.admissions:
            admit(resource, item, None, options)
        self._check(resource, item, None)
        metadata["managedFields"] = [owner.written() for owner in owners]
        return item if options.dry_run else self.store.put(resource, item)

    def replace(self, resource: Resource, namespace: str, name: str, body: Object, options: WriteOptions) -> Object:
        item = self._decoded(resource, body, options)
        metadata = item.setdefault("metadata", {})
        if metadata.get("name", name) != name:
            message = f"the name of the object ({metadata['name']}) does not match the name on the URL ({name})"
            raise failures.bad_request(message)
        metadata["name"] = name
        return self._update(resource, self.get(resource, namespace, name), item, options)

    def patch(
        self, resource: Resource, namespace: str, name: str, patch: object, options: WriteOptions, *, kind: str
    ) -> Object:
        """`kind` is the content type of the patch."""
        before = self.get(resource, namespace, name)
        after = patches.patched(kind, resource, copied(before), patch)
        asked = after.get("metadata", {}).get("resourceVersion")
        return self._update(resource, before, self._decoded(resource, after, options), options, asked=asked)

    def apply(self, resource: Resource, namespace: str, name: str, body: Object, options: WriteOptions) -> Object:
        """Server-side apply. Raises 409 with every conflicting manager and field."""
        wanted = self._decoded(resource, body, options, keep_nulls=True)
        metadata = wanted.setdefault("metadata", {})
        _check_applied(name, wanted)
        metadata["name"] = name
        self._place(resource, namespace, metadata)
        _plain_secret(resource, wanted)
        live = self.store.get(resource, namespace, name)
        if live is None and metadata.get("uid"):
            raise failures.not_found(resource, name)
        schema = schemas.of_resource(resource)
        author = self._author(resource, options, "Apply")
        _keep_part(resource, wanted, options.subresource)
        result = ownership.apply(schema, copied(live) if live else {}, wanted, author)
        if result.conflicts and not options.force:
            raise failures.apply_conflict(result.conflicts)
        item = schemas.decode(resource, result.item).value
        if live is None:
            return self._born(resource, item, result.owners, options)
        return self._update(resource, live, item, options, owners=result.owners, asked=metadata.get("resourceVersion"))

    def _update(
        self,
        resource: Resource,
        before: Object,
        item: Object,
        options: WriteOptions,
        *,
        owners: list[Owner] | None = None,
        asked: str | None = None,
    ) -> Object:
        name = before["metadata"]["name"]
        metadata = item["metadata"]
        if (asked or metadata.get("resourceVersion") or "0") not in ("0", before["metadata"]["resourceVersion"]):
            raise failures.stale(resource, name)
        if metadata.get("uid", before["metadata"]["uid"]) != before["metadata"]["uid"]:
            why = (
                f"Precondition failed: UID in precondition: {metadata['uid']}, "
                f"UID in object meta: {before['metadata']['uid']}"
            )
            raise failures.conflict(resource, name, why)
        after = _with_system_fields(resource, before, item, options.subresource)
        _plain_secret(resource, after)
        set_defaults(resource, after)
        if options.subresource in ("", "scale"):
            if after.get("rules") != before.get("rules") or after.get("subjects") != before.get("subjects"):
                self.authorizer.check_grant(options.user, resource, after)
            for admit in self.admissions:
                admit(resource, after, before, options)
            self._check(resource, after, before)
        if "generation" in before["metadata"] and _spec_of(after) != _spec_of(before):
            after["metadata"]["generation"] = before["metadata"]["generation"] + 1
        if owners is None:
            author = self._author(resource, options, "Update")
            owners = ownership.after_update(schemas.of_resource(resource), _as_owned(before, item), after, author)
        after["metadata"]["managedFields"] = [owner.written() for owner in owners]
        return self._stored(resource, before, after, dry_run=options.dry_run)

    def _stored(self, resource: Resource, before: Object, after: Object, *, dry_run: bool) -> Object:
        """The last word: nothing for nothing, and the end of an object whose last finalizer is gone."""
        if _without_times(after) == _without_times(before):
            return before
        metadata = after["metadata"]
        if metadata.get("deletionTimestamp") and not metadata.get("finalizers"):
            kept = resource.qualified == "namespaces" and after.get("spec", {}).get("finalizers")
            if not metadata.get("deletionGracePeriodSeconds") and not kept:
                return after if dry_run else self.store.remove(resource, after)
        return after if dry_run else self.store.put(resource, after)

    def _check(self, resource: Resource, item: Object, before: Object | None) -> None:
        missing = [(path, "Required value") for path in schemas.decode(resource, item).missing]
        if found := [*missing, *(problems(resource, item, before) if not missing else ())]:
            raise failures.invalid(resource, item["metadata"]["name"], found)

    def _decoded(self, resource: Resource, body: Object, options: WriteOptions, *, keep_nulls: bool = False) -> Object:
        for key, wanted in (("kind", resource.kind), ("apiVersion", resource.api_version)):
            if body.get(key, wanted) != wanted:
                raise failures.bad_request(
                    f"{resource.kind} in version {resource.version!r} cannot be handled as a {resource.kind}: "
                    f"the {key} in the data ({body[key]}) does not match the expected {key} ({wanted})"
                )
        result = schemas.decode(resource, copied(body), keep_nulls=keep_nulls)
        said = [f'unknown field "{path}"' for path in result.unknown]
        if said and options.field_validation == "Strict":
            kind = resource.kind
            message = (
                f'{kind} in version "{resource.version}" cannot be handled as a {kind}: '
                f"strict decoding error: {', '.join(said)}"
            )
            raise failures.bad_request(message)
        if options.field_validation == "Warn":
            options.warnings += said
        return result.value

    def _place(self, resource: Resource, namespace: str, metadata: Object) -> None:
        if not resource.namespaced:
            metadata.pop("namespace", None)
            return
        given = metadata.setdefault("namespace", namespace)
        if given != namespace:
            raise failures.bad_request(
                f"the namespace of the provided object does not match the namespace sent on the request ({namespace})"
            )

    def _name(self, resource: Resource, metadata: Object) -> None:
        if metadata.get("name"):
            return
        if not (base := metadata.get("generateName")):
            raise failures.invalid(
                resource, "", [("metadata.name", "Required value: name or generateName is required")]
            )
        suffix = "".join(self.suffixes.choices(_SUFFIX, k=_SUFFIX_LENGTH))
        metadata["name"] = base[: _NAME_LIMIT - _SUFFIX_LENGTH] + suffix

    def _check_namespace(self, resource: Resource, metadata: Object) -> None:
        if not resource.namespaced:
            return
        name = metadata["namespace"]
        namespaces = self.resource("namespaces")
        found = self.store.get(namespaces, "", name)
        if found is None:
            raise failures.not_found(namespaces, name)
        if found["metadata"].get("deletionTimestamp"):
            why = f"unable to create new content in namespace {name} because it is being terminated"
            raise failures.forbidden(resource, metadata["name"], why)

    def _author(self, resource: Resource, options: WriteOptions, operation: str) -> Owner:
        return Owner(options.manager, operation, resource.api_version, options.subresource, now())


def _check_applied(name: str, wanted: Object) -> None:
    metadata = wanted["metadata"]
    if metadata.get("managedFields"):
        raise failures.bad_request("metadata.managedFields must be nil")
    if metadata.get("name", name) != name:
        message = f"the name of the object ({metadata['name']}) does not match the name on the URL ({name})"
        raise failures.bad_request(message)
    for key in ("apiVersion", "kind"):
        if not wanted.get(key):
            raise failures.bad_request(f"Object '{key}' is missing in the applied configuration")


# Kinds whose generation the API server leaves alone.
_WITHOUT_GENERATION = frozenset(
    {"namespaces", "services", "configmaps", "secrets", "serviceaccounts", "endpoints", "events", "nodes"}
    | {"persistentvolumeclaims", "persistentvolumes", "roles", "rolebindings", "clusterroles", "clusterrolebindings"}
    | {"resourcequotas", "limitranges", "storageclasses", "leases"}
)


def _spec_of(item: Object) -> Object:
    return {key: value for key, value in item.items() if key not in ("metadata", "status")}


def _as_owned(before: Object, item: Object) -> Object:
    """`before` with the owners that a writer sent along, if any: so clients hand fields from one manager to another."""
    given = item["metadata"].get("managedFields")
    return before | {"metadata": before["metadata"] | {"managedFields": given}} if given else before


def _without_times(item: Object) -> Object:
    owners = [
        {key: value for key, value in entry.items() if key != "time"}
        for entry in item["metadata"].get("managedFields") or ()
    ]
    return item | {"metadata": item["metadata"] | {"managedFields": owners}}


def _with_system_fields(resource: Resource, before: Object, item: Object, subresource: str) -> Object:
    """`item` with what writers may not touch as it was before."""
    if subresource == "status":
        after: Object = copied(before)
        if "status" in item:
            after["status"] = item["status"]
        return after
    after = {key: value for key, value in item.items() if key != "status" or not resource.status}
    if resource.status and "status" in before:
        after["status"] = before["status"]
    metadata = dict(item["metadata"])
    for key in (*_SYSTEM, "name", "namespace", "resourceVersion", "generateName"):
        metadata.pop(key, None)
        if key in before["metadata"]:
            metadata[key] = before["metadata"][key]
    if before["metadata"].get("deletionTimestamp"):
        present = before["metadata"].get("finalizers") or ()
        metadata["finalizers"] = [name for name in metadata.get("finalizers") or () if name in present]
    after["metadata"] = metadata
    result: Object = copied(after | {"apiVersion": resource.api_version, "kind": resource.kind})
    return result


def _keep_part(resource: Resource, wanted: Object, subresource: str) -> None:
    """Apply owns nothing of the part that this endpoint does not write."""
    if subresource == "status":
        for key in [key for key in wanted if key not in ("apiVersion", "kind", "metadata", "status")]:
            del wanted[key]
        wanted["metadata"] = {"name": wanted["metadata"]["name"]}
    elif resource.status:
        wanted.pop("status", None)


def _plain_secret(resource: Resource, item: Object) -> None:
    """`stringData` is for writing only."""
    if resource.qualified != "secrets" or not (plain := item.pop("stringData", None)):
        return
    data = item.setdefault("data", {})
    for key, value in plain.items():
        data[key] = base64.b64encode(value.encode()).decode()
