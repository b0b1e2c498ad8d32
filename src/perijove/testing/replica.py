"""A hub without web and sockets: use cases and reconciler on a real database, for looking closely.

Several on one path are several replicas; whether each reconciles is the test's choice, so that it can
have one that is dead, frozen or not born yet.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import aiohttp
from sqlalchemy import insert

from perijove.bus.memory import Bus
from perijove.config.options import HubOptions
from perijove.domain.scopes import Catalogue
from perijove.lib.clock import SystemClock
from perijove.reconcile.loop import Reconciler
from perijove.services.activity import ActivityBuffer
from perijove.services.auth_state import Crypt
from perijove.services.context import HubContext
from perijove.services.identity_cache import IdentityCache
from perijove.services.progress import progress, wait_settled
from perijove.services.server_rows import ServerRow
from perijove.services.servers import request_start
from perijove.services.signing import Signer
from perijove.store.database import Store
from perijove.store.schema import users
from perijove.testing.fake_spawner import FakeSpawnerHost, FakeWorld


@asynccontextmanager
async def replica_on(
    path: Path, world: FakeWorld, *, replica: str = "replica-1", **options: Any
) -> AsyncIterator[HubContext]:
    """Use cases on the database in `path`, with servers in `world`. `options`: fields of `HubOptions`."""
    bus = Bus()
    store = await Store.open(f"sqlite:///{path}/hub.sqlite", bus=bus)
    authenticator: Any = SimpleNamespace(
        enable_auth_state=False, refresh_pre_spawn=False, refresh_pre_stop=False, auth_refresh_age_seconds=0
    )
    hub = HubContext(
        options=replace(HubOptions(data_dir=path, allow_named_servers=True), **options),
        store=store,
        bus=bus,
        clock=SystemClock(),
        authenticator=authenticator,
        spawners=FakeSpawnerHost(world),
        crypt=Crypt(()),
        signer=Signer(store.cookie_secret),
        identities=IdentityCache(bus, Catalogue()),
        activity=ActivityBuffer(),
        replica_id=replica,
        host="here",
    )
    try:
        yield hub
    finally:
        await store.close()


@asynccontextmanager
async def reconciling(hub: HubContext) -> AsyncIterator[Reconciler]:
    """The reconciler at work while the block lasts."""
    async with aiohttp.ClientSession() as http:
        reconciler = Reconciler(hub, http)
        task = asyncio.create_task(reconciler.run())
        try:
            yield reconciler
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def add_users(hub: HubContext, *names: str) -> None:
    async with hub.store.transaction() as tx:
        await tx.execute(insert(users), [{"name": name, "admin": False, "created": tx.now} for name in names])


async def start(hub: HubContext, user: str = "alice", name: str = "", **more: Any) -> ServerRow:
    _, row = await request_start(hub, user=user, name=name, actor=user, **more)
    return row


async def settled(hub: HubContext, row: ServerRow, *, seconds: float = 20) -> ServerRow:
    """The row when nothing is pending any more. Raises `AssertionError` when that takes too long."""
    fresh = await wait_settled(hub, row.id, seconds)
    if fresh is None or fresh.pending is not None:
        raise AssertionError(f"still pending, or gone: {fresh}")
    return fresh


async def progress_events(hub: HubContext, user: str = "alice", name: str = "") -> list[dict[str, Any]]:
    """The whole stream, to its end."""
    return [event async for event in await progress(hub, user, name)]
