"""A user as plug-ins may see them: read from rows for one operation, decrypted only when asked."""

from collections.abc import Collection, Mapping

from sqlalchemy import select

from perijove.domain.errors import NotFound
from perijove.domain.ids import UserId
from perijove.domain.ports import UserFacts
from perijove.services.context import HubContext
from perijove.store.schema import groups, user_groups, users


async def user_facts(hub: HubContext, user_id: UserId, *, with_auth_state: bool = False) -> UserFacts:
    """Raises `NotFound`."""
    found = await facts_of(hub, [user_id], with_auth_state=with_auth_state)
    if user_id not in found:
        raise NotFound(f"No user with id {user_id}.")
    return found[user_id]


async def facts_of(
    hub: HubContext, ids: Collection[UserId], *, with_auth_state: bool = False
) -> Mapping[UserId, UserFacts]:
    """Of those that exist, in as many queries as for one."""
    member_of: dict[int, list[str]] = {}
    async with hub.store.read() as connection:
        rows = (await connection.execute(select(users).where(users.c.id.in_(ids)))).all()
        named = select(user_groups.c.user_id, groups.c.name).join_from(user_groups, groups)
        for user_id, name in await connection.execute(
            named.where(user_groups.c.user_id.in_(ids)).order_by(groups.c.name)
        ):
            member_of.setdefault(user_id, []).append(name)
    wanted = with_auth_state and hub.authenticator.enable_auth_state
    return {
        UserId(row.id): UserFacts(
            id=UserId(row.id),
            name=row.name,
            admin=row.admin,
            groups=tuple(member_of.get(row.id, ())),
            created=row.created,
            last_activity=row.last_activity,
            user_info=row.user_info,
            auth_state=await hub.crypt.decrypt(row.encrypted_auth_state) if wanted else None,
        )
        for row in rows
    }
