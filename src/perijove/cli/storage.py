"""`perijove storage`: users' volumes in the cluster, whatever they are called."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from perijove.cli.check import Format
from perijove.cli.cluster import (
    Context,
    Kubeconfig,
    Namespace,
    Timeout,
    UserNamespaces,
    Yes,
    confirm,
    connected,
    seconds,
)
from perijove.cli.console import err, out
from perijove.cli.exits import CommandFailed, Exit
from perijove.cli.options import Files

if TYPE_CHECKING:
    from perijove.kube.client import Client
    from perijove.operate.people import People
    from perijove.operate.volumes import UserVolume
    from perijove.services.context import HubContext
    from perijove.services.users import UserRow

PAGE = 200

app = typer.Typer(help="Find, show and delete users' volumes in a cluster.", no_args_is_help=True)

User = Annotated[str, typer.Option("--user", help="Only volumes of this user, as the hub calls them.")]
Hub = Annotated[
    str,
    typer.Option(
        "--hub",
        envvar=["PERIJOVE_HUB_URL", "JUPYTERHUB_API_URL"],
        help="Ask this hub for its users, with the token in JUPYTERHUB_API_TOKEN or --token-file.",
    ),
]
TokenFile = Annotated[Path | None, typer.Option("--token-file", help="Where the hub's API token is.", dir_okay=False)]
DataDirectory = Annotated[
    Path | None,
    typer.Option(
        "--data-dir",
        help="Read the users from the hub's database instead; with -f where hub.db says it is.",
        file_okay=False,
    ),
]
Output = Annotated[Format, typer.Option("--format", help="For a person or for a program.")]
Name = Annotated[str, typer.Argument(help="The volume's name, or namespace/name.")]


@dataclass(frozen=True, kw_only=True)
class Where:
    """Which cluster, which namespaces, whose users."""

    namespace: str
    user_namespaces: str
    kubeconfig: Path | None
    context: str | None
    people: "People | None" = None

    def volumes(self, user: str = "") -> "list[UserVolume]":
        from perijove.operate.naming import namespaces_of, read_naming
        from perijove.operate.volumes import read_volumes

        async def work(client: "Client") -> "list[UserVolume]":
            naming = await read_naming(client, self.namespace)
            for note in naming.notes:
                err.print(f"[dim]{escape(note)}[/]")
            pattern = self.user_namespaces or naming.user_namespaces
            namespaces = await namespaces_of(client, self.namespace, pattern)
            return await read_volumes(client, namespaces, naming, users=[user] if user else [], people=self.people)

        return connected(work, kubeconfig=self.kubeconfig, context=self.context)

    def delete(self, volumes: "Sequence[UserVolume]", *, wait: bool, timeout: str) -> None:
        from perijove.operate.deletion import Deletion

        async def work(client: "Client") -> None:
            deletion = Deletion(
                client=client, wait=wait, timeout_seconds=seconds(timeout), tell=lambda words: out.print(escape(words))
            )
            await deletion.delete(volumes)

        connected(work, kubeconfig=self.kubeconfig, context=self.context)


@app.command(
    "list",
    epilog="[bold]Examples[/]\n\n  perijove storage list -n jhub\n\n"
    "  perijove storage list -n jhub --user ada --format json",
)
def list_volumes(
    *,
    namespace: Namespace,
    user: User = "",
    hub: Hub = "",
    token_file: TokenFile = None,
    files: Files = None,
    data_dir: DataDirectory = None,
    user_namespaces: UserNamespaces = "",
    output: Output = Format.TEXT,
    kubeconfig: Kubeconfig = None,
    context: Context = None,
) -> None:
    """List users' volumes with what holds them. With --hub, also what servers remember and when they were used."""
    people = _people(hub, token_file, files, data_dir)
    where = _where(namespace, user_namespaces, kubeconfig, context, people)
    found = where.volumes(user)
    if user:
        found = [volume for volume in found if volume.user == user or _is_held_by(volume, user)]
    _print(found, output)


@app.command(epilog="[bold]Example[/]\n\n  perijove storage show claim-ada -n jhub")
def show(
    name: Name,
    *,
    namespace: Namespace,
    hub: Hub = "",
    token_file: TokenFile = None,
    files: Files = None,
    data_dir: DataDirectory = None,
    user_namespaces: UserNamespaces = "",
    output: Output = Format.TEXT,
    kubeconfig: Kubeconfig = None,
    context: Context = None,
) -> None:
    """Show everything about one volume: whose it is and how that is known, what holds it, what becomes of it."""
    people = _people(hub, token_file, files, data_dir)
    volume = _named(_where(namespace, user_namespaces, kubeconfig, context, people).volumes(), [name])[0]
    if output is Format.JSON:
        typer.echo(json.dumps(volume.as_dict(), indent=2))
        return
    table = Table(show_header=False, box=None, pad_edge=False)
    for title, words in _facts(volume):
        table.add_row(title, escape(words))
    out.print(table)


