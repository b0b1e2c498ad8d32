"""Taking over objects that somebody else applied: Helm above all.

Applying over them with force is not enough: fields that Helm set and we do not mention would stay for ever, owned
by a manager that never comes back (an environment variable, a port, a volume of z2jh's proxy). So Helm's entries
in managedFields become ours first; what our manifest does not mention is then removed by the next apply, as
Kubernetes' own migration from client-side apply does it. Entries of controllers (the load balancer's, the
scheduler's, kubelets') are left alone, and so are claims: nothing of ours replaces anything there, and
most of their fields can never be taken away.
"""

from collections.abc import Collection, Sequence
from typing import Any, Final

from perijove.deploy import names
from perijove.kube.client import Client
from perijove.kube.errors import ObjectChanged, ObjectInvalid, ObjectNotFound
from perijove.kube.refs import Object, Ref

# Helm 3 and 4, its older self, and controllers that run it.
HELM_MANAGERS: Final = frozenset({"helm", "Helm", "Go-http-client", "helm-controller", "helm-operator", "tiller"})
_UNTOUCHED: Final = frozenset({"PersistentVolumeClaim"})
_ATTEMPTS: Final = 5


def adopted(entries: Sequence[Object], managers: Collection[str]) -> list[Object] | None:
    """managedFields in which these managers' entries are ours; None where there is nothing to change."""
    taken = [entry for entry in entries if _is_taken(entry, managers)]
    if not taken:
        return None
    ours = [entry for entry in entries if _is_ours(entry)]
    fields: Object = {}
    for entry in (*ours, *taken):
        _merge(fields, entry.get("fieldsV1") or {})
    latest = (ours or taken)[-1]
    merged = {
        "manager": names.MANAGER,
        "operation": "Apply",
        "apiVersion": latest["apiVersion"],
        "fieldsType": "FieldsV1",
        "fieldsV1": fields,
        **({"time": latest["time"]} if latest.get("time") else {}),
    }
    return [merged, *(entry for entry in entries if entry not in taken and entry not in ours)]


def _is_taken(entry: Object, managers: Collection[str]) -> bool:
    return entry.get("manager") in managers and not entry.get("subresource") and not _is_ours(entry)


def _is_ours(entry: Object) -> bool:
    return entry.get("manager") == names.MANAGER and entry.get("operation") == "Apply" and not entry.get("subresource")


def _merge(into: Object, other: Object) -> None:
    for key, below in other.items():
        _merge(into.setdefault(key, {}), below)


def editors(item: Object) -> frozenset[str]:
    """Who wrote to an object without declaring fields as theirs: people with `kubectl edit`, scripts.

    Server-side apply is such a declaration, and so is a write through `scale`.
    """
    entries = item["metadata"].get("managedFields") or ()
    declared = {entry.get("manager", "") for entry in entries if _is_declared(entry)}
    return frozenset(entry.get("manager", "") for entry in entries) - declared


def _is_declared(entry: Object) -> bool:
    return entry.get("operation") == "Apply" or entry.get("subresource") == "scale"


def is_ours(item: Object) -> bool:
    """Whether our manager applied it, ever."""
    return any(_is_ours(entry) for entry in item["metadata"].get("managedFields") or ())


async def adopt(client: Client, ref: Ref, managers: Collection[str]) -> bool:
    """True where something was taken. Goes on where it was interrupted: each step leaves a whole object."""
    if ref.kind in _UNTOUCHED:
        return False
    for _ in range(_ATTEMPTS):
        item = await client.find(ref)
        if item is None:
            return False
        metadata = item["metadata"]
        entries = adopted(metadata.get("managedFields") or [], managers)
        if entries is None:
            return False
        patch: list[Any] = [
            # Controllers write all the time: only over what was read.
            {"op": "test", "path": "/metadata/resourceVersion", "value": metadata["resourceVersion"]},
            {"op": "replace", "path": "/metadata/managedFields", "value": entries},
        ]
        try:
            await client.patch(ref, patch, kind="json", manager=names.MANAGER)
        except (ObjectChanged, ObjectInvalid):
            continue
        except ObjectNotFound:
            return False
        return True
    raise ObjectChanged(f"{ref} changes faster than it can be taken over")
