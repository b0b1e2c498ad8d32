"""Where the composition gets its plug-ins: a class is found, derived where needed, configured, adapted."""

import logging
from pathlib import Path
from typing import Any

from jupyterhub.auth import Authenticator
from jupyterhub.spawner import Spawner
from traitlets.config import Config

from perijove.plugins.authenticator import HostedAuthenticator, MakeHandler, UserExists
from perijove.plugins.database import PluginDatabase
from perijove.plugins.facts import HubFacts
from perijove.plugins.host import ClassHost
from perijove.plugins.resolve import PluginNotFound, find_class
from perijove.plugins.tornado_app import LoginRequests

__all__ = ["HubFacts", "PluginMisconfigured", "PluginNotFound", "load_authenticator", "load_spawner_host"]


class PluginMisconfigured(Exception):
    """The configured plug-in class refuses its configuration."""


def load_spawner_host(
    *,
    spawner_class: Any,
    traits: Config,
    facts: HubFacts,
    log_dir: Path,
    authenticator: HostedAuthenticator | None = None,
) -> ClassHost:
    """`authenticator` is what `load_authenticator` returned: spawners get it, its session hooks run."""
    cls = find_class("spawner", spawner_class, Spawner)
    return ClassHost(cls, traits, facts, log_dir, None if authenticator is None else authenticator.plugin)


def load_authenticator(
    *,
    authenticator_class: Any,
    traits: Config,
    facts: HubFacts,
    user_exists: UserExists | None = None,
    make_handler: MakeHandler | None = None,
) -> HostedAuthenticator:
    """`user_exists(name)` answers for `allow_existing_users`; it may also be set later (`ask_for_existing`)."""
    cls = find_class("authenticator", authenticator_class, Authenticator)
    path = f"{cls.__module__}.{cls.__qualname__}"
    database = PluginDatabase(facts.data_dir / "plugins.sqlite", path)
    try:
        plugin = cls(config=traits, log=logging.getLogger(path), _deprecated_db_session=database)
        handlers = make_handler or LoginRequests(facts, plugin, traits)
        return HostedAuthenticator(plugin, facts, user_exists=user_exists, make_handler=handlers, database=database)
    # Constructors of plug-ins check their configuration and raise what they like.
    except Exception as exc:
        raise PluginMisconfigured(f"{path} refuses its configuration: {exc}") from exc
