"""What a plug-in touches of a hub, built from snapshots: `user`, `hub`, `server`, `orm_spawner`, `db`.

The objects are JupyterHub's own classes without a session, because plug-ins check types, and read
attributes that only these have. They live as long as what they were built for. Writes to them go nowhere, except
those the contract allows a spawner (`server.ip`, `server.port`), which the adapter reads back.
"""

import logging
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlparse, urlsplit

from jupyterhub import orm
from jupyterhub.objects import Hub
from jupyterhub.user import User

from perijove.domain.names import client_id
from perijove.domain.ports import ServerSpec, UserFacts
from perijove.plugins.facts import HubFacts
from perijove.plugins.jsonable import from_json

log = logging.getLogger(__name__)


class NoDatabase:
    """Stands where plug-ins expect the hub's session: commits do nothing, queries are refused."""

    dirty: tuple[Any, ...] = ()
    new: tuple[Any, ...] = ()
    deleted: tuple[Any, ...] = ()
    bind: Any = None

    def commit(self) -> None:
        """Nothing to write: rows are the hub's."""

    flush = rollback = expire_all = close = commit

    def add(self, *_: Any) -> None:
        """Session-less objects need no session."""

    delete = refresh = expunge = expire = add_all = add

    def __contains__(self, _: object) -> bool:
        return False

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(
            f"spawner.db.{name}: Perijove gives plug-ins no database session. "
            "Read what you need from spawner.user, or from the REST API."
        )


class HostedUser(User):  # type: ignore[misc]  # jupyterhub ships no types
    """JupyterHub's user wrapper over facts: names and URLs are its own, auth state comes from the hub."""

    _load_auth_state: Callable[[], Awaitable[Mapping[str, Any] | None]] | None = None

    async def get_auth_state(self) -> dict[str, Any] | None:
        state = await self._load_auth_state() if self._load_auth_state else self._auth_state
        return None if state is None else dict(state)

    async def save_auth_state(self, auth_state: Any) -> None:  # noqa: ARG002 - JupyterHub's signature
        """Auth state is stored by the login that produced it, not by plug-ins afterwards."""
        log.warning("a plug-in called user.save_auth_state(), which has no effect (user %s)", self.name)

    async def spawn(self, *_: Any, **__: Any) -> None:
        raise NotImplementedError("Start servers through the REST API, not through user.spawn()")

    async def stop(self, *_: Any, **__: Any) -> None:
        raise NotImplementedError("Stop servers through the REST API, not through user.stop()")


class Sibling:
    """Another server of the same user: plug-ins that count or name them need no more."""

    active = ready = False
    pending = None
    server = None

    def __init__(self, user: HostedUser, name: str) -> None:
        self.user = user
        self.name = name
        self.orm_spawner = user.orm_spawners.get(name)


def naive(moment: datetime | None) -> datetime | None:
    """JupyterHub's columns hold naive UTC."""
    return moment and moment.astimezone(UTC).replace(tzinfo=None)


def hub_facade(facts: HubFacts) -> Hub:
    connect = urlsplit(facts.connect_url)
    port = connect.port or (443 if connect.scheme == "https" else 80)
    hub = Hub(
        base_url=facts.hub_prefix,
        ip=connect.hostname or "127.0.0.1",
        connect_ip=connect.hostname or "127.0.0.1",
        port=port,
        proto=connect.scheme,
        connect_url=facts.connect_url,
        public_host=facts.public_host,
        routespec="/" if facts.subdomain_host else facts.base_url,
    )
    if facts.cookie_host_prefix_enabled:
        hub.cookie_name = f"__Host-{hub.cookie_name}"
    return hub


def user_settings(facts: HubFacts, hub: Hub, authenticator: Any = None) -> dict[str, Any]:
    """The part of a hub's settings that the user wrapper reads."""
    settings: dict[str, Any] = {
        "base_url": facts.base_url,
        "hub": hub,
        "authenticator": authenticator,
        "allow_named_servers": facts.allow_named_servers,
        "cookie_options": dict(facts.cookie_options),
        "config_role_names": [],
        "subdomain_host": facts.subdomain_host,
        "subdomain_hook": facts.subdomain_hook,
        "domain": facts.addresses.domain,
    }
    if facts.public_url:
        settings["public_url"] = urlparse(facts.public_url)
    return settings


def user_facade(
    user: UserFacts,
    settings: Mapping[str, Any],
    *,
    load_auth_state: Callable[[], Awaitable[Mapping[str, Any] | None]] | None = None,
) -> HostedUser:
    row = orm.User(
        id=int(user.id),
        name=user.name,
        admin=user.admin,
        created=naive(user.created),
        last_activity=naive(user.last_activity),
        user_info=None if user.user_info is None else dict(user.user_info),
        cookie_id="",
    )
    row.groups = [orm.Group(name=name, properties={}) for name in user.groups]
    # The same for all users, as in JupyterHub.
    facade = HostedUser(row, settings, db=NoDatabase())
    facade._auth_state = user.auth_state  # noqa: SLF001 - its own attribute; a public one would land on the row
    facade._load_auth_state = load_auth_state  # noqa: SLF001 - as above
    return facade


def spawner_row(spec: ServerSpec, user: HostedUser, base_url: str) -> orm.Spawner:
    """The server's row, with its endpoint when it runs (or is about to)."""
    row: orm.Spawner = user.orm_spawners.get(spec.name) or orm.Spawner(name=spec.name)
    row.id = int(spec.id)
    row.display_name = spec.display_name or spec.name
    row.state = from_json(spec.state)
    row.user_options = from_json(spec.user_options)
    row.started = naive(spec.started)
    row.last_activity = naive(spec.last_activity)
    row.oauth_client_id = spec.oauth_client_id or client_id(spec.user.name, spec.name)
    if row.user is None:
        row.user = user.orm_user
    for name in spec.sibling_names:
        if name not in user.orm_spawners:
            orm.Spawner(name=name, display_name=name).user = user.orm_user
    if spec.url:
        row.server = server_row(spec.url, base_url)
    return row


def set_times(plugin: Any, before: ServerSpec, now: ServerSpec) -> None:
    """What moved since the instance was built, and nothing else did."""
    if before.last_activity != now.last_activity:
        plugin.orm_spawner.last_activity = naive(now.last_activity)
    if before.user.last_activity != now.user.last_activity:
        plugin.user.orm_user.last_activity = naive(now.user.last_activity)


def server_row(url: str, base_url: str) -> orm.Server:
    """An endpoint; with an empty URL one that nobody has written an address into yet."""
    parts = urlsplit(url)
    port = parts.port or {"https": 443, "http": 80}.get(parts.scheme, 0)
    return orm.Server(
        proto=parts.scheme or "http",
        ip=parts.hostname or "",
        port=port,
        base_url=base_url,
        cookie_name="cookie",
    )
