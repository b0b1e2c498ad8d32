"""Users through the REST API, as scripts and cullers use it."""

from urllib.parse import quote

import pytest
import pytest_asyncio

from perijove.config.options import GroupOptions, RoleOptions, ServiceOptions
from perijove.testing.api import ApiClient
from perijove.testing.inside import hub_inside

pytestmark = pytest.mark.asyncio(loop_scope="module")

PAGES = {"Accept": "application/jupyterhub-pagination+json"}
ROOT, STAFF, CULL, WRITER, ODD = ("root-token", "staff-token", "cull-token", "writer-token", "odd-token")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def inside(tmp_path_factory):
    async with hub_inside(
        tmp_path_factory.mktemp("hub"),
        # Nobody exists but those named here.
        traits={"Authenticator": {"allow_all": True}},
        allow_named_servers=True,
        services=(
            ServiceOptions(name="root", api_token=ROOT, admin=True),
            ServiceOptions(name="staff", api_token=STAFF),
            ServiceOptions(name="cull", api_token=CULL),
            ServiceOptions(name="writer", api_token=WRITER),
            ServiceOptions(name="odd", api_token=ODD),
        ),
        load_roles=(
            RoleOptions(
                name="of-staff", scopes=("list:users!group=staff", "read:users!group=staff"), services=("staff",)
            ),
            RoleOptions(
                name="culler",
                scopes=("list:users", "read:users:activity", "read:servers", "delete:servers"),
                services=("cull",),
            ),
            RoleOptions(name="writer", scopes=("admin:users",), services=("writer",)),
            RoleOptions(name="odd", scopes=("list:users!server=ann/",), services=("odd",)),
        ),
        load_groups=(GroupOptions(name="staff", users=("ann", "ben")), GroupOptions(name="night", users=("ben",))),
    ) as hub:
        async with ApiClient(hub.url, ROOT) as root:
            for name in ("cid", "dan"):
                assert (await root("POST", f"/users/{name}")).status == 201
        yield hub


@pytest_asyncio.fixture(loop_scope="module")
async def root(inside):
    async with ApiClient(inside.url, ROOT) as client:
        yield client


async def names(client: ApiClient, query: str = "") -> list[str]:
    answer = await client("GET", f"/users{query}")
    assert answer.status == 200, answer.text
    return [user["name"] for user in answer.json]


async def test_lists_are_in_the_order_of_creation(root):
    assert await names(root) == ["ann", "ben", "cid", "dan"]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("?sort=name", ["ann", "ben", "cid", "dan"]),
        ("?sort=-name", ["dan", "cid", "ben", "ann"]),
        ("?sort=-id&limit=2", ["dan", "cid"]),
        ("?limit=2&offset=1", ["ben", "cid"]),
        ("?limit=-2&offset=-1", ["ben", "cid"]),
        ("?limit=0", ["ann"]),
        ("?offset=999999999999999999", []),
        ("?name_filter=AN", ["ann", "dan"]),
        ("?name_filter=%25", []),
        ("?name_filter=_", []),
        ("?state=inactive", ["ann", "ben", "cid", "dan"]),
        ("?state=active", []),
        ("?state=ready", []),
    ],
)
async def test_queries(root, query, expected):
    assert await names(root, query) == expected


@pytest.mark.parametrize(
    "query", ["?sort=age", "?state=asleep", "?limit=many", "?offset=1.5", "?limit=1e3", "?limit=%EF%BC%91"]
)
async def test_queries_that_mean_nothing_are_refused(root, query):
    answer = await root("GET", f"/users{query}")
    assert answer.status == 400
    assert answer.json["status"] == 400
    assert answer.message


async def test_pages_say_what_comes_next_and_keep_the_query(root):
    answer = await root("GET", "/users?limit=2&name_filter=n&sort=name", headers=PAGES)
    assert [user["name"] for user in answer.json["items"]] == ["ann", "ben"]
    pagination = answer.json["_pagination"]
    assert (pagination["offset"], pagination["limit"], pagination["total"]) == (0, 2, 3)
    url = pagination["next"].pop("url")
    assert pagination["next"] == {"offset": 2, "limit": 2}
    assert url.startswith("http://127.0.0.1:")
    last = await root("GET", url.partition("/hub/api")[2], headers=PAGES)
    assert [user["name"] for user in last.json["items"]] == ["dan"]
    assert last.json["_pagination"]["next"] is None


@pytest.mark.parametrize("accept", ["*/*", "application/jupyterhub-pagination+json;q=0.9", "application/json"])
async def test_only_the_exact_type_asks_for_pages(root, accept):
    answer = await root("GET", "/users", headers={"Accept": accept})
    assert isinstance(answer.json, list)
    assert answer.headers["Content-Type"].startswith("application/json")


async def test_pages_seen_through_tls_link_to_tls(root):
    answer = await root("GET", "/users?limit=1", headers={**PAGES, "X-Forwarded-Proto": "https", "Host": "hub.example"})
    assert answer.json["_pagination"]["next"]["url"].startswith("https://hub.example/hub/api/users?offset=1&limit=1")


