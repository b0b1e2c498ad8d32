"""`perijove users`: who may use the hub, from a shell on its machine."""

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from perijove.cli.console import out
from perijove.cli.exits import CommandFailed
from perijove.cli.options import DataDir, Files

if TYPE_CHECKING:
    from perijove.services.context import HubContext
    from perijove.services.users import UserPage, UserRow

PAGE = 200

app = typer.Typer(help="List, add, change and remove users.", no_args_is_help=True)

Names = Annotated[list[str], typer.Argument(metavar="NAME...", help="Users.", show_default=False)]
AsJSON = Annotated[bool, typer.Option("--json", help="One JSON object a line.")]


@app.command(
    "list", epilog="[bold]Examples[/]\n\n  perijove users list --filter ada\n\n  perijove users list --json | jq .name"
)
def list_users(
    *,
    name_filter: Annotated[str, typer.Option("--filter", help="Names that contain this.")] = "",
    active: Annotated[bool, typer.Option("--active", help="Only users with a server that is not stopped.")] = False,
    as_json: AsJSON = False,
    files: Files = None,
    data_dir: DataDir,
) -> None:
    """List users, page by page, by name."""
    from perijove.cli.database import run
    from perijove.services import users

    async def work(hub: "HubContext") -> "UserPage":
        rows: list[UserRow] = []
        while True:
            page = await users.list_users(
                hub,
                users.UserQuery(
                    offset=len(rows),
                    limit=PAGE,
                    name_filter=name_filter,
                    state="active" if active else "",
                    sort="name",
                    with_total=False,
                ),
            )
            rows += page.items
            if len(page.items) < PAGE:
                return users.UserPage(rows, len(rows))

    page = run(files, data_dir, work)
    if as_json:
        for user in page.items:
            typer.echo(json.dumps(_facts(user)))
        return
    table = Table("name", "admin", "groups", "servers", "last activity", box=None, pad_edge=False)
    for user in page.items:
        facts = _facts(user)
        servers = ", ".join(f"{name or '(default)'}: {state}" for name, state in facts["servers"].items())
        table.add_row(
            user.name,
            "admin" if user.admin else "",
            ", ".join(user.groups),
            servers,
            f"{user.last_activity:%Y-%m-%d %H:%M}" if user.last_activity else "never",
        )
    out.print(table)


def _facts(user: "UserRow") -> dict[str, Any]:
    return {
        "name": user.name,
        "admin": user.admin,
        "groups": list(user.groups),
        "created": user.created.isoformat(),
        "last_activity": user.last_activity.isoformat() if user.last_activity else None,
        "servers": {name: server.observed for name, server in user.servers.items()},
    }


@app.command(epilog="[bold]Example[/]\n\n  perijove users add ada grace --admin")
def add(
    names: Names,
    *,
    admin: Annotated[bool, typer.Option("--admin", help="Make them administrators.")] = False,
    files: Files = None,
    data_dir: DataDir,
) -> None:
    """Add users. Those that exist already are left as they are."""
    from perijove.cli.database import actor, run
    from perijove.services import users

    added = run(files, data_dir, lambda hub: users.create_users(hub, names, admin=admin, actor=actor()))
    for user in added:
        out.print(f"added {user.name}", markup=False)


@app.command(epilog="[bold]Example[/]\n\n  perijove users remove grace")
def remove(names: Names, *, files: Files = None, data_dir: DataDir) -> None:
    """Remove users with their servers, which a running hub stops and deletes; files in homes are left alone."""
    from perijove.cli.database import actor, run
    from perijove.services.removal import remove_user

    async def work(hub: "HubContext") -> None:
        for name in names:
            await remove_user(hub, name, actor=actor())
            out.print(f"removed {name}", markup=False)

    run(files, data_dir, work)


@app.command(epilog="[bold]Examples[/]\n\n  perijove users admin ada\n\n  perijove users admin ada --revoke")
def admin(
    names: Names,
    *,
    revoke: Annotated[bool, typer.Option("--revoke", help="Make them ordinary users again.")] = False,
    files: Files = None,
    data_dir: DataDir,
) -> None:
    """Make users administrators."""
    from perijove.cli.database import actor, run
    from perijove.services import users

    async def work(hub: "HubContext") -> None:
        for name in names:
            await users.set_admin(hub, name, not revoke, actor=actor())
            out.print(f"{name} is {'no longer' if revoke else 'now'} an administrator", markup=False)

    run(files, data_dir, work)


@app.command(epilog="[bold]Example[/]\n\n  perijove users rename grace ghopper")
def rename(
    name: Annotated[str, typer.Argument(help="The user as called now.")],
    new_name: Annotated[str, typer.Argument(help="The new name.")],
    *,
    files: Files = None,
    data_dir: DataDir,
) -> None:
    """Rename a user whose servers are stopped."""
    from perijove.cli.database import actor, run
    from perijove.services import users

    if name == new_name:
        raise CommandFailed("The names are the same.")
    renamed = run(files, data_dir, lambda hub: users.rename_user(hub, name, new_name, actor=actor()))
    out.print(f"{name} is now {renamed}", markup=False)
