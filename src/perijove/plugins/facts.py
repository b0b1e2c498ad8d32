"""What plug-ins may know of the hub they run in: plain values, handed in once by the composition."""

import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from perijove.domain.addresses import Addresses, Hook, idna_hook


@dataclass(frozen=True, kw_only=True)
class HubFacts:
    # Marks whatever this hub starts; random, made with the database.
    hub_id: str
    base_url: str = "/"  # starts and ends with "/"
    public_url: str = ""  # scheme://host[:port]/base/ or ""
    # scheme://host[:port] that users' hosts are below, "" for one host, and how they are called.
    subdomain_host: str = ""
    subdomain_hook: Hook = idna_hook
    # Where servers reach the hub, without path: "http://10.0.0.4:8081".
    connect_url: str = "http://127.0.0.1:8081"
    # This machine: rows of processes carry it.
    host: str = field(default_factory=socket.gethostname)
    data_dir: Path = Path()
    cookie_options: Mapping[str, Any] = field(default_factory=dict)
    cookie_host_prefix_enabled: bool = False
    # Signs what handlers of plug-ins put into cookies.
    cookie_secret: bytes = b""
    cookie_max_age_days: float = 14
    allow_named_servers: bool = False
    redirect_to_server: bool = True
    shutdown_on_logout: bool = False
    default_url: Any = ""  # str or callable(handler)
    template_vars: Mapping[str, Any] = field(default_factory=dict)
    # `c.JupyterHub.tornado_settings`: handlers look there for their own keys.
    tornado_settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def hub_prefix(self) -> str:
        return f"{self.base_url}hub/"

    @property
    def api_url(self) -> str:
        return f"{self.connect_url.rstrip('/')}{self.hub_prefix}api"

    @property
    def public_host(self) -> str:
        """`scheme://host[:port]` as browsers see it, or "" when nobody said."""
        return self.addresses.hub_origin

    @property
    def addresses(self) -> Addresses:
        return Addresses(self.base_url, self.public_url, self.subdomain_host, self.subdomain_hook)
