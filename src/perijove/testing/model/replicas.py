"""One hub and one proxy of a model: everything that `compose` runs, but for web pages and sockets."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any
from unittest import mock

from perijove.bus.memory import Bus
from perijove.config.options import HubOptions
from perijove.domain.errors import HubError
from perijove.domain.scopes import Catalogue
from perijove.proxy.follow import Follower
from perijove.proxy.routing import Routing
from perijove.reconcile import presence
from perijove.reconcile.chores import run_chores
from perijove.reconcile.loop import Reconciler
from perijove.services import activity, blocked, roles
from perijove.services.activity import ActivityBuffer
from perijove.services.auth_state import Crypt
from perijove.services.context import HubContext
from perijove.services.identity_cache import IdentityCache
from perijove.services.server_steps import Intent, Step
from perijove.services.signing import Signer
from perijove.store.database import Store
from perijove.store.gathering import Answer, Gathering, Write
from perijove.store.tail import tail_forever
from perijove.testing.fake_authenticator import FakeAuthenticator
from perijove.testing.model.database import ModelClock, ModelStore, acting, url_for
from perijove.testing.model.loop import ModelLoop, Process
from perijove.testing.model.network import ModelHubs, Place, Way
from perijove.testing.model.world import Http, Machines, ModelSpawnerHost


class ModelSteps(Gathering[Step, Intent]):
    """Says to the database under which leases it acts."""

    async def add(self, item: Step, write: Write[Step, Intent]) -> Intent:
        async def telling(steps: Sequence[Step], answer: Answer[Intent]) -> None:
            acting.set(" ".join(f"{step.lease.server_id}:{step.lease.epoch}" for step in steps))
            await write(steps, answer)

        return await super().add(item, telling)


@dataclass
class Hub:
    """One life of a hub."""

    process: Process
    context: HubContext | None = None
    # Once everything runs.
    ready: bool = False

    @property
    def serving(self) -> bool:
        return self.ready and self.process.running and self.context is not None


async def run_hub(hub: Hub, place: Place, url: str, machines: Machines, options: dict[str, Any]) -> None:
    """As `compose.running_hub`, within the hub's process, until it is killed or cancelled."""
    clock, bus = ModelClock(), Bus()
    while True:
        try:
            store = await ModelStore.open(url_for(url, hub.process), bus=bus, clock=clock, migrations=False)
            context = _context(hub.process.name, store, machines, options, clock=clock, bus=bus)
            await roles.reconcile(context)
            await blocked.shut_out(context)
            since = await context.store.revision()
            await presence.arrive(context)
            break
        except HubError:
            if not hub.process.alive:
                return
            await asyncio.sleep(2)  # its supervisor starts it again
    memory = context.identities
    vouch = {"looked": memory.vouch} if store.remote else {}
    hub.context = place.hub = context
    place.process = hub.process
    hub.ready = True
    try:
        await asyncio.gather(
            Reconciler(context, Http(machines)).run(),  # type: ignore[arg-type]  # the part that it uses
            run_chores(context),
            presence.beat_forever(context),
            activity.flush_forever(context),
            tail_forever(store, since=since, broken=memory.suspend, mended=memory.resume, **vouch),
        )
    finally:
        hub.ready = False
        if place.process is hub.process:
            place.hub = place.process = None
        bus.close()
        await store.close()


def _context(
    name: str, store: Store, machines: Machines, options: dict[str, Any], *, clock: ModelClock, bus: Bus
) -> HubContext:
    return HubContext(
        options=replace(HubOptions(data_dir=Path(), allow_named_servers=True), **options),
        store=store,
        steps=ModelSteps(),
        bus=bus,
        clock=clock,
        authenticator=FakeAuthenticator(),
        spawners=ModelSpawnerHost(machines, _told=len(machines.ended)),
        crypt=Crypt(()),
        signer=Signer(store.cookie_secret),
        identities=IdentityCache(bus, Catalogue()),
        activity=ActivityBuffer(),
        replica_id=name,
        host=name,
    )


@dataclass
class Proxy:
    """One life of a proxy."""

    process: Process
    ways: list[Way]
    routing: Routing = field(default_factory=Routing)

    def table(self) -> dict[str, str]:
        return {prefix: route.target for prefix, route in self.routing.table.routes.items()}


async def run_proxy(proxy: Proxy, places: list[Place], first: int, random: Random) -> None:
    hubs = ModelHubs(proxy.process, places, proxy.ways, first)
    follower = Follower(proxy.routing, hubs, None, use_saved=None)  # type: ignore[arg-type]  # no reports here
    follower._random = random  # type: ignore[assignment]  # noqa: SLF001 - its jitter is of the seed, too
    await follower.run()


def model_time(loop: ModelLoop) -> Any:
    """Where the product reads the monotonic clock by itself: what it remembers must age in the model's time."""
    shim = SimpleNamespace(monotonic=loop.time, perf_counter=time.perf_counter)
    return (
        mock.patch("perijove.store.tail.time", shim),
        mock.patch("perijove.services.identity_cache.time", shim),
    )
