"""`perijove-chp`: our proxy in the place of `configurable-http-proxy`, with its flags and its REST API.

For a stock JupyterHub: `c.ConfigurableHTTPProxy.command = ["perijove-chp"]`, or in z2jh `proxy.chp.command`. What
cannot be done is refused with a message instead of being ignored; what means nothing here is said to.
"""

import argparse
import os
import sys
from pathlib import Path

import perijove.lib.plain_tracebacks  # noqa: F401 - before anything that logs
from perijove import __version__
from perijove.proxy.options import (
    APIOptions,
    ProxyLimits,
    ProxyOptions,
    ProxyTimeouts,
    RewriteOptions,
    TLSOptions,
)
from perijove.proxy.systemd import Activated, activated

TOKEN_VARIABLE = "CONFIGPROXY_AUTH_TOKEN"  # noqa: S105 - a variable's name
_DEFAULT_PORT = 8000
# A hub that stops its proxy starts the next one at once, and waits for nothing.
_DRAIN_SECONDS = 1.0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="perijove-chp", description=__doc__, allow_abbrev=False)
    add = parser.add_argument
    add("--version", "-V", action="version", version=__version__)
    for name in ("", "api-", "metrics-"):
        add(f"--{name}ip", help="address to listen on; * is every interface")
        add(f"--{name}port", type=int)
        add(f"--{name}socket", type=Path, help="unix socket to listen on instead")
    for name in ("", "api-", "client-"):
        for part in ("key", "cert", "ca"):
            add(f"--{name}ssl-{part}", type=Path)
        add(f"--{name}ssl-request-cert", action="store_true")
        add(f"--{name}ssl-reject-unauthorized", action="store_true")
    add("--ssl-protocol", help="TLSv1_2 or TLSv1_3: the least that is spoken")
    add("--ssl-ciphers", default="")
    add("--ssl-allow-rc4", action="store_true", help="has no effect")
    add("--ssl-dhparam", type=Path)
    add("--default-target", default="", help="where everything goes that has no route")
    errors = parser.add_mutually_exclusive_group()
    errors.add_argument("--error-target", default="", help="error pages are asked of <url>/<status>?url=…")
    errors.add_argument("--error-path", type=Path, help="directory with <status>.html and error.html")
    add("--redirect-port", type=int, help="plain port that sends everybody to https")
    add("--redirect-to", type=int, default=0)
    add("--pid-file", type=Path)
    add("--no-x-forward", action="store_true")
    add("--no-prepend-path", action="store_true")
    add("--no-include-prefix", action="store_true")
    add("--change-origin", action="store_true")
    add("--custom-header", action="append", default=[], metavar="NAME:VALUE")
    add("--insecure", action="store_true", help="has no effect, as in configurable-http-proxy")
    add("--host-routing", action="store_true")
    add("--log-level", default="info", choices=("debug", "info", "warn", "error"))
    add("--timeout", type=float, help="milliseconds for which a client may be idle")
    add("--proxy-timeout", type=float, help="milliseconds for which a target may say nothing")
    add("--keep-alive-timeout", type=float, help="milliseconds a connection is kept between requests")
    for name in ("auto-rewrite", "protocol-rewrite", "storage-backend"):
        add(f"--{name}", nargs="?", const="yes", help="refused: not offered here")
    # Ours.
    add("--workers", type=int, default=1, help="processes that share the port")
    add("--drain-timeout", type=float, default=_DRAIN_SECONDS, help="seconds after SIGTERM for what is under way")
    add("--access-log", default="off", choices=("off", "combined", "json"))
    add("--log-format", default="console", choices=("console", "json"))
    return parser


