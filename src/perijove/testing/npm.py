"""Programs from npm that tests run beside ours, each installed once into a cache directory."""

import asyncio
import os
import shutil
from asyncio.subprocess import DEVNULL, PIPE, STDOUT
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from perijove.cli.listening import free_port
from perijove.testing.waiting import until

CHP_VERSION = "5.3.0"
_INSTALL_SECONDS = 120


class NPMMissing(Exception):
    """node, npm or the npm registry is not at hand: skip the test."""


async def installed(package: str, version: str) -> Path:
    """The directory with `node_modules`. Raises NPMMissing."""
    if not shutil.which("node") or not shutil.which("npm"):
        raise NPMMissing("node and npm are not installed")
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    cache = base / "perijove-tests" / f"{package}-{version}"
    if cache.exists():
        return cache
    cache.parent.mkdir(parents=True, exist_ok=True)
    # Made aside and moved when whole: several test processes may want it at once, and any may be killed.
    with TemporaryDirectory(dir=cache.parent, ignore_cleanup_errors=True) as aside:
        whole = Path(aside) / cache.name
        whole.mkdir()
        await _install(f"{package}@{version}", whole)
        with suppress(OSError):  # another was faster
            whole.rename(cache)
    return cache


async def _install(package: str, place: Path) -> None:
    command = ("npm", "install", "--no-fund", "--no-audit", package)
    process = await asyncio.create_subprocess_exec(*command, cwd=place, stdin=DEVNULL, stdout=PIPE, stderr=STDOUT)
    try:
        output, _ = await asyncio.wait_for(process.communicate(), _INSTALL_SECONDS)
    except TimeoutError as error:
        process.kill()
        await process.wait()
        raise NPMMissing(f"npm did not install {package} in time") from error
    if process.returncode:
        raise NPMMissing(f"npm cannot install {package}: {output.decode(errors='replace').strip()[-300:]}")


async def chp_command() -> list[str]:
    """How to run a stock configurable-http-proxy. Raises NPMMissing."""
    cache = await installed("configurable-http-proxy", CHP_VERSION)
    return ["node", str(cache / "node_modules" / "configurable-http-proxy" / "bin" / "configurable-http-proxy")]


@asynccontextmanager
async def chp(token: str, *arguments: str, ports: tuple[int, int] | None = None) -> AsyncIterator[tuple[int, int]]:
    """A stock configurable-http-proxy; its public and its API port. Raises NPMMissing."""
    command = await chp_command()
    port, api_port = ports or (free_port(), free_port())
    listen = ("--ip", "127.0.0.1", "--port", str(port), "--api-ip", "127.0.0.1", "--api-port", str(api_port))
    process = await asyncio.create_subprocess_exec(
        *(*command, *listen, *arguments),
        env={**os.environ, "CONFIGPROXY_AUTH_TOKEN": token},
        stdin=DEVNULL,
        stdout=DEVNULL,
        stderr=DEVNULL,
    )
    try:
        for number in (port, api_port):
            await until(partial(_connects, number), seconds=20)
        yield port, api_port
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def _connects(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    return True
