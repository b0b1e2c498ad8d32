"""Every trait of JupyterHub's application as a page of documentation: what becomes of it here."""

from typing import Final

from perijove.config.app_traits import APP_TRAITS, COMBINED, OWN_TRAITS, SILENT, WITHOUT_MEANING

_INTRODUCTION: Final = """# Traits of JupyterHub's application

What `c.JupyterHub.<trait>` in `hub.extraConfig`, and `hub.config.JupyterHub.<trait>`, do here. Those that are effective
do what JupyterHub's documentation says of them. Setting one without effect is no mistake: `perijove check` and the
hub's start say so in a note. Traits of spawners and authenticators are read by these classes themselves."""

# Effective, and not quite as JupyterHub has them.
_REMARKS: Final = {
    "admin_users": "Authenticator.admin_users, under its old name",
    "api_rate_limits": "requests a minute of one user or service: `list`, `export`, `token`; 0 is no limit",
    "audit_keep_days": "how long the audit trail is kept; 0 is for ever",
    "cleanup_proxy": "when a shutdown is asked for through the REST API of a hub under `perijove up`",
    "cleanup_servers": "off unless set: servers outlive a restart of the hub",
    "cookie_host_prefix_enabled": "for the login cookie and `_xsrf`; servers read the session's name as it is",
    "db_kwargs": "those of SQLAlchemy's engine that an asynchronous one has",
    "extra_handlers": "Tornado handlers, in the hub's own process",
    "jinja_environment_options": "over ours, which trim blocks",
    "log_level": "DEBUG, or not",
    "proxy_class": "configurable-http-proxy by name, else Perijove's own proxy",
    "public_url": "from `subdomain_host` where that is set",
    "service_check_interval": "by one replica at a time; the REST API and the admin page tell what was found",
    "ssl_cert": "of the proxy that `perijove up` runs",
    "ssl_key": "of the proxy that `perijove up` runs",
    "subdomain_hook": "`idna`, `legacy` or a function",
    "token_expires_in_max_seconds": "for everybody; new tokens last as long unless they say less",
    "tornado_settings": "`headers`, `cookie_options` and `slow_…_timeout`; the rest is for plug-ins",
}


def markdown() -> str:
    """docs/reference/jupyterhub-traits.md."""
    rows = ["| trait | here | |", "| --- | --- | --- |"]
    effective = {*APP_TRAITS, *COMBINED}
    for name in sorted(effective | {*SILENT} | {*WITHOUT_MEANING}):
        if name in effective:
            kind = "effective, **Perijove's**" if name in OWN_TRAITS else "effective"
            rows.append(f"| `{name}` | {kind} | {_REMARKS.get(name, '')} |")
        elif name in SILENT:
            rows.append(f"| `{name}` | not needed | {SILENT[name]} |")
        else:
            rows.append(f"| `{name}` | no effect | {WITHOUT_MEANING[name]} |")
    return f"{_INTRODUCTION}\n\n" + "\n".join(rows)
