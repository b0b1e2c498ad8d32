"""One start: from intent to a ready server, or to a reason.

Steps, each with the row written before the next begins, and what the next holder of the lease does
after a crash in between:

    claimed     nothing called yet                              → begins
    spawning    the spawner may have been called                → begins again: spawners adopt or undo by server id
    spawned     state and URL are in the row                    → rebuilds the spawner, goes on waiting
    settled     running, or stopped with a failure              → nothing left to do
"""

import asyncio
import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from time import perf_counter
from typing import Any

import aiohttp

from perijove.domain.errors import HubError, LeaseLost, SpawnFailed
from perijove.domain.ids import UserId
from perijove.domain.ports import Spawner
from perijove.domain.states import Desired, Observed, Phase
from perijove.lib import faults, metrics
from perijove.lib.log import get_logger
from perijove.reconcile.operation import Operation
from perijove.reconcile.readiness import died, wait_ready
from perijove.services import tokens
from perijove.services.oauth import ServerClient
from perijove.services.progress import ready_event
from perijove.services.server_rows import ServerRow
from perijove.services.server_steps import Change, Credentials, Intent
from perijove.services.servers import CANCELLED
from perijove.services.tokens import ServerToken

log = get_logger(__name__)

# Beyond the plug-in's own timeouts, before anyone may end the start as failed.
MARGIN = timedelta(seconds=60)
STOP_SECONDS = 60.0
PROGRESS_SECONDS = 1.0


