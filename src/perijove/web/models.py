"""JSON models of the REST API, each with the keys that the caller's scopes reveal.

Times go in as datetimes: msgspec writes them as UTC with `Z`.
"""

from collections.abc import Collection, Mapping
from typing import Any, Protocol

from perijove.domain.names import escape, full_name
from perijove.domain.scopes import Grant
from perijove.services.context import HubContext
from perijove.services.groups import GroupRow
from perijove.services.identity import Identity
from perijove.services.registry import ServiceRow
from perijove.services.service_health import Health
from perijove.services.tokens import TokenRow
from perijove.services.user_list import UserRow, never_started

_NOBODY = Grant()


class Server(Protocol):
    """`ServerRow` and `ServerFacts` alike."""

    @property
    def id(self) -> int: ...
    @property
    def name(self) -> str: ...
    @property
    def display_name(self) -> str: ...
    @property
    def pending(self) -> str | None: ...
    @property
    def ready(self) -> bool: ...
    @property
    def active(self) -> bool: ...
    @property
    def started(self) -> Any: ...
    @property
    def last_activity(self) -> Any: ...
    @property
    def user_options(self) -> Mapping[str, Any]: ...
    @property
    def state(self) -> Mapping[str, Any] | None: ...


def server_model(
    hub: HubContext, user: str, server: Server, *, with_state: bool = False, escaped: str = ""
) -> dict[str, Any]:
    """Server; `with_state` needs `admin:server_state`. `escaped`: the user's name, where that is known already."""
    name = server.name
    escaped = escaped or escape(user)
    part = escape(name) if name else ""
    base, root = hub.options.base_url, hub.addresses.hub_origin
    url = f"{base}user/{escaped}/{part}/" if part else f"{base}user/{escaped}/"
    if hub.addresses.domain:
        url = f"{hub.addresses.user_host(user)}{url}"
    path = f"servers/{part}" if part else "server"
    progress_url = f"{hub.hub_prefix}api/users/{escaped}/{path}/progress"
    seen = hub.activity.last_server(server.id)
    activity = server.last_activity
    active = server.active
    model = {
        "name": name,
        "display_name": server.display_name or name,
        "full_name": full_name(user, name),
        "last_activity": seen if seen is not None and (activity is None or seen > activity) else activity,
        "started": server.started if active else None,
        "pending": server.pending,
        "ready": server.ready,
        "stopped": not active,
        "url": url,
        "user_options": server.user_options,
        "progress_url": progress_url,
        "full_url": url if "://" in url else f"{root}{url}" if root else None,
        "full_progress_url": f"{root}{progress_url}" if root else None,
    }
    if with_state:
        model["state"] = server.state or {}
    return model


class UserModels:
    """Makes models of users for one caller: what the scopes say is looked up once, not once a user."""

    def __init__(self, hub: HubContext, viewer: Identity, *, stopped: bool = False) -> None:
        """`stopped`: list stopped servers too."""
        self.hub = hub
        self.stopped = stopped
        grant = viewer.scopes.grant
        self._read = grant("read:users") or _NOBODY
        self._name = grant("read:users:name") or _NOBODY
        self._groups = grant("read:users:groups") or _NOBODY
        self._activity = grant("read:users:activity") or _NOBODY
        self._roles = grant("read:roles:users") or _NOBODY
        self._servers = grant("read:servers") or _NOBODY
        self._state = grant("admin:server_state") or _NOBODY
        self._auth_state = grant("admin:auth_state") or _NOBODY

    @property
    def with_state(self) -> bool:
        """Whether any server's state may be shown, so that it is worth reading."""
        return self._state is not _NOBODY

    def __call__(self, user: UserRow) -> dict[str, Any]:
        name, groups = user.name, user.groups
        read = self._read.for_user(name, groups)
        by_name = read or self._name.for_user(name, groups)
        roles = read or self._roles.for_user(name, groups)
        model: dict[str, Any] = {"kind": "user", "name": name}
        if by_name or roles:
            model["admin"] = user.admin
        if by_name:
            model["user_info"] = user.user_info
        if read or self._groups.for_user(name, groups):
            model["groups"] = user.groups
        if roles:
            model["roles"] = user.roles
        if read or self._activity.for_user(name, groups):
            model["last_activity"] = user.last_activity
        if read:
            default = user.servers.get("")
            model["created"] = user.created
            model["pending"] = default.pending if default else None
            ready = default is not None and default.ready
            model["server"] = self.hub.addresses.server_url(name) if ready else None
        if self._servers is not _NOBODY:
            servers = self._server_models(user, groups)
            if servers or self._servers.for_user(name, groups):
                model["servers"] = servers
        if self._auth_state.for_user(name, groups):
            model["auth_state"] = None
        return model

    def may_see_auth_state(self, user: UserRow) -> bool:
        return self._auth_state.for_user(user.name, user.groups)

    def _server_models(self, user: UserRow, groups: Collection[str]) -> dict[str, Any]:
        models: dict[str, Any] = {}
        servers = user.servers
        if self.stopped and "" not in servers:
            # As JupyterHub has it, and its admin page expects it.
            servers = {"": never_started(user.id), **servers}
        if not servers:
            return models
        escaped = escape(user.name)
        for name, server in servers.items():
            if not self.stopped and not server.active:
                continue
            whole = full_name(user.name, name)
            if self._servers.for_server(whole, groups):
                with_state = self._state.for_server(whole, groups)
                models[name] = server_model(self.hub, user.name, server, with_state=with_state, escaped=escaped)
        return models


def token_model(token: TokenRow) -> dict[str, Any]:
    return {
        token.owner_kind: token.owner,
        "id": f"a{token.id}",
        "kind": "api_token",
        "roles": [],
        "scopes": token.effective,
        "created": token.created,
        "last_activity": token.last_activity,
        "expires_at": token.expires_at,
        "note": token.note,
        "session_id": token.browser_session or None,
        "oauth_client": token.client_description,
    }


def group_model(viewer: Identity, group: GroupRow) -> dict[str, Any]:
    grant = viewer.scopes.grant
    read = (grant("read:groups") or _NOBODY).for_group(group.name)
    model: dict[str, Any] = {"kind": "group", "name": group.name}
    if read:
        model |= {"properties": group.properties, "users": group.users}
    if (grant("read:roles:groups") or _NOBODY).for_group(group.name):
        model["roles"] = group.roles
    return model


def service_model(
    hub: HubContext, viewer: Identity, service: ServiceRow, health: Health | None = None
) -> dict[str, Any]:
    """`health` is ours: JupyterHub's says nothing of it."""
    grant = viewer.scopes.grant
    model: dict[str, Any] = {"kind": "service", "name": service.name}
    read = (grant("read:services") or _NOBODY).for_service(service.name)
    roles = (grant("read:roles:services") or _NOBODY).for_service(service.name)
    if read or roles or (grant("read:services:name") or _NOBODY).for_service(service.name):
        model["admin"] = service.admin
    if read:
        model |= {
            "url": service.url,
            "prefix": service.prefix(hub.options.base_url),
            "command": service.command,
            "pid": 0,
            "info": service.info,
            "display": service.display,
        }
        if health is not None and health.url == service.url:
            told = {"up": health.up, "since": health.since, "checked": health.checked, "problem": health.problem}
            model["health"] = told
    if roles:
        model["roles"] = service.roles
    return model
