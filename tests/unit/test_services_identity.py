"""What a process remembers about callers: never longer than it is true."""

import asyncio
import time

import pytest
from sqlalchemy import delete, insert, select, update

from perijove.bus.memory import Bus
from perijove.config.options import GroupOptions, RoleOptions
from perijove.domain.errors import Forbidden, NotFound, Unauthenticated, Unavailable
from perijove.domain.events import Event, Kind
from perijove.domain.ports import AuthModel
from perijove.domain.scopes import Catalogue
from perijove.services import groups, identity, login, tokens, users
from perijove.services.identity_cache import IdentityCache
from perijove.services.login import RequestFacts
from perijove.services.secrets import hash_token
from perijove.store import schema
from perijove.testing.context import bare_hub
from perijove.testing.fake_authenticator import FakeAuthenticator


@pytest.fixture
async def hub():
    async with bare_hub(
        load_roles=(RoleOptions(name="tutor", scopes=("read:users!group=course", "shares!user"), groups=("tutors",)),),
        load_groups=(GroupOptions(name="tutors", users=("tom",)), GroupOptions(name="course", users=("sue",))),
    ) as hub:
        await users.create_users(hub, ["ann"], actor="test")
        yield hub


async def token_of(hub, name: str = "ann", **options) -> str:
    return (await tokens.create_token(hub, name, note="", actor="test", **options)).token


async def session_of(hub, name: str = "ann") -> str:
    return (await login.complete_login(hub, AuthModel(name=name), RequestFacts())).secret


class Counter:
    """How often the database was asked."""

    def __init__(self, hub, monkeypatch) -> None:
        self.reads = 0
        real = type(hub.store).read

        def read(store):
            self.reads += 1
            return real(store)

        monkeypatch.setattr(type(hub.store), "read", read)


async def test_the_second_call_asks_no_database(hub, monkeypatch):
    token, secret = await token_of(hub), await session_of(hub)
    first = await identity.identify_token(hub, token)
    await identity.identify_session(hub, secret)
    counter = Counter(hub, monkeypatch)
    assert await identity.identify_token(hub, token) is first
    assert (await identity.identify_session(hub, secret)).name == "ann"
    assert counter.reads == 0


@pytest.mark.parametrize("text", ["", "x", "a" * 65, "\ud800", "é" * 40])
async def test_what_is_no_token_is_nobody(hub, text):
    assert await identity.identify_token(hub, text) is None


async def test_long_tokens_never_reach_the_database(hub, monkeypatch):
    counter = Counter(hub, monkeypatch)
    assert await identity.identify_token(hub, "a" * 65) is None
    assert counter.reads == 0


async def test_another_replicas_revocation_is_heard(hub):
    """It is an event on the bus, whoever wrote the rows."""
    token = await token_of(hub)
    assert await identity.identify_token(hub, token)
    async with hub.store.transaction() as tx:  # as another process does: no event here
        await tx.execute(delete(schema.tokens).where(schema.tokens.c.hashed == hash_token(token)))
    assert await identity.identify_token(hub, token)
    hub.bus.publish([Event(Kind.IDENTITY, "ann")])
    assert await identity.identify_token(hub, token) is None


async def test_lost_events_empty_the_memory(hub):
    token = await token_of(hub)
    await identity.identify_token(hub, token)
    async with hub.store.transaction() as tx:
        await tx.execute(delete(schema.tokens))
    hub.bus.lag()
    assert await identity.identify_token(hub, token) is None


async def test_while_the_feed_is_broken_nothing_is_remembered(hub):
    token = await token_of(hub)
    hub.identities.suspend()
    assert await identity.identify_token(hub, token)
    async with hub.store.transaction() as tx:
        await tx.execute(delete(schema.tokens))
    assert await identity.identify_token(hub, token) is None
    hub.identities.resume()


async def test_what_nobody_vouched_for_lately_is_read_again(hub, monkeypatch):
    """As in a process that was frozen: it has missed revocations and does not know."""
    token = await token_of(hub)
    await identity.identify_token(hub, token)
    counter = Counter(hub, monkeypatch)
    hub.identities.vouch(time.monotonic())
    assert await identity.identify_token(hub, token)
    assert counter.reads == 0
    hub.identities.vouch(time.monotonic() - 1)
    assert await identity.identify_token(hub, token)
    assert counter.reads > 0


