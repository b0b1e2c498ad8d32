"""`perijove uninstall`: a release out of a cluster, and volumes only when told."""

from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from perijove.cli.cluster import (
    Context,
    Kubeconfig,
    Namespace,
    ReleaseName,
    Timeout,
    Yes,
    confirm,
    connected,
    myself,
    seconds,
)
from perijove.cli.console import err, out
from perijove.cli.progress import Terminal

if TYPE_CHECKING:
    from perijove.deploy.uninstall import Leaving
    from perijove.kube.client import Client

EPILOG = """
[bold]Examples[/]

  perijove uninstall -n jhub

  perijove uninstall -n jhub --stop-servers --delete-volumes
"""


def register(app: typer.Typer) -> None:
    app.command(epilog=EPILOG)(uninstall)


def uninstall(
    *,
    namespace: Namespace,
    release: ReleaseName = None,
    stop_servers: Annotated[
        bool, typer.Option("--stop-servers", help="Also delete users' pods. Otherwise they run on, out of reach.")
    ] = False,
    delete_volumes: Annotated[
        bool, typer.Option("--delete-volumes", help="Also delete the hub's volume, and the keys its data needs.")
    ] = False,
    delete_user_volumes: Annotated[
        bool, typer.Option("--delete-user-volumes", help="Also delete users' volumes: their files.")
    ] = False,
    timeout: Timeout = "10m",
    yes: Yes = False,
    kubeconfig: Kubeconfig = None,
    context: Context = None,
) -> None:
    """Delete a release. The hub's volume, its Secret and users' volumes stay, unless told otherwise."""
    from perijove.deploy.uninstall import Removal, Uninstall
    from perijove.deploy.waiting import Deadline
    from perijove.deploy.wishes import Wishes

    removal = Removal(
        servers=stop_servers or delete_user_volumes, volumes=delete_volumes, user_volumes=delete_user_volumes
    )
    deadline = Deadline(timeout_seconds=seconds(timeout))
    wishes = Wishes(namespace=namespace, release=release, deadline=deadline, by=myself())

    async def ask(leaving: "Leaving") -> bool:
        _show(leaving)
        what = f"{len(leaving.delete)} objects of the release {leaving.release}"
        volumes = [ref for ref in leaving.delete if ref.kind == "PersistentVolumeClaim"]
        if volumes:
            what += f", {len(volumes)} volumes with everything in them among these"
        return confirm(f"Delete {what}?", yes=yes)

    async def work(client: "Client") -> None:
        with Terminal() as report:
            done = await Uninstall(client=client, wishes=wishes, report=report).run(removal, ask)
        if not done:
            raise typer.Exit(1)
        out.print("Uninstalled.")

    connected(work, kubeconfig=kubeconfig, context=context)


def _show(leaving: "Leaving") -> None:
    for ref in leaving.delete:
        err.print(f"[red]-[/] {escape(str(ref))}")
    for ref in leaving.keep:
        err.print(f"[dim]= {escape(str(ref))} stays[/]")
    if leaving.running:
        err.print(
            f"[bold yellow]warning:[/] {leaving.running} servers of users run on, and nobody can reach them; "
            "--stop-servers ends them."
        )
