"""`c.JupyterHub`, however it was set, to `HubOptions`."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from traitlets.config import Config
from traitlets.config.loader import LazyConfigValue

from perijove.config import keys
from perijove.config.app_traits import (
    APP_TRAITS,
    SILENT,
    WITHOUT_MEANING,
    Unfit,
    integer,
    known_app_traits,
    mapping,
    number,
    text,
    text_mapping,
)
from perijove.config.database import DatabaseURLError, async_url
from perijove.config.options import HubOptions, ServiceOptions
from perijove.config.problems import ConfigError, Note, NoteKind, Position, Problem, nearest

Where = Callable[[str, str], Position | None]


def _nowhere(section: str, trait: str) -> Position | None:
    del section, trait
    return None


class _Reader:
    """Collects options, problems and notes of one configuration."""

    def __init__(self, config: Config, data_dir: Path, environment: Mapping[str, str], where: Where) -> None:
        self.config = config
        self.section: dict[str, Any] = dict(config.get("JupyterHub", {}))
        self.data_dir = data_dir
        self.environment = environment
        self.where = where
        self.options: dict[str, Any] = {}
        self.problems: list[Problem] = []
        self.notes: list[Note] = []

    def problem(self, trait: str, expected: str, remedy: str = "", section: str = "JupyterHub") -> None:
        message = f"c.{section}.{trait} has a value that cannot be used"
        at = self.where(section, trait)
        self.problems.append(Problem(("hub", "config", section, trait), message, at, expected, remedy))

    def note(self, kind: NoteKind, trait: str, message: str) -> None:
        path = ("hub", "config", "JupyterHub", trait)
        self.notes.append(Note(kind, message, path, self.where("JupyterHub", trait)))

    def take(self, trait: str, convert: Callable[[Any], Any], section: str = "JupyterHub") -> Any:
        """The converted value, or None when it is not set, None, or wrong (then there is a problem)."""
        values = self.section if section == "JupyterHub" else self.config.get(section, {})
        value = values.get(trait)
        if isinstance(value, LazyConfigValue):
            value = _settled(value)
        if value is None:
            return None
        try:
            return convert(value)
        except ValueError as exc:
            self.problem(trait, str(exc), section=section)
            return None

    def read(self) -> None:
        for trait in self.section:
            self.known(trait)
        for trait, (field, convert) in APP_TRAITS.items():
            value = self.take(trait, convert)
            if value is not None:
                self.options[field] = value
        self.addresses()
        self.hosts()
        self.secrets()
        self.database()
        self.tornado_settings()
        self.tls()
        self.service_tokens()
        for section in ("Proxy", "ConfigurableHTTPProxy"):
            routes = self.take("extra_routes", text_mapping, section=section)
            if routes:
                self.extra_routes(section, routes)
        self.proxy()
        limit = self.take("consecutive_failure_limit", integer, section="Spawner")
        if limit is not None:
            self.options["consecutive_failure_limit"] = limit
        level = self.section.get("log_level")
        if level in ("DEBUG", "debug", 10):
            self.options["debug"] = True

    def known(self, trait: str) -> None:
        if trait in WITHOUT_MEANING:
            text = f"c.JupyterHub.{trait} has no meaning here: {WITHOUT_MEANING[trait]}"
            self.note(NoteKind.UNUSED, trait, text)
        elif trait not in SILENT and trait not in known_app_traits():
            close = nearest(trait, known_app_traits())
            hint = f"; did you mean `{close}`?" if close else ""
            self.note(NoteKind.UNKNOWN_TRAIT, trait, f"c.JupyterHub.{trait} is not known{hint}")

    def addresses(self) -> None:
        for trait, ip, port in (
            ("bind_url", "public_ip", "public_port"),
            ("hub_bind_url", "hub_ip", "hub_port"),
        ):
            url = self.take(trait, text)
            if not url:
                continue
            try:
                parts = urlsplit(url if "://" in url else f"//{url}")
                number_ = parts.port
            except ValueError:
                self.problem(trait, "a URL, as in http://127.0.0.1:8000/")
                continue
            host = parts.hostname or ""
            self.options[ip] = "" if host in ("*", "0.0.0.0") else host  # noqa: S104 - compared, not bound
            if number_:
                self.options[port] = number_
            if trait == "bind_url" and parts.path.strip("/"):
                self.options["base_url"] = f"/{parts.path.strip('/')}/"
        # JupyterHub says "" and "*" for "every address".
        for ip in ("public_ip", "hub_ip"):
            if self.options.get(ip) in ("", "*"):
                self.options[ip] = "0.0.0.0"  # noqa: S104 - what the configuration asks for
        connect_ip = self.take("hub_connect_ip", text)
        if connect_ip and "hub_connect_url" not in self.options:
            port_ = self.take("hub_connect_port", integer) or self.options.get("hub_port", 8081)
            self.options["hub_connect_url"] = f"http://{connect_ip}:{port_}"

    def extra_routes(self, section: str, routes: dict[str, str]) -> None:
        """With hosts of users each names its host, and only then: `host/path/` would else be taken for a path."""
        by_host = bool(self.options.get("subdomain_host"))
        if wrong := [route for route in routes if route.startswith("/") is by_host]:
            expected = "hub.example.org/path/, because subdomain_host is set" if by_host else "/path/"
            self.problem("extra_routes", f"routes as {expected}, not {wrong[0]!r}", section=section)
        self.options["extra_routes"] = routes

    def hosts(self) -> None:
        """JupyterHub's default: where users have hosts of their own, that is where the hub is."""
        host = self.options.get("subdomain_host")
        if host and not self.options.get("public_url"):
            self.options["public_url"] = f"{host}{self.options.get('base_url', '/')}"

    def proxy(self) -> None:
        """Our own, unless configurable-http-proxy is asked for by name: z2jh sets that proxy's traits in any case."""
        asked = self.section.get("proxy_class")
        if asked is None:
            return
        name = getattr(asked, "__name__", str(asked))
        if name.rpartition(".")[2].rpartition(":")[2] not in ("configurable-http-proxy", "ConfigurableHTTPProxy"):
            message = f"c.JupyterHub.proxy_class: {name} is not known here, and Perijove's own proxy is used"
            self.note(NoteKind.UNUSED, "proxy_class", message)
            return
        url = self.take("api_url", text, section="ConfigurableHTTPProxy")
        self.options["chp_api_url"] = (url or "http://127.0.0.1:8001").rstrip("/")

    def secrets(self) -> None:
        secret = self.take("cookie_secret", _cookie_secret)
        file = self.take("cookie_secret_file", text)
        if secret is None and file and Path(file).is_file():
            try:
                secret = keys.cookie_secret(Path(file).read_text(encoding="utf-8"))
            except ValueError as exc:
                self.problem("cookie_secret_file", f"a file with {exc}")
        if secret is None and self.environment.get("JPY_COOKIE_SECRET"):
            secret = self.from_environment("JPY_COOKIE_SECRET", keys.cookie_secret)
        if secret is not None:
            self.options["cookie_secret"] = secret
        crypt = self.take("keys", _crypt_keys, section="CryptKeeper")
        if crypt is None and self.environment.get("JUPYTERHUB_CRYPT_KEY"):
            crypt = self.from_environment("JUPYTERHUB_CRYPT_KEY", keys.crypt_keys)
        if crypt:
            self.options["crypt_keys"] = crypt
        token = self.config.get("ConfigurableHTTPProxy", {}).get("auth_token")
        token = token or self.environment.get("CONFIGPROXY_AUTH_TOKEN")
        if token and not self.options.get("proxy_token"):
            self.options["proxy_token"] = str(token)

    def from_environment(self, name: str, convert: Callable[[str], Any]) -> Any:
        try:
            return convert(self.environment[name])
        except ValueError as exc:
            self.problems.append(Problem((), f"the environment variable {name} cannot be used", None, str(exc)))
            return None

    def database(self) -> None:
        url = self.take("db_url", text)
        if url is None:
            return
        try:
            self.options["db_url"] = async_url(url, self.data_dir)
        except DatabaseURLError as exc:
            self.problem("db_url", str(exc), exc.corrected and f"did you mean {exc.corrected} ?")

    def tornado_settings(self) -> None:
        settings = self.take("tornado_settings", mapping)
        if settings is None:
            return
        for name, field, convert in (
            ("headers", "headers", mapping),
            ("cookie_options", "cookie_options", mapping),
            ("slow_spawn_timeout", "slow_spawn_timeout_seconds", number),
            ("slow_stop_timeout", "slow_stop_timeout_seconds", number),
        ):
            if name in settings:
                try:
                    self.options[field] = convert(settings.pop(name))
                except ValueError as exc:
                    self.problem("tornado_settings", f"{name} as {exc}")
        self.options["tornado_settings"] = settings

    def tls(self) -> None:
        files = {name: self.take(name, text) for name in ("ssl_key", "ssl_cert")}
        if any(files.values()):
            self.options["proxy_options"] = {name: value for name, value in files.items() if value}

    def service_tokens(self) -> None:
        tokens = self.take("service_tokens", text_mapping)
        if not tokens:
            return
        by_name = {service.name: service for service in self.options.get("services", ())}
        for token, name in tokens.items():
            present = by_name.get(name, ServiceOptions(name=name))
            by_name[name] = present if present.api_token else replace(present, api_token=token)
        self.options["services"] = tuple(by_name.values())


