"""The chart's keys as traits, under the names and with the meaning of z2jh's own configuration file."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from perijove.config import keys, singleuser_traits
from perijove.config.database import DatabaseURLError, async_url
from perijove.config.database_keys import unusable_url
from perijove.config.fluent import FluentConfig
from perijove.config.loaded import Loaded
from perijove.config.local import IMPLIED_SPAWNER
from perijove.config.problems import ConfigError, KeyPath, Note, NoteKind, Problem
from perijove.config.schema.proxy import HTTPS

_HUB_TRAITS: Final = (
    "concurrent_spawn_limit", "active_server_limit", "base_url", "allow_named_servers",
    "named_server_limit_per_user", "authenticate_prometheus", "redirect_to_server", "shutdown_on_logout",
    "template_paths", "template_vars",
)  # fmt: skip


@dataclass
class ChartTraits:
    """What the chart's keys amount to besides traits."""

    notes: list[Note] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    proxy_options: dict[str, Any] = field(default_factory=dict)


def apply(config: FluentConfig, loaded: Loaded, *, data_dir: Path, kubernetes: bool) -> ChartTraits:
    """Set traits from everything but `hub.config` and code. Raises `ConfigError`."""
    result = ChartTraits()
    settings, hub = loaded.settings, config.JupyterHub
    for trait in _HUB_TRAITS:
        value = getattr(settings.hub, trait)
        if value is not None:
            hub[trait] = value.copy() if isinstance(value, list | dict) else value
    hub.spawner_class = IMPLIED_SPAWNER
    hub.cleanup_servers = False
    # Straight to the progress page: a pod takes a while in any case.
    hub.tornado_settings = {"slow_spawn_timeout": 0}
    if settings.hub.consecutive_failure_limit is not None:
        config.Spawner.consecutive_failure_limit = settings.hub.consecutive_failure_limit
    if settings.proxy.secret_token:
        config.ConfigurableHTTPProxy.auth_token = settings.proxy.secret_token
    _cookie_secret(config, loaded, result)
    _database(config, loaded, data_dir, result)
    hub.services = [_service(entry) for entry in settings.hub.services.values()]
    hub.load_roles = [dict(entry) for entry in settings.hub.load_roles.values()]
    singleuser_traits.apply(config, settings, kubernetes=kubernetes)
    if settings.singleuser.cmd is not None:
        config.Spawner.cmd = list(settings.singleuser.cmd)
    if settings.debug.enabled:
        hub.log_level = "DEBUG"
        config.Spawner.debug = True
    if not kubernetes:
        result.proxy_options = _https(settings.proxy.https, loaded, data_dir, result)
    if result.problems:
        raise ConfigError(result.problems, loaded.notes)
    return result


def _service(entry: Mapping[str, Any]) -> dict[str, Any]:
    service = dict(entry)
    token = service.pop("apiToken", None)
    if token:
        service["api_token"] = token
    return service


def _cookie_secret(config: FluentConfig, loaded: Loaded, result: ChartTraits) -> None:
    text = loaded.settings.hub.cookie_secret
    if not text:
        return
    try:
        config.JupyterHub.cookie_secret = keys.cookie_secret(text)
    except ValueError as exc:
        path: KeyPath = ("hub", "cookieSecret")
        at = loaded.given.nearest(path).where
        result.problems.append(Problem(path, "this is no cookie secret", at, str(exc)))


def _database(config: FluentConfig, loaded: Loaded, data_dir: Path, result: ChartTraits) -> None:
    database = loaded.settings.hub.db
    if database.upgrade is False:
        switch: KeyPath = ("hub", "db", "upgrade")
        text = "hub.db.upgrade: false has no effect: migrations always run, after a backup"
        result.notes.append(Note(NoteKind.UNUSED, text, switch, loaded.given.nearest(switch).where))
    if database.type == "sqlite-pvc":
        config.JupyterHub.db_url = "sqlite:///jupyterhub.sqlite"
        return
    if database.type == "sqlite-memory":
        config.JupyterHub.db_url = "sqlite://"
        return
    if not database.url:
        # `hub.config` or code may still say where it is.
        return
    try:
        config.JupyterHub.db_url = async_url(database.url, data_dir, database.password or "")
    except DatabaseURLError as exc:
        result.problems.append(unusable_url(loaded, exc))


def _https(https: HTTPS, loaded: Loaded, data_dir: Path, result: ChartTraits) -> dict[str, Any]:
    """TLS on one machine: a certificate given in the file works, everything else is said not to."""
    path: KeyPath = ("proxy", "https")
    at = loaded.given.nearest(path).where

    def note(text: str) -> None:
        result.notes.append(Note(NoteKind.KUBERNETES, text, path, at))

    if not https.enabled:
        if https.hosts:
            note("proxy.https has hosts, but `proxy.https.enabled` is not true, so HTTPS is off")
        return {}
    match https.type:
        case "manual":
            return _manual_certificate(https, loaded, data_dir, result)
        case "offload":
            return {"trust_forwarded": True}
        case "secret":
            note("proxy.https.type `secret` reads a Kubernetes Secret; on one machine use `manual`")
        case _:
            note("proxy.https.type `letsencrypt` applies on Kubernetes; on one machine use `manual`")
    return {}


def _manual_certificate(https: HTTPS, loaded: Loaded, data_dir: Path, result: ChartTraits) -> dict[str, Any]:
    files: dict[str, Any] = {}
    for name, text, option in (
        ("key", https.manual.private_key, "ssl_key"),
        ("cert", https.manual.cert, "ssl_cert"),
    ):
        if not text:
            path: KeyPath = ("proxy", "https", "manual", name)
            at = loaded.given.nearest(path).where
            message = f"proxy.https.type is manual, but there is no proxy.https.manual.{name}"
            result.problems.append(Problem(path, message, at, remedy=f"add the PEM text as `{name}: |`"))
            continue
        file = data_dir / "tls" / f"{name}.pem"
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        file.touch(mode=0o600)
        file.write_text(text, encoding="utf-8")
        files[option] = str(file)
    return {**files, "hosts": list(https.hosts)} if files else {}


def finish(config: FluentConfig, loaded: Loaded) -> None:
    """After code ran: what the chart implied gives way to what somebody said."""
    _environment(config, loaded.settings.singleuser.extra_env)
    pod = config.KubeSpawner
    for trait in ("start_timeout", "mem_guarantee"):
        key = {"start_timeout": ("startTimeout",), "mem_guarantee": ("memory", "guarantee")}[trait]
        implied = loaded.given.at(("singleuser", *key)) is None and ("KubeSpawner", trait) not in config.origins.at
        if implied and ("Spawner", trait) in config.origins.at:
            pod.pop(trait, None)


def _environment(config: FluentConfig, given: Mapping[str, Any]) -> None:
    """`singleuser.extraEnv` was under both classes; where code replaced one, it still counts."""
    spawner, pod = config.Spawner, config.KubeSpawner
    if pod.environment is not spawner.environment:
        base = spawner.environment
        if ("Spawner", "environment") in config.origins.at:
            config.Spawner.environment = {**given, **base}
        if ("KubeSpawner", "environment") in config.origins.at:
            return
    dict.pop(pod, "environment", None)
