"""Hashes that came from JupyterHub's database, good as they are until their secret is first shown.

JupyterHub writes `sha512:<rounds>:<salt>:<hex>`: salted, so that the hash of a token cannot be looked up, only
those that share its first characters tried. That is done when a token is otherwise unknown. The first time it
is good the row gets our own hash, and is found like any other from then on. Two replicas that do this at once
write the same value; whoever wrote the row otherwise in between (revoked, replaced) wins.
"""

import asyncio
import hashlib
import hmac
from typing import TYPE_CHECKING

from sqlalchemy import select, update

from perijove.domain.errors import Conflict
from perijove.services.secrets import hash_session, hash_token
from perijove.store import schema

if TYPE_CHECKING:
    from perijove.services.context import HubContext

# How much of a token JupyterHub stores in the clear, to find its hash by.
PREFIX = 4
# Of what JupyterHub hashes with one round. More rounds (up to 16384: 10 ms) leave the event loop.
_OWN = "sha256:"
_QUICK_ROUNDS = 64
# One who may write to the imported database must not be able to occupy a core for hours.
_MOST_ROUNDS = 1_000_000
_PARTS = 4


def is_imported(stored: str) -> bool:
    return not stored.startswith(_OWN) and len(stored.split(":")) == _PARTS


def matches(stored: str, secret: str) -> bool:
    """Whether `secret` is what JupyterHub made `stored` of. Constant time in the hash. May take 10 ms."""
    algorithm, rounds, salt, digest = stored.split(":")
    if algorithm not in hashlib.algorithms_guaranteed or not rounds.isdigit() or int(rounds) > _MOST_ROUNDS:
        return False
    made = hashlib.new(algorithm, salt.encode())
    encoded = secret.encode("utf-8", "replace")
    for _ in range(int(rounds)):
        made.update(encoded)
    return hmac.compare_digest(made.hexdigest().encode(), digest.encode())


async def verify(stored: str, secret: str) -> bool:
    """`matches`, off the event loop when it takes long."""
    rounds = stored.split(":")[1]
    if rounds.isdigit() and int(rounds) <= _QUICK_ROUNDS:
        return matches(stored, secret)
    return await asyncio.to_thread(matches, stored, secret)


async def adopt_token(hub: "HubContext", token: str) -> bool:
    """Whether `token` is an imported one; its row is then found by `hash_token(token)`."""
    # No token of JupyterHub's has what a database may refuse to look for.
    if len(token) <= PREFIX or not token.isprintable():
        return False
    t = schema.tokens.c
    imported = (t.prefix == token[:PREFIX], t.hashed.not_like(f"{_OWN}%"))
    async with hub.store.read() as connection:
        rows = (await connection.execute(select(t.id, t.hashed).where(*imported))).all()
    for row in rows:
        if is_imported(row.hashed) and await verify(row.hashed, token):
            change = update(schema.tokens).where(t.id == row.id, t.hashed == row.hashed)
            try:
                async with hub.store.transaction() as tx:
                    await tx.execute(change.values(hashed=hash_token(token)))
            except Conflict:  # the same token was configured here as well: that row speaks for it
                return True
            return True
    return False


async def adopt_client_secret(hub: "HubContext", client_id: str, stored: str, secret: str) -> bool:
    """Whether `secret` is that of this client, whose stored hash is an imported one."""
    if not await verify(stored, secret):
        return False
    clients = schema.oauth_clients
    change = update(clients).where(clients.c.id == client_id, clients.c.secret_hash == stored)
    async with hub.store.transaction() as tx:
        await tx.execute(change.values(secret_hash=hash_token(secret)))
    return True


async def adopt_share_code(hub: "HubContext", code: str) -> bool:
    """Whether `code` is an imported one; its row is then found by `hash_session(code)`."""
    if len(code) <= PREFIX or not code.isprintable():
        return False
    codes = schema.share_codes
    c = codes.c
    wanted = select(c.id, c.imported_hash).where(c.prefix == code[:PREFIX], c.imported_hash.is_not(None))
    async with hub.store.read() as connection:
        rows = (await connection.execute(wanted)).all()
    for row in rows:
        if await verify(row.imported_hash, code):
            own = {"hashed": hash_session(code), "prefix": None, "imported_hash": None}
            async with hub.store.transaction() as tx:
                change = update(codes).where(c.id == row.id, c.imported_hash == row.imported_hash)
                await tx.execute(change.values(own))
            return True
    return False
