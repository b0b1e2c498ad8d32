"""A stock JupyterHub as a process, in whose place or beside which something of ours is tried."""

import asyncio
import os
import secrets
import signal
import sys
from asyncio.subprocess import DEVNULL, STDOUT
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from perijove.cli.listening import free_port
from perijove.testing.waiting import until

_START_SECONDS = 60.0


@dataclass
class StockHub:
    """It runs. `api` is what its own REST API and its proxy's are reached with."""

    url: str
    # Where users' servers reach the hub.
    hub_port: int
    proxy_api: str
    token: str
    log_path: Path
    process: asyncio.subprocess.Process

    @property
    def log(self) -> str:
        return self.log_path.read_text(encoding="utf-8", errors="replace")

    async def routes(self) -> dict[str, Any]:
        """What the proxy's REST API says."""
        headers = {"Authorization": f"token {self.token}"}
        async with (
            aiohttp.ClientSession(headers=headers) as session,
            session.get(f"{self.proxy_api}/api/routes") as response,
        ):
            found: dict[str, Any] = await response.json()
            return found


def _config(directory: Path, ports: Sequence[int], command: Sequence[str], token: str, more: str) -> str:
    public, hub, api = ports
    return f"""
c.JupyterHub.bind_url = "http://127.0.0.1:{public}"
c.JupyterHub.hub_bind_url = "http://127.0.0.1:{hub}"
c.JupyterHub.db_url = "sqlite:///{directory}/hub.sqlite"
c.JupyterHub.cookie_secret_file = "{directory}/cookie_secret"
c.JupyterHub.authenticator_class = "dummy"
c.JupyterHub.spawner_class = "simple"
c.JupyterHub.cleanup_servers = True
c.JupyterHub.last_activity_interval = 2
c.Authenticator.allow_all = True
c.SimpleLocalProcessSpawner.home_dir_template = "{directory}/homes/{{username}}"
c.Spawner.args = ["--allow-root"]
c.ConfigurableHTTPProxy.command = {list(command)!r}
c.ConfigurableHTTPProxy.auth_token = "{token}"
c.ConfigurableHTTPProxy.api_url = "http://127.0.0.1:{api}"
c.ConfigurableHTTPProxy.pid_file = "{directory}/proxy.pid"
c.ConfigurableHTTPProxy.check_running_interval = 1
{more}
"""


@asynccontextmanager
async def stock_hub(
    directory: Path, proxy_command: Sequence[str], *, more: str = "", environment: Mapping[str, str] | None = None
) -> AsyncIterator[StockHub]:
    """JupyterHub with `proxy_command` in the place of configurable-http-proxy."""
    ports = [free_port() for _ in range(3)]
    token = secrets.token_hex(16)
    config = directory / "jupyterhub_config.py"
    config.write_text(_config(directory, ports, proxy_command, token, more), encoding="utf-8")
    log_path = directory / "jupyterhub.log"
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    with log_path.open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "jupyterhub", "-f", str(config)),
            cwd=directory,
            env={**os.environ, "PATH": path, **(environment or {})},
            stdin=DEVNULL,
            stdout=log,
            stderr=STDOUT,
        )
    hub = StockHub(f"http://127.0.0.1:{ports[0]}/", ports[1], f"http://127.0.0.1:{ports[2]}", token, log_path, process)
    try:
        await _answering(hub)
        yield hub
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
            try:
                await asyncio.wait_for(process.wait(), 30)
            except TimeoutError:
                process.kill()
                await process.wait()


async def _answering(hub: StockHub) -> None:
    async with aiohttp.ClientSession() as session:

        async def answers() -> bool:
            if hub.process.returncode is not None:
                raise RuntimeError(f"JupyterHub ended with {hub.process.returncode}:\n{hub.log}")
            try:
                async with session.get(f"{hub.url}hub/health") as response:
                    return response.status == 200  # noqa: PLR2004 - HTTP's
            except aiohttp.ClientError:
                return False

        await until(answers, seconds=_START_SECONDS, every=0.1)
