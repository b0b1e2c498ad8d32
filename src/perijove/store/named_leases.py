"""Named leases: work that one replica does at a time, whichever holds the row of that name in `leases`.

Every write adds one to its epoch, so of two that saw the same row one gets it, and an owner that renews at the last
moment keeps it. Only its owner can renew it, finish or release it; if the owner dies, it runs out, or is ended by
whoever knows of the death (`claims.release_of`).
"""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy import ColumnElement, Row, insert, select, update

from perijove.domain.errors import Conflict
from perijove.store.database import Store, Transaction
from perijove.store.schema import leases


@dataclass(frozen=True, slots=True)
class NamedLease:
    """One replica's view of one lease."""

    store: Store
    name: str
    owner: str
    hold: timedelta

    async def take(self, *, every: timedelta | None = None) -> bool:
        """Whether it is now this replica's for `hold`: it was free, or its own already.

        `every`: of work with a period. Not before that has passed since it was done, and not while anybody holds it,
        this replica included: what failed is tried again when the lease is over.
        """
        # A read spares those that wait for their turn the write lock.
        async with self.store.read() as connection:
            row = (await connection.execute(select(leases).where(leases.c.name == self.name))).first()
        if row is not None and not self._is_free(row, every):
            return False
        try:
            async with self.store.transaction() as tx:
                expires = tx.now + self.hold
                if row is None:
                    values = {"name": self.name, "owner": self.owner, "epoch": 1, "expires": expires}
                    await tx.execute(insert(leases), values)
                    return True
                return await self._write(tx, leases.c.epoch == row.epoch, owner=self.owner, expires=expires)
        except Conflict:  # another replica made the row first
            return False

    def _is_free(self, row: Row[Any], every: timedelta | None) -> bool:
        now = self.store.now()
        if row.expires > now and (every is not None or row.owner != self.owner):
            return False
        return every is None or row.done is None or row.done + every <= now

    async def renew(self) -> bool:
        """Whether it is still this replica's, and now is for another `hold`."""
        async with self.store.transaction() as tx:
            return await self._write(tx, leases.c.owner == self.owner, expires=tx.now + self.hold)

    async def release(self, *, done: bool = False) -> None:
        """Anybody may take it; `done`: the work with a period is, until the next time."""
        async with self.store.transaction() as tx:
            stamp = {"done": tx.now} if done else {}
            await self._write(tx, leases.c.owner == self.owner, expires=tx.now, **stamp)

    async def _write(self, tx: Transaction, condition: ColumnElement[bool], **values: Any) -> bool:
        statement = update(leases).where(leases.c.name == self.name, condition)
        return (await tx.execute(statement.values(epoch=leases.c.epoch + 1, **values))).rowcount == 1
