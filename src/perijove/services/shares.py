"""Accepting a share: a code that an owner gave out becomes access to their server.

The visitor's side; the owner's is in `share_grants` and `share_codes`.
"""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Select, insert, select, update

from perijove.domain.errors import Invalid, NotFound
from perijove.domain.events import Event, Kind
from perijove.domain.ids import UserId
from perijove.domain.names import full_name
from perijove.domain.states import Desired, Observed, ready
from perijove.services import imported_hashes
from perijove.services.audit import record
from perijove.services.context import HubContext
from perijove.services.secrets import hash_session
from perijove.store.schema import servers, share_codes, shares, users


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """What a share code offers."""

    code_id: int
    server_id: int
    owner: str
    server: str
    server_title: str
    ready: bool
    scopes: tuple[str, ...]
    expires_at: datetime | None


async def find_offer(hub: HubContext, code: str) -> Offer:
    """Raises `NotFound` for an unknown or expired code."""
    async with hub.store.read() as connection:
        row = (await connection.execute(_offers(code))).first()
    if row is None and await imported_hashes.adopt_share_code(hub, code):
        return await find_offer(hub, code)
    if row is None or (row.expires_at is not None and row.expires_at <= hub.store.now()):
        raise NotFound("This share link is not known, or has expired. Ask for a new one.")
    return Offer(
        code_id=row.id,
        server_id=row.server_id,
        owner=row.owner,
        server=row.server,
        server_title=row.display_name or row.server or "Default server",
        ready=ready(Desired(row.desired), Observed(row.observed)),
        scopes=tuple(row.scopes),
        expires_at=row.expires_at,
    )


async def accept_offer(hub: HubContext, code: str, *, user_id: UserId, user: str) -> Offer:
    """Give `user` what the code offers, added to what they have. Raises `NotFound`, `Invalid` (their own)."""
    offer = await find_offer(hub, code)
    if offer.owner == user:
        raise Invalid("This is your own server.", field="code")
    where = (shares.c.server_id == offer.server_id, shares.c.user_id == user_id)
    async with hub.store.transaction() as tx:
        there = (await tx.execute(select(shares.c.scopes).where(*where))).scalar()
        if there is None:
            values = {"server_id": offer.server_id, "user_id": user_id, "scopes": list(offer.scopes), "created": tx.now}
            await tx.execute(insert(shares).values(values))
        else:
            await tx.execute(update(shares).where(*where).values(scopes=sorted({*there, *offer.scopes})))
        codes = share_codes.c
        await tx.execute(
            update(share_codes)
            .where(codes.id == offer.code_id)
            .values(exchange_count=codes.exchange_count + 1, last_exchanged=tx.now)
        )
        await record(tx, "share.accept", actor=user, subject=full_name(offer.owner, offer.server))
        tx.emit(Event(Kind.IDENTITY, user))
    return offer


def _offers(code: str) -> Select[tuple[object, ...]]:
    s = servers.c
    return (
        select(
            share_codes.c.id,
            share_codes.c.server_id,
            share_codes.c.scopes,
            share_codes.c.expires_at,
            s.name.label("server"),
            s.display_name,
            s.desired,
            s.observed,
            users.c.name.label("owner"),
        )
        .join_from(share_codes, servers, s.id == share_codes.c.server_id)
        .join(users, users.c.id == s.user_id)
        .where(share_codes.c.hashed == hash_session(code))
    )
