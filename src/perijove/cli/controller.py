"""`perijove controller`: the chart's pod, which deploys and keeps deployed."""

import asyncio
import signal
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from perijove.cli.cluster import Context, Kubeconfig, Namespace, Timeout, explained, seconds
from perijove.cli.exits import CommandFailed
from perijove.cli.options import Debug, LogFormat, Logs
from perijove.cli.progress import Terminal

if TYPE_CHECKING:
    from perijove.controller.controller import Controller

EPILOG = """
[bold]Examples[/]

  perijove controller -n jhub --release jhub --values-dir /etc/perijove-values

  perijove controller -n jhub --release jhub --uninstall
"""


def register(app: typer.Typer) -> None:
    app.command(epilog=EPILOG)(controller)


def controller(
    *,
    namespace: Namespace,
    release: Annotated[str, typer.Option("--release", help="Name of the release, and of its object Hub.")],
    values_dir: Annotated[
        Path, typer.Option(help="Where the chart's Secret is mounted: values.yaml, checksum, image.", file_okay=False)
    ] = Path("/etc/perijove-values"),
    ready_file: Annotated[
        Path | None, typer.Option(help="Exists while everything is deployed and up: for a probe.", dir_okay=False)
    ] = None,
    timeout: Timeout = "10m",
    uninstall: Annotated[
        bool, typer.Option("--uninstall", help="Take everything away instead, but for volumes and keys, and end.")
    ] = False,
    kubeconfig: Kubeconfig = None,
    context: Context = None,
    log_format: Logs = LogFormat.CONSOLE,
    debug: Debug = False,
) -> None:
    """Deploy the values of the Helm chart, repair what others change, and say how it goes on the object Hub.

    The chart starts it. It stops at SIGTERM; interrupted at any point, the next one goes on.
    """
    from perijove.controller.controller import Controller
    from perijove.controller.leaving import leave
    from perijove.deploy.waiting import Deadline
    from perijove.kube.client import open_client
    from perijove.lib import log

    log.configure(json=log_format is LogFormat.JSON, debug=debug)
    deadline = Deadline(timeout_seconds=seconds(timeout))

    async def work() -> None:
        async with open_client(kubeconfig=kubeconfig, context=context) as client:
            if uninstall:
                with Terminal() as report:
                    await leave(client, namespace, release, report)
                return
            found = Controller(
                client=client,
                namespace=namespace,
                release=release,
                directory=values_dir,
                ready_file=ready_file,
                deadline=deadline,
            )
            await _until_told(found)

    with explained():
        try:
            asyncio.run(work())
        except OSError as error:
            raise CommandFailed(f"The values cannot be read: {error}.") from error


async def _until_told(controller: "Controller") -> None:
    running = asyncio.create_task(controller.run())
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, running.cancel)
    # Told to stop, it has given its leases back.
    with suppress(asyncio.CancelledError):
        await running
