"""Configuration to running hub: the only module that knows every adapter.

Everything is made here, in order, and handed to what needs it; everything is ended here, in the reverse
order. Nothing below this module reads the environment, files of configuration, or globals.
"""

import asyncio
import contextlib
import gc
import secrets
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
import uvicorn
from sqlalchemy import select
from starlette.types import ASGIApp
from traitlets.config import Config

from perijove import __version__
from perijove.bus.memory import Bus
from perijove.config.options import HubOptions
from perijove.domain.ports import Authenticator, SpawnerHost
from perijove.domain.rates import Rates
from perijove.domain.scopes import Catalogue
from perijove.lib import allocation, metrics
from perijove.lib.clock import SystemClock
from perijove.lib.log import get_logger
from perijove.plugins.authenticator import HostedAuthenticator
from perijove.plugins.facts import HubFacts
from perijove.plugins.load import load_authenticator, load_spawner_host
from perijove.reconcile import presence
from perijove.reconcile.chores import run_chores
from perijove.reconcile.chp import PushedProxy
from perijove.reconcile.loop import Reconciler
from perijove.reconcile.managed_services import ManagedService
from perijove.reconcile.service_health import health_chore
from perijove.services import activity, blocked, roles
from perijove.services.auth_state import Crypt
from perijove.services.context import HubContext
from perijove.services.identity_cache import IdentityCache
from perijove.services.shutdown import stop_all_servers
from perijove.services.signing import Signer
from perijove.store.database import Store
from perijove.store.schema import users
from perijove.store.tail import tail_forever
from perijove.web.app import build_app
from perijove.web.leaving import take_leave

log = get_logger(__name__)

DATABASE = "perijove.sqlite"


@dataclass(frozen=True, kw_only=True)
class Plugins:
    """Ready-made adapters in place of the configured classes; what `testing` hands in."""

    authenticator: Authenticator | None = None
    spawners: SpawnerHost | None = None


@asynccontextmanager
async def open_hub(options: HubOptions, traits: Config, *, plugins: Plugins | None = None) -> AsyncIterator[HubContext]:
    """The use cases on the configured database, without web, reconciler or replica row: what commands need."""
    options.data_dir.mkdir(parents=True, exist_ok=True)
    given = plugins or Plugins()
    bus, clock = Bus(), SystemClock()
    store = await Store.open(database_url(options), bus=bus, clock=clock, options=options.db_options)
    try:
        secret = options.cookie_secret or store.cookie_secret
        facts = hub_facts(options, store, secret)
        hosted = None if given.authenticator else _load_authenticator(options, traits, facts, store)
        spawners: SpawnerHost = given.spawners or load_spawner_host(
            spawner_class=options.spawner_class,
            traits=traits,
            facts=facts,
            log_dir=options.data_dir / "logs",
            authenticator=hosted,
        )
        authenticator = given.authenticator or hosted
        assert authenticator is not None
        yield HubContext(
            options=options,
            store=store,
            bus=bus,
            clock=clock,
            authenticator=authenticator,
            spawners=spawners,
            crypt=Crypt(options.crypt_keys),
            signer=Signer(secret),
            rates=Rates(options.api_rate_limits),
            identities=IdentityCache(bus, Catalogue(options.custom_scopes)),
            activity=activity.ActivityBuffer(),
            replica_id=secrets.token_hex(8),
            host=facts.host,
            version=__version__,
        )
    finally:
        await store.close()


def _load_authenticator(options: HubOptions, traits: Config, facts: HubFacts, store: Store) -> HostedAuthenticator:
    async def user_exists(name: str) -> bool:
        async with store.read() as connection:
            return (await connection.execute(select(users.c.id).where(users.c.name == name))).first() is not None

    return load_authenticator(
        authenticator_class=options.authenticator_class, traits=traits, facts=facts, user_exists=user_exists
    )


def database_url(options: HubOptions) -> str:
    return options.db_url or f"sqlite:///{options.data_dir / DATABASE}"


def hub_facts(options: HubOptions, store: Store, cookie_secret: bytes) -> HubFacts:
    return HubFacts(
        hub_id=store.hub_id,
        base_url=options.base_url,
        public_url=options.public_url,
        subdomain_host=options.subdomain_host,
        subdomain_hook=options.subdomain_hook,
        connect_url=options.hub_connect_url or f"http://{_reachable(options.hub_ip)}:{options.hub_port}",
        host=socket.gethostname(),
        data_dir=options.data_dir,
        cookie_options=options.cookie_options,
        cookie_host_prefix_enabled=options.cookie_host_prefix_enabled,
        cookie_secret=cookie_secret,
        cookie_max_age_days=options.cookie_max_age.total_seconds() / 86400,
        allow_named_servers=options.allow_named_servers,
        redirect_to_server=options.redirect_to_server,
        shutdown_on_logout=options.shutdown_on_logout,
        default_url=options.default_url,
        template_vars=options.template_vars,
        tornado_settings=options.tornado_settings,
    )


def _reachable(ip: str) -> str:
    """Where a server on this machine finds a hub that listens on `ip`."""
    if ip in {"", "0.0.0.0", "::", "*"}:  # noqa: S104 - compared, not bound
        return "127.0.0.1"
    return f"[{ip}]" if ":" in ip else ip


