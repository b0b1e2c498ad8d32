"""The `perijove` command: one file a command, listed here.

Commands import what they run inside their bodies, so that `--help` and a mistyped option answer at
once, without loading a database, a web server or JupyterHub.
"""

import sys

import typer

from perijove import __version__
from perijove.cli import (
    check,
    controller,
    db,
    deploy,
    events,
    hub,
    logs,
    migrate,
    proxy,
    render,
    rollback,
    schema,
    status,
    storage,
    token,
    uninstall,
    up,
    users,
)
from perijove.cli.console import show_failure
from perijove.cli.exits import CommandFailed, Exit

app = typer.Typer(
    name="perijove",
    help="A multi-user notebook hub that scales out.",
    epilog="Exit codes: 0 done · 1 failure · 2 wrong usage or configuration · 3 unavailable.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(value: bool) -> None:
    if value:
        typer.echo(f"perijove {__version__}")
        raise typer.Exit(Exit.OK)


@app.callback()
def _root(
    version: bool = typer.Option(
        False, "--version", callback=_version, is_eager=True, help="Show the version and exit."
    ),
) -> None:
    """A multi-user notebook hub that scales out."""


for module in (up, hub, proxy, check, migrate, schema, render, deploy, status, rollback, uninstall, controller, token):
    module.register(app)
app.add_typer(users.app, name="users")
app.add_typer(storage.app, name="storage")
for module in (logs, events):
    module.register(app)
app.add_typer(db.app, name="db")


def main() -> None:
    """Entry point: every failure ends as one message on stderr and a documented exit code."""
    try:
        app(prog_name="perijove")
    except CommandFailed as failure:
        show_failure(failure)
        sys.exit(failure.code)
