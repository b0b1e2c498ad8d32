"""`perijove` in this process: what it prints and how it ends, without the seconds that loading it again takes."""

import asyncio
import io
from collections.abc import Awaitable, Callable
from contextlib import redirect_stderr, redirect_stdout

import pytest
import typer

from perijove.cli.console import show_failure
from perijove.cli.exits import CommandFailed, Exit
from perijove.cli.main import app
from perijove.testing.kube.target import Target

# Exit code, standard output, standard error.
Ended = tuple[int, str, str]


async def run_command(*words: str, **environment: str) -> Ended:
    return await asyncio.to_thread(_run, words, environment)


def _run(words: tuple[str, ...], environment: dict[str, str]) -> Ended:
    out, err, code = io.StringIO(), io.StringIO(), 0
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        patch.setenv("COLUMNS", "200")
        for name, value in environment.items():
            patch.setenv(name, value)
        try:
            code = int(typer.main.get_command(app).main(list(words), "perijove", standalone_mode=False) or Exit.OK)
        except CommandFailed as failure:
            show_failure(failure)
            code = int(failure.code)
        except typer.Exit as exit_:
            code = exit_.exit_code
    return code, out.getvalue(), err.getvalue()


def cluster_commands(cluster: Target, *command: str) -> Callable[..., Awaitable[Ended]]:
    """`run("list")` on a test's namespace."""

    async def run(*words: str, **environment: str) -> Ended:
        where = ["-n", cluster.namespace, "--kubeconfig", str(cluster.kubeconfig)]
        return await run_command(*command, *words, *where, **environment)

    return run
