"""A user as plug-ins may see them: read from rows for one operation, decrypted only when asked."""

from sqlalchemy import select

from perijove.domain.errors import NotFound
from perijove.domain.ids import UserId
from perijove.domain.ports import UserFacts
from perijove.services.context import HubContext
from perijove.store.schema import groups, user_groups, users


async def user_facts(hub: HubContext, user_id: UserId, *, with_auth_state: bool = False) -> UserFacts:
    """Raises `NotFound`."""
    async with hub.store.read() as connection:
        user = (await connection.execute(select(users).where(users.c.id == user_id))).first()
        if user is None:
            raise NotFound(f"No user with id {user_id}.")
        member_of = (
            (
                await connection.execute(
                    select(groups.c.name)
                    .join(user_groups)
                    .where(user_groups.c.user_id == user_id)
                    .order_by(groups.c.name)
                )
            )
            .scalars()
            .all()
        )
    state = None
    if with_auth_state and hub.authenticator.enable_auth_state:
        state = await hub.crypt.decrypt(user.encrypted_auth_state)
    return UserFacts(
        id=UserId(user.id),
        name=user.name,
        admin=user.admin,
        groups=tuple(member_of),
        created=user.created,
        last_activity=user.last_activity,
        user_info=user.user_info,
        auth_state=state,
    )
