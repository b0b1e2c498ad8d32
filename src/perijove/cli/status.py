"""`perijove status`: what is deployed, whether it is up, and if not, why."""

import json
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from perijove.cli.check import Format
from perijove.cli.cluster import Context, Kubeconfig, Namespace, ReleaseName, connected
from perijove.cli.console import out
from perijove.cli.exits import Exit

if TYPE_CHECKING:
    from perijove.deploy.status import Status
    from perijove.kube.client import Client

EPILOG = """
[bold]Examples[/]

  perijove status -n jhub

  perijove status -n jhub --format json | jq .ready
"""


def register(app: typer.Typer) -> None:
    app.command(epilog=EPILOG)(status)


def status(
    *,
    namespace: Namespace,
    release: ReleaseName = None,
    history: Annotated[bool, typer.Option("--history", help="Also what was deployed before.")] = False,
    output: Annotated[Format, typer.Option("--format", help="For a person or for a program.")] = Format.TEXT,
    kubeconfig: Kubeconfig = None,
    context: Context = None,
) -> None:
    """Say what is deployed, and why not where it is not up. Exit code 1 then."""
    from perijove.deploy.status import read_status

    async def work(client: "Client") -> "Status":
        return await read_status(client, namespace, release)

    found = connected(work, kubeconfig=kubeconfig, context=context)
    if output is Format.JSON:
        typer.echo(json.dumps(found.as_dict(history=history), indent=2))
    else:
        _show(found, history=history)
    if not found.ready:
        raise typer.Exit(Exit.FAILURE)


def _show(found: "Status", *, history: bool) -> None:
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_row("release", escape(f"{found.release} in {found.namespace}"))
    if (current := found.current) is not None:
        by = f", by {current.by}" if current.by else ""
        table.add_row("revision", escape(f"{current.number} ({current.state}, {current.at}{by}, {current.version})"))
    for address in found.addresses:
        table.add_row("address", escape(address))
    for workload in found.workloads:
        mark = "[green]✓[/]" if workload.done else "[red]✗[/]"
        table.add_row(f"{mark} {workload.ref.name}", escape(workload.text))
    out.print(table)
    if (current := found.current) is not None and current.message:
        out.print(f"\nThe last deploy failed:\n{escape(current.message)}")
    for trouble in found.troubles:
        out.print(f"[yellow]![/] {escape(trouble.line)}")
    if history:
        _show_history(found)


def _show_history(found: "Status") -> None:
    table = Table(box=None, pad_edge=False)
    for title in ("revision", "state", "at", "by", "what"):
        table.add_column(title)
    for one in found.revisions:
        table.add_row(str(one.number), str(one.state), one.at, escape(one.by), escape(one.note))
    out.print()
    out.print(table)
