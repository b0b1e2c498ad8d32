"""Tokens through the REST API: who may make which, what they show, how they end."""

import pytest
import pytest_asyncio

from perijove.config.options import GroupOptions, RoleOptions, ServiceOptions
from perijove.testing.api import ApiClient
from perijove.testing.inside import hub_inside

pytestmark = pytest.mark.asyncio(loop_scope="module")

ROOT, MAKER = "root-token", "maker-token"
KEYS = {
    "user",
    "id",
    "kind",
    "roles",
    "scopes",
    "created",
    "last_activity",
    "expires_at",
    "note",
    "session_id",
    "oauth_client",
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def inside(tmp_path_factory):
    async with hub_inside(
        tmp_path_factory.mktemp("hub"),
        authenticator_class="dummy",
        services=(
            ServiceOptions(name="root", api_token=ROOT, admin=True),
            ServiceOptions(name="maker", api_token=MAKER),
        ),
        load_roles=(
            RoleOptions(name="maker", scopes=("tokens!user=ann",), services=("maker",)),
            RoleOptions(name="tutor", scopes=("read:users!group=course", "servers!group=course"), groups=("tutors",)),
        ),
        load_groups=(
            GroupOptions(name="tutors", users=("tom",)),
            GroupOptions(name="course", users=("sue",)),
        ),
        api_tokens={"config-token-of-ann": "ann"},
        redirect_to_server=False,
    ) as hub:
        yield hub


@pytest_asyncio.fixture(loop_scope="module")
async def root(inside):
    async with ApiClient(inside.url, ROOT) as client:
        yield client


async def test_a_new_token_is_shown_once(root):
    made = await root("POST", "/users/ann/tokens", {"note": "for <tests>"})
    assert made.status == 201
    assert set(made.json) == {*KEYS, "token"}
    assert len(made.json["token"]) == 32
    shown = await root("GET", f"/users/ann/tokens/{made.json['id']}")
    assert set(shown.json) == KEYS
    assert shown.json["note"] == "for <tests>"
    assert (shown.json["user"], shown.json["kind"], shown.json["oauth_client"]) == ("ann", "api_token", "JupyterHub")
    listed = (await root("GET", "/users/ann/tokens")).json["api_tokens"]
    assert made.json["id"] in [token["id"] for token in listed]
    assert not any("token" in token for token in listed)


async def test_the_note_says_who_asked(inside, root):
    assert (await root("POST", "/users/ann/tokens")).json["note"] == "Requested via api by service root"
    mine = (await root("POST", "/users/ann/tokens")).json["token"]
    async with ApiClient(inside.url, mine) as ann:
        assert (await ann("POST", "/users/ann/tokens")).json["note"] == "Requested via api"


async def test_no_body_and_an_empty_one_mean_a_token_like_its_owner(root):
    for options in ({}, {"body": {}}, {"data": b""}):
        assert "read:users!user=ann" in (await root("POST", "/users/ann/tokens", **options)).json["scopes"]


@pytest.mark.parametrize(
    "body",
    [
        {"scopes": ["nope"]},
        {"scopes": ["read:users!user="]},
        {"scopes": ["read:users!colour=x"]},
        {"scopes": ["admin:users"]},
        {"scopes": ["read:users!user=ben"]},
        {"scopes": ["read:users!group=course"]},
        {"scopes": "inherit"},
        {"scopes": [5]},
        {"roles": ["nobody"]},
        {"roles": ["admin"]},
        {"roles": ["token"], "scopes": ["inherit"]},
        {"expires_in": 0},
        {"expires_in": -5},
        {"expires_in": "soon"},
        {"expires_in": 1.5},
        {"expires_in": True},
        {"expires_in": 10**30},
        {"expires_in": 10**12},
        {"note": 5},
        [],
        "x",
    ],
)
async def test_requests_that_cannot_be_met_are_refused(root, body):
    answer = await root("POST", "/users/ann/tokens", body)
    assert answer.status == 400
    assert answer.message


async def test_scopes_beyond_the_owner_are_named(root):
    answer = await root("POST", "/users/ann/tokens", {"scopes": ["read:hub", "self"]})
    assert answer.message == "Not assigning requested scopes read:hub not held by user ann"


async def test_roles_become_scopes_at_issue(root):
    made = await root("POST", "/users/ann/tokens", {"roles": ["user"]})
    assert made.json["roles"] == []
    assert "servers!user=ann" in made.json["scopes"]


async def test_scopes_through_a_group_reach_its_members(inside, root):
    made = await root("POST", "/users/tom/tokens", {"scopes": ["read:users!user=sue", "servers!server=sue/x"]})
    assert made.status == 201
    async with ApiClient(inside.url, made.json["token"]) as tom:
        assert (await tom("GET", "/users/sue")).status == 200
        assert "read:users!user=sue" in (await tom("GET", "/user")).json["scopes"]
        # Whoever leaves the group is out of reach at once.
        await root("DELETE", "/groups/course/users", {"users": ["sue"]})
        assert (await tom("GET", "/users/sue")).status == 404
        await root("POST", "/groups/course/users", {"users": ["sue"]})
        assert (await tom("GET", "/users/sue")).status == 200


async def test_expiry_is_a_time_to_come(root):
    made = (await root("POST", "/users/ann/tokens", {"expires_in": 3600})).json
    assert made["created"] < made["expires_at"]
    assert (await root("POST", "/users/ann/tokens")).json["expires_at"] is None


async def test_who_may_make_tokens(inside, root):
    async with ApiClient(inside.url, MAKER) as maker, ApiClient(inside.url) as anyone:
        assert (await maker("POST", "/users/ann/tokens")).status == 201
        assert (await maker("GET", "/users/ann/tokens")).status == 200
        # Hidden from who may not, and never a 404: it would tell who exists.
        assert (await maker("POST", "/users/tom/tokens")).status == 403
        assert (await maker("POST", "/users/nobody/tokens")).status == 403
        assert (await root("POST", "/users/nobody/tokens")).status == 403
        assert (await anyone("POST", "/users/ann/tokens")).status == 403
        assert (await anyone("GET", "/users/ann/tokens")).status == 403


async def test_a_password_in_the_body_makes_a_token_without_any_other_credential(tmp_path):
    traits = {"SharedPasswordAuthenticator": {"user_password": "right-password"}, "Authenticator": {"allow_all": True}}
    async with (
        hub_inside(tmp_path, traits=traits, authenticator_class="shared-password") as inside,
        ApiClient(inside.url) as anyone,
        inside.browser() as browser,
    ):
        good = {"auth": {"username": "ann", "password": "right-password"}}
        # Nobody has logged in as her yet, so there is no such user.
        assert (await anyone("POST", "/users/ann/tokens", good)).status == 403
        await browser.log_in("ann", "right-password")
        made = await anyone("POST", "/users/ann/tokens", good)
        assert made.status == 201
        assert (await anyone("GET", "/user", headers={"Authorization": f"token {made.json['token']}"})).status == 200
        for auth in ({"username": "ann", "password": "wrong"}, {"username": "ann"}, {}, {"password": "right-password"}):
            assert (await anyone("POST", "/users/ann/tokens", {"auth": auth})).status == 403
        assert (await anyone("POST", "/users/ben/tokens", good)).status == 403


@pytest.mark.parametrize(
    "token_id", ["a0", "a999999", "b1", "1", "a", "aa1", "a1x", "a99999999999999999999", "%61-1", "a%00"]
)
async def test_ids_that_are_none(root, token_id):
    for method in ("GET", "DELETE"):
        assert (await root(method, f"/users/ann/tokens/{token_id}")).status == 404


async def test_the_id_of_anothers_token_is_none(root):
    theirs = (await root("POST", "/users/tom/tokens")).json["id"]
    assert (await root("GET", f"/users/ann/tokens/{theirs}")).status == 404
    assert (await root("DELETE", f"/users/ann/tokens/{theirs}")).status == 404
    assert (await root("GET", f"/users/tom/tokens/{theirs}")).status == 200


async def test_revoking(root):
    token = (await root("POST", "/users/ann/tokens")).json["id"]
    answer = await root("DELETE", f"/users/ann/tokens/{token}")
    assert (answer.status, answer.text) == (204, "")
    assert (await root("GET", f"/users/ann/tokens/{token}")).status == 404


async def test_configured_tokens_work(inside):
    async with ApiClient(inside.url, "config-token-of-ann") as ann:
        assert (await ann("GET", "/user")).json["name"] == "ann"


async def test_a_running_servers_token_reports_activity_and_opens_only_its_server(inside, root):
    await root("POST", "/users/ann/server")
    (token,) = [
        t for t in (await root("GET", "/users/ann/tokens")).json["api_tokens"] if t["note"].startswith("Server")
    ]
    assert token["note"] == "Server at /user/ann/"
    assert token["scopes"] == [
        "access:servers!server=ann/",
        "read:users:activity!user=ann",
        "read:users:groups!user=ann",
        "read:users:name!user=ann",
        "users:activity!user=ann",
    ]
    plain = next(iter(inside.world.servers.values())).api_token
    async with ApiClient(inside.url, plain) as server:
        me = (await server("GET", "/user")).json
        assert me["scopes"] == token["scopes"]
        assert "servers" not in me
        report = {"last_activity": "2026-03-02T12:00:00Z", "servers": {"": {"last_activity": "2026-03-02T12:00:00Z"}}}
        assert (await server("POST", "/users/ann/activity", report)).status == 200
        assert (await server("POST", "/users/tom/activity", report)).status == 404
        assert (await server("GET", "/users")).status == 403
        await root("DELETE", "/users/ann/server")
        assert (await server("GET", "/user")).status == 403


async def test_keys_that_nobody_knows_are_read_past(root):
    """As JupyterHub does, of this request alone: clients send some."""
    assert (await root("POST", "/users/ann/tokens", {"colour": "red"})).status == 201
