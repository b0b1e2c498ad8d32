"""The use cases alone: a `HubContext` on a database in memory, time that stands, and fakes for plug-ins.

No web and no reconciler: what is wanted of servers stays wanted.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from perijove.bus.memory import Bus
from perijove.config.options import HubOptions
from perijove.domain.scopes import Catalogue
from perijove.services import roles
from perijove.services.activity import ActivityBuffer
from perijove.services.auth_state import Crypt
from perijove.services.context import HubContext
from perijove.services.identity_cache import IdentityCache
from perijove.services.signing import Signer
from perijove.store.database import Store
from perijove.testing.clock import VirtualClock
from perijove.testing.fake_authenticator import FakeAuthenticator
from perijove.testing.fake_spawner import FakeSpawnerHost


@asynccontextmanager
async def bare_hub(
    *, url: str = "sqlite://", reconcile: bool = True, authenticator: FakeAuthenticator | None = None, **options: Any
) -> AsyncIterator[HubContext]:
    """`options` are fields of `HubOptions`; `reconcile` writes what they say into rows, as a start does."""
    chosen = replace(HubOptions(data_dir=Path()), **options)
    bus, clock = Bus(), VirtualClock()
    store = await Store.open(url, bus=bus, clock=clock)
    try:
        hub = HubContext(
            options=chosen,
            store=store,
            bus=bus,
            clock=clock,
            authenticator=authenticator or FakeAuthenticator(),
            spawners=FakeSpawnerHost(),
            crypt=Crypt(chosen.crypt_keys),
            signer=Signer(store.cookie_secret),
            identities=IdentityCache(bus, Catalogue(chosen.custom_scopes)),
            activity=ActivityBuffer(),
            replica_id="test",
            host="test",
        )
        if reconcile:
            await roles.reconcile(hub)
        yield hub
    finally:
        await store.close()
