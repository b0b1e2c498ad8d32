"""What a login writes: the person, what the authenticator says about them, and the session."""

import asyncio
import os

import pytest
from sqlalchemy import select

from perijove.domain.errors import Conflict, Forbidden, Invalid, LimitReached
from perijove.domain.ports import AuthModel
from perijove.services import identity, login, sessions, users
from perijove.services.login import RequestFacts
from perijove.store import schema
from perijove.testing.context import bare_hub
from perijove.testing.fake_authenticator import FakeAuthenticator

HERE = RequestFacts(remote_ip="192.0.2.1", headers={"user-agent": "test"})
MARK = "0123456789abcdef" * 2


@pytest.fixture
async def hub():
    async with bare_hub(crypt_keys=(os.urandom(32),)) as hub:
        yield hub


async def enter(hub, name: str = "ann", **said):
    return await login.complete_login(hub, AuthModel(name=name, **said), HERE)


async def user_row(hub, name: str = "ann"):
    async with hub.store.read() as connection:
        return (await connection.execute(select(schema.users).where(schema.users.c.name == name))).one()


async def test_the_first_login_makes_the_user_and_tells_the_authenticator(hub):
    one = await enter(hub)
    two = await enter(hub)
    assert hub.authenticator.added == ["ann"]
    assert one.user_id == two.user_id
    assert one.secret != two.secret
    assert (await identity.identify_session(hub, one.secret)).name == "ann"


async def test_whom_the_authenticator_cannot_add_is_not_made(hub):
    """The next login has to meet the refusal again, or the person gets in without an account."""
    hub.authenticator.refuse_new = OSError("useradd failed")
    for _ in range(2):
        with pytest.raises(OSError, match="useradd"):
            await enter(hub)
    assert await users.list_users(hub, users.UserQuery()) == users.UserPage([], 0)
    hub.authenticator.refuse_new = None
    await enter(hub)
    assert hub.authenticator.added == ["ann"]


async def test_first_logins_at_once_make_one_user(hub):
    done = await asyncio.gather(*(enter(hub) for _ in range(10)))
    assert len({one.user_id for one in done}) == 1
    assert len(await sessions.list_sessions(hub, "ann")) == 10


@pytest.mark.parametrize("name", ["", "a/b", "..", " a", "a\n"])
async def test_names_that_no_user_may_have_are_refused_whoever_vouches_for_them(hub, name):
    with pytest.raises(Invalid):
        await enter(hub, name)


async def test_admin_is_set_cleared_or_left(hub):
    for said, expected in ((True, True), (None, True), (False, False), (None, False)):
        await enter(hub, admin=said)
        assert (await user_row(hub)).admin is expected


async def test_auth_state_is_kept_encrypted_where_that_is_on(hub):
    await enter(hub, auth_state={"token": "secret"})
    assert (await user_row(hub)).encrypted_auth_state is None
    hub.authenticator.enable_auth_state = True
    await enter(hub, auth_state={"token": "secret"})
    assert b"secret" not in (await user_row(hub)).encrypted_auth_state
    assert await login.get_auth_state(hub, "ann") == {"token": "secret"}
    await enter(hub)  # says nothing: it stays
    assert await login.get_auth_state(hub, "ann") == {"token": "secret"}
    hub.authenticator.enable_auth_state = False
    await enter(hub)  # off: it is not kept
    assert (await user_row(hub)).encrypted_auth_state is None


async def test_groups_are_the_authenticators_only_where_it_manages_them(hub):
    await enter(hub, groups=("a",))
    assert (await identity.identify_user(hub, "ann")).groups == ()
    hub.authenticator.manage_groups = True
    for said, expected in ((("b", "a"), ("a", "b")), (None, ("a", "b")), (("c",), ("c",)), ((), ())):
        await enter(hub, groups=said)
        assert (await identity.identify_user(hub, "ann")).groups == expected


async def test_roles_are_given_changed_and_taken_back():
    async with bare_hub(authenticator=FakeAuthenticator(manage_roles=True)) as hub:
        reader = {"name": "reader", "scopes": ["read:hub", "read:nothing"], "description": "Reads"}
        await enter(hub, roles=(reader,))
        ann = await identity.identify_user(hub, "ann")
        assert ann.roles == ("reader", "user")
        assert "read:hub" in ann.scopes
        await enter(hub, roles=({"name": "reader", "scopes": ["proxy"]},))
        ann = await identity.identify_user(hub, "ann")
        assert "proxy" in ann.scopes
        assert "read:hub" not in ann.scopes
        await enter(hub, roles=({"name": "admin"}, {"name": "user"}))
        ann = await identity.identify_user(hub, "ann")
        assert (ann.admin, ann.roles) == (True, ("admin", "user"))
        await enter(hub, roles=())
        ann = await identity.identify_user(hub, "ann")
        assert (ann.admin, ann.roles) == (False, ("user",))


