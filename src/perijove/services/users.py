"""Users: find, make, change, delete. Pages of them: `user_list`. Nothing is O(all users)."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from sqlalchemy import delete, func, insert, select, update

from perijove.domain.errors import Conflict, HubError, Invalid, NotFound
from perijove.domain.events import Event, Kind
from perijove.domain.ids import UserId
from perijove.domain.names import check_user_name
from perijove.domain.states import Desired, Observed
from perijove.lib.log import get_logger
from perijove.services.audit import record
from perijove.services.share_visitors import forget_visitors
from perijove.services.user_facts import facts_of, user_facts
from perijove.services.user_list import ServerFacts, UserPage, UserQuery, UserRow, get_user, list_users, users_named
from perijove.store import schema

if TYPE_CHECKING:
    from perijove.services.context import HubContext
    from perijove.store.database import Transaction

__all__ = [
    "ServerFacts",
    "UserPage",
    "UserQuery",
    "UserRow",
    "create_users",
    "delete_user",
    "get_user",
    "list_users",
    "rename_user",
    "set_admin",
    "set_auth_state",
]

log = get_logger(__name__)

MAX_BATCH = 10_000


def normalise(hub: "HubContext", name: str) -> str:
    """As the authenticator writes it; raises `Invalid` when nobody may be called so."""
    normal = hub.authenticator.normalize(name)
    check_user_name(normal)
    if not hub.authenticator.validate(normal):
        raise Invalid(f"Invalid username: {name!r}", field="name")
    return normal


async def create_users(hub: "HubContext", names: Sequence[str], *, admin: bool = False, actor: str) -> list[UserRow]:
    """Normalise and validate all, make those missing; returns the new ones, in the order asked for.

    Raises:
        Invalid: a name (nothing was made).
        Conflict: all of them exist.
    """
    if not names:
        raise Invalid("No usernames were given.", field="usernames")
    if len(names) > MAX_BATCH:
        raise Invalid(f"At most {MAX_BATCH} users at a time.", field="usernames")
    wanted = list(dict.fromkeys(normalise(hub, name) for name in names))
    async with hub.store.transaction() as tx:
        there = await existing(tx, wanted)
        new = [name for name in wanted if name not in there]
        if not new:
            raise Conflict(f"User {wanted[0]} already exists" if len(wanted) == 1 else "All these users exist already")
        rows = [{"name": name, "admin": admin, "created": tx.now, "auth_stale": False} for name in new]
        await tx.execute(insert(schema.users), rows)
        for name in new:
            await record(tx, "user.create", actor=actor, subject=name, admin=admin)
        tx.emit(*(Event(Kind.IDENTITY, name) for name in new))
    made = await users_named(hub, new)
    await _tell_authenticator(hub, made)
    return made


async def existing(tx: "Transaction", names: Sequence[str]) -> set[str]:
    """Those of `names` that are users."""
    found: set[str] = set()
    for first in range(0, len(names), 500):
        chunk = names[first : first + 500]
        rows = await tx.execute(select(schema.users.c.name).where(schema.users.c.name.in_(chunk)))
        found |= set(rows.scalars())
    return found


async def _tell_authenticator(hub: "HubContext", made: Sequence[UserRow]) -> None:
    """`add_user` for each. Those it refuses are taken back: the next try must meet it again."""
    facts = await facts_of(hub, [user.id for user in made])
    for user in made:
        if user.id not in facts:  # deleted meanwhile
            continue
        try:
            await hub.authenticator.user_added(facts[user.id])
        except Exception as error:
            log.exception("add_user_failed", user=user.name)
            async with hub.store.transaction() as tx:
                await tx.execute(delete(schema.users).where(schema.users.c.id == user.id))
                tx.emit(Event(Kind.IDENTITY, user.name))
            if isinstance(error, HubError):
                raise
            raise Invalid(f"The authenticator did not accept user {user.name!r}: {error}", field="name") from error


async def set_admin(hub: "HubContext", name: str, admin: bool, *, actor: str) -> None:
    """The flag is the role: whoever has it holds the role `admin`."""
    async with hub.store.transaction() as tx:
        user_id = await find_id(tx, name)
        users = schema.users
        await tx.execute(update(users).where(users.c.id == user_id).values(admin=admin))
        await record(tx, "user.admin", actor=actor, subject=name, admin=admin)
        tx.emit(Event(Kind.IDENTITY, name))


async def rename_user(hub: "HubContext", name: str, new_name: str, *, actor: str) -> str:
    """Returns the normalised new name. Raises `Invalid` (rule, or taken), `Conflict` while a server is active."""
    renamed = normalise(hub, new_name)
    if renamed == name:
        return name
    async with hub.store.transaction() as tx:
        user_id = await find_id(tx, name)
        if await existing(tx, [renamed]):
            raise Invalid(f"User {renamed} already exists, username must be unique", field="name")
        if await active_servers(tx, user_id):
            raise Conflict(f"{name} has active servers; stop them before renaming.")
        users, servers = schema.users, schema.servers.c
        # Scopes of shares name the owner: what visitors are remembered to hold is of the old name.
        own = select(servers.id).where(servers.user_id == user_id)
        await forget_visitors(tx, schema.shares.c.server_id.in_(own))
        await tx.execute(update(users).where(users.c.id == user_id).values(name=renamed))
        await record(tx, "user.rename", actor=actor, subject=name, new_name=renamed)
        tx.emit(Event(Kind.IDENTITY, name), Event(Kind.IDENTITY, renamed))
    return renamed


async def set_auth_state(hub: "HubContext", name: str, auth_state: Mapping[str, Any] | None, *, actor: str) -> None:
    """Encrypted under the first key; None clears it. Raises `NotFound`, `Invalid` where none is kept."""
    if auth_state is not None and not (hub.authenticator.enable_auth_state and hub.crypt.available):
        message = "This hub keeps no auth state: see enable_auth_state and JUPYTERHUB_CRYPT_KEY."
        raise Invalid(message, field="auth_state")
    sealed = await hub.crypt.encrypt(auth_state) if auth_state is not None else None
    async with hub.store.transaction() as tx:
        user_id = await find_id(tx, name)
        users = schema.users
        await tx.execute(update(users).where(users.c.id == user_id).values(encrypted_auth_state=sealed))
        await record(tx, "user.auth_state", actor=actor, subject=name)


async def delete_user(hub: "HubContext", name: str, *, actor: str) -> None:
    """Remove a user whose servers are all stopped (see `services.servers`); raises `Conflict` otherwise."""
    facts = await user_facts(hub, (await get_user(hub, name)).id)
    async with hub.store.transaction() as tx:
        user_id = await find_id(tx, name)
        if await active_servers(tx, user_id):
            raise Conflict(f"{name} has active servers; stop them first.")
        await tx.execute(delete(schema.users).where(schema.users.c.id == user_id))
        await record(tx, "user.delete", actor=actor, subject=name)
        tx.emit(Event(Kind.IDENTITY, name))
    await hub.authenticator.user_deleted(facts)


async def find_id(tx: "Transaction", name: str) -> UserId:
    """Raises `NotFound`."""
    found = (await tx.execute(select(schema.users.c.id).where(schema.users.c.name == name))).scalar()
    if found is None:
        raise NotFound(f"No such user: {name}")
    return UserId(found)


async def active_servers(tx: "Transaction", user_id: UserId) -> int:
    s = schema.servers.c
    active = (s.observed != Observed.STOPPED) | (s.desired == Desired.RUNNING)
    count = select(func.count()).select_from(schema.servers).where(s.user_id == user_id, active)
    return int((await tx.execute(count)).scalar_one())
