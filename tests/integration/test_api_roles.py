"""Roles made and assigned while the hub runs: what they open, who may make them, and what keeps its own source."""

import pytest
import pytest_asyncio

from perijove.config.options import RoleOptions, ServiceOptions
from perijove.testing.api import ApiClient
from perijove.testing.inside import hub_inside

pytestmark = pytest.mark.asyncio(loop_scope="module")

ROOT, KEEPER = "root-token", "keeper-token"

OPTIONS = {
    "services": (
        ServiceOptions(name="root", api_token=ROOT, admin=True),
        ServiceOptions(name="keeper", api_token=KEEPER),
    ),
    "load_roles": (
        RoleOptions(name="keeper", scopes=("admin:roles", "read:users", "servers!group=crew"), services=("keeper",)),
        RoleOptions(name="written", description="of the file", scopes=("read:hub",), groups=()),
    ),
    "custom_scopes": {"custom:grades:read": {"description": "Read grades"}},
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def directory(tmp_path_factory):
    return tmp_path_factory.mktemp("hub")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def inside(directory):
    async with hub_inside(directory, **OPTIONS) as hub:
        async with ApiClient(hub.url, ROOT) as root:
            await root("POST", "/users", {"usernames": ["ann", "ben"]})
            await root("POST", "/groups/crew", {"users": ["ben"]})
        yield hub


@pytest_asyncio.fixture(loop_scope="module")
async def root(inside):
    async with ApiClient(inside.url, ROOT) as client:
        yield client


@pytest_asyncio.fixture(loop_scope="module")
async def keeper(inside):
    async with ApiClient(inside.url, KEEPER) as client:
        yield client


async def scopes_of(inside, root, user):
    token = (await root("POST", f"/users/{user}/tokens")).json["token"]
    async with ApiClient(inside.url, token) as client:
        return (await client("GET", "/user")).json["scopes"]


async def test_a_role_from_its_beginning_to_its_end(inside, root):
    made = await root("POST", "/roles/grader", {"description": "Grades", "scopes": ["list:users", "read:servers"]})
    assert made.status == 201
    assert made.json == {
        "kind": "role",
        "name": "grader",
        "description": "Grades",
        "scopes": ["list:users", "read:servers"],
        "source": "api",
        "editable": True,
        "user_count": 0,
        "groups": [],
        "services": [],
    }
    assert (await root("POST", "/roles/grader", {"scopes": []})).status == 409
    assert "list:users" not in await scopes_of(inside, root, "ann")
    given = await root("POST", "/roles/grader/holders", {"users": ["ann"]})
    assert (given.status, given.json["user_count"]) == (200, 1)
    assert (await root("GET", "/users/ann")).json["roles"] == ["grader", "user"]
    assert "list:users" in await scopes_of(inside, root, "ann")
    changed = await root("PATCH", "/roles/grader", {"scopes": ["read:hub"]})
    assert changed.json["scopes"] == ["read:hub"]
    scopes = await scopes_of(inside, root, "ann")
    assert ("list:users" in scopes, "read:hub" in scopes) == (False, True)
    assert (await root("DELETE", "/roles/grader/holders", {"users": ["ann"]})).json["user_count"] == 0
    assert "read:hub" not in await scopes_of(inside, root, "ann")
    await root("POST", "/roles/grader/holders", {"groups": ["crew"]})
    assert "read:hub" in await scopes_of(inside, root, "ben")
    assert (await root("GET", "/groups/crew")).json["roles"] == ["grader"]
    assert (await root("DELETE", "/roles/grader")).status == 204
    assert "read:hub" not in await scopes_of(inside, root, "ben")
    assert (await root("GET", "/roles/grader")).status == 404


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", "/roles/x", {"scopes": []}, 400),
        ("POST", "/roles/good", {"scopes": ["nonsense"]}, 400),
        ("POST", "/roles/good", {}, 400),
        ("PATCH", "/roles/missing", {"scopes": []}, 404),
        ("PATCH", "/roles/written", {"scopes": []}, 409),
        ("PATCH", "/roles/written", {}, 400),
        ("DELETE", "/roles/written", None, 409),
        ("PATCH", "/roles/user", {"scopes": ["self", "shares!user"]}, 409),
        ("DELETE", "/roles/admin", None, 409),
        ("POST", "/roles/written/holders", {"groups": ["crew"]}, 409),
        ("POST", "/roles/written/holders", {"users": ["nobody"]}, 400),
        ("POST", "/roles/written/holders", {"users": ["ann"], "groups": ["crew"]}, 400),
        ("POST", "/roles/written/holders", {}, 400),
        ("POST", "/roles/user/holders", {"services": ["keeper"]}, 409),
        ("POST", "/roles/missing/holders", {"users": ["ann"]}, 404),
    ],
)
async def test_what_is_said_elsewhere_is_not_edited_here(root, method, path, body, status):
    assert (await root(method, path, body)).status == status


