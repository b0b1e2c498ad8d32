"""The ports behind which plug-ins stand: what the hub asks of a spawner and of an authenticator.

`plugins/` adapts JupyterHub's classes to them, `testing/` ships fakes that pass the same contract
suite. A `ServerSpec` is a snapshot of rows: an adapter never sees a database session.
"""

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

from perijove.domain.errors import SpawnFailed
from perijove.domain.ids import ServerId, UserId


@dataclass(frozen=True, slots=True, kw_only=True)
class UserFacts:
    """What a plug-in may see of a user."""

    id: UserId
    name: str
    admin: bool = False
    groups: tuple[str, ...] = ()
    created: datetime | None = None
    last_activity: datetime | None = None
    user_info: Mapping[str, Any] | None = None
    # Plain, decrypted; None unless the operation needs it and `enable_auth_state` is on.
    auth_state: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSpec:
    """One server, as a spawner adapter needs it for one operation."""

    id: ServerId
    user: UserFacts
    name: str  # "" for the default server
    display_name: str = ""
    # Counts starts. Together with `id` it names what a start made, for finding it again.
    generation: int = 0
    # Of the lease that this operation holds. It only grows: what carries a later one is not ours to end.
    lease_epoch: int = 0
    user_options: Mapping[str, Any] = field(default_factory=dict)
    # What `get_state()` last returned.
    state: Mapping[str, Any] = field(default_factory=dict)
    # URL recorded after start, "" when stopped.
    url: str = ""
    started: datetime | None = None
    last_activity: datetime | None = None
    # Only for `start`: the fresh token (plain) that becomes JUPYTERHUB_API_TOKEN and client secret.
    api_token: str = ""
    oauth_client_id: str = ""
    # Names of all servers of this user, for plug-ins that look at `user.spawners`.
    sibling_names: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Exited:
    """A server's process ended: its exit code if known, and the last lines it wrote."""

    code: int | None
    log_lines: tuple[str, ...] = ()
    # Why, where the spawner knows more than the process told.
    cause: SpawnFailed | None = None


@dataclass(frozen=True, slots=True)
class Mishap:
    """Something that befell a server and did not end it."""

    # The same for as long as it is the same mishap.
    mark: str
    reason: str
    # For the user, and for the admin.
    message: str
    details: str = ""


# Of whom a server is, and its name: for what does not carry our id.
ServerName = tuple[str, str]


class Spawner(Protocol):
    """One server under one operation. Made by `SpawnerHost.open`, closed by the caller."""

    # Seconds; from the plug-in's traits after user options were applied.
    start_timeout_seconds: float
    http_timeout_seconds: float
    poll_interval_seconds: float

    async def start(self) -> str:
        """Run the hooks and start; returns the URL (`http://ip:port`, without path).

        Raises `SpawnFailed`; whatever was half-started is left for `stop`.
        """
        ...

    async def poll(self) -> Exited | None:
        """None while it runs or starts."""
        ...

    async def stop(self, *, now: bool = False) -> None:
        """End it and return when it is gone. Safe when never or half started. Runs post_stop_hook."""
        ...

    async def delete_forever(self) -> None: ...

    def progress(self) -> AsyncIterator[dict[str, Any]]:
        """`{"progress"?: int, "message": str, "html_message"?: str, …}` until start has ended."""
        ...

    async def ready_event(self, event: dict[str, Any]) -> dict[str, Any]:
        """The plug-in's `progress_ready_hook` applied to the last event of a good start."""
        ...

    def state(self) -> dict[str, Any]:
        """What to persist, JSON."""
        ...

    async def log_lines(self, count: int = 30) -> tuple[str, ...]:
        """Last lines the server wrote, oldest first; empty if this spawner cannot tell."""
        ...

    @property
    def mishap(self) -> Mishap | None:
        """The latest, as the last `poll()` that found it alive saw it."""
        ...

    def recovered_token(self) -> str:
        """A token the plug-in found in a resumed server and wants used instead of ours, or ""."""
        ...

    @property
    def will_resume(self) -> bool:
        """True: token and OAuth client outlive a stop."""
        ...

    @property
    def server_token_scopes(self) -> Sequence[str]: ...

    @property
    def oauth_client_allowed_scopes(self) -> Sequence[str]: ...

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Found:
    """Something in the world that carries one of our server ids."""

    server_id: ServerId
    generation: int
    description: str
    # Entries that the state of what a row calls its server has too, with the same values.
    state: Mapping[str, Any] = field(default_factory=dict)
    # Where it listens, if that can be told from outside.
    url: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Volume:
    """Storage of a user that outlives servers."""

    name: str
    # Of this very volume: another may bear its name later.
    uid: str
    namespace: str = ""
    # Which servers keep their files there; "" is the default one.
    servers: tuple[str, ...] = ()
    size: str = ""
    storage_class: str = ""
    # As the cluster calls it: Bound, Pending, Lost.
    phase: str = ""
    bound_to: str = ""
    created: datetime | None = None
    # What holds it right now, in words.
    used_by: tuple[str, ...] = ()
    # It goes as soon as nothing holds it.
    deleting: bool = False
    # Files of others are in it as well.
    shared: bool = False