def _local_api_url(options: HubOptions) -> str:
    """For programs that this process starts: not through whatever leads others here."""
    if options.hub_connect_url and _reachable(options.hub_ip) == options.hub_ip:
        return f"{options.hub_connect_url.rstrip('/')}{options.base_url}hub/api"
    return f"http://{_reachable(options.hub_ip)}:{options.hub_port}{options.base_url}hub/api"


@asynccontextmanager
async def running_hub(hub: HubContext, traits: Config) -> AsyncIterator[ASGIApp]:
    """The application with everything that works behind it: one replica. Leaves its leases behind free."""
    began = hub.clock.monotonic()
    await roles.reconcile(hub)
    await blocked.shut_out(hub)
    since = await hub.store.revision()
    await presence.arrive(hub)
    metrics.init_spawners_duration.observe(hub.clock.monotonic() - began)
    async with AsyncExitStack() as stack:
        http = await stack.enter_async_context(aiohttp.ClientSession())
        facts = hub_facts(hub.options, hub.store, hub.options.cookie_secret or hub.store.cookie_secret)
        background: list[Coroutine[Any, Any, None]] = [
            Reconciler(hub, http).run(),
            run_chores(hub),
            # Beside the others: what is asked may take its time to answer.
            run_chores(hub, [health_chore(http, hub.options.service_check_interval)]),
            presence.beat_forever(hub),
            metrics.watch_loop(),
            allocation.give_back_forever(),
            activity.flush_forever(hub),
            _follow(hub, since),
            *([PushedProxy(hub, facts.connect_url).run()] if hub.options.chp_api_url else []),
            *(
                ManagedService(hub, service, _local_api_url(hub.options)).run()
                for service in hub.options.services
                if service.command
            ),
        ]
        tasks = [asyncio.create_task(work) for work in background]
        stack.push_async_callback(_depart, hub, tasks)
        yield build_app(hub, traits, facts)


def _follow(hub: HubContext, since: int) -> Coroutine[Any, Any, None]:
    """Hear what others commit. On a file nobody else is a hub, and its tail may be late under load."""
    memory = hub.identities
    vouch = {"looked": memory.vouch} if hub.store.remote else {}
    return tail_forever(hub.store, since=since, broken=memory.suspend, mended=memory.resume, **vouch)


async def _depart(hub: HubContext, tasks: list[asyncio.Task[Any]]) -> None:
    for task in tasks:
        task.cancel()
    for outcome in await asyncio.gather(*tasks, return_exceptions=True):
        if isinstance(outcome, Exception):
            log.error("a background task had failed", exc_info=outcome)
    await activity.flush(hub)
    await presence.leave(hub)


class _Server(uvicorn.Server):
    """By itself it wakes ten times a second, to see a flag and to write the date that we do not send."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._told = asyncio.Event()

    def leave(self) -> None:
        self.should_exit = True
        self._told.set()

    async def main_loop(self) -> None:
        await self.on_tick(0)
        await self._told.wait()


async def serve_hub(
    options: HubOptions,
    traits: Config,
    *,
    sock: socket.socket,
    stop: asyncio.Event,
    ready: Callable[[HubContext], Awaitable[None] | None],
    plugins: Plugins | None = None,
) -> None:
    """Serve on the bound socket `sock` until `stop`; `ready` is called once requests are answered.

    Raises `Unavailable` when the database does not answer at start, and the plug-ins' own
    configuration errors.
    """
    clock = SystemClock()
    began = clock.monotonic()
    async with open_hub(options, traits, plugins=plugins) as hub, running_hub(hub, traits) as app:
        server = _Server(
            uvicorn.Config(
                app,
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                date_header=False,
                http="httptools",
                ws="none",
                timeout_keep_alive=75,
                timeout_graceful_shutdown=5,
            )
        )
        # Signals are the caller's; uvicorn would re-raise them after its own shutdown.
        server.capture_signals = contextlib.nullcontext  # type: ignore[method-assign,assignment]
        serving = asyncio.create_task(server.serve(sockets=[sock]), name="uvicorn")
        # Told from outside (a signal), or by an admin through the API.
        stopping = asyncio.create_task(stop.wait())
        asked = asyncio.create_task(hub.shutdown.asked.wait())
        try:
            while not server.started and not serving.done():  # noqa: ASYNC110 - uvicorn offers a flag, no event
                await asyncio.sleep(0.005)
            # What exists now lives as long as the process: the collector need not walk it again, which
            # is what the peer spends its slowest percent of requests on.
            gc.collect()
            allocation.give_back()
            gc.freeze()
            metrics.hub_startup_duration.observe(clock.monotonic() - began)
            announced = ready(hub)
            if announced is not None:
                await announced
            await asyncio.wait({serving, stopping, asked}, return_when=asyncio.FIRST_COMPLETED)
            wish = hub.shutdown.servers
            if hub.options.cleanup_servers if wish is None else wish:
                await stop_all_servers(hub)
        finally:
            stopping.cancel()
            asked.cancel()
            hub.bus.close()
            if not serving.done() and await presence.others(hub):
                await take_leave(server)
            server.leave()
            await serving
