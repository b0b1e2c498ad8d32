"""Services with a `command`: child processes of whichever hub holds their lease, one instance of each.

A service that ends is started again after a pause that grows while it keeps failing. Its processes carry
a mark in their environment; whoever takes the lease over on the same machine first ends what a killed
hub left behind, so that no two instances serve one port.
"""

import asyncio
import contextlib
import json
import os
import signal
from dataclasses import dataclass, field
from datetime import timedelta

import psutil
from sqlalchemy import insert, or_, select, update

from perijove.config.options import ServiceOptions
from perijove.domain.errors import Conflict, HubError
from perijove.domain.names import escape
from perijove.lib.log import get_logger
from perijove.services.context import HubContext
from perijove.services.routes import service_prefix
from perijove.services.service_tokens import issue_service_token
from perijove.store.schema import leases

log = get_logger(__name__)

MARK = "PERIJOVE_SERVICE"
HOLD = timedelta(seconds=15)
RENEW_SECONDS = 5.0
FIRST_PAUSE_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 60.0
# A process that lived so long was healthy: the next pause begins anew.
HEALTHY_SECONDS = 30.0
TERM_SECONDS = 10.0


@dataclass(slots=True)
class ManagedService:
    """One service on this replica: waits for the lease, then keeps the process alive."""

    hub: HubContext
    options: ServiceOptions
    api_url: str
    _process: asyncio.subprocess.Process | None = field(default=None)

    @property
    def _lease(self) -> str:
        return f"service {self.options.name}"[:64]

    async def run(self) -> None:
        """Until cancelled; then the process is ended and the lease is free."""
        while True:
            try:
                if await self._take():
                    await self._hold()
            except HubError as error:
                log.warning("managed service interrupted", service=self.options.name, error=str(error))
            await asyncio.sleep(RENEW_SECONDS)

    async def _hold(self) -> None:
        await asyncio.to_thread(end_marked, self._mark)
        keeping = asyncio.create_task(self._keep_alive(), name=f"service {self.options.name}")
        try:
            while await self._renew():
                await asyncio.wait({keeping}, timeout=RENEW_SECONDS)
                if keeping.done():
                    await keeping
        finally:
            keeping.cancel()
            await asyncio.gather(keeping, return_exceptions=True)
            await self._end()
            with contextlib.suppress(HubError):
                await self._release()

    async def _keep_alive(self) -> None:
        pause = FIRST_PAUSE_SECONDS
        while True:
            began = self.hub.clock.monotonic()
            code = await self._run_once()
            if self.hub.clock.monotonic() - began > HEALTHY_SECONDS:
                pause = FIRST_PAUSE_SECONDS
            log.warning("managed service ended", service=self.options.name, exit_code=code, next_start_in_seconds=pause)
            await self.hub.clock.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE_SECONDS)

    async def _run_once(self) -> int | None:
        try:
            self._process = await asyncio.create_subprocess_exec(
                *self.options.command,
                cwd=self.options.cwd or None,
                env=await self._environment(),
                stdin=asyncio.subprocess.DEVNULL,
                start_new_session=True,
            )
        except OSError as error:
            log.warning("managed service cannot be started", service=self.options.name, error=str(error))
            return None
        log.info("managed service started", service=self.options.name, pid=self._process.pid)
        return await self._process.wait()

    @property
    def _mark(self) -> str:
        return f"{self.hub.store.hub_id}/{self.options.name}"

    async def _environment(self) -> dict[str, str]:
        """What JupyterHub gives its managed services, and the mark."""
        token = self.options.api_token or await issue_service_token(self.hub, self.options.name)
        hub, name = self.hub.options, self.options.name
        prefix = service_prefix(self.hub, name)
        access = [f"access:services!service={name}", "access:services"]
        kept = {
            key: os.environ[key] for key in ("PATH", "LANG", "LC_ALL", "VIRTUAL_ENV", "PYTHONPATH") if key in os.environ
        }
        return {
            **kept,
            "JUPYTERHUB_SERVICE_NAME": name,
            "JUPYTERHUB_API_TOKEN": token,
            "JUPYTERHUB_API_URL": self.api_url,
            "JUPYTERHUB_BASE_URL": hub.base_url,
            "JUPYTERHUB_SERVICE_PREFIX": prefix,
            "JUPYTERHUB_SERVICE_URL": self.options.url,
            "JUPYTERHUB_CLIENT_ID": self.options.oauth_client_id or f"service-{escape(name)}",
            "JUPYTERHUB_OAUTH_CALLBACK_URL": self.options.oauth_redirect_uri or f"{prefix}oauth_callback",
            "JUPYTERHUB_OAUTH_ACCESS_SCOPES": json.dumps(access),
            "JUPYTERHUB_OAUTH_SCOPES": json.dumps(access),
            "JUPYTERHUB_OAUTH_CLIENT_ALLOWED_SCOPES": json.dumps(list(self.options.oauth_client_allowed_scopes)),
            "JUPYTERHUB_HOST": "",
            "JUPYTERHUB_PUBLIC_URL": "",
            "JUPYTERHUB_PUBLIC_HUB_URL": f"{hub.public_url.rstrip('/')}/hub/" if hub.public_url else "",
            "JUPYTERHUB_COOKIE_OPTIONS": json.dumps(dict(hub.cookie_options)),
            "JUPYTERHUB_COOKIE_HOST_PREFIX_ENABLED": str(int(hub.cookie_host_prefix_enabled)),
            **self.options.environment,
            MARK: self._mark,
        }

    async def _end(self) -> None:
        """TERM to its whole group, then KILL."""
        process = self._process
        if process is None or process.returncode is not None:
            return
        for sign, seconds in ((signal.SIGTERM, TERM_SECONDS), (signal.SIGKILL, TERM_SECONDS)):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, sign)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await process.wait()
                    return

    async def _take(self) -> bool:
        async with self.hub.store.transaction() as tx:
            row = (await tx.execute(select(leases).where(leases.c.name == self._lease))).first()
            if row is not None and row.expires > tx.now and row.owner != self.hub.replica_id:
                return False
            values = {"owner": self.hub.replica_id, "expires": tx.now + HOLD}
            try:
                if row is None:
                    await tx.execute(insert(leases), {"name": self._lease, "epoch": 1, **values})
                    return True
                free = or_(leases.c.expires <= tx.now, leases.c.owner == self.hub.replica_id)
                result = await tx.execute(
                    update(leases)
                    .where(leases.c.name == self._lease, leases.c.epoch == row.epoch, free)
                    .values(epoch=row.epoch + 1, **values)
                )
            except Conflict:
                return False
            return result.rowcount == 1

    async def _renew(self) -> bool:
        async with self.hub.store.transaction() as tx:
            result = await tx.execute(
                update(leases)
                .where(leases.c.name == self._lease, leases.c.owner == self.hub.replica_id)
                .values(expires=tx.now + HOLD)
            )
            return result.rowcount == 1

    async def _release(self) -> None:
        async with self.hub.store.transaction() as tx:
            await tx.execute(
                update(leases)
                .where(leases.c.name == self._lease, leases.c.owner == self.hub.replica_id)
                .values(expires=tx.now)
            )


def end_marked(mark: str) -> int:
    """Kill the processes that an earlier holder of this service left; returns how many. Blocking."""
    ended = 0
    for process in psutil.process_iter():
        try:
            if process.environ().get(MARK) == mark:
                process.kill()
                ended += 1
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return ended
