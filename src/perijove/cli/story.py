"""What `perijove logs` and `perijove events` share: whom they are about, and how a story is shown."""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from perijove.cli.check import Format
from perijove.cli.console import err, out

if TYPE_CHECKING:
    from perijove.kube.client import Client
    from perijove.operate.naming import Naming
    from perijove.operate.story import Entry, Story
    from perijove.operate.subjects import Subject

Whom = Annotated[
    str,
    typer.Argument(metavar="[USER[/SERVER]]", help="A user, as the hub calls them, or one of their servers."),
]
Follow = Annotated[bool, typer.Option("--follow", "-F", help="Go on with what comes, until Ctrl-C.")]
Output = Annotated[Format, typer.Option("--format", help="For a person or for a program.")]


@dataclass(frozen=True, kw_only=True)
class Scene:
    """Where to look."""

    namespace: str
    user_namespaces: str
    kubeconfig: Path | None
    context: str | None

    async def places(self, client: "Client", subject: "Subject") -> "tuple[list[str], Naming]":
        from perijove.operate.naming import namespaces_of, read_naming

        naming = await read_naming(client, self.namespace)
        pattern = "" if subject.component else self.user_namespaces or naming.user_namespaces
        return await namespaces_of(client, self.namespace, pattern), naming


def show(story: "Story", output: Format) -> None:
    if output is Format.JSON:
        facts = {"cause": story.cause or None, "pods": list(story.pods)}
        typer.echo(json.dumps({**facts, "entries": [entry.as_dict() for entry in story.entries]}, indent=2))
        return
    if story.cause:
        # Not among the lines: those may go through grep.
        err.print(f"[bold red]cause:[/] {escape(story.cause)}")
    for entry in story.entries:
        show_entry(entry)


def show_entry(entry: "Entry") -> None:
    time = re.sub(r"T|\.\d+|Z$", lambda found: " " if found[0] == "T" else "", entry.time) or "now"
    style = "yellow" if entry.warning else "default"
    out.print(f"[dim]{time:<19}[/] [cyan]{escape(entry.source)}[/] [{style}]{escape(entry.text)}[/]")
