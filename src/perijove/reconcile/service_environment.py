"""What a managed service is told: the variables that JupyterHub's client libraries read, and no more of the hub's own.

Kept apart from `managed_services`, which starts and ends processes: this is the wire contract, and pure.
"""

import json
import os
import pwd
import sys
from collections.abc import Mapping
from pathlib import Path

from perijove.config.options import HubOptions, ServiceOptions
from perijove.services.registry import client_id

# Taken over from the hub's own environment; the rest of it (secrets among it) is the hub's.
KEPT = (
    "PATH",
    "PYTHONPATH",
    "CONDA_ROOT",
    "CONDA_DEFAULT_ENV",
    "VIRTUAL_ENV",
    "LANG",
    "LC_ALL",
    "JUPYTERHUB_SINGLEUSER_APP",
)


def service_environment(hub: HubOptions, service: ServiceOptions, *, token: str, api_url: str) -> dict[str, str]:
    """The whole environment of the service's process. Raises `KeyError` for an unknown system account."""
    addresses = hub.addresses
    prefix = addresses.service_path(service.name)
    access = json.dumps(["access:services", f"access:services!service={service.name}"])
    environment = {
        **_kept(os.environ),
        **_account(service.user),
        "JUPYTERHUB_SERVICE_NAME": service.name,
        "JUPYTERHUB_API_TOKEN": token,
        "JPY_API_TOKEN": token,
        "JUPYTERHUB_API_URL": api_url,
        "JUPYTERHUB_BASE_URL": hub.base_url,
        "JUPYTERHUB_SERVICE_PREFIX": prefix,
        "JUPYTERHUB_USER": service.user,
        "JUPYTERHUB_CLIENT_ID": client_id(service),
        "JUPYTERHUB_OAUTH_CALLBACK_URL": service.oauth_redirect_uri
        or f"{addresses.service_url(service.name)}oauth_callback",
        "JUPYTERHUB_OAUTH_ACCESS_SCOPES": access,
        # The same under the name that clients before 3.0 read.
        "JUPYTERHUB_OAUTH_SCOPES": access,
        "JUPYTERHUB_OAUTH_CLIENT_ALLOWED_SCOPES": json.dumps(list(service.oauth_client_allowed_scopes)),
        **_public(hub, service),
        "JUPYTERHUB_COOKIE_HOST_PREFIX_ENABLED": str(int(hub.cookie_host_prefix_enabled)),
    }
    if service.url:
        environment["JUPYTERHUB_SERVICE_URL"] = service.url
    if hub.cookie_options:
        environment["JUPYTERHUB_COOKIE_OPTIONS"] = json.dumps(dict(hub.cookie_options))
    return {**environment, **service.environment}


def _kept(own: Mapping[str, str]) -> dict[str, str]:
    kept = {name: own[name] for name in KEPT if name in own}
    # A hub may run from a virtual environment that nobody activated; its services come from there too.
    beside = str(Path(sys.executable).parent)
    path = kept.get("PATH") or os.defpath
    kept["PATH"] = path if beside in path.split(os.pathsep) else f"{beside}{os.pathsep}{path}"
    return kept


def _account(user: str) -> dict[str, str]:
    if not user:
        return {}
    account = pwd.getpwnam(user)
    return {"USER": user, "HOME": account.pw_dir, "SHELL": account.pw_shell}


def _public(hub: HubOptions, service: ServiceOptions) -> dict[str, str]:
    """Where browsers find the hub and the service; all empty when nobody said."""
    origin = hub.addresses.hub_origin
    return {
        "JUPYTERHUB_HOST": origin,
        "JUPYTERHUB_PUBLIC_URL": hub.addresses.public_service_url(service.name) if service.url else "",
        "JUPYTERHUB_PUBLIC_HUB_URL": f"{origin}{hub.base_url}hub/" if origin else "",
    }
