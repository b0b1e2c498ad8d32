"""Options that several commands share, once, so that they read and behave the same everywhere."""

import os
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class LogFormat(StrEnum):
    CONSOLE = "console"
    JSON = "json"


class Target(StrEnum):
    LOCAL = "local"
    KUBERNETES = "kubernetes"


def default_data_dir() -> Path:
    """Where a hub keeps its database and secrets when told nothing: the user's own data directory."""
    home = os.environ.get("XDG_DATA_HOME") or str(Path.home() / ".local" / "share")
    return Path(home) / "perijove"


def address(value: str | None) -> str | None:
    """`--ip=$EMPTY` would listen on every address, and be noticed by whoever finds the port.

    Who wants every one of both families says `*`; configuration has "" for it, as JupyterHub's.
    """
    if value is not None and not value.strip():
        raise typer.BadParameter("an address is missing; 0.0.0.0 is every one of IPv4, :: of IPv6, and * of both")
    return "" if value == "*" else value


def given_files(values: list[Path] | None) -> list[Path] | None:
    """`-f "$EMPTY"` would read whatever is in the working directory."""
    # Path("") is ".", and so is the directory itself, where nobody keeps a mounted Secret.
    if any(value == Path() for value in values or []):
        raise typer.BadParameter("the name of a file is missing")
    return values


Files = Annotated[
    list[Path] | None,
    typer.Option(
        "--file",
        "-f",
        callback=given_files,
        help="Configuration, as for Zero to JupyterHub. Repeat it: later files win, merged as Helm does. "
        "A directory is a mounted Secret.",
        show_default=False,
    ),
]
DataDir = Annotated[
    Path,
    typer.Option(
        "--data-dir",
        envvar="PERIJOVE_DATA_DIR",
        help="Where the database, the generated password and the secrets are kept.",
        default_factory=default_data_dir,
        show_default="~/.local/share/perijove",
        file_okay=False,
    ),
]
Where = Annotated[
    Target,
    typer.Option("--target", help="Servers are processes of this machine, or pods of the cluster the hub runs in."),
]
Logs = Annotated[LogFormat, typer.Option("--log-format", help="Logs for a person or for a collector.")]
Debug = Annotated[bool, typer.Option("--debug", help="Log more.")]
HubIP = Annotated[
    str | None,
    typer.Option(
        "--hub-ip", help="Address the hub listens on; `*` is every one.", show_default="127.0.0.1", callback=address
    ),
]
HubPort = Annotated[
    int | None,
    typer.Option("--hub-port", min=0, max=65535, help="Port the hub listens on.", show_default="8081"),
]
StopServers = Annotated[
    bool,
    typer.Option("--stop-servers", help="Stop all notebook servers at shutdown instead of leaving them running."),
]
