"""`perijove deploy`: a configuration to a running release in a cluster."""

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
    read_config,
    seconds,
)
from perijove.cli.console import err, out, show_notes
from perijove.cli.options import Files
from perijove.cli.progress import Terminal

if TYPE_CHECKING:
    from perijove.deploy.deployment import Prepared
    from perijove.kube.client import Client

EPILOG = """
[bold]Examples[/]

  perijove deploy -f config.yaml -n jhub --create-namespace

  perijove deploy -f config.yaml -n jhub --diff --dry-run

  perijove deploy -f config.yaml -n jhub --take-over
"""
_MARKS = {"create": "[green]+[/]", "change": "[yellow]~[/]", "replace": "[red]±[/]", "leave": "[dim]=[/]"}


def register(app: typer.Typer) -> None:
    app.command(epilog=EPILOG)(deploy)


def deploy(
    *,
    files: Files = None,
    namespace: Namespace,
    release: ReleaseName = None,
    create_namespace: Annotated[bool, typer.Option("--create-namespace", help="Make the namespace.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")] = False,
    diff: Annotated[
        bool, typer.Option("--diff", help="Show what changes, line by line; secrets are not shown.")
    ] = False,
    wait: Wait = True,
    timeout: Timeout = "10m",
    yes: Yes = False,
    take_over: Annotated[
        bool,
        typer.Option(
            "--take-over",
            help="Take a release over that Helm installed from z2jh. Volumes, the load balancer's address and users' "
            "pods stay.",
        ),
    ] = False,
    remove_obsolete: Annotated[
        bool,
        typer.Option("--remove-obsolete", help="Delete what Helm made and this release has no use for. Never volumes."),
    ] = False,
    force_conflicts: Annotated[
        bool, typer.Option("--force-conflicts", help="Set fields that others (kubectl, an operator) have set too.")
    ] = False,
    go_back: Annotated[
        bool, typer.Option("--go-back/--keep-failed", help="Restore the revision before when this one fails.")
    ] = True,
    kubeconfig: Kubeconfig = None,
    context: Context = None,
) -> None:
    """Install or upgrade a release in a cluster.

    Everything is tried first, without changing anything. Interrupted, run the same command again. When pods do not
    come up, the reason is shown and the revision before serves again.
    """
    from perijove.deploy.deployment import Deployment
    from perijove.deploy.plan import Rights
    from perijove.deploy.waiting import Deadline
    from perijove.deploy.wishes import Wishes

    wishes = Wishes(
        namespace=namespace,
        release=release,
        create_namespace=create_namespace,
        rights=Rights(take_over=take_over, force_conflicts=force_conflicts),
        remove_obsolete=remove_obsolete,
        wait=wait,
        go_back=go_back,
        deadline=Deadline(timeout_seconds=seconds(timeout)),
        by=myself(),
    )
    loaded = read_config(files)
    show_notes(loaded.notes_for("kubernetes"))

    async def work(client: "Client") -> None:
        with Terminal() as report:
            deployment = Deployment(client=client, wishes=wishes, report=report)
            if dry_run:
                _show(await deployment.prepare(loaded), diff=diff, remove_obsolete=remove_obsolete)
                return

            async def ask(prepared: "Prepared") -> bool:
                report.pause()
                _show(prepared, diff=diff, remove_obsolete=remove_obsolete)
                return _agreed(prepared, yes=yes, take_over=take_over, remove_obsolete=remove_obsolete)

            revision = await deployment.run(loaded, ask)
        if revision is None:
            err.print("Nothing was changed.")
            raise typer.Exit(1)
        out.print(f"Revision {revision.number} is deployed in the namespace {escape(namespace)}.")

    connected(work, kubeconfig=kubeconfig, context=context)


def _show(prepared: "Prepared", *, diff: bool, remove_obsolete: bool) -> None:
    show_notes(prepared.notes)
    for warning in prepared.plan.warnings:
        err.print(f"[bold yellow]warning:[/] {escape(warning)}")
    unchanged = 0
    for step in prepared.plan.steps:
        if (mark := _MARKS.get(step.action)) is None:
            unchanged += 1
            continue
        out.print(f"{mark} {escape(str(step.ref))}")
        if diff and step.diff:
            out.print(escape(step.diff), style="dim")
    for ref in prepared.plan.prune:
        out.print(f"[red]-[/] {escape(str(ref))}")
    if unchanged:
        out.print(f"[dim]{unchanged} objects stay as they are[/]")
    _show_obsolete(prepared, remove=remove_obsolete)


def _show_obsolete(prepared: "Prepared", *, remove: bool) -> None:
    """What Helm made and nobody asks for now."""
    from perijove.deploy.plan import PROTECTED
    from perijove.deploy.render.dropped import reason
    from perijove.kube.refs import Ref

    doomed = [(ref, reason(item)) for item in prepared.obsolete if (ref := Ref.of(item)).kind not in PROTECTED]
    if doomed:
        what = "will be deleted once everything is up" if remove else "stay; --remove-obsolete deletes them"
        err.print(f"[bold]Made by Helm, and of no use to this release[/] ({what}):")
        for ref, why in doomed:
            err.print(f"  {escape(str(ref))}{f'  [dim]{escape(why)}[/]' if why else ''}")
    if prepared.helm.records and not remove:
        err.print(
            "[bold yellow]warning:[/] Helm still has its record of the release: `helm uninstall "
            f"{escape(prepared.release.name)}` would delete what is deployed here. "
            "--remove-obsolete deletes the record."
        )
    for words in prepared.helm.unseen:
        err.print(f"[bold blue]note:[/]  not looked for among what Helm left: {escape(words)}")


def _agreed(prepared: "Prepared", *, yes: bool, take_over: bool, remove_obsolete: bool) -> bool:
    """Asked is only before something is deleted, or taken from Helm."""
    from perijove.deploy.plan import Action

    reasons = []
    if prepared.plan.prune:
        reasons.append(f"delete {len(prepared.plan.prune)} objects")
    if replaced := prepared.plan.of(Action.REPLACE):
        reasons.append(f"delete and make anew {len(replaced)}")
    if take_over and prepared.helm:
        reasons.append("take the release over from Helm")
    if remove_obsolete and (prepared.obsolete or prepared.helm.records):
        reasons.append("delete what Helm left")
    return not reasons or confirm(f"This will {', '.join(reasons)}. Go on?", yes=yes)
