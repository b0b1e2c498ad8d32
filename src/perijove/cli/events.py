"""`perijove events`: what the cluster says about a user's server, and nothing else."""

from typing import TYPE_CHECKING

import typer

from perijove.cli.check import Format
from perijove.cli.cluster import Context, Kubeconfig, Namespace, UserNamespaces, connected
from perijove.cli.story import Follow, Output, Scene, Whom, show, show_entry

if TYPE_CHECKING:
    from perijove.kube.client import Client

EPILOG = """
[bold]Examples[/]

  perijove events ada -n jhub

  perijove events ada/gpu -n jhub --follow
"""


def register(app: typer.Typer) -> None:
    app.command(epilog=EPILOG)(events)


def events(
    whom: Whom = "",
    *,
    namespace: Namespace,
    follow: Follow = False,
    user_namespaces: UserNamespaces = "",
    output: Output = Format.TEXT,
    kubeconfig: Kubeconfig = None,
    context: Context = None,
) -> None:
    """Say what the cluster did and could not do for a user's pods and volumes, in the order of time, and the cause."""
    from perijove.operate.following import follow_events
    from perijove.operate.story import read_story
    from perijove.operate.subjects import Subject

    scene = Scene(namespace=namespace, user_namespaces=user_namespaces, kubeconfig=kubeconfig, context=context)

    async def work(client: "Client") -> None:
        subject = Subject.of(whom)
        places, naming = await scene.places(client, subject)
        story = await read_story(client, places, subject, naming)
        show(story, output)
        if follow:
            await follow_events(client, places, subject, naming, known=story.entries, tell=show_entry)

    connected(work, kubeconfig=kubeconfig, context=context)
