"""`perijove proxy`: the data plane on its own, for any hub's URLs."""

import os
import sys
from pathlib import Path
from typing import Any, NoReturn

import typer

from perijove.cli import proxy_arguments as arguments
from perijove.cli.exits import CommandFailed, Exit
from perijove.cli.listening import require_free
from perijove.cli.options import Debug, LogFormat, Logs
from perijove.cli.proxy_arguments import TOKEN_VARIABLE, AccessLog
from perijove.cli.secret_files import token_of
from perijove.proxy.options import PRIVATE_NETWORKS, ProxyLimits, ProxyOptions, TLSOptions
from perijove.proxy.systemd import Activated, activated

PASSPHRASE_VARIABLE = "CONFIGPROXY_SSL_KEY_PASSPHRASE"  # noqa: S105 - a variable's name

EPILOG = """
[bold]Examples[/]

  perijove proxy --hub-url http://127.0.0.1:8081 --token-file proxy.token

  perijove proxy --ip 0.0.0.0 --port 443 --ssl-cert hub.pem --ssl-key hub.key --hub-url http://hub-0:8081 --hub-url http://hub-1:8081

  perijove proxy --workers 4 --drain-timeout 600 --max-requests-per-second 50
"""


def register(app: typer.Typer) -> None:
    app.command(epilog=EPILOG)(proxy)


def proxy(
    *,
    hub_urls: arguments.HubUrls = None,
    token_file: arguments.TokenFile = None,
    ip: arguments.Ip = "127.0.0.1",
    port: arguments.Port = 8000,
    sockets: arguments.Sockets = None,
    workers: arguments.Workers = 1,
    base_url: arguments.BaseUrl = "/",
    table: arguments.Table = None,
    extra_routes: arguments.ExtraRoutes = None,
    host_routing: arguments.HostRouting = False,
    trusted: arguments.Trusted = None,
    ssl_cert: arguments.SslCert = None,
    ssl_key: arguments.SslKey = None,
    hsts: arguments.Hsts = "",
    redirect_port: arguments.RedirectPort = None,
    redirect_to: arguments.RedirectTo = 0,
    acme_target: arguments.AcmeTarget = "",
    target_ca: arguments.TargetCa = None,
    target_cert: arguments.TargetCert = None,
    target_key: arguments.TargetKey = None,
    max_connections: arguments.MaxConnections = 0,
    max_connections_per_address: arguments.MaxConnectionsPerAddress = 0,
    max_connections_per_target: arguments.MaxConnectionsPerTarget = 1024,
    max_requests_per_second: arguments.MaxRequestsPerSecond = 0,
    request_burst: arguments.RequestBurst = 200,
    brand: arguments.Brand = "Perijove",
    logo: arguments.Logo = None,
    error_path: arguments.ErrorPath = None,
    access_log: arguments.AccessLogging = AccessLog.OFF,
    metrics_port: arguments.MetricsPort = None,
    drain_timeout: arguments.DrainTimeout = 10,
    pid_file: arguments.PidFile = None,
    log_format: Logs = LogFormat.CONSOLE,
    debug: Debug = False,
) -> None:
    """Run one proxy. It follows the routes of a hub and keeps serving them while no hub answers.

    Under systemd it serves the sockets it is handed (one named `http` redirects to https) and says when it is ready.
    """
    given = dict(locals())
    become(options_from(given, activated(os.environ)))


def options_from(given: dict[str, Any], sockets: Activated) -> ProxyOptions:
    """Raises CommandFailed."""
    ip, port, unix = given["ip"], given["port"], tuple(given["sockets"] or ())
    own_port = not (unix or sockets.public)
    if port and own_port:
        require_free(ip, port, "--port")
    trusted = given["trusted"]
    same: tuple[str, ...] = (
        "workers",
        "base_url",
        "host_routing",
        "hsts",
        "acme_target",
        "target_ca",
        "target_cert",
        "target_key",
    )
    same += ("brand", "logo", "pid_file", "debug")
    return ProxyOptions(
        listen=((ip, port),) if own_port else (),
        unix_sockets=unix,
        sockets=sockets.public,
        hub_urls=tuple(given["hub_urls"] or ["http://127.0.0.1:8081"]),
        token=_token(given["token_file"]),
        table_path=given["table"],
        extra_routes=_routes(given["extra_routes"] or []),
        trusted_downstream=tuple(trusted) if trusted is not None else PRIVATE_NETWORKS,
        tls=TLSOptions(
            certificates=_pairs(given["ssl_cert"], given["ssl_key"]),
            passphrase=os.environ.pop(PASSPHRASE_VARIABLE, ""),
        ),
        redirect_listen=((ip, given["redirect_port"]),) if given["redirect_port"] is not None else (),
        redirect_sockets=sockets.redirect,
        redirect_to_port=given["redirect_to"],
        error_dir=given["error_path"],
        limits=ProxyLimits(
            clients=given["max_connections"],
            clients_per_address=given["max_connections_per_address"],
            target_connections=given["max_connections_per_target"],
            requests_per_second=given["max_requests_per_second"],
            request_burst=given["request_burst"],
        ),
        access_log=given["access_log"].value,
        metrics_listen=(ip, given["metrics_port"]) if given["metrics_port"] is not None else None,
        drain_seconds=given["drain_timeout"],
        log_json=given["log_format"] is LogFormat.JSON,
        **{name: given[name] for name in same},
    )


def become(options: "ProxyOptions") -> NoReturn:
    """Go on as `proxy_process`. Sockets that systemd passed, and the line to `perijove up`, stay open across it."""
    import msgspec

    from perijove.proxy.worker_wire import text_of

    sys.stdout.flush()
    sys.stderr.flush()
    descriptor = os.memfd_create("perijove-proxy-options", 0)
    os.write(descriptor, msgspec.json.encode(options, enc_hook=text_of))
    os.lseek(descriptor, 0, os.SEEK_SET)
    os.execv(sys.executable, [sys.executable, "-P", "-m", "perijove.cli.proxy_process", "proxy", str(descriptor)])  # noqa: S606 - ourselves


def _pairs(certificates: list[Path] | None, keys: list[Path] | None) -> "tuple[tuple[Path, Path | None], ...]":
    certificates, keys = certificates or [], keys or []
    if len(keys) > len(certificates) or 0 < len(keys) < len(certificates):
        raise CommandFailed(
            "There are not as many --ssl-key as --ssl-cert.",
            remedy="Give a key for each certificate, in the same order, or none when the files hold both.",
            code=Exit.USAGE,
        )
    for file in (*certificates, *keys):
        if not file.is_file():
            raise CommandFailed(f"There is no file {file}.", code=Exit.USAGE)
    if not keys:
        return tuple((certificate, None) for certificate in certificates)
    return tuple(zip(certificates, keys, strict=True))


def _routes(given: list[str]) -> dict[str, str]:
    routes = {}
    for item in given:
        prefix, equals, target = item.partition("=")
        if not equals or not prefix or "://" not in target:
            raise CommandFailed(
                f"--extra-route {item} is not PREFIX=TARGET.",
                remedy="For example: --extra-route /docs/=http://127.0.0.1:9000",
                code=Exit.USAGE,
            )
        routes[prefix] = target
    return routes


def _token(file: Path | None) -> str:
    token = token_of(file, TOKEN_VARIABLE)
    if not token:
        raise CommandFailed(
            "The proxy needs the token that it shares with the hub.",
            remedy=f"Pass --token-file, or set {TOKEN_VARIABLE} for both.",
            code=Exit.USAGE,
        )
    return token