async def test_a_revocation_while_rows_are_being_read_is_not_undone(hub, monkeypatch):
    """Read, then revoked, then remembered: the order that would keep a dead token alive."""
    hub.authenticator.auth_refresh_age_seconds = 0
    token = await token_of(hub)
    real = identity.owner_entry

    async def slow(*args):
        async with hub.store.transaction() as tx:
            await tx.execute(delete(schema.tokens))
            tx.emit(Event(Kind.IDENTITY, "ann"))
        return await real(*args)

    monkeypatch.setattr(identity, "owner_entry", slow)
    assert await identity.identify_token(hub, token)  # it was good when it was looked at
    monkeypatch.undo()
    assert await identity.identify_token(hub, token) is None


async def test_expiry_needs_no_event(hub):
    token = await token_of(hub, expires_in_seconds=60)
    secret = await session_of(hub)
    assert await identity.identify_token(hub, token)
    hub.clock.advance(61)
    assert await identity.identify_token(hub, token) is None
    assert await identity.identify_session(hub, secret)
    hub.clock.advance(hub.options.cookie_max_age.total_seconds())
    assert await identity.identify_session(hub, secret) is None
    assert await tokens.purge_expired(hub) == 2


async def test_an_owner_is_read_again_after_a_while_even_without_events(hub):
    token = await token_of(hub)
    assert (await identity.identify_token(hub, token)).user_info is None
    async with hub.store.transaction() as tx:
        await tx.execute(update(schema.users).values(user_info={"name": "Ann"}))
    hub.clock.advance(3600)
    assert (await identity.identify_user(hub, "ann")).user_info == {"name": "Ann"}


async def test_a_role_of_a_group_holds_for_its_members_and_means_each_of_them(hub):
    tom = await identity.identify_user(hub, "tom")
    assert tom.roles == ("user",)
    assert await identity.allows(hub, tom, "read:users!user=sue")
    assert not await identity.allows(hub, tom, "read:users!user=ann")
    assert "shares!user=tom" in tom.scopes
    await groups.remove_members(hub, "tutors", ["tom"], actor="test")
    tom = await identity.identify_user(hub, "tom")
    assert not await identity.allows(hub, tom, "read:users!user=sue")
    assert "shares!user=tom" not in tom.scopes


async def test_a_change_of_a_role_reaches_everybody(hub):
    token = await token_of(hub, "tom")
    assert "shares!user=tom" in (await identity.identify_token(hub, token)).scopes
    async with hub.store.transaction() as tx:
        await tx.execute(update(schema.roles).where(schema.roles.c.name == "tutor").values(scopes=["read:hub"]))
        tx.emit(Event(Kind.IDENTITY, "*"))
    got = (await identity.identify_token(hub, token)).scopes
    assert "read:hub" in got
    assert "shares!user=tom" not in got


async def test_group_shares_reach_tokens(hub):
    """JupyterHub forgets them there, and a visitor who may is refused at the server's door."""
    await groups.create_group(hub, "friends", users=["ann"], actor="test")
    async with hub.store.transaction() as tx:
        sue = (await tx.execute(select(schema.users.c.id).where(schema.users.c.name == "sue"))).scalar_one()
        group = (await tx.execute(select(schema.groups.c.id).where(schema.groups.c.name == "friends"))).scalar_one()
        made = await tx.execute(insert(schema.servers).values(user_id=sue, name="gpu", created=tx.now))
        row = {
            "server_id": made.inserted_primary_key[0],
            "group_id": group,
            "scopes": ["access:servers!server=sue/old-name"],
            "created": tx.now,
        }
        await tx.execute(insert(schema.shares), row)
        tx.emit(Event(Kind.IDENTITY, "*"))
    wide, narrow = await token_of(hub), await token_of(hub, scopes=["access:servers!server=sue/gpu"])
    for token in (wide, narrow):
        caller = await identity.identify_token(hub, token)
        # By the server's name of now, whatever it was called when it was shared.
        assert "access:servers!server=sue/gpu" in caller.scopes
        assert "access:servers!server=sue/old-name" not in caller.scopes


