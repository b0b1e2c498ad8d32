"""`perijove up`: a working hub on one machine, with one command."""

import asyncio
import os
import secrets
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.panel import Panel

from perijove.cli.console import err, out
from perijove.cli.control import HubFacts
from perijove.cli.datadir import locked, prepare
from perijove.cli.exits import CommandFailed, Exit
from perijove.cli.listening import connectable, free_port, is_loopback, require_free
from perijove.cli.options import DataDir, Debug, Files, HubIP, HubPort, LogFormat, Logs, StopServers, address

TOKEN_VARIABLE = "CONFIGPROXY_AUTH_TOKEN"  # noqa: S105 - a variable's name

EPILOG = """
[bold]Examples[/]

  perijove up

  perijove up --port 8123 --data-dir ./hub

  perijove up -f config.yaml -f secrets.yaml

  perijove up --ip 0.0.0.0 -f config.yaml --log-format json
"""


def register(app: typer.Typer) -> None:
    app.command(epilog=EPILOG)(up)


def up(
    *,
    files: Files = None,
    port: Annotated[
        int | None,
        typer.Option(min=0, max=65535, help="Public port. 0 picks a free one.", show_default="8000"),
    ] = None,
    ip: Annotated[
        str | None,
        typer.Option("--ip", help="Public address to listen on.", show_default="127.0.0.1", callback=address),
    ] = None,
    data_dir: DataDir,
    hub_ip: HubIP = None,
    hub_port: HubPort = None,
    stop_servers: StopServers = False,
    allow_unprotected: Annotated[
        bool,
        typer.Option(
            "--allow-unprotected",
            help="Listen beyond this machine although anybody who reaches the port can log in and run code.",
        ),
    ] = False,
    log_format: Logs = LogFormat.CONSOLE,
    debug: Debug = False,
) -> None:
    """Run a hub and its proxy on this machine.

    Without a configuration it protects itself: one admin named after you, with a generated password
    that is shown once and kept in the data directory. Ctrl-C stops hub and proxy; notebook servers
    keep running and are found again at the next start.
    """
    from perijove.lib.log import configure

    configure(json=log_format is LogFormat.JSON, debug=debug)
    directory = prepare(data_dir)
    if port == 0:
        port = free_port(ip or "127.0.0.1")
    if hub_port == 0:
        hub_port = free_port(hub_ip or "127.0.0.1")
    common = ["--log-format", log_format.value, *(["--debug"] if debug else [])]
    hub_arguments = [
        *(argument for file in files or [] for argument in ("--file", str(file))),
        *_given("--ip", ip),
        *_given("--port", port),
        *_given("--hub-ip", hub_ip),
        *_given("--hub-port", hub_port),
        *(["--stop-servers"] if stop_servers else []),
        "--data-dir",
        str(directory),
        *common,
    ]
    with locked(directory):
        code = asyncio.run(_supervise(directory, hub_arguments, common, allow_unprotected=allow_unprotected))
    raise typer.Exit(code)


def _given(option: str, value: object) -> list[str]:
    # Every address is "" within, and `*` on a command line.
    return [] if value is None else [option, str(value) or "*"]


def _command(*arguments: str) -> list[str]:
    # -P: the directory somebody happens to start this in is no place to import modules from.
    return [sys.executable, "-P", "-m", "perijove.cli", *arguments]


async def _supervise(directory: Path, hub_arguments: list[str], common: list[str], *, allow_unprotected: bool) -> int:
    from perijove.cli.child import Child
    from perijove.cli.supervise import Supervisor

    # Shared by both children of this run, unless the configuration names one.
    token = os.environ.get(TOKEN_VARIABLE) or secrets.token_hex(32)

    def make_proxy(facts: HubFacts) -> Child:
        arguments = ["--hub-url", facts.hub_url, "--ip", facts.public_ip, "--port", str(facts.public_port)]
        # Ctrl-C is to take a moment, not as long as somebody has a notebook open.
        arguments += ["--drain-timeout", "1"]
        arguments += ["--base-url", facts.base_url, "--table", str(directory / "routes.json"), *common]
        if facts.ssl_cert:
            arguments += ["--ssl-cert", facts.ssl_cert, "--ssl-key", facts.ssl_key]
        return Child("proxy", _command("proxy", *arguments), env={TOKEN_VARIABLE: facts.proxy_token})

    def approve(facts: HubFacts) -> None:
        require_protection(facts, allow_unprotected=allow_unprotected)
        require_free(facts.public_ip, facts.public_port, "--port")

    # The single-user server installed beside us is the one whose version fits, whether or not somebody
    # activated this environment.
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    hub = Child("hub", _command("hub", *hub_arguments), env={TOKEN_VARIABLE: token, "PATH": path})
    return await Supervisor(hub=hub, proxy=make_proxy, approve=approve, announce=announce).run()


def require_protection(facts: HubFacts, *, allow_unprotected: bool) -> None:
    """Whoever logs in runs code as a user of this machine: nobody opens that to a network by accident."""
    if not facts.unprotected or is_loopback(facts.public_ip):
        return
    if allow_unprotected:
        warning = f"listening on {facts.public_ip} without protection: {facts.unprotected}"
        err.print(f"[bold yellow]warning:[/] {escape(warning)}")
        return
    raise CommandFailed(
        f"Refusing to listen on {facts.public_ip}: {facts.unprotected}",
        remedy="Configure an authenticator (hub.config.JupyterHub.authenticator_class), listen on 127.0.0.1, "
        "or pass --allow-unprotected if the network itself keeps others out.",
        code=Exit.USAGE,
    )


def announce(facts: HubFacts) -> None:
    """The one thing a person needs from the output: where to go, and as whom."""
    scheme = "https" if facts.ssl_cert else "http"
    url = facts.public_url or f"{scheme}://{connectable(facts.public_ip)}:{facts.public_port}{facts.base_url}"
    lines = [f"[bold]Perijove is running at[/] [link={url}]{url}[/link]"]
    if facts.admin:
        lines.append(f"Log in as   [bold]{escape(facts.admin)}[/]")
    if facts.new_password:
        lines.append(f"Password    [bold]{escape(facts.new_password)}[/]  (shown this once)")
    if facts.password_file:
        lines.append(f"Kept in     {escape(facts.password_file)}")
    lines.append("[dim]Ctrl-C stops hub and proxy.[/]")
    if out.is_terminal:
        out.print(Panel("\n".join(lines), expand=False))
    else:
        out.print("\n".join(lines))
