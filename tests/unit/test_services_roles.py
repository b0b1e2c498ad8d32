"""The configuration into rows, at every start: exactly what it says, whatever was there before."""

import pytest
from sqlalchemy import func, select

from perijove.config.options import GroupOptions, RoleOptions, ServiceOptions
from perijove.domain.errors import Invalid
from perijove.services import groups, identity, registry, roles, users
from perijove.services.secrets import hash_token
from perijove.store import schema
from perijove.testing.context import bare_hub
from perijove.testing.fake_authenticator import FakeAuthenticator


@pytest.fixture
def url(tmp_path):
    return f"sqlite:///{tmp_path}/hub.sqlite"


async def held(hub, name: str) -> set[str]:
    return set((await identity.identify_user(hub, name)).scopes.texts())


async def role_names(hub) -> set[str]:
    async with hub.store.read() as connection:
        return set((await connection.execute(select(schema.roles.c.name))).scalars())


async def test_the_four_default_roles_are_always_there():
    async with bare_hub() as hub:
        assert await role_names(hub) == {"user", "admin", "server", "token"}


async def test_starting_again_changes_nothing(url):
    options = {
        "load_roles": (RoleOptions(name="tutor", scopes=("read:hub",), users=("ann",), groups=("g",)),),
        "load_groups": (GroupOptions(name="g", users=("ben",), properties={"a": 1}),),
        "services": (ServiceOptions(name="cull", api_token="cull-token", url="http://x"),),
        "api_tokens": {"anns-token": "ann"},
    }
    seen = []
    for _ in range(2):
        async with bare_hub(url=url, **options) as hub, hub.store.read() as connection:
            tables = [t for t in schema.metadata.sorted_tables if t.name not in {"outbox", "revision", "meta"}]
            seen.append({t.name: (await connection.execute(t.select())).all() for t in tables})
    secret = seen[0]["oauth_clients"][0].secret_hash
    assert secret == hash_token("cull-token")
    assert seen[0] == seen[1]


async def test_members_listed_are_all_there_are(url):
    def tutor(**members):
        return {"load_roles": (RoleOptions(name="tutor", scopes=("read:hub",), **members),)}

    async with bare_hub(url=url, **tutor(users=("ann", "Ben"), groups=("g",))) as hub:
        assert "read:hub" in await held(hub, "ann")
        assert "read:hub" in await held(hub, "ben")
        await groups.create_group(hub, "h", users=["ann"], actor="test")
    async with bare_hub(url=url, **tutor(users=("ben",))) as hub:
        assert "read:hub" not in await held(hub, "ann")
        assert "read:hub" in await held(hub, "ben")
    async with bare_hub(url=url, **tutor()) as hub:
        assert "read:hub" not in await held(hub, "ben")
        assert "tutor" in await role_names(hub)
    async with bare_hub(url=url) as hub:
        assert "tutor" not in await role_names(hub)
        # Groups made by people stay.
        assert (await groups.get_group(hub, "h")).users == ("ann",)


async def test_the_user_role_can_be_restricted_and_extended():
    async with bare_hub(
        load_roles=(RoleOptions(name="user", scopes=("read:users:name!user",)),), extra_user_scopes=("read:hub",)
    ) as hub:
        await users.create_users(hub, ["ann"], actor="test")
        assert await held(hub, "ann") == {"read:users:name!user=ann", "read:users:groups!user=ann", "read:hub"}


async def test_a_default_role_without_scopes_keeps_its_own():
    async with bare_hub(load_roles=(RoleOptions(name="user", description="everybody"),)) as hub:
        await users.create_users(hub, ["ann"], actor="test")
        assert "servers!user=ann" in await held(hub, "ann")


async def test_the_admin_role_is_the_admin_flag(url):
    def admin(**members):
        return {"load_roles": (RoleOptions(name="admin", **members),)}

    async with bare_hub(url=url, **admin(users=("ann",), services=("cull",)), services=CULL) as hub:
        assert (await users.get_user(hub, "ann")).admin
        assert (await registry.get_service(hub, "cull")).admin
        await users.create_users(hub, ["ben"], admin=True, actor="test")
    # Nobody listed: who is an admin stays one.
    async with bare_hub(url=url, **admin(), services=CULL) as hub:
        assert (await users.get_user(hub, "ann")).admin
        assert (await users.get_user(hub, "ben")).admin
    authenticator = FakeAuthenticator(admin_names=frozenset({"root"}))
    async with bare_hub(url=url, **admin(users=("ben",)), authenticator=authenticator) as hub:
        assert not (await users.get_user(hub, "ann")).admin
        assert (await users.get_user(hub, "ben")).admin
        assert (await users.get_user(hub, "root")).admin