class Storage(Protocol):
    """Where a spawner class keeps what users wrote, as far as it is in volumes of their own."""

    async def volumes(self, specs: Sequence[ServerSpec]) -> Sequence[Volume]:
        """Of one user, given all servers they have. Raises `Unavailable`."""
        ...

    async def delete_volume(self, volume: Volume) -> None:
        """Exactly that one. Raises `Conflict` where it was replaced, `Unavailable`."""
        ...


class SpawnerHost(Protocol):
    """The configured spawner class."""

    # True: what it starts lives on this host, and only hubs on this host can reach it.
    host_bound: bool
    class_path: str
    version: str

    @property
    def storage(self) -> Storage | None:
        """None: it has no volumes."""
        ...

    async def open(self, spec: ServerSpec) -> Spawner: ...

    async def open_to_poll(self, spec: ServerSpec) -> Spawner:
        """As `open`, for `poll` alone: what polled this server before may do it again, if nothing changed since."""
        ...

    async def options_form(self, spec: ServerSpec) -> str:
        """HTML, or "" when there is nothing to choose."""
        ...

    async def options_from_form(self, spec: ServerSpec, form: Mapping[str, list[Any]]) -> dict[str, Any]: ...

    async def options_from_query(self, spec: ServerSpec, query: Mapping[str, list[str]]) -> dict[str, Any]: ...

    async def find(self) -> Sequence[Found]:
        """Everything alive that carries this hub's mark, for adoption and for the orphan sweep."""
        ...

    async def destroy(self, found: Found) -> None: ...

    async def ended(self) -> Collection[ServerId | ServerName]:
        """Servers that ended since the last call, or met with a mishap, as far as that is seen without asking for each.

        A hint. By name where what runs does not carry our id: another hub started it and left it to us.

        Raises `SpawnFailed` when it cannot look.
        """
        ...

    def seen(self, server_id: ServerId) -> float | None:
        """Seconds until its next poll, if the last `ended()` saw it run, which is as good as a poll; None: poll it."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthModel:
    """The outcome of a successful authentication, normalised. None = leave the stored value."""

    name: str
    admin: bool | None = None
    groups: tuple[str, ...] | None = None
    roles: tuple[Mapping[str, Any], ...] | None = None
    auth_state: Mapping[str, Any] | None = None
    user_info: Mapping[str, Any] | None = None


class Authenticator(Protocol):
    """The configured authenticator class."""

    class_path: str
    version: str
    login_service: str
    auto_login: bool
    auto_login_oauth2_authorize: bool
    request_otp: bool
    otp_prompt: str
    custom_html: str
    # No rule of the configuration lets anybody in; the login page says what to set.
    nobody_allowed: bool
    enable_auth_state: bool
    reconciles_auth_state: bool
    manage_groups: bool
    manage_roles: bool
    # At start, take back every role that the authenticator gave.
    reset_managed_roles: bool
    refresh_pre_spawn: bool
    refresh_pre_stop: bool
    auth_refresh_age_seconds: float

    def login_url(self, base_url: str) -> str: ...

    def logout_url(self, base_url: str) -> str: ...

    def normalize(self, name: str) -> str: ...

    def validate(self, name: str) -> bool:
        """Whether a user may be called so."""
        ...

    @property
    def admin_names(self) -> frozenset[str]:
        """`admin_users`, normalised: they exist and are admins from the start of a hub on."""
        ...

    @property
    def blocked_names(self) -> frozenset[str]:
        """`blocked_users`, normalised: what they hold here is taken from them at the start of a hub."""
        ...

    @property
    def allowed_names(self) -> frozenset[str]:
        """`allowed_users`, normalised: they exist from the start of a hub on."""
        ...

    def is_admin_by_config(self, name: str) -> bool:
        """Listed in `admin_users`."""
        ...

    async def authenticate(self, form: Mapping[str, str], request: Mapping[str, Any]) -> AuthModel | None:
        """Form login. None: refused. `request`: method, path, query, headers, remote_ip, scheme."""
        ...

    async def reconcile_auth_state(
        self, model: AuthModel, existing: Mapping[str, Any] | None
    ) -> Mapping[str, Any] | None:
        """What to store of a login's auth state, given what is stored; asked if `reconciles_auth_state`."""
        ...

    async def refresh(self, user: UserFacts) -> AuthModel | bool:
        """True: still good; False: must log in again; a model: changed values."""
        ...

    async def managed_roles(self) -> Sequence[Mapping[str, Any]]:
        """`load_managed_roles`: roles to exist from the start of a hub on; none unless `manage_roles`."""
        ...

    async def user_added(self, user: UserFacts) -> None: ...

    async def user_deleted(self, user: UserFacts) -> None: ...
