"""Tokens and login sessions of a model: made, revoked, and tried at every hub."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from random import Random
from typing import Any

from sqlalchemy import select

from perijove.domain.errors import HubError
from perijove.domain.ids import TokenId
from perijove.services import sessions, tokens
from perijove.services.identity import identify_session, identify_token
from perijove.store.schema import users
from perijove.testing.model.invariants import demand
from perijove.testing.model.replicas import Hub

# Within which a revocation holds everywhere.
SECOND = 1.0


@dataclass(slots=True)
class Credential:
    """A token or session that the hub has acknowledged."""

    user: str
    secret: str
    kind: str
    number: int = 0
    # Somebody asked for its end; it may be over.
    doubtful: bool = False
    # When its end was acknowledged.
    over_at: float | None = None


@dataclass
class Credentials:
    random: Random
    known: list[Credential] = field(default_factory=list)
    _made: int = 0
    # By user: ends that are on their way, and how many ever were.
    _ending: Counter[str] = field(default_factory=Counter)
    _ends: Counter[str] = field(default_factory=Counter)

    async def make(self, hub: Hub, user: str) -> None:
        """What is made while all of a user's ends may or may not survive that."""
        ends = self._ends[user]
        made = await self._make(hub, user)
        if made is not None:
            made.doubtful = self._ending[user] > 0 or self._ends[user] != ends
            self.known.append(made)

    async def _make(self, hub: Hub, user: str) -> Credential | None:
        assert hub.context is not None
        if self.random.random() < 0.5:  # noqa: PLR2004 - as many of each
            made = await tokens.create_token(hub.context, user, note="", actor=user)
            return Credential(user, made.token, "token", int(made.row.id))
        self._made += 1
        secret = f"session {self._made}"
        async with hub.context.store.transaction() as tx:
            found = (await tx.execute(select(users.c.id).where(users.c.name == user))).scalar()
            if found is None:
                return None
            await sessions.create(
                hub.context,
                tx,
                user_id=found,
                secret=secret,
                browser_session=secret,
                user_agent="",
                address="",
            )
        return Credential(user, secret, "session")

    async def revoke(self, hub: Hub, one: Credential) -> None:
        assert hub.context is not None
        if one.kind == "token":
            context = hub.context
            await self._end(
                one.user, [one], lambda: tokens.revoke_token(context, one.user, TokenId(one.number), actor="")
            )
            return
        await self.log_out(hub, one.user)

    async def log_out(self, hub: Hub, user: str) -> None:
        """Of this user's sessions, all."""
        context = hub.context
        assert context is not None
        theirs = [one for one in self.known if one.user == user and one.kind == "session" and one.over_at is None]
        await self._end(user, theirs, lambda: sessions.revoke_all_sessions(context, user, actor=user))

    async def end_of(self, user: str, remove: Callable[[], Awaitable[Any]]) -> None:
        """The user is removed, and with them all they had."""
        await self._end(user, [one for one in self.known if one.user == user and one.over_at is None], remove)

    async def _end(self, user: str, which: list[Credential], work: Callable[[], Awaitable[Any]]) -> None:
        self._ending[user] += 1
        self._ends[user] += 1
        for one in which:
            one.doubtful = True
        try:
            await work()
        finally:
            self._ending[user] -= 1
        for one in which:
            one.over_at = asyncio.get_running_loop().time()

    async def check(self, hub: Hub, one: Credential) -> None:
        """What this hub says of it must be true by now."""
        context = hub.context
        assert context is not None
        began, doubtful, over = asyncio.get_running_loop().time(), one.doubtful, one.over_at
        try:
            identify = identify_token if one.kind == "token" else identify_session
            identity = await identify(context, one.secret)
        except HubError:
            return  # it does not know, and says so
        who = f"{hub.process.name} at {began:.2f}"
        if identity is None:
            demand(one.doubtful or doubtful, f"{who} refuses a good {one.kind} of {one.user}")
            return
        # On a file nobody vouches for what a hub remembered while it was frozen (docs/explanation/model-test.md).
        grace = 0.0 if context.store.remote else hub.process.thawed_at
        late = over is not None and began > max(over, grace) + SECOND
        demand(not late, f"{who} takes a {one.kind} of {one.user} that was revoked at {over}")

    def forget_old(self) -> None:
        over = [one for one in self.known if one.over_at is not None]
        for one in over[:-20]:
            self.known.remove(one)
