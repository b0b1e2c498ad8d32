"""Where the hub keeps its state, as far as the manifests depend on it.

Several hubs need a database that several processes may write over the network. SQLite is a file: one
hub, which is stopped before its successor starts.
"""

from collections.abc import Mapping
from pathlib import Path

from perijove.config import database_keys
from perijove.config.database import DatabaseURLError, async_url
from perijove.config.schema.settings import Settings
from perijove.deploy.render.scope import Scope

_DEFAULT_REPLICAS = 2


def url(settings: Settings) -> str:
    """What the configuration says outside of code; "" is a file in the data directory."""
    traits: Mapping[str, object] = settings.hub.config.get("JupyterHub") or {}
    given = traits.get("db_url")
    if isinstance(given, str) and given:
        return given
    if settings.hub.db.type in ("sqlite-pvc", "sqlite-memory"):
        return ""
    return settings.hub.db.url or "server://"


def is_shared(settings: Settings) -> bool:
    address = url(settings)
    return bool(address) and not address.startswith("sqlite")


def uses_claim(settings: Settings) -> bool:
    return settings.hub.db.type == "sqlite-pvc"


def look(scope: Scope) -> None:
    """Say what no hub could start with, unless code or a Secret that is not here may make up for it."""
    hub = scope.settings.hub
    missing = database_keys.missing_url(scope.loaded)
    if missing and not hub.existing_secret and not database_keys.has_code(scope.settings):
        scope.problems.append(missing)
    if hub.db.type not in ("sqlite-pvc", "sqlite-memory"):
        try:
            async_url(hub.db.url or "", Path())
        except DatabaseURLError as error:
            scope.problems.append(database_keys.unusable_url(scope.loaded, error))


def replicas(scope: Scope) -> int:
    given = scope.settings.hub.replicas
    if is_shared(scope.settings):
        return _DEFAULT_REPLICAS if given is None else given
    if given is not None and given > 1:
        scope.problem(
            ("hub", "replicas"),
            f"{given} hubs cannot share a database that is a file (hub.db.type: {scope.settings.hub.db.type})",
            "set hub.db.type to postgres or mysql, with hub.db.url; or leave hub.replicas out",
        )
    return 1


def strategy_type(scope: Scope) -> str:
    """RollingUpdate wherever two hubs may run at once; z2jh's default, Recreate, only if somebody chose it."""
    path = ("hub", "deploymentStrategy", "type")
    chosen = scope.settings.hub.deployment_strategy.type if scope.is_given(*path) else None
    if is_shared(scope.settings):
        return chosen or "RollingUpdate"
    if chosen not in (None, "Recreate"):
        scope.note(path, f"{chosen} would let two hubs write one database file; it is Recreate")
    return "Recreate"
