"""`hub.db` before any code ran: an address nobody can connect to, or none where there must be one.

A file in a database's place would look like lost data, so a hub that is told `postgres` and not where
does not start; whoever only checks or renders is told the same, unless something out of sight says it.
"""

from perijove.config.database import DatabaseURLError
from perijove.config.loaded import Loaded
from perijove.config.problems import KeyPath, Problem
from perijove.config.schema.settings import Settings

_URL: KeyPath = ("hub", "db", "url")


def unusable_url(loaded: Loaded, error: DatabaseURLError) -> Problem:
    remedy = f"did you mean {error.corrected} ?" if error.corrected else ""
    return Problem(_URL, str(error), loaded.given.nearest(_URL).where, remedy=remedy)


def missing_url(loaded: Loaded) -> Problem | None:
    """A server is asked for, and no key says where."""
    kind = loaded.settings.hub.db.type
    application = loaded.settings.hub.config.get("JupyterHub") or {}
    if kind.startswith("sqlite") or loaded.settings.hub.db.url or application.get("db_url"):
        return None
    remedy = "add hub.db.url, here or in another file given as well, as in postgresql://user@host:5432/jupyterhub"
    text = f"hub.db.type is {kind}, but there is no hub.db.url"
    return Problem(_URL, text, loaded.given.nearest(_URL).where, remedy=remedy)


def has_code(settings: Settings) -> bool:
    """Whether there is Python in the configuration, which may say it."""
    hub = settings.hub
    return bool(hub.extra_config or hub.extra_config_files or hub.extra_files)
