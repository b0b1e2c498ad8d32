"""What the commands that talk to a cluster share: which cluster, which namespace, and how failures end."""

import asyncio
import getpass
import re
import socket
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer
from rich.markup import escape

from perijove.cli.console import err
from perijove.cli.exits import CommandFailed, Exit

if TYPE_CHECKING:
    from perijove.config import Loaded
    from perijove.kube.client import Client

Result = TypeVar("Result")

Namespace = Annotated[
    str, typer.Option("--namespace", "-n", help="Namespace of the release.", envvar="PERIJOVE_NAMESPACE")
]
ReleaseName = Annotated[
    str | None,
    typer.Option("--release", help="Name of the release.", show_default="what is there, else the namespace"),
]
Kubeconfig = Annotated[
    Path | None,
    typer.Option("--kubeconfig", help="Where the cluster is.", show_default="KUBECONFIG, or ~/.kube/config"),
]
UserNamespaces = Annotated[
    str,
    typer.Option(
        "--user-namespaces",
        help="Also namespaces called like this, as in 'jhub-*'.",
        show_default="what KubeSpawner.user_namespace_template says",
    ),
]
Context = Annotated[str | None, typer.Option("--context", help="Context of the kubeconfig file.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
Timeout = Annotated[str, typer.Option("--timeout", help="How long to wait for pods: 90s, 10m, 1h.")]
Wait = Annotated[bool, typer.Option("--wait/--no-wait", help="Wait until everything has come up.")]

_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600}


def seconds(text: str) -> float:
    """`90`, `90s`, `10m`, `1h30m`."""
    parts = re.findall(r"(\d+)([smh]?)", text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise CommandFailed(f"`{text}` is no duration.", remedy="Write it as in 90s, 10m or 1h30m.", code=Exit.USAGE)
    return float(sum(int(number) * _UNITS[unit] for number, unit in parts))


def read_config(files: list[Path] | None) -> "Loaded":
    """Every problem at once, exit code 2."""
    from perijove.config import ConfigError, load

    try:
        return load(files or [])
    except ConfigError as error:
        raise unusable(error) from error


def unusable(error: Exception) -> CommandFailed:
    return CommandFailed(f"The configuration cannot be used.\n\n{error}", code=Exit.USAGE)


def connected(work: "Callable[[Client], Awaitable[Result]]", *, kubeconfig: Path | None, context: str | None) -> Result:
    """Run `work` with a client; whatever goes wrong ends as one message and an exit code."""
    from perijove.kube.client import open_client

    async def run() -> Result:
        async with open_client(kubeconfig=kubeconfig, context=context, on_retry=_tell_retry) as client:
            return await work(client)

    with explained():
        return asyncio.run(run())


def _tell_retry(why: str, pause: float) -> None:
    if pause >= 1:
        err.print(f"[dim]{escape(why)}; again in {pause:.0f} s[/]")


@contextmanager
def explained() -> Iterator[None]:
    from perijove.config import ConfigError
    from perijove.deploy.errors import AlreadyRunning, DeployFailed, NamespaceMissing
    from perijove.kube.errors import ClusterNotFound, ClusterUnavailable, KubeError

    try:
        yield
    except ConfigError as error:
        raise unusable(error) from error
    except (AlreadyRunning, ClusterUnavailable) as error:
        raise CommandFailed(str(error), remedy=error.remedy, code=Exit.UNAVAILABLE) from error
    except (NamespaceMissing, ClusterNotFound) as error:
        raise CommandFailed(str(error), remedy=error.remedy, code=Exit.USAGE) from error
    except (DeployFailed, KubeError) as error:
        raise CommandFailed(str(error), remedy=error.remedy) from error
    except KeyboardInterrupt:
        raise CommandFailed("Interrupted.", remedy="Run the same command again: it goes on from here.") from None


def myself() -> str:
    """Who deploys, for the history."""
    try:
        user = getpass.getuser()
    except (OSError, KeyError):
        user = "unknown"
    return f"{user}@{socket.gethostname()}"


def confirm(question: str, *, yes: bool) -> bool:
    """Exit code 2 where nobody can be asked."""
    if yes:
        return True
    if not err.is_terminal:
        raise CommandFailed(
            f"{question} There is nobody to ask.", remedy="Add --yes if that is right.", code=Exit.USAGE
        )
    return typer.confirm(question, err=True)
