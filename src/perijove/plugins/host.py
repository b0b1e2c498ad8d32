"""The configured spawner class: builds instances for operations and polls, and answers for all of them."""

import functools
import logging
import random
import sys
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tornado.web import HTTPError
from traitlets.config import Config

from perijove.domain.errors import Invalid, SpawnFailed
from perijove.domain.ids import ServerId
from perijove.domain.names import client_id, server_prefix
from perijove.domain.ports import Found, ServerName, ServerSpec, Storage
from perijove.plugins import facades, processes
from perijove.plugins.calls import call
from perijove.plugins.errors import details_of, http_message, spawn_failure
from perijove.plugins.facts import HubFacts
from perijove.plugins.jsonable import to_json
from perijove.plugins.kept import KeptInstances
from perijove.plugins.local_process import EPOCH, Hosting, MarkedProcess
from perijove.plugins.local_process import hosted_class as process_class
from perijove.plugins.processes import ProcessTable
from perijove.plugins.server_log import ServerLog
from perijove.plugins.spawner import HostedSpawner
from perijove.plugins.storage import WatchedStorage
from perijove.plugins.watched import NOBODYS, Marking, Watched

log = logging.getLogger(__name__)


# Of servers that are seen to run, so many are polled nevertheless.
_POLLED_ANYWAY = 0.1


class _EachOnce(logging.Filter):
    """traitlets complains about an unknown option whenever an instance is made, which here is at every poll."""

    def __init__(self) -> None:
        super().__init__()
        self._said: set[str] = set()

    def filter(self, record: logging.LogRecord) -> bool:
        message = record.getMessage()
        if not message.startswith("Config option"):
            return True
        if message in self._said:
            return False
        self._said.add(message)
        return True