@app.command(
    epilog="[bold]Examples[/]\n\n  perijove storage delete claim-ada -n jhub\n\n"
    "  perijove storage delete --user ada -n jhub --wait --yes"
)
def delete(
    names: Annotated[list[str] | None, typer.Argument(metavar="[NAME]...", help="Volumes.", show_default=False)] = None,
    *,
    namespace: Namespace,
    user: Annotated[str, typer.Option("--user", help="All volumes of this user.")] = "",
    wait: Annotated[
        bool, typer.Option("--wait", help="Wait for pods that hold it to end, and then for it to be gone.")
    ] = False,
    timeout: Timeout = "10m",
    yes: Yes = False,
    user_namespaces: UserNamespaces = "",
    kubeconfig: Kubeconfig = None,
    context: Context = None,
) -> None:
    """Delete volumes with everything in them, once nothing holds them."""
    if bool(names) == bool(user):
        raise CommandFailed("Name volumes, or a user with --user.", code=Exit.USAGE)
    where = _where(namespace, user_namespaces, kubeconfig, context, None)
    found = where.volumes(user)
    if user:
        chosen = [volume for volume in found if volume.user == user]
        if not chosen:
            raise CommandFailed(f"{user} has no volume in {namespace}.", remedy="`perijove storage list` shows all.")
    else:
        chosen = _named(found, names or [])
    _delete(where, chosen, wait=wait, timeout=timeout, yes=yes)


@app.command(
    epilog="[bold]Examples[/]\n\n  perijove storage orphans -n jhub --hub https://hub.example.org\n\n"
    "  perijove storage orphans -n jhub --delete --yes"
)
def orphans(
    *,
    namespace: Namespace,
    hub: Hub = "",
    token_file: TokenFile = None,
    files: Files = None,
    data_dir: DataDirectory = None,
    and_delete: Annotated[bool, typer.Option("--delete", help="Delete them, those in use excepted.")] = False,
    yes: Yes = False,
    user_namespaces: UserNamespaces = "",
    output: Output = Format.TEXT,
    kubeconfig: Kubeconfig = None,
    context: Context = None,
) -> None:
    """List volumes of users that the hub does not have any more. It never guesses: it needs the hub's own list."""
    from perijove.operate.volumes import is_orphan

    people = _people(hub, token_file, files, data_dir)
    if people is None:
        raise CommandFailed(
            "Who the hub's users are is not known, so nobody's volume can be called orphaned.",
            remedy="Name the hub with --hub and a token in JUPYTERHUB_API_TOKEN (`perijove token` makes one), "
            "or its database with --data-dir and -f.",
            code=Exit.USAGE,
        )
    if not people.servers:
        raise CommandFailed(f"{people.origin} has no users at all.", remedy="That is the wrong hub, or a new one.")
    count = len(people.servers)
    err.print(f"[dim]{count} {'user' if count == 1 else 'users'}, from {escape(people.origin)}[/]")
    where = _where(namespace, user_namespaces, kubeconfig, context, people)
    found = [volume for volume in where.volumes() if is_orphan(volume, people)]
    _print(found, output)
    free = [volume for volume in found if not volume.held_by]
    if and_delete and free:
        _delete(where, free, wait=False, timeout="10m", yes=yes)


def _where(
    namespace: str, user_namespaces: str, kubeconfig: Path | None, context: str | None, people: "People | None"
) -> Where:
    return Where(
        namespace=namespace, user_namespaces=user_namespaces, kubeconfig=kubeconfig, context=context, people=people
    )


def _delete(where: Where, volumes: "Sequence[UserVolume]", *, wait: bool, timeout: str, yes: bool) -> None:
    for volume in volumes:
        held = f", held by {_holders(volume)}" if volume.held_by else ""
        keeps = " (its files stay: reclaim policy Retain)" if volume.reclaim == "Retain" else ""
        whose = f" of {volume.user}" if volume.user else ""
        err.print(f"[red]-[/] {escape(f'{volume.namespace}/{volume.name}{whose}, {volume.size}{held}{keeps}')}")
    what = "this volume with everything in it" if len(volumes) == 1 else f"these {len(volumes)} volumes with everything"
    if not confirm(f"Delete {what}?", yes=yes):
        raise typer.Exit(Exit.FAILURE)
    where.delete(volumes, wait=wait, timeout=timeout)


