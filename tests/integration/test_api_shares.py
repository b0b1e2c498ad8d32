"""Shares and share codes through the REST API: who may give access to what, who gets it, and how it ends."""

import pytest
import pytest_asyncio

from perijove.config.options import RoleOptions, ServiceOptions
from perijove.testing.api import ApiClient
from perijove.testing.inside import hub_inside

pytestmark = pytest.mark.asyncio(loop_scope="module")

ROOT = "root-token"
ACCESS = "access:servers!server=ann/gpu"
# Users do not share unless an administrator lets them.
SHARING = RoleOptions(name="user", scopes=("self", "shares!user", "read:users:name", "read:groups:name"))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def inside(tmp_path_factory):
    async with hub_inside(
        tmp_path_factory.mktemp("hub"),
        services=(ServiceOptions(name="root", api_token=ROOT, admin=True),),
        load_roles=(SHARING,),
        allow_named_servers=True,
        public_url="https://hub.example/",
    ) as hub:
        async with ApiClient(hub.url, ROOT) as root:
            await root("POST", "/users", {"usernames": ["ann", "ben", "eve"]})
            await root("POST", "/groups/crew", {"users": ["eve"]})
            await root("PUT", "/users/ann/servers/gpu", {})
        yield hub


@pytest_asyncio.fixture(loop_scope="module")
async def root(inside):
    async with ApiClient(inside.url, ROOT) as client:
        yield client
        await client("DELETE", "/shares/ann/gpu")
        await client("DELETE", "/share-codes/ann/gpu")


@pytest_asyncio.fixture(loop_scope="module")
async def as_user(inside, root):
    clients = []

    async def make(name, **body):
        token = (await root("POST", f"/users/{name}/tokens", body or None)).json["token"]
        clients.append(ApiClient(inside.url, token))
        return clients[-1]

    yield make
    for client in clients:
        await client.close()


async def test_a_share_opens_a_server_to_a_user_until_it_is_revoked(as_user):
    ann, ben = await as_user("ann"), await as_user("ben")
    assert ACCESS not in (await ben("GET", "/user")).json["scopes"]
    made = await ann("POST", "/shares/ann/gpu", {"user": "ben"})
    assert made.status == 200
    created = made.json.pop("created_at")
    assert made.json == {
        "server": {
            "user": {"name": "ann"},
            "name": "gpu",
            "url": "/user/ann/gpu/",
            "full_url": "https://hub.example/user/ann/gpu/",
            "ready": False,
        },
        "scopes": [ACCESS],
        "user": {"name": "ben"},
        "group": None,
        "kind": "user",
        "created_at": created,
    }
    assert ACCESS in (await ben("GET", "/user")).json["scopes"]
    assert (await ben("GET", "/users/ben/shared")).json["items"] == [made.json]
    assert (await ben("GET", "/users/ben/shared/ann/gpu")).json == made.json
    for path in ("/shares/ann", "/shares/ann/gpu"):
        listed = (await ann("GET", path)).json
        assert listed["items"] == [made.json]
        assert listed["_pagination"] == {"offset": 0, "limit": 200, "total": 1, "next": None}
    assert (await ann("GET", "/shares/ann/")).json["items"] == []
    ended = await ann("PATCH", "/shares/ann/gpu", {"user": "ben"})
    assert (ended.status, ended.json) == (200, {})
    assert ACCESS not in (await ben("GET", "/user")).json["scopes"]
    assert (await ann("PATCH", "/shares/ann/gpu", {"user": "ben"})).json == {}


