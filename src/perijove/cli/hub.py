"""`perijove hub`: one replica of the hub, without a proxy."""

import asyncio
import gc
import os
import signal
import socket
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from perijove.cli.control import Control, HubFacts
from perijove.cli.datadir import prepare
from perijove.cli.listening import connectable, listening
from perijove.cli.options import (
    DataDir,
    Debug,
    Files,
    HubIP,
    HubPort,
    LogFormat,
    Logs,
    StopServers,
    Target,
    Where,
    address,
)

if TYPE_CHECKING:
    from perijove.config import Compiled
    from perijove.config.options import HubOptions
    from perijove.services.context import HubContext
    from perijove.services.shutdown_wish import ShutdownWish

TOKEN_VARIABLE = "CONFIGPROXY_AUTH_TOKEN"  # noqa: S105 - a variable's name

# For the crash tests alone: the file that says at which point of `perijove.lib.faults` this hub kills or freezes
# itself. Read here and nowhere else, so that no configuration and no library can arm one.
FAULT_VARIABLE = "PERIJOVE_FAULT_FILE"

EPILOG = """
[bold]Examples[/]

  perijove hub -f config.yaml

  CONFIGPROXY_AUTH_TOKEN=… perijove hub -f config.yaml --hub-ip 0.0.0.0 --hub-port 8081
"""


def register(app: typer.Typer) -> None:
    app.command(epilog=EPILOG)(hub)


def hub(
    *,
    files: Files = None,
    data_dir: DataDir,
    hub_ip: HubIP = None,
    hub_port: HubPort = None,
    ip: Annotated[
        str | None,
        typer.Option("--ip", help="Where the proxy listens.", show_default="127.0.0.1", callback=address),
    ] = None,
    port: Annotated[int | None, typer.Option("--port", help="The proxy's port.", show_default="8000")] = None,
    target: Where = Target.LOCAL,
    stop_servers: StopServers = False,
    log_format: Logs = LogFormat.CONSOLE,
    debug: Debug = False,
) -> None:
    """Run one hub. A proxy of its own, or several, must be pointed at it.

    Several hubs may run on one database; each answers for all.
    """
    from perijove.cli.compiling import compile_files, show_notes
    from perijove.lib import allocation
    from perijove.lib.log import configure
    from perijove.lib.plain_tracebacks import load_mako

    # What a start loads stays: collections in between only walk it again (a tenth of the start).
    gc.disable()
    allocation.use_one_arena()
    load_mako()
    control = Control.attach()
    _watch_faults()
    compiled = compile_files(
        files,
        prepare(data_dir),
        target=target.value,
        public_ip=ip,
        public_port=port,
        hub_ip=hub_ip,
        hub_port=hub_port,
        cleanup_servers=stop_servers or None,
        debug=debug or None,
    )
    if not compiled.options.proxy_token and (token := os.environ.get(TOKEN_VARIABLE)):
        compiled = replace(compiled, options=replace(compiled.options, proxy_token=token))
    os.environ.update(compiled.environment)
    show_notes(compiled)
    configure(json=log_format is LogFormat.JSON, debug=compiled.options.debug)
    if control is not None:
        control.configured(facts_of(compiled))
    with listening(compiled.options.hub_ip, compiled.options.hub_port, "--hub-port") as sock:
        run(compiled, sock, control)


def _watch_faults() -> None:
    if file := os.environ.pop(FAULT_VARIABLE, ""):
        from perijove.lib import faults

        faults.watch(Path(file))


def run(compiled: "Compiled", sock: socket.socket, control: Control | None) -> None:
    """Serve until SIGTERM or SIGINT."""
    import uvloop

    from perijove.cli.failures import explained

    with explained():
        uvloop.run(_serve(compiled, sock, control))


async def _serve(compiled: "Compiled", sock: socket.socket, control: Control | None) -> None:
    from perijove.compose import serve_hub
    from perijove.lib import collector
    from perijove.lib.log import get_logger

    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)

    wishes: list[ShutdownWish] = []

    async def ready(hub: "HubContext") -> None:
        gc.enable()
        collector.put_aside_survivors()
        wishes.append(hub.shutdown)
        get_logger("perijove.hub").info("hub is ready", url=hub_url(compiled.options))
        if control is not None:
            control.ready()
        await _tell_of_jupyterhub(hub)

    await serve_hub(compiled.options, compiled.traits, sock=sock, stop=stop, ready=ready)
    wish = wishes[0] if wishes else None
    if control is not None and wish is not None and wish.asked.is_set():
        control.leaving(proxy=compiled.options.cleanup_proxy if wish.proxy is None else wish.proxy)


async def _tell_of_jupyterhub(hub: "HubContext") -> None:
    from perijove.lib.log import get_logger
    from perijove.services.jupyterhub_import.beside import not_imported

    found = await not_imported(hub, (hub.options.data_dir, Path.cwd()))
    if found is not None:
        get_logger("perijove.hub").warning(
            "a JupyterHub's database is here and was not imported: its users, tokens and running servers are "
            "unknown to this hub; import it, or move it away",
            database=str(found),
            command=f"perijove db import-jupyterhub {found}",
        )


def hub_url(options: "HubOptions") -> str:
    return options.hub_connect_url or f"http://{connectable(options.hub_ip)}:{options.hub_port}"


def facts_of(compiled: "Compiled") -> HubFacts:
    options = compiled.options
    return HubFacts(
        public_ip=options.public_ip,
        public_port=options.public_port,
        base_url=options.base_url,
        hub_url=hub_url(options),
        proxy_token=options.proxy_token,
        public_url=options.public_url if options.addresses.domain else "",
        ssl_cert=str(options.proxy_options.get("ssl_cert", "")),
        ssl_key=str(options.proxy_options.get("ssl_key", "")),
        unprotected=compiled.unprotected,
        admin=compiled.generated_admin,
        password_file=compiled.password_file,
        new_password=compiled.new_password,
    )
