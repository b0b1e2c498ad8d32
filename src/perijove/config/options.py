"""What a running hub is told: the traits of JupyterHub's application that mean something here, typed.

z2jh keys, `hub.config.JupyterHub.*` and `c.JupyterHub.*` in extraConfig all end in one traitlets
`Config`; `read_options` turns its `JupyterHub` section into this. Nothing downstream reads traits of
the application, the environment or files.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

from perijove.domain.addresses import Addresses, Hook, idna_hook


@dataclass(frozen=True, kw_only=True)
class CullOptions:
    """`cull.*` of z2jh, in seconds where it says so."""

    enabled: bool = True
    timeout_seconds: float = 3600
    every_seconds: float = 600
    max_age_seconds: float = 0
    users: bool = False
    admin_users: bool = True
    remove_named_servers: bool = False
    concurrency: int = 10


@dataclass(frozen=True, kw_only=True)
class ServiceOptions:
    """One entry of `hub.services` / `c.JupyterHub.services`."""

    name: str
    url: str = ""
    api_token: str = field(default="", repr=False)
    admin: bool = False
    display: bool = True
    info: Mapping[str, Any] = field(default_factory=dict)
    command: tuple[str, ...] = ()
    cwd: str = ""
    # System account that the command runs as; "" = the hub's own.
    user: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)
    oauth_client_id: str = ""
    oauth_redirect_uri: str = ""
    oauth_no_confirm: bool = False
    oauth_client_allowed_scopes: tuple[str, ...] = ()
    # The older way to say the same: scopes of these roles.
    oauth_roles: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class RoleOptions:
    """One entry of `hub.loadRoles` / `c.JupyterHub.load_roles`. None = list not given."""

    name: str
    description: str = ""
    scopes: tuple[str, ...] | None = None
    users: tuple[str, ...] | None = None
    groups: tuple[str, ...] | None = None
    services: tuple[str, ...] | None = None


@dataclass(frozen=True, kw_only=True)
class GroupOptions:
    name: str
    users: tuple[str, ...] = ()
    properties: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class HubOptions:
    """Defaults are JupyterHub's, or z2jh's where the two differ and ours follows it (said there)."""

    # -- where things are
    data_dir: Path
    base_url: str = "/"  # starts and ends with "/"
    public_url: str = ""  # scheme://host[:port]/base/ or ""
    subdomain_host: str = ""  # scheme://host[:port]: users have hosts of their own below it; "" = one host for all
    subdomain_hook: Hook = idna_hook
    # Where the proxy listens.
    public_ip: str = "127.0.0.1"
    public_port: int = 8000
    # Where the hub listens.
    hub_ip: str = "127.0.0.1"
    hub_port: int = 8081
    # What servers and the proxy are told to connect to; "" = from hub_ip and hub_port.
    hub_connect_url: str = ""
    db_url: str = field(default="", repr=False)  # "" = sqlite in data_dir
    db_options: Mapping[str, Any] = field(default_factory=dict)
    # 32 bytes; None = kept in the database, made at first start.
    cookie_secret: bytes | None = field(default=None, repr=False)
    # JUPYTERHUB_CRYPT_KEY, decoded; the first encrypts.
    crypt_keys: tuple[bytes, ...] = field(default=(), repr=False)
    # Token that proxies authenticate with (CONFIGPROXY_AUTH_TOKEN); "" = kept in the database.
    proxy_token: str = field(default="", repr=False)

    # -- plug-ins: class objects, entry-point names or dotted paths
    authenticator_class: Any = "shared-password"
    spawner_class: Any = "localprocess"
    extra_handlers: tuple[tuple[Any, ...], ...] = ()

    # -- users and sessions
    cookie_max_age: timedelta = timedelta(days=14)
    oauth_token_expires: timedelta = timedelta(days=14)
    oauth_require_pkce: bool = False
    token_expires_max: timedelta | None = None
    cookie_host_prefix_enabled: bool = False
    cookie_options: Mapping[str, Any] = field(default_factory=dict)
    shutdown_on_logout: bool = False
    load_groups: tuple[GroupOptions, ...] = ()
    load_roles: tuple[RoleOptions, ...] = ()
    custom_scopes: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    extra_user_scopes: tuple[str, ...] = ()
    api_tokens: Mapping[str, str] = field(default_factory=dict, repr=False)  # token -> user name
    services: tuple[ServiceOptions, ...] = ()

    # -- servers
    allow_named_servers: bool = False
    named_server_limit_per_user: int | Callable[..., Any] = 0
    default_server_name: str = ""
    active_server_limit: int = 0
    concurrent_spawn_limit: int = 100
    consecutive_failure_limit: int = 0
    redirect_to_server: bool = True
    default_url: str | Callable[..., Any] = ""
    implicit_spawn_seconds: float = 0
    user_redirect_hook: Callable[..., Any] | None = None
    slow_spawn_timeout_seconds: float = 10
    slow_stop_timeout_seconds: float = 10
    # Stop all servers when the hub is told to shut down.
    cleanup_servers: bool = False
    # Stop the proxy that runs beside the hub too.
    cleanup_proxy: bool = True
    stopped_server_status: int = 424
    cull: CullOptions = CullOptions(enabled=False)
    active_user_window: timedelta = timedelta(seconds=1800)
    # How often services with pages are asked whether they answer.
    service_check_interval: timedelta = timedelta(seconds=60)
    # How long the audit trail is kept; nothing is forgotten when it is zero.
    audit_keep: timedelta = timedelta(0)

    # -- API, pages, metrics
    api_page_default_limit: int = 50
    api_page_max_limit: int = 200
    # Requests a minute of one user or service, by kind, over our defaults (domain/rates.py).
    api_rate_limits: Mapping[str, int] = field(default_factory=dict)
    authenticate_prometheus: bool = True
    template_paths: tuple[str, ...] = ()
    template_vars: Mapping[str, Any] = field(default_factory=dict)
    jinja_options: Mapping[str, Any] = field(default_factory=dict)
    logo_file: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    trusted_downstream_ips: tuple[str, ...] = ()
    debug: bool = False
    # Everything else under `tornado_settings`, for plug-ins that look there.
    tornado_settings: Mapping[str, Any] = field(default_factory=dict)
    extra_routes: Mapping[str, str] = field(default_factory=dict)
    # REST API of a configurable-http-proxy that the hub pushes its routes to; "" = proxies follow the hub.
    chp_api_url: str = ""
    proxy_options: Mapping[str, Any] = field(default_factory=dict)

    @cached_property
    def addresses(self) -> Addresses:
        return Addresses(self.base_url, self.public_url, self.subdomain_host, self.subdomain_hook)
