"""A release out of a namespace. What holds somebody's work stays, unless it is named.

The Secret `hub` stays with the volume: it holds the keys without which what is encrypted in the database is lost.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from perijove.deploy import existing, names
from perijove.deploy.apply import Applier
from perijove.deploy.deployment import Deployment
from perijove.deploy.errors import NothingDeployed
from perijove.deploy.inventory import Inventory
from perijove.deploy.release import COOKIE_SECRET, CRYPT_KEYS
from perijove.deploy.report import Report
from perijove.deploy.wishes import Wishes
from perijove.kube.client import Client
from perijove.kube.errors import KindUnknown
from perijove.kube.refs import Object, Ref

_CLAIM: Final = "PersistentVolumeClaim"
_SERVERS: Final = "component=singleuser-server"
_STORAGE: Final = "component=singleuser-storage"


@dataclass(frozen=True, kw_only=True)
class Removal:
    """What goes besides the release itself."""

    servers: bool = False
    volumes: bool = False
    user_volumes: bool = False


@dataclass(frozen=True, kw_only=True)
class Leaving:
    """What would be deleted, in this order, and what would stay."""

    release: str
    delete: Sequence[Ref]
    keep: Sequence[Ref]
    # Users' servers that would run on.
    running: int = 0
    uids: dict[Ref, str] = field(default_factory=dict, repr=False)


Confirm = Callable[[Leaving], Awaitable[bool]]


@dataclass(kw_only=True)
class Uninstall:
    client: Client
    wishes: Wishes
    report: Report

    async def run(self, removal: Removal, confirm: Confirm) -> bool:
        """False where it was not confirmed. Raises `DeployFailed` and `KubeError`."""
        namespace = self.wishes.namespace
        deployment = Deployment(client=self.client, wishes=self.wishes, report=self.report)
        name = await existing.find_release(self.client, namespace, self.wishes.release)
        inventory = await Inventory.load(self.client, namespace, name or "")
        if name is None or not inventory.exists:
            raise NothingDeployed(f"nothing is deployed by Perijove in the namespace {namespace}")
        deployment.check_deployer(inventory)
        async with deployment.locked(name) as lock:
            leaving = await self.look(inventory, removal)
            if not await confirm(leaving):
                return False
            applier = Applier(client=self.client, lock=lock, report=self.report)
            await applier.delete(leaving.delete, uids=leaving.uids, why="uninstalled")
            await self._forget(applier, deployment, inventory)
        await self.client.delete(lock.ref)
        return True

    async def look(self, inventory: Inventory, removal: Removal) -> Leaving:
        delete: list[Ref] = []
        keep: list[Ref] = []
        uids: dict[Ref, str] = {}

        def put(item: Object, *, doomed: bool) -> None:
            ref = Ref.of(item)
            uids[ref] = item["metadata"]["uid"]
            (delete if doomed else keep).append(ref)

        # The other way round than it was made: first what serves, last what it needs.
        for ref in reversed(inventory.objects):
            if (item := await self._find(ref)) is not None:
                put(item, doomed=removal.volumes or not _holds_data(item))
        servers = await self._of_users("Pod", _SERVERS, inventory)
        for item in servers if removal.servers else ():
            put(item, doomed=True)
        for item in await self._of_users(_CLAIM, _STORAGE, inventory):
            put(item, doomed=removal.user_volumes)
        running = 0 if removal.servers else len(servers)
        return Leaving(release=inventory.release, delete=delete, keep=keep, running=running, uids=uids)

    async def _of_users(self, kind: str, labels: str, inventory: Inventory) -> list[Object]:
        """Not those of another release in the namespace, where labels tell."""
        listing = await self.client.list("v1", kind, inventory.namespace, labels=labels)
        return [
            item
            for item in listing.items
            if (item["metadata"].get("labels") or {}).get("release", inventory.release) == inventory.release
        ]

    async def _find(self, ref: Ref) -> Object | None:
        try:
            return await self.client.find(ref)
        except KindUnknown:
            return None

    async def _forget(self, applier: Applier, deployment: Deployment, inventory: Inventory) -> None:
        """The history, which holds secrets too, and last the inventory: until then this can be repeated."""
        revisions = await deployment.history(inventory.release).all()
        await applier.delete([Ref.of(one.item) for one in revisions], quietly=True)
        await applier.delete([inventory.ref], quietly=True)
        self.report.done(f"{names.bookkeeping(inventory.release)} forgotten")


def _holds_data(item: Object) -> bool:
    keys = {COOKIE_SECRET, CRYPT_KEYS}
    return bool(item["kind"] == _CLAIM or (item["kind"] == "Secret" and keys <= (item.get("data") or {}).keys()))