def _named(volumes: "Sequence[UserVolume]", names: Sequence[str]) -> "list[UserVolume]":
    chosen = []
    for name in names:
        found = [one for one in volumes if name in (one.name, f"{one.namespace}/{one.name}")]
        if not found:
            raise CommandFailed(f"There is no user's volume {name}.", remedy="`perijove storage list` shows all.")
        if len(found) > 1:
            places = ", ".join(f"{one.namespace}/{one.name}" for one in found)
            raise CommandFailed(f"{name} is in several namespaces.", remedy=f"Say which: {places}.", code=Exit.USAGE)
        chosen.append(found[0])
    return chosen


def _people(hub: str, token_file: Path | None, files: list[Path] | None, data_dir: Path | None) -> "People | None":
    """None: nobody said where to ask."""
    import asyncio

    from perijove.cli.cluster import explained
    from perijove.cli.secret_files import token_of
    from perijove.operate.people import ask_hub

    if data_dir is not None:
        return _from_database(files, data_dir)
    if not hub:
        return None
    token = token_of(token_file, "JUPYTERHUB_API_TOKEN")
    if not token:
        raise CommandFailed(
            "The hub answers nobody without a token.",
            remedy="Put one into JUPYTERHUB_API_TOKEN, or name a file with --token-file.",
            code=Exit.USAGE,
        )
    with explained():
        return asyncio.run(ask_hub(hub, token))


def _from_database(files: list[Path] | None, data_dir: Path) -> "People":
    from perijove.cli.database import run
    from perijove.operate.people import People, everybody
    from perijove.services import users

    async def work(hub: "HubContext") -> "People":
        async def fetch(offset: int) -> "tuple[list[UserRow], bool]":
            query = users.UserQuery(offset=offset, limit=PAGE, with_state=True, with_stopped=True, with_total=False)
            page = list((await users.list_users(hub, query)).items)
            return page, len(page) == PAGE

        people = People("the database")
        for user in await everybody(fetch, lambda user: user.name):
            people.add(user.name)
            for name, server in user.servers.items():
                used = server.last_activity.isoformat() if server.last_activity else ""
                people.add_server(user.name, name, server.state or {}, used)
        return people

    return run(files, data_dir, work)


def _print(volumes: "Sequence[UserVolume]", output: Format) -> None:
    if output is Format.JSON:
        typer.echo(json.dumps([volume.as_dict() for volume in volumes], indent=2))
        return
    titles = ("user", "server", "volume", "namespace", "size", "class", "phase", "age", "held by")
    table = Table(*titles, box=None, pad_edge=False)
    for volume in volumes:
        whose = "(shared)" if volume.shared else volume.user or "(unknown)"
        phase = "Deleting" if volume.deleting else volume.phase
        cells = (whose, volume.server, volume.name, volume.namespace, volume.size, volume.storage_class, phase)
        table.add_row(*(escape(cell) for cell in (*cells, _age(volume.created), _holders(volume))))
    out.print(table)


def _facts(volume: "UserVolume") -> list[tuple[str, str]]:
    known = {
        "annotation": "it says so itself",
        "remembered": "their server remembers it",
        "label": "by its label",
        "name": "by its name",
        "held": "their server holds it",
    }
    whose = "several users" if volume.shared else f"{volume.user or 'unknown'}"
    if volume.known_by:
        whose += f" ({known[volume.known_by]})"
    facts: list[tuple[str, Any]] = [
        ("volume", f"{volume.namespace}/{volume.name}"),
        ("user", whose),
        ("server", volume.server or ("default" if volume.user else "")),
        ("size", volume.size),
        ("class", volume.storage_class),
        ("phase", "Deleting" if volume.deleting else volume.phase),
        ("bound to", f"{volume.bound_to}{f' (reclaim policy {volume.reclaim})' if volume.reclaim else ''}"),
        ("made", f"{volume.created} ({_age(volume.created)})"),
        ("last used", volume.last_used),
        ("held by", _holders(volume) or "nothing"),
    ]
    return [(title, words) for title, words in facts if words]


def _holders(volume: "UserVolume") -> str:
    words = []
    for holder in volume.held_by:
        paths = f": {', '.join(holder.sub_paths)}" if volume.shared and holder.sub_paths else ""
        words.append(f"pod {holder.pod} ({holder.phase}){paths}")
    return ", ".join(words)


def _is_held_by(volume: "UserVolume", user: str) -> bool:
    return any(holder.user == user for holder in volume.held_by)


def _age(created: str) -> str:
    if not created:
        return ""
    minutes = int((datetime.now(UTC) - datetime.fromisoformat(created)).total_seconds() // 60)
    if minutes < 120:  # noqa: PLR2004 - as kubectl has it
        return f"{minutes}m"
    return f"{minutes // 60}h" if minutes < 2880 else f"{minutes // 1440}d"  # noqa: PLR2004 - the same