async def test_a_filtered_listing_shows_who_is_in_the_filter_and_only_what_may_be_read(inside):
    async with ApiClient(inside.url, STAFF) as staff, ApiClient(inside.url, CULL) as cull:
        assert await names(staff) == ["ann", "ben"]
        found = (await staff("GET", "/users", headers=PAGES)).json
        assert found["_pagination"]["total"] == 2
        assert set(found["items"][0]) == {
            "kind", "name", "admin", "user_info", "groups", "roles", "created", "pending", "server", "last_activity",
        }  # fmt: skip
        culled = (await cull("GET", "/users")).json[0]
        assert set(culled) == {"kind", "name", "admin", "user_info", "last_activity", "servers"}


async def test_listing_by_a_server_filter_is_refused(inside):
    async with ApiClient(inside.url, ODD) as odd:
        assert (await odd("GET", "/users")).status == 403


async def test_one_user_out_of_reach_is_not_found_and_one_without_any_scope_is_forbidden(inside):
    async with ApiClient(inside.url, STAFF) as staff:
        assert (await staff("GET", "/users/ann")).status == 200
        hidden, missing = await staff("GET", "/users/cid"), await staff("GET", "/users/nobody")
        assert (hidden.status, hidden.json) == (missing.status, missing.json)
        assert hidden.status == 404
        refused = await staff("DELETE", "/users/cid")
        assert refused.status == 403
        assert refused.message == "Action is not authorized with current scopes; requires any of [delete:users]"


async def test_unknown_users_are_not_found(root):
    for method, path in (("GET", ""), ("DELETE", ""), ("PATCH", ""), ("GET", "/tokens"), ("POST", "/server")):
        answer = await root(method, f"/users/nobody{path}", {"admin": False} if method == "PATCH" else None)
        assert answer.status == 404, path


async def test_creating_several_makes_those_missing(root):
    made = await root("POST", "/users", {"usernames": ["Eve", "ann", "fay", "eve"]})
    assert (made.status, [user["name"] for user in made.json]) == (201, ["eve", "fay"])
    assert (await root("POST", "/users", {"usernames": ["eve", "fay"]})).status == 409
    assert (await root("POST", "/users/eve")).status == 409
    for name in ("eve", "fay"):
        assert (await root("DELETE", f"/users/{name}")).status == 204


@pytest.mark.parametrize("name", ["a/b", "..", "%2e", " a", "a ", "", "x" * 256, "a\nb", "\u0000", "a\u202eb\u0007"])
async def test_names_nobody_may_have_are_refused_and_nothing_is_made(root, name):
    answer = await root("POST", "/users", {"usernames": ["gus", name]})
    assert answer.status == 400
    assert answer.message
    assert (await root("GET", "/users/gus")).status == 404


@pytest.mark.parametrize("name", ["ünï", "a@b.example", "a b", "a%20b", "a=b!c", "~x", "日本", "a'b\"c", "x" * 200])
async def test_names_that_may_be_work_in_every_path(root, name):
    made = await root("POST", f"/users/{quote(name, safe='')}")
    assert (made.status, made.json["name"]) == (201, name)
    path = f"/users/{quote(name, safe='')}"
    assert (await root("GET", path)).json["name"] == name
    token = (await root("POST", f"{path}/tokens")).json["token"]
    mine = await root("GET", "/user", headers={"Authorization": f"token {token}"})
    assert mine.json["name"] == name
    assert f"read:users!user={name}" in mine.json["scopes"]
    theirs = await root("GET", path, headers={"Authorization": f"token {token}"})
    assert theirs.json["name"] == name
    assert (await root("DELETE", path)).status == 204


async def test_only_admins_make_admins(inside, root):
    async with ApiClient(inside.url, WRITER) as writer:
        assert (await writer("POST", "/users", {"usernames": ["hal"], "admin": True})).status == 403
        assert (await writer("POST", "/users/hal", {"admin": True})).status == 403
        assert (await writer("PATCH", "/users/cid", {"admin": True})).status == 403
        assert (await root("PATCH", "/users/cid", {"admin": True})).json["admin"] is True
        # Nor may they change one.
        assert (await writer("PATCH", "/users/cid", {"admin": False})).status == 403
        assert (await root("GET", "/users/cid")).json["roles"] == ["admin", "user"]
        assert (await root("PATCH", "/users/cid", {"admin": False})).json["roles"] == ["user"]


async def test_whoever_may_delete_users_may_delete_admins(inside, root):
    """Cullers of users do; they are not admins."""
    await root("POST", "/users/retired", {"admin": True})
    async with ApiClient(inside.url, WRITER) as writer:
        assert (await writer("DELETE", "/users/retired")).status == 204


async def test_renaming_normalises_and_refuses_what_is_taken(root):
    assert (await root("PATCH", "/users/dan", {"name": "DANA"})).json["name"] == "dana"
    assert (await root("GET", "/users/dan")).status == 404
    assert (await root("PATCH", "/users/dana", {"name": "ann"})).status == 400
    assert (await root("PATCH", "/users/dana", {"name": "a/b"})).status == 400
    assert (await root("PATCH", "/users/dana", {"name": "dan"})).json["name"] == "dan"


