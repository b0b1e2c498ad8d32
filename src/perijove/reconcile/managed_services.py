"""Services with a `command`: child processes of whichever hub holds their lease, one instance of each.

A service that ends is started again after a pause that grows while it keeps failing. Its processes carry
a mark in their environment; before each start whatever carries it on this machine is ended: what a killed
hub left behind, or a child that outlived the service's own process. So no two instances serve one port.
"""

import asyncio
import contextlib
import os
import pwd
import signal
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

import psutil

from perijove.config.options import ServiceOptions
from perijove.domain.errors import HubError
from perijove.lib.log import get_logger
from perijove.reconcile.service_environment import service_environment
from perijove.services.context import HubContext
from perijove.services.service_ends import lease_name, record_end
from perijove.services.service_tokens import issue_service_token
from perijove.store.named_leases import NamedLease

log = get_logger(__name__)

MARK = "PERIJOVE_SERVICE"
HOLD = timedelta(seconds=40)
RENEW_SECONDS = 5.0
# After so long without a renewal the service is ended, in time for whoever may take the lease when it runs out.
DOUBT_SECONDS = 15.0
RETRY_SECONDS = 1.0
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
    _process: asyncio.subprocess.Process | None = None

    @property
    def _lease(self) -> NamedLease:
        return NamedLease(self.hub.store, lease_name(self.options.name), self.hub.replica_id, HOLD)

    async def run(self) -> None:
        """Until cancelled; then the process is ended and the lease is free."""
        while True:
            try:
                if await self._lease.take():
                    await self._hold()
            except HubError as error:
                log.warning("managed service interrupted", service=self.options.name, error=str(error))
            await asyncio.sleep(RENEW_SECONDS)

    async def _hold(self) -> None:
        keeping = asyncio.create_task(self._keep_alive(), name=f"service {self.options.name}")
        try:
            while await self._still_mine():
                await asyncio.wait({keeping}, timeout=RENEW_SECONDS)
                if keeping.done():
                    await keeping
        finally:
            keeping.cancel()
            await asyncio.gather(keeping, return_exceptions=True)
            await self._end()
            with contextlib.suppress(HubError):
                await self._lease.release()

    async def _still_mine(self) -> bool:
        """Renew the lease. A database that is slow or away for a moment is no reason to end a service."""
        try:
            async with asyncio.timeout(DOUBT_SECONDS):
                while True:
                    try:
                        return await self._lease.renew()
                    except HubError as error:
                        log.warning("lease not renewed", service=self.options.name, error=str(error))
                        await self.hub.clock.sleep(RETRY_SECONDS)
        except TimeoutError:
            return False

    async def _keep_alive(self) -> None:
        pause = FIRST_PAUSE_SECONDS
        while True:
            began = self.hub.clock.monotonic()
            code = await self._run_once()
            if self.hub.clock.monotonic() - began > HEALTHY_SECONDS:
                pause = FIRST_PAUSE_SECONDS
            log.warning("managed service ended", service=self.options.name, exit_code=code, next_start_in_seconds=pause)
            await record_end(self.hub, self.options.name, code)
            await self.hub.clock.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE_SECONDS)

    async def _run_once(self) -> int | None:
        """Start it and wait for its end: the exit code, or None when it could not be started."""
        options = self.options
        await asyncio.to_thread(end_marked, self._mark)
        try:
            token = options.api_token or await issue_service_token(self.hub, options.name)
            environment = service_environment(self.hub.options, options, token=token, api_url=self.api_url)
            self._process = await asyncio.create_subprocess_exec(
                *options.command,
                cwd=options.cwd or None,
                env={**environment, MARK: self._mark},
                stdin=asyncio.subprocess.DEVNULL,
                start_new_session=True,
                preexec_fn=_becoming(options.user),
            )
        except (HubError, KeyError, OSError, ValueError) as error:
            log.warning("managed service cannot be started", service=options.name, error=str(error))
            return None
        log.info("managed service started", service=self.options.name, pid=self._process.pid)
        return await self._process.wait()

    @property
    def _mark(self) -> str:
        return f"{self.hub.store.hub_id}/{self.options.name}"

    async def _end(self) -> None:
        """TERM to its whole group, then KILL to whatever is left, wherever it went."""
        if self._process is not None and self._process.returncode is None:
            await self._terminate(self._process)
        await asyncio.to_thread(end_marked, self._mark)

    async def _terminate(self, process: asyncio.subprocess.Process) -> None:
        for sign, seconds in ((signal.SIGTERM, TERM_SECONDS), (signal.SIGKILL, TERM_SECONDS)):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, sign)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await process.wait()
                    return


def _becoming(user: str) -> Callable[[], None] | None:
    """What the child does between fork and exec to run as this system account. Raises `KeyError` if unknown.

    Not the `user=` and `group=` of subprocess, which uvloop does not have.
    """
    if not user:
        return None
    account = pwd.getpwnam(user)
    groups = os.getgrouplist(user, account.pw_gid)

    def become() -> None:
        os.setgroups(groups)
        os.setgid(account.pw_gid)
        os.setuid(account.pw_uid)

    return become


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