def _settled(value: LazyConfigValue) -> Any:
    """What a lazy value amounts to over an empty default."""
    held = value.to_dict()
    if "update" in held:
        return held["update"]
    return [*held.get("prepend", []), *held.get("extend", [])] or None


def _cookie_secret(value: Any) -> bytes:
    if isinstance(value, bytes):
        if len(value) < 32:  # noqa: PLR2004 - a signature's worth
            raise ValueError("at least 32 bytes")
        return value
    return keys.cookie_secret(str(value))


def _crypt_keys(value: Any) -> tuple[bytes, ...]:
    if isinstance(value, str):
        return keys.crypt_keys(value)
    if isinstance(value, bytes):
        return (keys.crypt_key(value),)
    if not isinstance(value, list | tuple):
        raise Unfit("a list of keys")
    return tuple(keys.crypt_key(item) for item in value)


def read_options(
    config: Config,
    *,
    data_dir: Path,
    environment: Mapping[str, str] | None = None,
    where: Where = _nowhere,
    **more: Any,
) -> tuple[HubOptions, list[Note]]:
    """The options that `c.JupyterHub` asks for. `more`: fields that come from elsewhere (`cull=…`).

    `where(section, trait)` knows the place where a trait was set. Raises `ConfigError`.
    """
    reader = _Reader(config, data_dir, environment or {}, where)
    reader.read()
    if reader.problems:
        raise ConfigError(reader.problems, reader.notes)
    given = {**reader.options, **more}
    if "proxy_options" in reader.options and "proxy_options" in more:
        given["proxy_options"] = {**more["proxy_options"], **reader.options["proxy_options"]}
    return HubOptions(data_dir=data_dir, **given), reader.notes