@pytest.mark.parametrize("change", [{"colour": 1}, {"admin": "yes"}, {"name": 5}, {"groups": ["x"]}, [], "x", None])
async def test_changes_that_are_none_are_refused(root, change):
    assert (await root("PATCH", "/users/dan", change, data=b"null" if change is None else None)).status == 400


async def test_a_renamed_users_token_goes_on_under_the_new_name(root):
    await root("POST", "/users/ina")
    token = {"Authorization": f"token {(await root('POST', '/users/ina/tokens')).json['token']}"}
    assert (await root("GET", "/user", headers=token)).json["name"] == "ina"
    await root("PATCH", "/users/ina", {"name": "inga"})
    renamed = (await root("GET", "/user", headers=token)).json
    assert renamed["name"] == "inga"
    assert "read:users!user=inga" in renamed["scopes"]
    await root("DELETE", "/users/inga")
    assert (await root("GET", "/user", headers=token)).status == 403


async def test_nobody_deletes_themselves(inside, root):
    await root("PATCH", "/users/ben", {"admin": True})
    token = (await root("POST", "/users/ben/tokens")).json["token"]
    async with ApiClient(inside.url, token) as ben:
        assert (await ben("DELETE", "/users/ben")).status == 400
    await root("PATCH", "/users/ben", {"admin": False})


async def test_deleting_a_user_stops_and_removes_the_servers(inside, root):
    await root("POST", "/users/joe")
    assert (await root("POST", "/users/joe/server")).status == 201
    assert (await root("POST", "/users/joe/servers/gpu")).status == 201
    assert (await root("DELETE", "/users/joe")).status == 204
    assert (await root("GET", "/users/joe")).status == 404
    assert not [route for route in (await root("GET", "/proxy")).json if "joe" in route]


async def test_states_of_users_follow_their_servers(inside, root):
    assert (await root("POST", "/users/ann/servers/x")).status == 201
    assert await names(root, "?state=ready") == ["ann"]
    assert await names(root, "?state=active") == ["ann"]
    assert "ann" not in await names(root, "?state=inactive")
    user = (await root("GET", "/users/ann")).json
    assert (user["server"], user["pending"]) == (None, None)
    server = user["servers"]["x"]
    assert (server["ready"], server["pending"], server["stopped"]) == (True, None, False)
    assert server["url"] == "/user/ann/x/"
    assert server["full_name"] == "ann/x"
    assert server["progress_url"] == "/hub/api/users/ann/servers/x/progress"
    assert "state" in server
    assert (await root("DELETE", "/users/ann/servers/x")).status == 204
    assert (await root("GET", "/users/ann")).json["servers"] == {}
    stopped = (await root("GET", "/users/ann?include_stopped_servers=1")).json["servers"]
    assert stopped["x"]["stopped"] is True
    # Never started, and there all the same.
    assert (stopped[""]["stopped"], stopped[""]["url"]) == (True, "/user/ann/")
    assert (await root("GET", "/users/ann?include_stopped_servers=0")).json["servers"] == {}


async def test_activity_moves_forward_only(root):
    async def report(body):
        return await root("POST", "/users/ann/activity", body)

    late, early = "2026-03-01T12:00:00.000001Z", "2026-03-01T11:00:00+00:00"
    assert (await report({"last_activity": late})).status == 200
    assert (await report({"last_activity": early})).status == 200
    assert (await root("GET", "/users/ann")).json["last_activity"] == late


async def test_an_activity_report_is_answered_as_servers_expect(root):
    await root("POST", "/users/ann/server")
    body = {"servers": {"": {"last_activity": "2026-03-02T12:00:00Z"}}, "last_activity": "2026-03-02T12:00:00Z"}
    answer = await root("POST", "/users/ann/activity", body)
    assert (answer.status, answer.text) == (200, "")
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.headers["Content-Length"] == "0"
    await root("DELETE", "/users/ann/server")


@pytest.mark.parametrize(
    "body",
    [
        {},
        [],
        "x",
        {"last_activity": "yesterday"},
        {"last_activity": 5},
        {"last_activity": "0001-01-01T00:00:00+14:00"},
        {"last_activity": "9999-12-31T23:59:59-14:00"},
        {"last_activity": "2999-01-01T00:00:00Z"},
        {"servers": {"nope": {"last_activity": "2026-03-02T12:00:00Z"}}},
        {"servers": {"": {}}},
        {"servers": {"": "now"}},
        {"servers": []},
    ],
)
async def test_activity_that_cannot_be_is_refused(root, body):
    answer = await root("POST", "/users/ann/activity", body)
    assert answer.status == 400
    assert answer.message


async def test_auth_state_is_shown_to_who_may_and_not_in_lists(inside, root):
    assert (await root("GET", "/users/ann")).json["auth_state"] is None
    answer = await root("PATCH", "/users/ann", {"auth_state": {"x": 1}})
    # No key is configured, so there is nowhere to keep it.
    assert answer.status == 400