async def test_nobody_grants_what_they_do_not_hold(root, keeper):
    for scopes in (["admin:users"], ["read:hub"], ["servers"], ["servers!user"], ["self"], ["custom:grades:read"]):
        refused = await keeper("POST", "/roles/mine", {"scopes": scopes})
        assert (refused.status, "not yours to grant" in refused.message) == (403, True), scopes
    made = await keeper(
        "POST", "/roles/mine", {"scopes": ["read:users:name", "servers!user=ben", "servers!group=crew"]}
    )
    assert made.status == 201
    assert (await keeper("PATCH", "/roles/mine", {"scopes": ["shutdown"]})).status == 403
    assert (await keeper("POST", "/roles/mine/holders", {"users": ["ann"]})).status == 200
    assert (await keeper("POST", "/roles/admin/holders", {"users": ["ann"]})).status == 403
    assert (await keeper("POST", "/roles/written/holders", {"users": ["ann"]})).status == 403
    assert (await root("POST", "/roles/free", {"scopes": ["custom:grades:read"]})).status == 201
    assert (await keeper("POST", "/roles/free/holders", {"users": ["ann"]})).status == 403
    for role in ("mine", "free"):
        await root("DELETE", f"/roles/{role}")


async def test_a_token_that_may_less_than_its_admin_makes_no_admins(inside, root):
    await root("POST", "/users", {"usernames": ["boss"], "admin": True})
    made = await root("POST", "/users/boss/tokens", {"scopes": ["admin:roles"]})
    async with ApiClient(inside.url, made.json["token"]) as cut:
        assert (await cut("POST", "/roles/admin/holders", {"users": ["ann"]})).status == 403
        assert (await cut("POST", "/roles/wide", {"scopes": ["admin:users"]})).status == 403
    assert (await root("POST", "/roles/admin/holders", {"users": ["ann"]})).json["user_count"] == 3
    assert (await root("GET", "/users/ann")).json["admin"] is True
    assert sorted((await root("GET", "/roles/admin/users")).json["items"]) == ["admin", "ann", "boss"]
    await root("DELETE", "/roles/admin/holders", {"users": ["ann"]})
    assert (await root("GET", "/users/ann")).json["admin"] is False


async def test_roles_are_read_with_a_scope_and_changed_with_another(inside, root):
    token = (await root("POST", "/users/ann/tokens")).json["token"]
    async with ApiClient(inside.url, token) as ann:
        assert (await ann("GET", "/roles")).status == 403
        assert (await ann("POST", "/roles/mine", {"scopes": []})).status == 403
    roles = {role["name"]: role["source"] for role in (await root("GET", "/roles")).json}
    assert roles == {
        "admin": "default",
        "keeper": "config",
        "server": "default",
        "token": "default",
        "user": "default",
        "written": "config",
    }


async def test_what_was_made_here_outlives_a_restart(tmp_path):
    async with hub_inside(tmp_path, **OPTIONS) as first, ApiClient(first.url, ROOT) as root:
        await root("POST", "/users", {"usernames": ["ann"]})
        await root("POST", "/roles/lasting", {"scopes": ["read:hub"]})
        await root("POST", "/roles/lasting/holders", {"users": ["ann"]})
        await root("POST", "/roles/written/holders", {"users": ["ann"]})
    async with hub_inside(tmp_path, **OPTIONS) as second, ApiClient(second.url, ROOT) as root:
        assert (await root("GET", "/users/ann")).json["roles"] == ["lasting", "user", "written"]
        assert (await root("GET", "/roles/lasting")).json["editable"] is True
