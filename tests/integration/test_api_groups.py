"""Groups through the REST API."""

import pytest
import pytest_asyncio

from perijove.config.options import RoleOptions, ServiceOptions
from perijove.testing.api import ApiClient
from perijove.testing.inside import hub_inside

pytestmark = pytest.mark.asyncio(loop_scope="module")

ROOT, KEEPER = "root-token", "keeper-token"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def inside(tmp_path_factory):
    async with hub_inside(
        tmp_path_factory.mktemp("hub"),
        services=(
            ServiceOptions(name="root", api_token=ROOT, admin=True),
            ServiceOptions(name="keeper", api_token=KEEPER),
        ),
        load_roles=(
            RoleOptions(name="keeper", scopes=("groups!group=kept", "list:groups!group=kept"), services=("keeper",)),
        ),
    ) as hub:
        async with ApiClient(hub.url, ROOT) as root:
            await root("POST", "/users", {"usernames": ["ann", "ben"]})
        yield hub


@pytest_asyncio.fixture(loop_scope="module")
async def root(inside):
    async with ApiClient(inside.url, ROOT) as client:
        yield client


async def test_a_group_from_its_beginning_to_its_end(root):
    made = await root("POST", "/groups/g", {"users": ["ann"]})
    assert made.status == 201
    assert made.json == {"kind": "group", "name": "g", "properties": {}, "users": ["ann"], "roles": []}
    assert (await root("POST", "/groups/g")).status == 409
    added = await root("POST", "/groups/g/users", {"users": ["ben", "ann"]})
    assert (added.status, added.json["users"]) == (200, ["ann", "ben"])
    removed = await root("DELETE", "/groups/g/users", {"users": ["ann"]})
    assert (removed.status, removed.json["users"]) == (200, ["ben"])
    assert (await root("DELETE", "/groups/g/users", {"users": ["ann"]})).json["users"] == ["ben"]
    assert (await root("PUT", "/groups/g/properties", {"color": "red"})).json["properties"] == {"color": "red"}
    assert (await root("GET", "/users/ben")).json["groups"] == ["g"]
    assert (await root("DELETE", "/groups/g")).status == 204
    assert (await root("GET", "/groups/g")).status == 404
    assert (await root("GET", "/users/ben")).json["groups"] == []


async def test_several_at_once(root):
    made = await root("POST", "/groups", {"groups": ["x", "y"], "users": ["ann"]})
    assert (made.status, [g["name"] for g in made.json]) == (201, ["x", "y"])
    # Those before the one that exists are made.
    assert (await root("POST", "/groups", {"groups": ["z", "x"]})).status == 409
    listed = await root("GET", "/groups", headers={"Accept": "application/jupyterhub-pagination+json"})
    assert [g["name"] for g in listed.json["items"]] == ["x", "y", "z"]
    assert listed.json["_pagination"]["total"] == 3
    assert [g["name"] for g in (await root("GET", "/groups?limit=1&offset=1")).json] == ["y"]
    for name in "xyz":
        await root("DELETE", f"/groups/{name}")


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", "/groups/h", {"users": ["nobody"]}, 400),
        ("POST", "/groups/h", {"users": "ann"}, 400),
        ("POST", "/groups/h", {"colour": 1}, 400),
        ("POST", "/groups", {}, 400),
        ("POST", "/groups", {"groups": []}, 400),
        ("POST", "/groups", {"groups": [""]}, 400),
        ("POST", "/groups/" + "x" * 256, None, 400),
        ("POST", "/groups/missing/users", {"users": ["ann"]}, 404),
        ("POST", "/groups/there/users", {}, 400),
        ("POST", "/groups/there/users", {"users": ["nobody"]}, 400),
        ("DELETE", "/groups/there/users", {"users": ["nobody"]}, 400),
        ("PUT", "/groups/there/properties", [], 400),
        ("PUT", "/groups/missing/properties", {}, 404),
        ("DELETE", "/groups/missing", None, 404),
    ],
)
async def test_what_cannot_be_is_refused(root, method, path, body, status):
    await root("POST", "/groups/there")
    assert (await root(method, path, body)).status == status
    assert (await root("GET", "/groups/h")).status == 404


async def test_names_from_providers_are_taken_as_they_are(root):
    for name, path in (("/course/tutors", "%2Fcourse%2Ftutors"), ("Ünï = x!", "%C3%9Cn%C3%AF%20=%20x!")):
        made = await root("POST", "/groups", {"groups": [name]})
        assert (made.status, made.json[0]["name"]) == (201, name)
        if "/" not in name:
            assert (await root("GET", f"/groups/{path}")).json["name"] == name


async def test_a_keeper_of_one_group(inside, root):
    await root("POST", "/groups", {"groups": ["kept", "other"]})
    async with ApiClient(inside.url, KEEPER) as keeper:
        assert [g["name"] for g in (await keeper("GET", "/groups")).json] == ["kept"]
        assert (await keeper("POST", "/groups/kept/users", {"users": ["ann"]})).json["users"] == ["ann"]
        assert (await keeper("POST", "/groups/other/users", {"users": ["ann"]})).status == 404
        assert (await keeper("GET", "/groups/other")).status == 404
        assert (await keeper("DELETE", "/groups/kept")).status == 403
        assert "roles" not in (await keeper("GET", "/groups/kept")).json
