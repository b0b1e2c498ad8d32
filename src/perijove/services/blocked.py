"""Users whom the configuration blocks and who are here already: at start they lose what they still hold.

The authenticator refuses their next login; without this their sessions, tokens and servers would go on.
"""

from sqlalchemy import delete, select, update

from perijove.domain.events import Event, Kind
from perijove.lib.log import get_logger
from perijove.services.audit import record
from perijove.services.context import HubContext
from perijove.services.server_rows import from_row, query
from perijove.services.servers import stop_row
from perijove.store.schema import oauth_codes, servers, sessions, tokens, user_groups, user_roles, users

log = get_logger(__name__)

ACTOR = "configuration"


async def shut_out(hub: HubContext) -> int:
    """End sessions, tokens, codes, roles, groups and servers of blocked users; returns how many users had any row.

    O(names that are blocked). Idempotent: a second start finds nothing left and records nothing.
    """
    names = hub.authenticator.blocked_names
    if not names:
        return 0
    async with hub.store.transaction() as tx:
        found = (await tx.execute(select(users.c.id, users.c.name, users.c.admin).where(users.c.name.in_(names)))).all()
        for user in found:
            held = [
                (await tx.execute(delete(table).where(table.c.user_id == user.id))).rowcount
                for table in (sessions, tokens, oauth_codes, user_roles, user_groups)
            ]
            if user.admin:
                await tx.execute(update(users).where(users.c.id == user.id).values(admin=False))
            for row in [from_row(row) for row in await tx.execute(query(servers.c.user_id == user.id))]:
                await stop_row(tx, row, actor=ACTOR, reason="blocked")
            if any(held) or user.admin:
                await record(tx, "user.blocked", actor=ACTOR, subject=user.name)
                log.warning("blocked user shut out", user=user.name)
            tx.emit(Event(Kind.IDENTITY, user.name))
    return len(found)
