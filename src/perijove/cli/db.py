"""`perijove db`: the database's schema and copies of it."""

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from perijove.cli import db_import
from perijove.cli.console import out
from perijove.cli.exits import CommandFailed, Exit
from perijove.cli.options import DataDir, Files

if TYPE_CHECKING:
    from sqlalchemy import Connection
    from sqlalchemy.engine import URL

app = typer.Typer(help="Look after the database.", no_args_is_help=True)
app.command("import-jupyterhub", epilog=db_import.EPILOG)(db_import.import_jupyterhub)


def _url(files: list[Path] | None, data_dir: Path) -> "URL":
    from sqlalchemy.engine import make_url

    from perijove.cli.compiling import compile_files
    from perijove.cli.datadir import prepare
    from perijove.compose import database_url

    return make_url(database_url(compile_files(files, prepare(data_dir)).options))


@app.command(epilog="[bold]Example[/]\n\n  perijove db upgrade -f config.yaml")
def upgrade(*, files: Files = None, data_dir: DataDir) -> None:
    """Bring the schema to this version, after a copy of the file was made. A hub does this when it starts."""
    from perijove.cli.failures import explained
    from perijove.store import migrate
    from perijove.store.database import mapped_errors

    url = _url(files, data_dir)
    with explained(), mapped_errors():
        found = migrate.upgrade(url)
    if found > migrate.HEAD:
        out.print(f"schema {found} is of a newer release; this one may use it")
        return
    before = f"from {found}" if found else "a new database"
    out.print("already up to date" if found == migrate.HEAD else f"upgraded ({before}) to {migrate.HEAD}")


@app.command(epilog="[bold]Example[/]\n\n  perijove db backup --to /backup/hub.sqlite")
def backup(
    *,
    to: Annotated[
        Path | None, typer.Option(help="Where to; by default beside the database, with the time in its name.")
    ] = None,
    files: Files = None,
    data_dir: DataDir,
) -> None:
    """Copy a SQLite database consistently, while a hub may be writing to it. Prints the copy's path."""
    from perijove.store import migrate

    url = _url(files, data_dir)
    if url.get_backend_name() != "sqlite" or not url.database:
        raise CommandFailed(
            f"This is a {url.get_backend_name()} database.", remedy="Use its own tools for backups.", code=Exit.USAGE
        )
    if not Path(url.database).exists():
        raise CommandFailed(f"There is no database at {url.database}.", code=Exit.UNAVAILABLE)
    if to is not None and to.exists():
        raise CommandFailed(f"{to} exists already.", remedy="Name another file.", code=Exit.USAGE)
    copy = migrate.backup(url)
    assert copy is not None
    typer.echo(shutil.move(copy, to) if to else str(copy))


@app.command(epilog="[bold]Example[/]\n\n  perijove db info")
def info(*, files: Files = None, data_dir: DataDir) -> None:
    """Show where the database is, its schema, and how many rows it holds."""
    from perijove.cli.failures import explained
    from perijove.store import engines, migrate
    from perijove.store.database import mapped_errors

    url = _url(files, data_dir)
    if url.get_backend_name() == "sqlite" and not Path(url.database or "").exists():
        raise CommandFailed(f"There is no database at {url.database} yet.", code=Exit.UNAVAILABLE)
    with explained(), mapped_errors():
        found, counts = engines.blocking(url, _look)
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_row("database", url.set(query={}).render_as_string(hide_password=True))
    table.add_row("schema", found if found == migrate.HEAD else f"{found or 'none'} (this release: {migrate.HEAD})")
    for name, count in counts.items():
        table.add_row(name, str(count))
    out.print(table)


def _look(connection: "Connection") -> tuple[str, dict[str, int]]:
    from sqlalchemy import func, inspect, select

    from perijove.store import migrate, schema

    present = set(inspect(connection).get_table_names())
    tables = [schema.metadata.tables[name] for name in ("users", "servers", "groups", "tokens", "sessions")]
    return migrate.current(connection), {
        table.name: connection.scalar(select(func.count()).select_from(table)) or 0
        for table in tables
        if table.name in present
    }