async def test_an_admin_made_by_people_is_not_the_authenticators_to_unmake():
    async with bare_hub(authenticator=FakeAuthenticator(manage_roles=True)) as hub:
        await enter(hub, roles=())
        await users.set_admin(hub, "ann", admin=True, actor="test")
        await enter(hub, roles=())
        assert (await user_row(hub)).admin


async def test_user_info_is_kept(hub):
    await enter(hub, user_info={"display_name": "Ann"})
    await enter(hub)
    assert (await identity.identify_user(hub, "ann")).user_info == {"display_name": "Ann"}


async def test_a_browsers_mark_is_kept_for_the_same_person_only(hub):
    async def mark_of(name, offered):
        return (await login.complete_login(hub, AuthModel(name=name), HERE, browser_session=offered)).browser_session

    for _ in range(2):
        assert await mark_of("ann", MARK) == MARK
    assert await mark_of("ben", MARK) != MARK
    await enter(hub, "cid")
    assert await mark_of("cid", MARK) != MARK
    for malformed in ("", "x", MARK + "0", MARK.upper(), "é" * 32):
        assert await mark_of("ann", malformed) != malformed


async def test_refusals_are_counted_and_then_wait(hub):
    for _ in range(10):
        with pytest.raises(Forbidden, match="Invalid username or password"):
            await login.login(hub, {"username": "ann", "password": "wrong"}, HERE)
    with pytest.raises(LimitReached):
        await login.login(hub, {"username": "ann", "password": "right"}, HERE)
    hub.clock.advance(400)
    await login.login(hub, {"username": "ann", "password": "right"}, HERE)


async def test_logging_out_ends_this_session_only(hub):
    here, there = await enter(hub), await enter(hub)
    await login.logout(hub, await identity.identify_session(hub, here.secret), HERE)
    assert await identity.identify_session(hub, here.secret) is None
    assert await identity.identify_session(hub, there.secret)


async def test_a_batch_in_which_somebody_is_deleted_meanwhile_still_logs_in_the_others(hub, monkeypatch):
    await enter(hub, "ann")
    await enter(hub, "ben")
    real = hub.store.transaction
    failures = 0

    def conflict(_store):
        nonlocal failures
        failures += 1
        if failures == 1:
            raise Conflict
        return real()

    monkeypatch.setattr(type(hub.store), "transaction", conflict)
    done = await asyncio.gather(enter(hub, "ann"), enter(hub, "ben"))
    assert [one.user_name for one in done] == ["ann", "ben"]
    assert failures == 3


async def test_a_database_that_is_away_fails_every_login_that_waits(hub, monkeypatch):
    await enter(hub, "ann")

    def broken(_store):
        raise RuntimeError("gone")

    with monkeypatch.context() as patch:
        patch.setattr(type(hub.store), "transaction", broken)
        failed = await asyncio.gather(*(enter(hub) for _ in range(3)), return_exceptions=True)
        assert [type(error) for error in failed] == [RuntimeError] * 3
    assert await enter(hub)


async def test_users_are_deleted_renamed_and_made_with_the_same_rules(hub):
    await users.create_users(hub, ["Ann"], actor="test")
    with pytest.raises(Conflict):
        await users.create_users(hub, ["ann"], actor="test")
    with pytest.raises(Invalid):
        await users.create_users(hub, ["ok", "no!"], actor="test")
    with pytest.raises(Invalid):
        await users.create_users(hub, [], actor="test")
    assert await users.rename_user(hub, "ann", "Anna", actor="test") == "anna"
    await users.delete_user(hub, "anna", actor="test")
    assert hub.authenticator.deleted == ["anna"]


async def test_whoever_the_authenticator_refuses_to_add_is_taken_back(hub):
    hub.authenticator.refuse_new = OSError("no more space")
    with pytest.raises(Invalid, match="no more space"):
        await users.create_users(hub, ["ann"], actor="test")
    assert (await users.list_users(hub, users.UserQuery())).items == []
