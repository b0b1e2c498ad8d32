"""Users' volumes, which JupyterHub's API does not have: read them, and delete one that nothing uses."""

from typing import Any

from starlette.responses import Response

from perijove.services import storage
from perijove.services.storage import Kept
from perijove.web.api.endpoint import Call, Endpoint, Operation


async def list_volumes(call: Call) -> Response:
    return call.json([_model(kept) for kept in await storage.list_volumes(call.hub, call.path["user"])])


async def delete_volume(call: Call) -> Response:
    """202: it goes as soon as the cluster lets it. `?uid=` names the very one that was looked at."""
    await storage.delete_volume(
        call.hub,
        call.path["user"],
        call.path["volume"],
        uid=call.query("uid"),
        actor=call.actor,
        address=call.address,
    )
    return call.empty(202, media_type="text/plain")


def _model(kept: Kept) -> dict[str, Any]:
    volume = kept.volume
    return {
        "name": volume.name,
        "uid": volume.uid,
        "namespace": volume.namespace,
        "servers": list(volume.servers),
        "size": volume.size,
        "storage_class": volume.storage_class,
        "phase": volume.phase,
        "bound_to": volume.bound_to,
        "created": volume.created.isoformat() if volume.created else None,
        "used_by": list(volume.used_by),
        "deleting": volume.deleting,
        "shared": volume.shared,
        # Why it cannot be deleted now; null when it can.
        "obstacle": kept.obstacle or None,
    }


ENDPOINTS = [
    Endpoint("/users/{user}/storage", GET=Operation(list_volumes, "read:servers!user")),
    # Not `delete:servers`, which everybody has for their own: what is deleted here is all of a user's work.
    Endpoint("/users/{user}/storage/{volume}", DELETE=Operation(delete_volume, "admin:servers!user")),
]
