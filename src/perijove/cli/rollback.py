"""`perijove rollback`: back to what was deployed before."""

from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from perijove.cli.cluster import (
    Context,
    Kubeconfig,
    Namespace,
    ReleaseName,
    Timeout,
    Wait,
    Yes,
    confirm,
    connected,
    myself,
    seconds,
)
from perijove.cli.console import out
from perijove.cli.progress import Terminal

if TYPE_CHECKING:
    from perijove.deploy.history import Revision
    from perijove.kube.client import Client

EPILOG = """
[bold]Examples[/]

  perijove rollback -n jhub

  perijove rollback -n jhub --to 3
"""


def register(app: typer.Typer) -> None:
    app.command(epilog=EPILOG)(rollback)


def rollback(
    *,
    namespace: Namespace,
    release: ReleaseName = None,
    to: Annotated[int | None, typer.Option(help="Revision.", show_default="the last one that came up")] = None,
    wait: Wait = True,
    timeout: Timeout = "10m",
    yes: Yes = False,
    kubeconfig: Kubeconfig = None,
    context: Context = None,
) -> None:
    """Apply an earlier revision again. `perijove status --history` lists them. Volumes stay as they are."""
    from perijove.deploy.rollback import Rollback
    from perijove.deploy.waiting import Deadline
    from perijove.deploy.wishes import Wishes

    deadline = Deadline(timeout_seconds=seconds(timeout))
    wishes = Wishes(namespace=namespace, release=release, wait=wait, deadline=deadline, by=myself())

    async def ask(revision: "Revision") -> bool:
        words = (
            f"Go back to revision {revision.number} ({revision.note}, {revision.at}, by {revision.by or 'somebody'})?"
        )
        return confirm(words, yes=yes)

    async def work(client: "Client") -> None:
        with Terminal() as report:
            revision = await Rollback(client=client, wishes=wishes, report=report).run(to, ask)
        if revision is None:
            raise typer.Exit(1)
        out.print(f"{escape(revision.note.capitalize())}: now revision {revision.number}.")

    connected(work, kubeconfig=kubeconfig, context=context)
