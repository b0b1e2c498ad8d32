"""`perijove logs`: what a user's server, the hub or the proxy wrote; for a failed start, with why."""

from typing import TYPE_CHECKING, Annotated

import typer

from perijove.cli.check import Format
from perijove.cli.cluster import Context, Kubeconfig, Namespace, UserNamespaces, connected, seconds
from perijove.cli.exits import CommandFailed, Exit
from perijove.cli.story import Follow, Output, Scene, Whom, show, show_entry

if TYPE_CHECKING:
    from perijove.kube.client import Client
    from perijove.operate.subjects import Subject

EPILOG = """
[bold]Examples[/]

  perijove logs ada -n jhub

  perijove logs ada/gpu -n jhub --follow

  perijove logs --hub -n jhub --since 10m
"""


def register(app: typer.Typer) -> None:
    app.command(epilog=EPILOG)(logs)


def logs(
    whom: Whom = "",
    *,
    namespace: Namespace,
    hub: Annotated[bool, typer.Option("--hub", help="What the hub wrote.")] = False,
    proxy: Annotated[bool, typer.Option("--proxy", help="What the proxy wrote.")] = False,
    previous: Annotated[bool, typer.Option("--previous", help="Of containers before they were restarted.")] = False,
    since: Annotated[str, typer.Option("--since", help="Only lines of the last 90s, 10m or 1h.")] = "",
    lines: Annotated[int, typer.Option("--lines", min=1, help="At most so many lines of each container.")] = 100,
    follow: Follow = False,
    user_namespaces: UserNamespaces = "",
    output: Output = Format.TEXT,
    kubeconfig: Kubeconfig = None,
    context: Context = None,
) -> None:
    """Show last lines among the events that explain them, in the order of time, the cause of a failed start first."""
    from perijove.operate.following import follow_lines
    from perijove.operate.story import read_story

    subject = _subject(whom, hub=hub, proxy=proxy)
    scene = Scene(namespace=namespace, user_namespaces=user_namespaces, kubeconfig=kubeconfig, context=context)
    since_seconds = seconds(since) if since else None

    async def work(client: "Client") -> None:
        places, naming = await scene.places(client, subject)
        story = await read_story(
            client, places, subject, naming, log_lines=lines, previous=previous, since_seconds=since_seconds
        )
        if not story.entries and not story.pods:
            raise CommandFailed(
                f"There is nothing of {subject} in {', '.join(places)}.",
                remedy="The cluster forgets events after an hour; the hub's own log (--hub) goes further back.",
            )
        show(story, output)
        if follow:
            await follow_lines(client, places, subject, known=story.entries, tell=show_entry)

    connected(work, kubeconfig=kubeconfig, context=context)


def _subject(whom: str, *, hub: bool, proxy: bool) -> "Subject":
    from perijove.operate.subjects import Subject

    if bool(whom) + hub + proxy != 1:
        raise CommandFailed("Say whose: a user, --hub or --proxy.", code=Exit.USAGE)
    return Subject.of(whom) if whom else Subject(component="hub" if hub else "proxy")
