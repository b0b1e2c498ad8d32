"""Users' volumes: what there is, what holds it, and deleting it once nothing does.

The cluster is asked each time, for one user: what it keeps is its own truth, and nothing of it is in rows.
"""

from dataclasses import dataclass

from perijove.domain.errors import Conflict, NotFound
from perijove.domain.ids import ServerId
from perijove.domain.ports import ServerSpec, Storage, Volume
from perijove.services import audit
from perijove.services.context import HubContext
from perijove.services.server_rows import ServerRow, list_servers
from perijove.services.server_spec import spec_of
from perijove.services.user_facts import user_facts
from perijove.services.user_list import get_user


@dataclass(frozen=True, slots=True)
class Kept:
    """A volume, and why it cannot be deleted now; "" when it can."""

    volume: Volume
    obstacle: str


async def list_volumes(hub: HubContext, user: str) -> list[Kept]:
    """Raises `NotFound`, also where servers have no volumes, and `Unavailable`."""
    storage = _storage(hub)
    rows = await list_servers(hub, user)
    volumes = await storage.volumes(await _specs(hub, user, rows))
    return [Kept(volume, _obstacle(volume, rows)) for volume in volumes]


async def delete_volume(hub: HubContext, user: str, name: str, *, actor: str, uid: str = "", address: str = "") -> None:
    """With everything in it. `uid`: only that very one. Raises `NotFound`, `Conflict` while it is in use.

    A start may come in between. The cluster keeps what a pod holds until that ends, and the start after it is
    told that its volume is going.
    """
    kept = next((one for one in await list_volumes(hub, user) if one.volume.name == name), None)
    if kept is None or (uid and kept.volume.uid != uid):
        raise NotFound(f"{user} has no such volume: {name}")
    if kept.obstacle:
        raise Conflict(f"The volume {name} cannot be deleted: {kept.obstacle}.")
    # Before it is done: what cannot be undone leaves a trace even if this process ends in between.
    volume = kept.volume
    async with hub.store.transaction() as tx:
        await audit.record(
            tx,
            "volume.delete",
            actor=actor,
            subject=user,
            address=address,
            volume=volume.name,
            namespace=volume.namespace,
            uid=volume.uid,
        )
    await _storage(hub).delete_volume(volume)


def _storage(hub: HubContext) -> Storage:
    if (storage := hub.spawners.storage) is None:
        raise NotFound("Servers of this hub have no volumes of their own.")
    return storage


async def _specs(hub: HubContext, user: str, rows: list[ServerRow]) -> list[ServerSpec]:
    """The default server too: its volume may be there before it was ever started."""
    facts = await user_facts(hub, (await get_user(hub, user)).id)
    specs = [spec_of(row, facts) for row in rows]
    if not any(spec.name == "" for spec in specs):
        specs.insert(0, ServerSpec(id=ServerId(0), user=facts, name=""))
    return specs


def _obstacle(volume: Volume, rows: list[ServerRow]) -> str:
    if volume.shared:
        return "files of others are in it"
    if volume.deleting:
        return "it is being deleted" + (f", and waits for {', '.join(volume.used_by)}" if volume.used_by else "")
    active = [row.name or "the default one" for row in rows if row.active and row.name in volume.servers]
    if active:
        return f"a server that uses it is not stopped ({', '.join(active)})"
    return f"it is held by {', '.join(volume.used_by)}" if volume.used_by else ""
