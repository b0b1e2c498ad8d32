"""A hub inside the test's own process: real store, services, reconciler and web on a socket, and a spawner
that does what the test says. Faster than `run_hub()`, and open to being looked into; there is no proxy.
"""

import asyncio
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from traitlets.config import Config

from perijove.compose import Plugins, serve_hub
from perijove.config.options import HubOptions
from perijove.services.context import HubContext
from perijove.testing.browser import Browser
from perijove.testing.fake_spawner import Behaviour, FakeSpawnerHost, FakeWorld

# Anybody may log in, with any password; `admin` is one.
OPEN: Mapping[str, Any] = {"Authenticator": {"allow_all": True, "admin_users": {"admin"}}}


@dataclass(frozen=True, slots=True)
class InsideHub:
    """A hub that answers at `url`."""

    hub: HubContext
    url: str
    spawners: FakeSpawnerHost

    @property
    def behaviour(self) -> Behaviour:
        return self.spawners.behaviour

    @property
    def world(self) -> FakeWorld:
        return self.spawners.world

    def browser(self) -> Browser:
        return Browser(self.url)


@asynccontextmanager
async def hub_inside(data_dir: Path, *, traits: Mapping[str, Any] = OPEN, **options: Any) -> AsyncIterator[InsideHub]:
    """`options` are fields of `HubOptions`, `traits` class configuration of the authenticator."""
    chosen = replace(HubOptions(data_dir=data_dir, authenticator_class="dummy"), **options)
    spawners = FakeSpawnerHost()
    stop, started = asyncio.Event(), asyncio.Event()
    found: list[HubContext] = []

    def ready(hub: HubContext) -> None:
        found.append(hub)
        started.set()

    # With the protocol named, asyncio turns Nagle's algorithm off; without, every answer waits 40 ms for it.
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        serving = asyncio.create_task(
            serve_hub(
                chosen,
                Config(traits),
                sock=listener,
                stop=stop,
                ready=ready,
                plugins=Plugins(spawners=spawners),
            )
        )
        waiting = asyncio.create_task(started.wait())
        try:
            await asyncio.wait({serving, waiting}, return_when=asyncio.FIRST_COMPLETED)
            if not started.is_set():
                await serving  # raises what kept it from starting
            yield InsideHub(found[0], f"http://127.0.0.1:{port}{chosen.base_url}", spawners)
        finally:
            waiting.cancel()
            stop.set()
            await serving
            await spawners.world.close()