class ClassHost:
    """Adapts a JupyterHub spawner class to `ports.SpawnerHost`. Belongs to one event loop."""

    def __init__(self, cls: type, traits: Config, facts: HubFacts, log_dir: Path, authenticator: Any = None) -> None:
        self._class = hosted_class(cls)
        self._traits = traits
        self._facts = facts
        self._log_dir = log_dir
        # The plug-in object itself, for pre_spawn_start and for `spawner.authenticator`.
        self._authenticator = authenticator
        self._hub = facades.hub_facade(facts)
        self._settings = facades.user_settings(facts, self._hub, authenticator)
        self._log = logging.getLogger(f"{cls.__module__}.{cls.__qualname__}")
        self._log.addFilter(_EachOnce())
        self._table = ProcessTable(facts.hub_id)
        # What ran when `ended()` last looked.
        self._living: Mapping[str, ServerId | ServerName] = {}
        # Of it, by our id. Nothing when it could not look.
        self._running: frozenset[ServerId | ServerName] = frozenset()
        # Something befell these, which only a poll finds out.
        self._doubted: set[ServerId | ServerName] = set()
        self.host_bound = issubclass(self._class, MarkedProcess)
        self.class_path = f"{cls.__module__}.{cls.__qualname__}"
        self.version = class_version(cls)
        # Instances under operation in this process, for handlers that plug-ins bring along.
        self.live: dict[tuple[str, str], Any] = {}
        self._kept = KeptInstances()

    async def open(self, spec: ServerSpec) -> HostedSpawner:
        self._kept.drop(spec.id)
        hosted = self._hosted(self._set_up(spec), spec)
        await hosted.read_scopes()
        return hosted

    async def open_to_poll(self, spec: ServerSpec) -> HostedSpawner:
        # Whoever sees all servers at once seldom polls one, and a pod's description is large.
        if issubclass(self._class, Watched):
            return self._hosted(self._set_up(spec), spec)
        kept = self._kept.take(spec)
        if kept is None:
            plugin = self._set_up(spec)
        else:
            plugin = kept.plugin
            facades.set_times(plugin, kept.spec, spec)
            self._set_lease(plugin, spec)
        return self._hosted(plugin, spec, keep=lambda: self._kept.put(spec, plugin, time.monotonic()))

    def _set_up(self, spec: ServerSpec) -> Any:
        try:
            return self._build(spec)
        except (Exception, SystemExit) as exc:
            raise SpawnFailed(
                "The spawner is misconfigured; an admin can see the details.",
                reason="configuration",
                details=f"{self.class_path} could not be set up:\n{details_of(exc)}",
            ) from exc

    def _hosted(self, plugin: Any, spec: ServerSpec, *, keep: Callable[[], None] | None = None) -> HostedSpawner:
        base = self._facts.base_url
        return HostedSpawner(
            plugin,
            spec,
            authenticator=self._authenticator,
            new_server=lambda: facades.server_row("", server_prefix(base, spec.user.name, spec.name)),
            live=self.live,
            keep=keep,
        )

    def _build(self, spec: ServerSpec) -> Any:
        facts = self._facts
        user = facades.user_facade(spec.user, self._settings)
        prefix = server_prefix(facts.base_url, spec.user.name, spec.name)
        row = facades.spawner_row(spec, user, prefix)
        plugin: Any = self._class(
            user=user,
            orm_spawner=row,
            hub=self._hub,
            authenticator=self._authenticator,
            config=self._traits,
            log=self._log,
            proxy_spec=facts.addresses.server_route(spec.user.name, spec.name),
            _deprecated_db_session=user.db,
            oauth_client_id=spec.oauth_client_id or client_id(spec.user.name, spec.name),
            cookie_options=dict(facts.cookie_options),
            cookie_host_prefix_enabled=facts.cookie_host_prefix_enabled,
            public_url=user.public_url(spec.name),
            public_hub_url=f"{facts.public_host}{facts.hub_prefix}" if facts.public_host else "",
            user_options=row.user_options or {},
        )
        self._set_lease(plugin, spec)
        plugin.load_state(row.state or {})
        return plugin

    def _set_lease(self, plugin: Any, spec: ServerSpec) -> None:
        if isinstance(plugin, MarkedProcess):
            output = ServerLog(self._log_dir, spec.id)
            plugin.hosting = Hosting(self._table, spec.id, spec.generation, spec.lease_epoch, output)
        if isinstance(plugin, Watched):
            plugin.marking = Marking(self._facts.hub_id, spec.id, spec.generation, spec.lease_epoch)

    # -- options, outside of any start

    async def options_form(self, spec: ServerSpec) -> str:
        spawner = await self.open(spec)
        try:
            return str(await call("options_form", spawner.plugin.get_options_form) or "")
        except (Exception, SystemExit) as exc:
            raise spawn_failure(exc, doing="making the options form") from exc
        finally:
            spawner.close()

    async def options_from_form(self, spec: ServerSpec, form: Mapping[str, list[Any]]) -> dict[str, Any]:
        return await self._options(spec, "run_options_from_form", form)

    async def options_from_query(self, spec: ServerSpec, query: Mapping[str, list[str]]) -> dict[str, Any]:
        return await self._options(spec, "options_from_query", query)

    async def _options(self, spec: ServerSpec, method: str, data: Mapping[str, list[Any]]) -> dict[str, Any]:
        """What the plug-in makes of a form. Its errors are shown above the form, so they become `Invalid`."""
        spawner = await self.open(spec)
        try:
            options = await call(
                method, getattr(spawner.plugin, method), {key: list(value) for key, value in data.items()}
            )
        except (Exception, SystemExit) as exc:
            log.info("%s refused the options of %s", self.class_path, spec.user.name, exc_info=exc)
            raise Invalid(_option_error(exc)) from exc
        finally:
            spawner.close()
        if not isinstance(options, Mapping):
            raise Invalid(f"The spawner made {type(options).__name__} of the options, where a mapping is needed.")
        return dict(to_json(options))

    # -- the world

    async def find(self) -> Sequence[Found]:
        if issubclass(self._class, Watched):
            found_all: Sequence[Found] = await self._anybody.find_all()
            return found_all
        if not self.host_bound:
            return ()
        found = []
        for server_id, members in (await self._table.scan()).items():
            for epoch in sorted({member.epoch for member in members}):
                first = processes.roots([member for member in members if member.epoch == epoch])[0]
                found.append(
                    Found(
                        server_id,
                        first.generation,
                        f"process {first.pid} on {self._facts.host}",
                        {EPOCH: epoch},
                        url=_origin(first.url),
                    )
                )
        return found

    async def ended(self) -> Collection[ServerId | ServerName]:
        if not issubclass(self._class, Watched):
            return ()
        try:
            living = await self._anybody.living()
        except Exception as exc:  # whatever a subclass's own code or its client raises: nothing is known then
            self._running = frozenset()
            raise SpawnFailed("The cluster cannot be watched.", reason="cluster", details=details_of(exc)) from exc
        before, self._living = self._living, living
        if before == living and self._running:
            return set()
        self._running = frozenset(living.values())
        ended = {server for name, server in before.items() if name not in living}
        self._doubted |= ended
        return ended

    def seen(self, server_id: ServerId) -> float | None:
        """One poll in a few is made all the same: a hint is not to be believed for ever."""
        if server_id in self._doubted or server_id not in self._running or not self._anybody.in_sight:
            self._doubted.discard(server_id)
            return None
        if random.random() < _POLLED_ANYWAY:  # noqa: S311 - spreads load
            return None
        return float(self._anybody.poll_interval)

    @functools.cached_property
    def _anybody(self) -> Any:
        """An instance to look at all servers with."""
        return self._build(NOBODYS)

    @property
    def storage(self) -> Storage | None:
        return WatchedStorage(self._build) if issubclass(self._class, Watched) else None

    async def destroy(self, found: Found) -> None:
        if issubclass(self._class, Watched):
            await self._anybody.destroy(found)
            return
        await self._table.end(found.server_id, lambda process: process.epoch == found.state[EPOCH])


def hosted_class(cls: type) -> type:
    """`cls`, or what makes it safe to run here."""
    # Whoever chose a KubeSpawner has imported it. Importing it for others would double the start's time.
    if "kubespawner" in sys.modules:
        from perijove.plugins.kube_pods import pod_class  # noqa: PLC0415 - needs packages that not every hub has

        cls = pod_class(cls)
    return process_class(cls)


def _option_error(exc: BaseException) -> str:
    message = getattr(exc, "jupyterhub_message", "") or (http_message(exc) if isinstance(exc, HTTPError) else str(exc))
    return str(message) or f"The options were refused ({type(exc).__name__})."


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}" if parts.netloc else ""


def class_version(cls: type) -> str:
    """Version of the package a plug-in class comes from; "" for one written in the configuration."""
    package = cls.__module__.partition(".")[0]
    return str(getattr(sys.modules.get(package), "__version__", ""))