CULL = (ServiceOptions(name="cull"),)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"load_roles": (RoleOptions(name="aaa"), RoleOptions(name="aaa"))}, "twice"),
        ({"load_roles": (RoleOptions(name="A"),)}, "Invalid role name"),
        ({"load_roles": (RoleOptions(name="aaa", scopes=("read:nothing",)),)}, "does not exist"),
        ({"load_roles": (RoleOptions(name="admin", scopes=("read:hub",)),)}, "cannot be changed"),
        ({"load_roles": (RoleOptions(name="aaa", users=("a/b",)),)}, "slash"),
        ({"load_roles": (RoleOptions(name="aaa", users=("a!",)),)}, "Invalid username"),
        ({"load_roles": (RoleOptions(name="aaa", services=("nobody",)),)}, "No such service: nobody"),
        ({"extra_user_scopes": ("read:nothing",)}, "does not exist"),
        ({"services": (ServiceOptions(name="a"), ServiceOptions(name="a"))}, "twice"),
        ({"services": (ServiceOptions(name="a", api_token="short"),)}, "8 to 64"),
        ({"services": (ServiceOptions(name="a", api_token="x" * 65),)}, "8 to 64"),
        ({"api_tokens": {"short": "ann"}}, "8 to 64"),
    ],
)
async def test_mistakes_are_named(options, message):
    with pytest.raises(Invalid, match=message):
        async with bare_hub(**options):
            pass


async def test_where_the_authenticator_manages_roles_the_configuration_lists_nobody():
    with pytest.raises(Invalid, match="manages roles"):
        async with bare_hub(
            authenticator=FakeAuthenticator(manage_roles=True),
            load_roles=(RoleOptions(name="aaa", users=("ann",)),),
        ):
            pass


async def test_a_mistake_leaves_everything_as_it_was(url):
    async with bare_hub(url=url) as hub, hub.store.read() as connection:
        before = (await connection.execute(select(func.count()).select_from(schema.users))).scalar()
    with pytest.raises(Invalid):
        async with bare_hub(
            url=url, load_roles=(RoleOptions(name="aaa", users=("ann",)), RoleOptions(name="bbb", services=("x",)))
        ):
            pass
    async with bare_hub(url=url, reconcile=False) as hub, hub.store.read() as connection:
        assert (await connection.execute(select(func.count()).select_from(schema.users))).scalar() == before


async def test_users_the_configuration_names_are_made_and_the_authenticator_hears_of_them():
    authenticator = FakeAuthenticator()
    async with bare_hub(
        authenticator=authenticator,
        load_groups=(GroupOptions(name="g", users=("Ann",)),),
        api_tokens={"bens-token": "ben"},
    ) as hub:
        assert sorted(authenticator.added) == ["ann", "ben"]
        assert (await identity.identify_token(hub, "bens-token")).name == "ben"


async def test_tokens_follow_the_configuration(url):
    async with bare_hub(url=url, services=CULL_WITH_TOKEN, api_tokens={"shared-token": "ann"}) as hub:
        assert (await identity.identify_token(hub, "cull-token")).name == "cull"
        assert (await identity.identify_token(hub, "shared-token")).name == "ann"
    async with bare_hub(url=url, services=CULL, api_tokens={"shared-token": "ben", "cull-token": "ben"}) as hub:
        assert (await identity.identify_token(hub, "shared-token")).name == "ben"
        assert (await identity.identify_token(hub, "cull-token")).kind == "user"
    async with bare_hub(url=url) as hub:
        assert await identity.identify_token(hub, "shared-token") is None
        assert await registry.list_services(hub) == []


CULL_WITH_TOKEN = (ServiceOptions(name="cull", api_token="cull-token"),)


async def test_start_up_does_not_walk_over_users(monkeypatch):
    """The roles `user` and `admin` follow from being one: nothing is written for anybody."""
    async with bare_hub() as hub:
        await users.create_users(hub, [f"u{n}" for n in range(50)], actor="test")
        await roles.reconcile(hub)
        async with hub.store.read() as connection:
            assigned = select(func.count()).select_from(schema.user_roles)
            assert (await connection.execute(assigned)).scalar() == 0
        assert (await users.get_user(hub, "u7")).roles == ["user"]


async def test_a_service_may_be_allowed_scopes_by_the_names_of_roles():
    page = ServiceOptions(
        name="page", url="http://x", oauth_client_allowed_scopes=("read:hub",), oauth_roles=("tutor",)
    )
    tutor = RoleOptions(name="tutor", scopes=("list:users", "read:hub"))
    async with bare_hub(services=(page,), load_roles=(tutor,)) as hub, hub.store.read() as connection:
        (client,) = (await connection.execute(select(schema.oauth_clients.c.allowed_scopes))).scalars()
        assert client == ["read:hub", "list:users"]
    with pytest.raises(Invalid, match="oauth_roles"):
        async with bare_hub(services=(page,)):
            pass
