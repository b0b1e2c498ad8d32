"""Who reaches a server through shares, told when that server's name changes or goes.

Visitors hold `access:servers!server=<owner>/<name>`, which each replica remembers for a while. A name that is
given to another server must not open it to those who were let into the first.
"""

from typing import TYPE_CHECKING

from sqlalchemy import ColumnElement, select

from perijove.domain.events import Event, Kind
from perijove.store import schema

if TYPE_CHECKING:
    from perijove.store.database import Transaction


async def forget_visitors(tx: "Transaction", where: ColumnElement[bool]) -> None:
    """Tell whoever reaches a server through shares `where` that it changed: its name, or that there is one."""
    shares, members, users = schema.shares.c, schema.user_groups.c, schema.users.c
    direct = select(users.name).join(schema.shares, shares.user_id == users.id).where(where)
    through = (
        select(users.name)
        .join(schema.user_groups, members.user_id == users.id)
        .join(schema.shares, shares.group_id == members.group_id)
        .where(where)
    )
    for statement in (direct, through):
        tx.emit(*(Event(Kind.IDENTITY, name) for name in (await tx.execute(statement)).scalars()))
