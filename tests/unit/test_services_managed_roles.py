"""Roles that an authenticator describes at start."""

import pytest
from sqlalchemy import select

from perijove.domain.errors import Invalid
from perijove.services import groups, identity, users
from perijove.store import schema
from perijove.testing.context import bare_hub
from perijove.testing.fake_authenticator import FakeAuthenticator

TUTOR = {"name": "tutor", "description": "Tutors", "scopes": ["read:hub", "custom:gone"]}


async def held(hub, name):
    return (await identity.identify_user(hub, name)).scopes.texts()


async def test_an_authenticators_roles_exist_from_the_start_on_and_are_given_to_whom_it_names(tmp_path):
    url = f"sqlite:///{tmp_path}/hub.sqlite"
    async with bare_hub(url=url) as hub:
        await users.create_users(hub, ["ann", "ben"], actor="test")
        await groups.create_group(hub, "crew", users=["ben"], actor="test")
    described = [{**TUTOR, "users": ["Ann", "nobody"], "groups": ["crew"]}, {"name": "admin", "users": ["ann"]}]
    asked = FakeAuthenticator(manage_roles=True, described_roles=described)
    async with bare_hub(url=url, authenticator=asked) as hub:
        assert "read:hub" in await held(hub, "ann")
        assert "read:hub" in await held(hub, "ben")
        # Who is an admin is said at login.
        assert not (await identity.identify_user(hub, "ann")).admin
        async with hub.store.read() as connection:
            row = (await connection.execute(select(schema.roles).where(schema.roles.c.name == "tutor"))).one()
        assert (row.managed_by_auth, row.scopes) == (True, ["read:hub"])
    # Not described any more: kept until the next login of each, or reset at start.
    async with bare_hub(url=url, authenticator=FakeAuthenticator(manage_roles=True)) as hub:
        assert "read:hub" in await held(hub, "ann")
    reset = FakeAuthenticator(manage_roles=True, reset_managed_roles=True)
    async with bare_hub(url=url, authenticator=reset) as hub:
        assert "read:hub" not in await held(hub, "ann")
        assert "read:hub" not in await held(hub, "ben")


@pytest.mark.parametrize("role", [{"name": "No"}, {"scopes": []}, {"name": "fine-role", "services": ["missing"]}])
async def test_roles_that_cannot_be_keep_a_hub_from_starting(role):
    with pytest.raises(Invalid):
        async with bare_hub(authenticator=FakeAuthenticator(manage_roles=True, described_roles=[role])):
            pass
