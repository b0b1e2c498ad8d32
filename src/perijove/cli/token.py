"""`perijove token`: an API token for scripts, without a browser."""

import re
from typing import Annotated

import typer

from perijove.cli.console import err
from perijove.cli.exits import CommandFailed, Exit
from perijove.cli.options import DataDir, Files

EPILOG = """
[bold]Examples[/]

  perijove token ada

  perijove token ada --scope read:users --scope servers --expires-in 7d --note "nightly report"

  curl -H "Authorization: token $(perijove token ada)" http://127.0.0.1:8000/hub/api/user
"""

UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def register(app: typer.Typer) -> None:
    app.command(epilog=EPILOG)(token)


def seconds_in(duration: str) -> int:
    """`90s`, `15m`, `12h` or `30d` in seconds."""
    match = re.fullmatch(r"([1-9][0-9]*)([smhd])", duration)
    if match is None:
        raise CommandFailed(
            f"--expires-in {duration!r} is no duration.", remedy="Write for example 12h or 30d.", code=Exit.USAGE
        )
    return int(match[1]) * UNITS[match[2]]


def token(
    user: Annotated[str, typer.Argument(help="Whose token it is. The user must exist.")],
    *,
    scopes: Annotated[
        list[str] | None,
        typer.Option("--scope", help="What it may do. Repeat it. Without: everything the user may."),
    ] = None,
    expires_in: Annotated[str, typer.Option(help="For how long, as 12h or 30d. Without: for ever.")] = "",
    note: Annotated[str, typer.Option(help="What it is for.")] = "made with perijove token",
    files: Files = None,
    data_dir: DataDir,
) -> None:
    """Make an API token for a user and print it, nothing else, on standard output."""
    from perijove.cli.database import actor, run
    from perijove.services import tokens

    lifetime = seconds_in(expires_in) if expires_in else None
    made = run(
        files,
        data_dir,
        lambda hub: tokens.create_token(
            hub, user, note=note, actor=actor(), scopes=scopes, expires_in_seconds=lifetime
        ),
    )
    typer.echo(made.token)
    until = f"until {made.row.expires_at:%Y-%m-%d %H:%M} UTC" if made.row.expires_at else "for ever"
    err.print(f"token {made.row.id} of {user}, good {until}: {' '.join(made.row.scopes)}", markup=False)
