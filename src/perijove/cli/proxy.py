"""`perijove proxy`: the data plane on its own, for any hub's URLs."""

import os
from pathlib import Path
from typing import Annotated

import typer

from perijove.cli.control import Control
from perijove.cli.exits import CommandFailed, Exit
from perijove.cli.listening import require_free
from perijove.cli.options import Debug, LogFormat, Logs

TOKEN_VARIABLE = "CONFIGPROXY_AUTH_TOKEN"  # noqa: S105 - a variable's name

EPILOG = """
[bold]Examples[/]

  perijove proxy --hub-url http://127.0.0.1:8081 --token-file proxy.token

  perijove proxy --ip 0.0.0.0 --port 443 --ssl-cert hub.pem --ssl-key hub.key --hub-url http://hub-0:8081 --hub-url http://hub-1:8081
"""


def register(app: typer.Typer) -> None:
    app.command(epilog=EPILOG)(proxy)


def proxy(
    *,
    hub_urls: Annotated[
        list[str] | None,
        typer.Option(
            "--hub-url", help="A hub. Repeat it: any of them answers for all.", show_default="http://127.0.0.1:8081"
        ),
    ] = None,
    token_file: Annotated[
        Path | None,
        typer.Option(help=f"File with the token that hub and proxy share; otherwise {TOKEN_VARIABLE}.", dir_okay=False),
    ] = None,
    ip: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on.")] = 8000,
    base_url: Annotated[str, typer.Option(help="The hub's base URL.")] = "/",
    table: Annotated[
        Path | None,
        typer.Option(help="Keep the routes here, to serve running notebooks when started while every hub is down."),
    ] = None,
    ssl_cert: Annotated[Path | None, typer.Option(help="Certificate chain, for https.", exists=True)] = None,
    ssl_key: Annotated[Path | None, typer.Option(help="Its key.", exists=True)] = None,
    access_log: Annotated[str, typer.Option(help="off, combined or json: one line a request.")] = "off",
    metrics_port: Annotated[int | None, typer.Option(help="Port for Prometheus, on --ip.")] = None,
    drain_seconds: Annotated[
        float, typer.Option(min=0, help="After SIGTERM, how long open requests and websockets may go on.")
    ] = 10,
    log_format: Logs = LogFormat.CONSOLE,
    debug: Debug = False,
) -> None:
    """Run one proxy. It follows the routes of a hub and keeps serving them while no hub answers."""
    from perijove.lib.log import configure
    from perijove.proxy.main import serve
    from perijove.proxy.options import ProxyOptions

    control = Control.attach()
    configure(json=log_format is LogFormat.JSON, debug=debug)
    if port:
        require_free(ip, port, "--port")
    options = ProxyOptions(
        listen=((ip, port),),
        base_url=base_url,
        hub_urls=tuple(hub_urls or ["http://127.0.0.1:8081"]),
        token=_token(token_file),
        table_path=table,
        ssl_cert=ssl_cert,
        ssl_key=ssl_key,
        access_log=access_log,
        metrics_listen=(ip, metrics_port) if metrics_port is not None else None,
        drain_seconds=drain_seconds,
        log_json=log_format is LogFormat.JSON,
        debug=debug,
    )
    if control is not None:
        control.end_with_parent()
    code = serve(options, ready=lambda _: control.ready() if control is not None else None)
    raise typer.Exit(code)


def _token(file: Path | None) -> str:
    if file is None:
        token = os.environ.get(TOKEN_VARIABLE, "")
    else:
        try:
            token = file.read_text(encoding="utf-8").strip()
        except OSError as error:
            raise CommandFailed(f"Cannot read {file}: {error.strerror}.", code=Exit.USAGE) from error
    if not token:
        raise CommandFailed(
            "The proxy needs the token that it shares with the hub.",
            remedy=f"Pass --token-file, or set {TOKEN_VARIABLE} for both.",
            code=Exit.USAGE,
        )
    return token
