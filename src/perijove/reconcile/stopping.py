"""One stop: the route goes first, then the process, then the credentials; a wanted restart or deletion follows.

Every step can be done twice: a spawner's `stop` is safe on something already gone, and the row says
`stopping` from before the first call until after the last.
"""

import asyncio
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from time import perf_counter
from typing import Any

from sqlalchemy import delete

from perijove.domain.errors import SpawnFailed
from perijove.domain.events import Event, Kind
from perijove.domain.ports import Exited, Spawner
from perijove.domain.states import Desired, Observed, Phase
from perijove.lib import faults, metrics
from perijove.lib.log import get_logger
from perijove.reconcile.operation import Operation
from perijove.reconcile.readiness import explained
from perijove.reconcile.starting import failure_of, stopped
from perijove.services.server_rows import ServerRow
from perijove.services.server_steps import Change, Intent, forget_credentials
from perijove.services.servers import STOP_GRACE
from perijove.services.share_visitors import forget_visitors
from perijove.store.claims import held
from perijove.store.schema import servers, shares

log = get_logger(__name__)

STOP_SECONDS = 120.0
RETRY = timedelta(seconds=5)


@dataclass(slots=True)
class Stop:
    operation: Operation
    # Set when a poll found it dead: the same steps, and the end is recorded as a failure.
    exited: Exited | None = None
    began: float = field(default_factory=perf_counter)

    async def run(self, row: ServerRow) -> None:
        """Raises `LeaseLost` when another replica took over."""
        faults.hit("stop.claimed")
        left: ServerRow | None = row
        if row.observed is not Observed.STOPPED:
            left = await self._stop(row)
        if left is not None and left.desired is Desired.DELETED:
            await self._delete(left)

    async def _stop(self, row: ServerRow) -> ServerRow | None:
        """The row once it is stopped; None when it has to be tried again."""
        hub = self.operation.hub
        await self.operation.decide(row, partial(self._marked, row))
        faults.hit("stop.marked")
        try:
            spawner = await hub.spawners.open(self.operation.spec(row))
        except SpawnFailed as error:
            return await self._force(row, error)
        try:
            await self.operation.hold()
            async with asyncio.timeout(STOP_SECONDS):
                await spawner.stop()
        except (SpawnFailed, TimeoutError) as error:
            return await self._retry(row, error)
        finally:
            spawner.close()
        faults.hit("stop.stopped")
        return await self._settle(row, spawner)

    def _marked(self, row: ServerRow, intent: Intent, now: datetime) -> Change:
        # The route is a projection of `running`: from this commit on proxies drop it.
        values: dict[str, Any] = {"observed": Observed.STOPPING, "phase": Phase.NONE}
        if self.exited is not None:
            # Written first, for whoever has to go on: they see a stop, and must not take it for half of a restart.
            failure = failure_of(_unexpected(self.exited), row, now.isoformat())
            values |= {"failure": failure, "deadline": now + STOP_GRACE}
            if intent == Intent(Desired.RUNNING, row.generation):
                values["desired"] = Desired.STOPPED
        return Change(values=values)

    async def _settle(self, row: ServerRow, spawner: Spawner | None, error: SpawnFailed | None = None) -> ServerRow:
        if self.exited is not None:
            error = _unexpected(self.exited)
        gone = stopped(spawner)
        forget = spawner is None or not spawner.will_resume

        def settled(intent: Intent, now: datetime) -> Change:
            failure = {} if error is None else {"failure": failure_of(error, row, now.isoformat())}
            return Change(
                values=gone | failure,
                forget=forget,
                release=intent.desired is not Desired.DELETED,
            )

        intent = await self.operation.decide(row, settled)
        faults.hit("stop.settled")
        metrics.stop_seconds.labels("failure" if error is not None else "success").observe(perf_counter() - self.began)
        log.info("server stopped", user=row.user_name, server=row.name, unexpected=self.exited is not None)
        return row.with_({"desired": intent.desired, **gone})

    async def _retry(self, row: ServerRow, error: Exception) -> ServerRow | None:
        """Try again a little later; past the deadline, end it by force."""
        hub = self.operation.hub
        if row.deadline is not None and hub.store.now() > row.deadline:
            return await self._force(row, error)
        await self.operation.decide(
            row,
            lambda _intent, now: Change(
                values={"attempts": row.attempts + 1, "next_attempt": now + RETRY * (row.attempts + 1)}, release=True
            ),
        )
        log.warning(
            "server could not be stopped, will try again",
            user=row.user_name,
            server=row.name,
            error=str(error),
        )
        return None

    async def _force(self, row: ServerRow, error: Exception) -> ServerRow:
        """The plug-in cannot stop it: end whatever carries its mark, and say so in the row."""
        hub = self.operation.hub
        await self.operation.hold()
        for found in await hub.spawners.find():
            if found.server_id == row.id:
                await hub.spawners.destroy(found)
        failure = SpawnFailed(
            "The server could not be stopped properly and was ended by force.",
            reason="stop_failed",
            details=f"{type(error).__name__}: {error}\n{getattr(error, 'details', '')}".strip(),
        )
        return await self._settle(row, None, failure)

    async def _delete(self, row: ServerRow) -> None:
        """Run the plug-in's `delete_forever`, then remove the row. An error keeps the row, for another try."""
        hub = self.operation.hub
        try:
            spawner = await hub.spawners.open(self.operation.spec(row))
            try:
                async with asyncio.timeout(STOP_SECONDS):
                    await spawner.delete_forever()
            finally:
                spawner.close()
        except (SpawnFailed, TimeoutError) as error:
            await self._retry_delete(row, error)
            return
        faults.hit("remove.deleted")
        async with hub.store.transaction() as tx:
            await forget_credentials(tx, [row])
            # Another server may get this name: whoever was let into this one must not be remembered as let into that.
            await forget_visitors(tx, shares.c.server_id == row.id)
            result = await tx.execute(delete(servers).where(held(self.operation.lease)))
            if result.rowcount:
                tx.emit(Event(Kind.SERVER, str(row.id), {"user": row.user_name, "name": row.name, "deleted": True}))
        log.info("server deleted", user=row.user_name, server=row.name)

    async def _retry_delete(self, row: ServerRow, error: Exception) -> None:
        failure = SpawnFailed(
            "The server's storage could not be deleted; it will be tried again.",
            reason="delete_failed",
            details=str(error),
        )
        wait = min(RETRY * 2**row.attempts, timedelta(minutes=5))
        await self.operation.decide(
            row,
            lambda _intent, now: Change(
                values={
                    "attempts": row.attempts + 1,
                    "next_attempt": now + wait,
                    "failure": failure_of(failure, row, now.isoformat()),
                },
                release=True,
            ),
        )
        log.warning(
            "server could not be deleted, will try again",
            user=row.user_name,
            server=row.name,
            error=str(error),
        )


def _unexpected(exited: Exited) -> SpawnFailed:
    if exited.cause is not None:
        return explained(exited.cause, exited.log_lines)
    code = "" if exited.code is None else f" (exit code {exited.code})"
    return SpawnFailed(
        f"The server's process ended by itself{code}.", reason="exited", details="\n".join(exited.log_lines)
    )
