"""`perijove db import-jupyterhub`: what a JupyterHub keeps in its database, taken over."""

from typing import TYPE_CHECKING, Annotated

import typer

from perijove.cli.cluster import Yes, confirm
from perijove.cli.console import err, out
from perijove.cli.exits import CommandFailed, Exit
from perijove.cli.options import DataDir, Files, Target, Where

if TYPE_CHECKING:
    from perijove.services.context import HubContext
    from perijove.services.jupyterhub_import.report import Report
    from perijove.services.jupyterhub_import.source import Source

EPILOG = """
[bold]Examples[/]

  perijove db import-jupyterhub /srv/jupyterhub/jupyterhub.sqlite --dry-run -f config.yaml

  perijove db import-jupyterhub postgresql://hub@db/jupyterhub --yes -f config.yaml
"""


def import_jupyterhub(
    url: Annotated[
        str,
        typer.Argument(
            envvar="JUPYTERHUB_DB_URL",
            help="JupyterHub's db_url (SQLite, PostgreSQL, MySQL), or the path of its SQLite file. Never written.",
        ),
    ],
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be taken.")] = False,
    yes: Yes = False,
    while_running: Annotated[
        bool, typer.Option("--while-running", help="Even though something has JupyterHub's database open.")
    ] = False,
    files: Files = None,
    data_dir: DataDir,
    target: Where = Target.LOCAL,
) -> None:
    """Take over JupyterHub's users, groups, roles, tokens and running servers. Says what, then asks.

    Stop JupyterHub first, but not its users' servers. It is done whole or not at all, and once for a database.
    """
    from perijove.cli.database import actor, run
    from perijove.services.jupyterhub_import.source import read, source_url
    from perijove.services.jupyterhub_import.taking import take

    async def work(hub: "HubContext") -> None:
        source = await read(source_url(url))
        report = await take(hub, source, actor=actor(), dry_run=True)
        _show(source, report)
        if dry_run or report.already:
            return
        if source.in_use_by and not while_running:
            raise CommandFailed(
                "JupyterHub still runs, it seems; nothing was written.",
                remedy="Stop it, and leave its users' servers running. If that is something else, add --while-running.",
            )
        if not confirm("Take this over?", yes=yes):
            raise typer.Exit(Exit.FAILURE)
        await take(hub, source, actor=actor())
        out.print("Imported. Start the hub where JupyterHub was, and users' servers go on.")

    run(files, data_dir, work, target=target.value)


def _show(source: "Source", report: "Report") -> None:
    if report.already:
        out.print(f"This database has taken an import already ({report.already}). Nothing to do.", markup=False)
        return
    release = f"JupyterHub {source.release}" if source.release else "JupyterHub"
    out.print(f"{release} in {source.url}\n", markup=False, soft_wrap=True)
    for line in report.lines():
        out.print(line, markup=False, soft_wrap=True)
    out.print("")
    for user in source.in_use_by:
        err.print(f"[bold yellow]warning:[/] {user} has that database open.", soft_wrap=True)
