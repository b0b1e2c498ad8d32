"""The traits of JupyterHub's application: which of them mean something here, and as what.

Each conversion raises `Unfit` with what it expected. Traits without a conversion are known, so
that setting one is a note and not a mistake.
"""

from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any, Final
from urllib.parse import urlsplit

from perijove.config.options import GroupOptions, RoleOptions, ServiceOptions
from perijove.domain.addresses import Hook, idna_hook, legacy_hook
from perijove.domain.rates import DEFAULT_LIMITS

Convert = Callable[[Any], Any]


class Unfit(ValueError):
    """A value of the wrong kind; the message says what was expected."""


def boolean(value: Any) -> bool:
    if not isinstance(value, bool):
        raise Unfit("True or False")
    return value


def integer(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise Unfit("a whole number")
    return value


def number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise Unfit("a number")
    return value


def text(value: Any) -> str:
    if not isinstance(value, str):
        raise Unfit("a string")
    return value


def mapping(value: Any) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise Unfit("a dict")
    return dict(value)


def text_mapping(value: Any) -> dict[str, str]:
    if not all(isinstance(item, str) for pair in mapping(value).items() for item in pair):
        raise Unfit("a dict of strings")
    return dict(value)


def scopes(value: Any) -> dict[str, dict[str, Any]]:
    return {text(name): mapping(definition) for name, definition in mapping(value).items()}


def texts(value: Any) -> tuple[str, ...]:
    if isinstance(value, str) or not all(isinstance(item, str) for item in _items(value)):
        raise Unfit("a list of strings")
    return tuple(value)


def _items(value: Any) -> Any:
    if not isinstance(value, list | tuple | set | frozenset):
        raise Unfit("a list")
    return value


def base_url(value: Any) -> str:
    """Starts and ends with a slash."""
    stripped = text(value).strip("/")
    return f"/{stripped}/" if stripped else "/"


def public_url(value: Any) -> str:
    url = urlsplit(text(value))
    if value and (url.scheme not in ("http", "https") or not url.netloc):
        raise Unfit("a URL with http:// or https://")
    return text(value) and text(value).rstrip("/") + "/"


def subdomain_host(value: Any) -> str:
    """Without a scheme it is https: plain HTTP must be said."""
    given = text(value).rstrip("/")
    whole = given if "://" in given or not given else f"https://{given}"
    url = urlsplit(whole)
    if whole and (url.scheme not in ("http", "https") or not url.hostname or url.path or url.query):
        raise Unfit("https://host or https://host:port, below which each user gets a host name")
    return whole


def subdomain_hook(value: Any) -> Hook:
    named = {"idna": idna_hook, "legacy": legacy_hook}
    if isinstance(value, str) and value in named:
        return named[value]
    if not callable(value):
        raise Unfit('"idna", "legacy" or a function of name, domain and kind')
    hook: Hook = value
    return hook


def seconds(value: Any) -> timedelta:
    try:
        return timedelta(seconds=number(value))
    except OverflowError as exc:
        raise Unfit("a number of seconds that a calendar can hold") from exc


def positive_seconds(value: Any) -> timedelta:
    if number(value) <= 0:
        raise Unfit("a number of seconds above 0")
    return seconds(value)


def rate_limits(value: Any) -> dict[str, int]:
    limits = {text(kind): integer(limit) for kind, limit in mapping(value).items()}
    if set(limits) - {*DEFAULT_LIMITS} or any(limit < 0 for limit in limits.values()):
        raise Unfit(f"requests a minute for any of {', '.join(DEFAULT_LIMITS)}; 0 is no limit")
    return limits


def days(value: Any) -> timedelta:
    return seconds(number(value) * 86400)


def optional_seconds(value: Any) -> timedelta | None:
    return seconds(value) if value else None


def function_or(convert: Convert) -> Convert:
    def either(value: Any) -> Any:
        return value if callable(value) else convert(value)

    return either


def function(value: Any) -> Any:
    if value is not None and not callable(value):
        raise Unfit("a function")
    return value


def plug_in(value: Any) -> Any:
    if not isinstance(value, str | type):
        raise Unfit("a class, or its name")
    return value


def stopped_status(value: Any) -> int:
    return 503 if boolean(value) else 424


def handlers(value: Any) -> tuple[tuple[Any, ...], ...]:
    if not all(isinstance(item, list | tuple) and len(item) >= 2 for item in _items(value)):  # noqa: PLR2004 - (path, class)
        raise Unfit("a list of (path, handler class) pairs")
    return tuple(tuple(item) for item in value)


def groups(value: Any) -> tuple[GroupOptions, ...]:
    result = []
    for name, entry in mapping(value).items():
        if isinstance(entry, Mapping):
            members, properties = entry.get("users", ()), entry.get("properties", {})
            result.append(GroupOptions(name=name, users=texts(members), properties=mapping(properties)))
        else:
            result.append(GroupOptions(name=name, users=texts(entry)))
    return tuple(result)


def _known(entry: Mapping[str, Any], kind: str, known: set[str]) -> None:
    if unknown := set(entry) - known:
        raise Unfit(f"{kind} with only {', '.join(sorted(known))}, not {', '.join(sorted(unknown))}")
    if not isinstance(entry.get("name"), str) or not entry["name"]:
        raise Unfit(f"{kind} with a name")


def roles(value: Any) -> tuple[RoleOptions, ...]:
    result = []
    for entry in _items(value):
        given = mapping(entry)
        _known(given, "roles", {"name", "description", "scopes", "users", "groups", "services", "managed_by_auth"})
        lists = {
            key: texts(given[key]) if given.get(key) is not None else None
            for key in ("scopes", "users", "groups", "services")
        }
        result.append(RoleOptions(name=given["name"], description=text(given.get("description") or ""), **lists))
    return tuple(result)


_SERVICE_TEXTS: Final = ("url", "api_token", "cwd", "user", "oauth_client_id", "oauth_redirect_uri")
_SERVICE_KEYS: Final = {
    "name", "url", "api_token", "apiToken", "admin", "display", "info", "command", "cwd", "user", "environment",
    "oauth_client_id", "oauth_redirect_uri", "oauth_no_confirm", "oauth_client_allowed_scopes",
    "oauth_roles", "externally_managed",
}  # fmt: skip


def service(value: Any) -> ServiceOptions:
    given = mapping(value)
    _known(given, "services", _SERVICE_KEYS)
    given["api_token"] = given.get("api_token") or given.get("apiToken") or ""
    command = given.get("command") or ()
    return ServiceOptions(
        name=given["name"],
        admin=boolean(given.get("admin", False)),
        display=boolean(given.get("display", True)),
        info=mapping(given.get("info") or {}),
        command=tuple(command.split()) if isinstance(command, str) else texts(command),
        environment={name: str(item) for name, item in mapping(given.get("environment") or {}).items()},
        oauth_no_confirm=boolean(given.get("oauth_no_confirm", False)),
        oauth_client_allowed_scopes=texts(given.get("oauth_client_allowed_scopes") or ()),
        oauth_roles=texts(given.get("oauth_roles") or ()),
        **{key: text(given.get(key) or "") for key in _SERVICE_TEXTS},
    )


def services(value: Any) -> tuple[ServiceOptions, ...]:
    found = tuple(service(entry) for entry in _items(value))
    names = [entry.name for entry in found]
    if twice := {name for name in names if names.count(name) > 1}:
        raise Unfit(f"different names; {', '.join(sorted(twice))} is there twice")
    return found


# Trait -> (field of HubOptions, conversion).
APP_TRAITS: Final[dict[str, tuple[str, Convert]]] = {
    "base_url": ("base_url", base_url),
    "public_url": ("public_url", public_url),
    "subdomain_host": ("subdomain_host", subdomain_host),
    "subdomain_hook": ("subdomain_hook", subdomain_hook),
    "hub_ip": ("hub_ip", text),
    "hub_port": ("hub_port", integer),
    "ip": ("public_ip", text),
    "port": ("public_port", integer),
    "hub_connect_url": ("hub_connect_url", text),
    "db_kwargs": ("db_options", mapping),
    "proxy_auth_token": ("proxy_token", text),
    "authenticator_class": ("authenticator_class", plug_in),
    "spawner_class": ("spawner_class", plug_in),
    "extra_handlers": ("extra_handlers", handlers),
    "cookie_max_age_days": ("cookie_max_age", days),
    "oauth_token_expires_in": ("oauth_token_expires", seconds),
    "oauth_require_pkce": ("oauth_require_pkce", boolean),
    "token_expires_in_max_seconds": ("token_expires_max", optional_seconds),
    "cookie_host_prefix_enabled": ("cookie_host_prefix_enabled", boolean),
    "shutdown_on_logout": ("shutdown_on_logout", boolean),
    "load_groups": ("load_groups", groups),
    "load_roles": ("load_roles", roles),
    "custom_scopes": ("custom_scopes", scopes),
    "extra_user_scopes": ("extra_user_scopes", texts),
    "api_tokens": ("api_tokens", text_mapping),
    "services": ("services", services),
    "allow_named_servers": ("allow_named_servers", boolean),
    "named_server_limit_per_user": ("named_server_limit_per_user", function_or(integer)),
    "default_server_name": ("default_server_name", text),
    "active_server_limit": ("active_server_limit", integer),
    "concurrent_spawn_limit": ("concurrent_spawn_limit", integer),
    "redirect_to_server": ("redirect_to_server", boolean),
    "default_url": ("default_url", function_or(text)),
    "implicit_spawn_seconds": ("implicit_spawn_seconds", number),
    "user_redirect_hook": ("user_redirect_hook", function),
    "cleanup_servers": ("cleanup_servers", boolean),
    "cleanup_proxy": ("cleanup_proxy", boolean),
    "use_legacy_stopped_server_status_code": ("stopped_server_status", stopped_status),
    "active_user_window": ("active_user_window", seconds),
    "audit_keep_days": ("audit_keep", days),
    "service_check_interval": ("service_check_interval", positive_seconds),
    "api_rate_limits": ("api_rate_limits", rate_limits),
    "api_page_default_limit": ("api_page_default_limit", integer),
    "api_page_max_limit": ("api_page_max_limit", integer),
    "authenticate_prometheus": ("authenticate_prometheus", boolean),
    "template_paths": ("template_paths", texts),
    "template_vars": ("template_vars", mapping),
    "jinja_environment_options": ("jinja_options", mapping),
    "logo_file": ("logo_file", text),
    "trusted_downstream_ips": ("trusted_downstream_ips", texts),
}
# Read by `read_options` itself, because they meet in one option or need more than their value.
COMBINED: Final = frozenset(
    [
        "admin_users",
        "bind_url",
        "cookie_secret",
        "cookie_secret_file",
        "db_url",
        "hub_bind_url",
        "hub_connect_ip",
        "hub_connect_port",
        "log_level",
        "proxy_class",
        "service_tokens",
        "ssl_cert",
        "ssl_key",
        "tornado_settings",
    ]
)
# Set by z2jh itself, or meaning what is so here anyway: not worth a note.
SILENT: Final[dict[str, str]] = {
    "admin_access": "permissions are scopes; admins hold `access:servers`",
    "last_activity_interval": "proxies report activity every few seconds",
    "upgrade_db": "the database is migrated at the start, always",
}
WITHOUT_MEANING: Final[dict[str, str]] = {
    **dict.fromkeys(
        ["proxy_cmd", "proxy_api_ip", "proxy_api_port", "debug_proxy", "proxy_check_interval", "hub_routespec"],
        "the proxy is Perijove's own",
    ),
    **dict.fromkeys(
        [
            "internal_ssl",
            "internal_certs_location",
            "recreate_internal_certs",
            "generate_certs",
            "external_ssl_authorities",
            "trusted_alt_names",
        ],
        "there is no internal TLS",
    ),
    **dict.fromkeys(
        ["log_format", "log_datefmt", "logging_config", "extra_log_file", "extra_log_handlers"],
        "logging is set on the command line",
    ),
    **dict.fromkeys(
        ["config_file", "generate_config", "show_config", "show_config_json"],
        "it belongs on the command line: `perijove up -f config.yaml`, `perijove check`",
    ),
    "activity_resolution": "activity is written every few seconds, many users in one statement",
    "allow_existing_invalid_named_servers": "servers keep their names and can be started, as `allow-start` says",
    "answer_yes": "nothing asks",
    "confirm_no_ssl": "it has had no effect in JupyterHub since 0.7",
    "data_files_path": "pages and their files are part of the program; yours come first by `template_paths`",
    "debug_db": "SQL is not logged",
    "forwarded_host_header": "proxies keep the Host header, and the hub reads that",
    "hub_socket_mode": "the hub listens at an address, not at a socket file",
    "init_spawners_timeout": "the start waits for no server",
    "pid_file": "`perijove up`, systemd or the cluster knows the process",
    "reset_db": "a database is removed by whoever runs it",
    "trust_user_provided_tokens": "it says how often a token of the configuration is hashed, which is once",
}


# Beyond JupyterHub's own.
OWN_TRAITS: Final = frozenset(["api_rate_limits", "audit_keep_days"])


def known_app_traits() -> set[str]:
    return {*APP_TRAITS, *COMBINED, *SILENT, *WITHOUT_MEANING}