@dataclass(slots=True)
class Start:
    operation: Operation
    http: aiohttp.ClientSession
    began: float = field(default_factory=perf_counter)

    async def run(self, row: ServerRow) -> None:
        """Raises `LeaseLost` when another replica took over; every other end is in the row."""
        faults.hit("start.claimed")
        hub, operation = self.operation.hub, self.operation
        if row.phase is Phase.SPAWNED and row.observed is Observed.STARTING:
            spawner = await hub.spawners.open(operation.spec(row))
            await self._guarded(row, spawner, self._resume(row, spawner))
            return
        token = tokens.new_token()
        try:
            spawner = await hub.spawners.open(operation.spec(row, api_token=token))
        except SpawnFailed as error:
            await self._fail(row, None, error)
            return
        if not await self._prepare(row, spawner, token):
            spawner.close()
            return
        faults.hit("start.prepared")
        await self._guarded(row, spawner, self._begin(row, spawner))

    async def _guarded(self, row: ServerRow, spawner: Spawner, work: Any) -> None:
        """Run `work` until it ends, the user cancels, or the lease is lost; then leave the right row behind."""
        task = asyncio.create_task(work, name=f"start {row.full_name}")
        unwanted = asyncio.create_task(self.operation.unwanted.wait())
        try:
            await asyncio.wait({task, unwanted}, return_when=asyncio.FIRST_COMPLETED)
            if not task.done():
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError, HubError):
                    await task
                await self._cancel(row, spawner)
                return
            await task
        except SpawnFailed as error:
            await self._fail(row, spawner, error)
        finally:
            unwanted.cancel()
            if not task.done():  # this replica shuts down, or the lease is lost: what was started stays
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
            spawner.close()

    async def _prepare(self, row: ServerRow, spawner: Spawner, token: str) -> bool:
        """Write down what is about to be called. False: it was cancelled since it was claimed."""
        hub = self.operation.hub
        limit = timedelta(seconds=spawner.start_timeout_seconds + spawner.http_timeout_seconds)
        credentials = self._credentials(row, spawner, token)

        def announced(intent: Intent, now: datetime) -> Change:
            if intent != self._asked(row):
                # Given back as it is: whoever cancelled a start that nothing had been called for was told that it is
                # over. Decided where the call is announced, so that it stays true.
                cancelled = intent.desired is not Desired.RUNNING
                return Change(release=True, event=CANCELLED if cancelled else None)
            values = {
                "observed": Observed.STARTING,
                "phase": Phase.SPAWNING,
                "observed_generation": row.generation,
                "oauth_client_id": row.oauth_client_id,
                "started": now,
                "last_activity": now,
                "url": "",
                "deadline": now + limit + MARGIN,
                "host": hub.host if hub.spawners.host_bound else None,
            }
            return Change(values=values, credentials=credentials)

        return await self.operation.decide(row, announced) == self._asked(row)

    @staticmethod
    def _asked(row: ServerRow) -> Intent:
        return Intent(Desired.RUNNING, row.generation)

    async def _begin(self, row: ServerRow, spawner: Spawner) -> None:
        await self.operation.hold()
        progress = asyncio.create_task(self._relay_progress(row, spawner), name=f"progress {row.full_name}")
        try:
            try:
                url = await spawner.start()
            finally:
                # It ends by itself when the start does; what it has to say until then is still told.
                await asyncio.wait({progress}, timeout=PROGRESS_SECONDS)
        finally:
            progress.cancel()
            await asyncio.gather(progress, return_exceptions=True)
        faults.hit("start.spawned")
        recovered = spawner.recovered_token()
        recorded = Change(
            values={"phase": Phase.SPAWNED, "url": url, "state": spawner.state()},
            credentials=self._credentials(row, spawner, recovered) if recovered else None,
        )
        await self.operation.write(row, recorded)
        faults.hit("start.recorded")
        await self._wait(row, spawner, url)

    def _credentials(self, row: ServerRow, spawner: Spawner, token: str) -> Credentials:
        """Make `token` what the server authenticates with and its OAuth client's secret, in place of any before.

        A resumed server kept its old one: it is registered over the fresh one, which is void then.
        """
        hub = self.operation.hub
        prefix = row.prefix(hub.options.base_url)
        return Credentials(
            ServerClient(
                id=row.oauth_client_id or "",
                secret=token,
                redirect_uri=f"{hub.addresses.server_url(row.user_name, row.name)}oauth_callback",
                allowed_scopes=spawner.oauth_client_allowed_scopes,
                description=f"Server at {prefix}",
                server_id=row.id,
            ),
            ServerToken(
                token=token,
                user_id=UserId(row.user_id),
                user_name=row.user_name,
                server_id=row.id,
                server_name=row.name,
                scopes=spawner.server_token_scopes,
                url_path=prefix,
            ),
        )

    async def _resume(self, row: ServerRow, spawner: Spawner) -> None:
        """Another replica started it and recorded where; it only has to become ready."""
        if (exited := await spawner.poll()) is not None:
            raise died(exited)
        await self._wait(row, spawner, row.url)

    async def _wait(self, row: ServerRow, spawner: Spawner, url: str) -> None:
        hub = self.operation.hub
        await wait_ready(self.http, spawner, f"{url}{row.prefix(hub.options.base_url)}api")
        faults.hit("start.ready")
        last = await spawner.ready_event(ready_event(hub, row))
        state = spawner.state()

        def settled(_intent: Intent, now: datetime) -> Change:
            values = {
                "observed": Observed.RUNNING,
                "phase": Phase.NONE,
                "deadline": None,
                "failure": None,
                "attempts": 0,
                "state": state,
                "next_poll": now + timedelta(seconds=spawner.poll_interval_seconds),
            }
            return Change(values=values, event=last, release=True, failed=False)

        await self.operation.decide(row, settled)
        faults.hit("start.settled")
        metrics.spawn_duration.labels("success", "").observe(perf_counter() - self.began)
        log.info("server started", user=row.user_name, server=row.name, url=url)

    async def _relay_progress(self, row: ServerRow, spawner: Spawner) -> None:
        # Without the lease there is nobody to tell; the start finds out by what it writes next.
        with contextlib.suppress(LeaseLost):
            async for event in spawner.progress():
                await self.operation.tell(row, {key: value for key, value in event.items() if key != "ready"})

    async def _cancel(self, row: ServerRow, spawner: Spawner) -> None:
        await self.operation.hold()
        await stop_quietly(spawner, row)
        change = Change(values=stopped(spawner), event=CANCELLED, release=True, forget=True)
        await self.operation.write(row, change)
        log.info("server start cancelled", user=row.user_name, server=row.name)

    async def _fail(self, row: ServerRow, spawner: Spawner | None, error: SpawnFailed) -> None:
        if spawner is not None:
            # What failed may be our patience alone, while a successor's server runs.
            await self.operation.hold()
            await stop_quietly(spawner, row)
        event = {"progress": 100, "failed": True, "message": f"Spawn failed: {error.message}"}
        if error.html_message:
            event["html_message"] = error.html_message
        gone = stopped(spawner)

        def failed(intent: Intent, now: datetime) -> Change:
            values = gone | {"failure": failure_of(error, row, now.isoformat())}
            # A start requested meanwhile (a new generation) stays wanted; this one does not.
            if intent == self._asked(row):
                values["desired"] = Desired.STOPPED
            # A refusal by policy (status 4xx) says nothing about the health of the spawner.
            bad = True if error.status >= 500 else None  # noqa: PLR2004
            return Change(values=values, event=event, release=True, forget=True, failed=bad)

        await self.operation.decide(row, failed)
        metrics.spawn_duration.labels("failure", "").observe(perf_counter() - self.began)
        log.warning(
            "server start failed",
            user=row.user_name,
            server=row.name,
            reason=error.reason,
            message=error.message,
            # The cluster's answer. What follows may be lines of the user's own server.
            details=error.details.partition("\n")[0],
        )


def stopped(spawner: Spawner | None) -> dict[str, Any]:
    """What a row says of a server that is gone."""
    return {
        "observed": Observed.STOPPED,
        "phase": Phase.NONE,
        "url": "",
        "deadline": None,
        "next_poll": None,
        "state": spawner.state() if spawner is not None else {},
    }


def failure_of(error: SpawnFailed, row: ServerRow, at: str) -> Mapping[str, Any]:
    return {
        "generation": row.generation,
        "reason": error.reason,
        "message": error.message,
        "html_message": error.html_message,
        "details": error.details,
        "status": error.status,
        "at": at,
    }


async def stop_quietly(spawner: Spawner, row: ServerRow) -> None:
    """Undo a half-made start. What cannot be stopped is logged and left to the orphan sweep."""
    try:
        async with asyncio.timeout(STOP_SECONDS):
            await spawner.stop(now=True)
    except (SpawnFailed, TimeoutError) as error:
        log.warning("half-started server could not be stopped", user=row.user_name, server=row.name, error=str(error))