def read_options(arguments: list[str], environ: dict[str, str], given: Activated) -> ProxyOptions:
    """Raises SystemExit with what is wrong."""
    parser = _parser()
    args = parser.parse_args(arguments)
    for name in ("auto_rewrite", "protocol_rewrite", "storage_backend"):
        if getattr(args, name) is not None:
            parser.error(f"--{name.replace('_', '-')} is not offered by this proxy")
    if args.redirect_port is not None and not args.ssl_cert:
        parser.error("--redirect-port needs --ssl-cert and --ssl-key")
    port = args.port if args.port is not None else _DEFAULT_PORT
    api_port = args.api_port if args.api_port is not None else (port + 1 if port else 0)
    api_here = args.api_socket or given.api
    own_port = not (args.socket or given.public)
    metrics = (_host(args.metrics_ip), args.metrics_port or 0) if args.metrics_port is not None else None
    return ProxyOptions(
        listen=((_host(args.ip), port),) if own_port else (),
        unix_sockets=(args.socket,) if args.socket else (),
        sockets=given.public,
        workers=args.workers,
        token=environ.get(TOKEN_VARIABLE, ""),
        api=APIOptions(
            listen=() if api_here else ((_host(args.api_ip or "localhost"), api_port),),
            unix_sockets=(args.api_socket,) if args.api_socket else (),
            sockets=given.api,
            tls=_tls(args, "api_", environ.get("CONFIGPROXY_API_SSL_KEY_PASSPHRASE", "")),
            default_target=args.default_target,
        ),
        host_routing=args.host_routing,
        tls=_tls(args, "", environ.get("CONFIGPROXY_SSL_KEY_PASSPHRASE", "")),
        redirect_listen=((_host(args.ip), args.redirect_port),) if args.redirect_port is not None else (),
        redirect_sockets=given.redirect,
        redirect_to_port=args.redirect_to,
        rewrite=_rewrite(parser, args),
        target_ca=args.client_ssl_ca,
        target_cert=args.client_ssl_cert,
        target_key=args.client_ssl_key,
        error_target=args.error_target.rstrip("/"),
        error_dir=args.error_path,
        brand="JupyterHub",
        # A hub is a target like any other here, and everybody's requests go to it.
        limits=ProxyLimits(target_connections=0),
        timeouts=_timeouts(args),
        drain_seconds=args.drain_timeout,
        metrics_listen=metrics,
        metrics_unix=args.metrics_socket,
        access_log=args.access_log,
        log_json=args.log_format == "json",
        debug=args.log_level == "debug",
        pid_file=args.pid_file,
    )


def _host(ip: str | None) -> str:
    return "" if ip in (None, "*") else str(ip)


def _tls(args: argparse.Namespace, which: str, passphrase: str) -> TLSOptions:
    cert = getattr(args, f"{which}ssl_cert")
    request = getattr(args, f"{which}ssl_request_cert")
    reject = getattr(args, f"{which}ssl_reject_unauthorized")
    return TLSOptions(
        certificates=((cert, getattr(args, f"{which}ssl_key")),) if cert else (),
        passphrase=passphrase,
        client_ca=getattr(args, f"{which}ssl_ca"),
        request_client=request and not reject,
        require_client=request and reject,
        ciphers=args.ssl_ciphers if not which else "",
        dhparam=args.ssl_dhparam if not which else None,
        minimum="1.3" if not which and "1_3" in (args.ssl_protocol or "") else "1.2",
    )


def _rewrite(parser: argparse.ArgumentParser, args: argparse.Namespace) -> RewriteOptions:
    headers = []
    for header in args.custom_header:
        name, colon, value = header.partition(":")
        if not colon or not name.strip().isprintable() or any(c in "\r\n\0" for c in header):
            parser.error(f"--custom-header {header!r} is not NAME:VALUE")
        headers.append((name.strip(), value.strip()))
    return RewriteOptions(
        x_forwarded=not args.no_x_forward,
        prepend_path=not args.no_prepend_path,
        include_prefix=not args.no_include_prefix,
        change_origin=args.change_origin,
        custom_headers=tuple(headers),
    )


def _timeouts(args: argparse.Namespace) -> ProxyTimeouts:
    given: dict[str, float] = {}
    if args.keep_alive_timeout is not None:
        given["keep_alive_seconds"] = args.keep_alive_timeout / 1000
    if args.timeout:
        given |= dict.fromkeys(("body_seconds", "send_seconds"), args.timeout / 1000)
    if args.proxy_timeout:
        given["target_silence_seconds"] = args.proxy_timeout / 1000
    return ProxyTimeouts(**given)


def main() -> None:
    """Entry point."""
    from perijove.cli.proxy_process import run

    options = read_options(sys.argv[1:], dict(os.environ), activated(os.environ))
    sys.exit(run(options))


if __name__ == "__main__":
    main()