async def test_a_share_with_a_group_reaches_the_tokens_of_its_members(as_user, root):
    ann, ben = await as_user("ann"), await as_user("ben")
    eve = await as_user("eve")
    await ann("POST", "/shares/ann/gpu", {"group": "crew"})
    assert ACCESS in (await eve("GET", "/user")).json["scopes"]
    narrow = await as_user("eve", scopes=[ACCESS])
    known = ["read:users:groups!user=eve", "read:users:name!user=eve"]
    assert (await narrow("GET", "/user")).json["scopes"] == [ACCESS, *known]
    await root("POST", "/groups/crew/users", {"users": ["ben"]})
    assert ACCESS in (await ben("GET", "/user")).json["scopes"]
    assert [s["group"] for s in (await ben("GET", "/users/ben/shared")).json["items"]] == [{"name": "crew"}]
    # A share of the group is not the member's to leave.
    assert (await ben("DELETE", "/users/ben/shared/ann/gpu")).status == 404
    await root("DELETE", "/groups/crew/users", {"users": ["ben"]})
    assert ACCESS not in (await ben("GET", "/user")).json["scopes"]
    assert (await root("GET", "/groups/crew/shared")).json["_pagination"]["total"] == 1
    assert (await root("GET", "/groups/crew/shared/ann/gpu")).json["kind"] == "group"
    assert (await root("DELETE", "/groups/crew/shared/ann/gpu")).status == 204
    assert ACCESS not in (await eve("GET", "/user")).json["scopes"]
    assert (await narrow("GET", "/user")).json["scopes"] == known


async def test_shared_scopes_add_up_and_can_be_taken_one_by_one(as_user):
    ann, ben = await as_user("ann"), await as_user("ben")
    await ann("POST", "/shares/ann/gpu", {"user": "ben"})
    both = await ann("POST", "/shares/ann/gpu", {"user": "ben", "scopes": ["read:servers!server=ann/gpu"]})
    assert both.json["scopes"] == [ACCESS, "read:servers!server=ann/gpu"]
    assert (await ben("GET", "/users/ann/servers/gpu")).json["name"] == "gpu"
    left = await ann("PATCH", "/shares/ann/gpu", {"user": "ben", "scopes": ["access:servers"]})
    assert left.json["scopes"] == ["read:servers!server=ann/gpu"]
    assert (await ben("DELETE", "/users/ben/shared/ann/gpu")).status == 204
    assert (await ben("GET", "/users/ann/servers/gpu")).status in {403, 404}


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/shares/ann/gpu", {}, 400),
        ("/shares/ann/gpu", {"user": "ben", "group": "crew"}, 400),
        ("/shares/ann/gpu", {"user": "ben", "color": 1}, 400),
        ("/shares/ann/gpu", {"user": "ben", "scopes": ["nonsense"]}, 400),
        ("/shares/ann/gpu", {"user": "ben", "scopes": ["self"]}, 400),
        ("/shares/ann/gpu", {"user": "ben", "scopes": ["access:servers!user=ann"]}, 400),
        ("/shares/ann/gpu", {"user": "ben", "scopes": ["access:servers!server=ben/"]}, 400),
        ("/shares/ann/gpu", {"user": "ben", "scopes": ["admin:servers"]}, 403),
        ("/shares/ann/gpu", {"user": "nobody"}, 400),
        ("/shares/ann/gpu", {"group": "nobody"}, 400),
        ("/shares/ann/missing", {"user": "ben"}, 404),
        ("/shares/ben/", {"user": "ann"}, 404),
        ("/shares/ann", {"user": "ben"}, 405),
        ("/share-codes/ann/gpu", {"expires_in": 59}, 400),
        ("/share-codes/ann/gpu", {"expires_in": 31536001}, 400),
        ("/share-codes/ann/gpu", {"scopes": ["admin:servers"]}, 403),
        ("/share-codes/ann/missing", {}, 404),
    ],
)
async def test_nobody_shares_what_is_not_theirs_to_give(as_user, path, body, status):
    ann = await as_user("ann")
    assert (await ann("POST", path, body)).status == status


