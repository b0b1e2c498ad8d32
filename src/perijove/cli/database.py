"""Running one use case on the hub's database from a command, whether a hub runs or not.

The hub notices within a second, as it notices what another replica wrote. An operator who can read
the database can do everything anyway, so nothing here asks for a password or a scope.
"""

import asyncio
import getpass
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from perijove.cli.failures import explained

if TYPE_CHECKING:
    from perijove.config.compile import Target as TargetName
    from perijove.services.context import HubContext

Result = TypeVar("Result")


def run(
    files: list[Path] | None,
    data_dir: Path,
    work: Callable[["HubContext"], Awaitable[Result]],
    *,
    target: "TargetName" = "local",
) -> Result:
    """Compile, open, do `work`, close; what can go wrong ends the command with its reason."""
    from perijove.cli.compiling import compile_files
    from perijove.cli.datadir import prepare
    from perijove.compose import open_hub
    from perijove.lib.log import configure

    configure()
    # A command says what it did itself; the log of its short life is of interest when something is wrong.
    logging.getLogger().setLevel(logging.ERROR)
    compiled = compile_files(files, prepare(data_dir), target=target)

    async def opened() -> Result:
        async with open_hub(compiled.options, compiled.traits) as hub:
            return await work(hub)

    with explained():
        return asyncio.run(opened())


def actor() -> str:
    """Who did it, for the audit trail."""
    return f"command:{getpass.getuser()}"