async def test_require_says_no_in_three_ways(hub):
    ann = await identity.identify_user(hub, "ann")
    assert await identity.require(hub, ann, "read:hub", "read:users!user=ann") is ann
    with pytest.raises(Unauthenticated):
        await identity.require(hub, None, "read:hub")
    with pytest.raises(NotFound):
        await identity.require(hub, ann, "read:users!user=bob")
    with pytest.raises(Forbidden, match=r"requires any of \[read:hub, proxy\]"):
        await identity.require(hub, ann, "read:hub", "proxy")


async def test_not_knowing_is_no_refusal(hub, monkeypatch):
    token = await token_of(hub)

    def broken(_store):
        raise Unavailable

    monkeypatch.setattr(type(hub.store), "read", broken)
    with pytest.raises(Unavailable):
        await identity.identify_token(hub, token)


async def test_memory_is_bounded(monkeypatch):
    monkeypatch.setattr("perijove.services.identity_cache.MAX_CREDENTIALS", 3)
    monkeypatch.setattr("perijove.services.identity_cache.MAX_OWNERS", 2)
    async with bare_hub() as hub:
        await users.create_users(hub, [f"u{n}" for n in range(6)], actor="test")
        for n in range(6):
            assert await identity.identify_token(hub, await token_of(hub, f"u{n}"))
        assert len(hub.identities._credentials) <= 3
        assert len(hub.identities._owners) <= 2


# -- asking the authenticator again


async def test_the_authenticator_is_asked_again_when_its_answer_is_old(hub):
    token = await token_of(hub)
    await session_of(hub)
    asked = hub.authenticator.refresh_calls
    await identity.identify_token(hub, token)
    assert asked == []
    hub.clock.advance(301)
    await asyncio.gather(*(identity.identify_token(hub, token) for _ in range(20)))
    assert asked == ["ann"]
    hub.clock.advance(301)
    await identity.identify_token(hub, token)
    assert asked == ["ann", "ann"]


async def test_a_no_ends_sessions_and_tokens_until_the_next_login(hub):
    token, secret = await token_of(hub), await session_of(hub)
    assert await identity.identify_token(hub, token)
    hub.authenticator.refreshed = False
    hub.clock.advance(301)
    assert await identity.identify_token(hub, token) is None
    assert await identity.identify_session(hub, secret) is None
    hub.authenticator.refreshed = True
    assert await identity.identify_session(hub, secret) is None
    await session_of(hub)
    assert await identity.identify_token(hub, token)


async def test_what_the_authenticator_changes_counts_at_once(hub):
    token = await token_of(hub)
    await session_of(hub)
    hub.authenticator.manage_groups = True
    hub.authenticator.refreshed = AuthModel(name="ann", admin=True, groups=("new",))
    hub.clock.advance(301)
    caller = await identity.identify_token(hub, token)
    assert (caller.admin, caller.groups) == (True, ("new",))
    assert "admin:users" in caller.scopes


async def test_an_authenticator_that_does_not_answer_is_tolerated_for_a_while(hub):
    secret = await session_of(hub)
    hub.authenticator.refreshed = OSError("provider is down")
    hub.clock.advance(301)
    assert await identity.identify_session(hub, secret)
    hub.clock.advance(3600 * 24)
    with pytest.raises(Unavailable):
        await identity.identify_session(hub, secret)
    hub.authenticator.refreshed = True
    assert await identity.identify_session(hub, secret)


async def test_age_zero_never_asks():
    async with bare_hub(authenticator=FakeAuthenticator(auth_refresh_age_seconds=0)) as hub:
        secret = await session_of(hub)
        hub.clock.advance(3600)
        assert await identity.identify_session(hub, secret)
        assert hub.authenticator.refresh_calls == []


def test_forgetting_one_leaves_the_others():
    cache = IdentityCache(Bus(), Catalogue())
    with cache.reading() as reading:
        cache.forget("ann")
        assert not reading.valid_for("ann")
        assert not reading.valid_for("ben", "ann")
        assert reading.valid_for("ben")
        cache.forget("*")
        assert not reading.valid_for("ben")