async def test_a_name_of_somebody_is_needed_to_share_with_them(as_user):
    ann = await as_user("ann", scopes=["shares!user"])
    refused = await ann("POST", "/shares/ann/gpu", {"user": "ben"})
    assert (refused.status, "read:users:name" in refused.message) == (403, True)
    refused = await ann("POST", "/shares/ann/gpu", {"group": "crew"})
    assert (refused.status, "read:groups:name" in refused.message) == (403, True)


async def test_a_default_server_can_be_shared_before_it_was_ever_started(as_user):
    ben = await as_user("ben")
    made = await ben("POST", "/shares/ben/", {"user": "ann"})
    assert (made.status, made.json["scopes"]) == (200, ["access:servers!server=ben/"])
    assert (await ben("DELETE", "/shares/ben/")).status == 204


async def test_a_code_is_shown_once_and_works_until_it_is_revoked(inside, as_user):
    ann = await as_user("ann")
    made = await ann("POST", "/share-codes/ann/gpu", {"expires_in": 3600})
    assert made.status == 200
    code = made.json["code"]
    assert len(code) == 43
    assert made.json["accept_url"] == f"/hub/accept-share?code={code}"
    assert made.json["full_accept_url"] == f"https://hub.example/hub/accept-share?code={code}"
    (listed,) = (await ann("GET", "/share-codes/ann/gpu")).json["items"]
    assert "code" not in listed
    assert (listed["id"], listed["exchange_count"], listed["last_exchanged_at"]) == (made.json["id"], 0, None)
    async with inside.browser() as zoe:
        await zoe.log_in("zoe", "x")
        response, page = await zoe.get(f"hub/accept-share?code={code}")
        assert response.status == 200
        assert "ann shares a server" in page
    assert (await ann("DELETE", f"/share-codes/ann/gpu?id={listed['id']}&code={code}")).status == 400
    assert (await ann("DELETE", "/share-codes/ann/gpu?code=unknown")).status == 404
    assert (await ann("DELETE", f"/share-codes/ann/gpu?id={listed['id']}")).status == 204
    assert (await ann("DELETE", f"/share-codes/ann/gpu?id={listed['id']}")).status == 404
    assert (await ann("GET", "/share-codes/ann")).json["items"] == []


async def test_a_visitor_of_a_renamed_or_deleted_server_is_not_let_into_its_namesake(as_user, root):
    ann, ben = await as_user("ann"), await as_user("ben")
    old = "access:servers!server=ann/old"
    await ann("PUT", "/users/ann/servers/old", {})
    await ann("POST", "/shares/ann/old", {"user": "ben"})
    assert old in (await ben("GET", "/user")).json["scopes"]
    await ann("PATCH", "/users/ann/servers/old", {"name": "new"})
    scopes = (await ben("GET", "/user")).json["scopes"]
    assert (old in scopes, "access:servers!server=ann/new" in scopes) == (False, True)
    assert (await ann("DELETE", "/users/ann/servers/new", {"remove": True})).status == 204
    await ann("PUT", "/users/ann/servers/new", {})
    assert "access:servers!server=ann/new" not in (await ben("GET", "/user")).json["scopes"]
    await ann("DELETE", "/users/ann/servers/new", {"remove": True})


async def test_a_default_server_is_there_before_it_was_ever_started(as_user, root):
    zed = (await root("POST", "/users/zed")).json["name"]
    client = await as_user(zed)
    answer = await client("GET", "/users/zed/server")
    assert (answer.status, answer.json["stopped"], answer.json["url"]) == (200, True, "/user/zed/")
    assert list((await client("GET", "/users/zed/servers")).json) == [""]
    changed = await client("PATCH", "/users/zed/server", {"display_name": "My notebook"})
    assert (changed.status, changed.json["display_name"]) == (200, "My notebook")
    await client("PUT", "/users/zed/servers/gpu", {})
    listed = (await client("GET", "/users/zed/servers")).json
    assert sorted(listed) == ["", "gpu"]
    assert (await root("GET", "/users/nobody/server")).status == 404
    assert (await client("GET", "/users/zed/servers/other")).status == 404
