"""Who may call the API and how: tokens, cookies with their XSRF proof, headers on every answer."""

import asyncio
from datetime import datetime

import pytest
import pytest_asyncio

from perijove import WIRE_VERSION
from perijove.config.options import RoleOptions, ServiceOptions
from perijove.services.identity import identify_user
from perijove.testing.api import ApiClient
from perijove.testing.inside import hub_inside
from perijove.testing.waiting import until

pytestmark = pytest.mark.asyncio(loop_scope="module")

ROOT, NOTHING = "root-token", "nothing-token"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def inside(tmp_path_factory):
    async with hub_inside(
        tmp_path_factory.mktemp("hub"),
        services=(
            ServiceOptions(name="root", api_token=ROOT, admin=True),
            ServiceOptions(name="nothing", api_token=NOTHING),
        ),
        load_roles=(RoleOptions(name="greeter", scopes=("custom:greet:all",), users=("zoe",)),),
        custom_scopes={"custom:greet:all": {"description": "Greet everybody"}},
        headers={"X-Extra": "yes"},
        # There is no proxy, so a browser that is sent to its server comes back for ever.
        redirect_to_server=False,
    ) as hub:
        yield hub


@pytest_asyncio.fixture(loop_scope="module")
async def root(inside):
    async with ApiClient(inside.url, ROOT) as client:
        yield client


@pytest_asyncio.fixture(loop_scope="module")
async def anyone(inside):
    async with ApiClient(inside.url) as client:
        yield client


@pytest_asyncio.fixture(loop_scope="module")
async def ada(inside):
    """Logged in with a browser."""
    async with inside.browser() as browser:
        await browser.log_in("ada", "x")
        browser.xsrf = next(c.value for c in browser.session.cookie_jar if c.key == "_xsrf")
        yield browser


async def new_user_token(root, name: str, body=None) -> str:
    if (await root("GET", f"/users/{name}")).status == 404:
        await root("POST", f"/users/{name}")
    answer = await root("POST", f"/users/{name}/tokens", body)
    assert answer.status == 201, answer.text
    return answer.json["token"]


# -- tokens


@pytest.mark.parametrize("scheme", ["token", "Token", "TOKEN", "bearer", "Bearer", "BEARER"])
async def test_both_schemes_in_any_case(anyone, scheme):
    assert (await anyone("GET", "/user", headers={"Authorization": f"{scheme} {ROOT}"})).status == 200


@pytest.mark.parametrize(
    "value", ["", "token", "token ", "Basic cm9vdDpyb290", ROOT, "token wrong", f"token {ROOT}x", "token " + "a" * 65]
)
async def test_anything_else_is_nobody(anyone, value):
    answer = await anyone("GET", "/user", headers={"Authorization": value})
    assert answer.status == 403
    assert answer.json == {"status": 403, "message": "Missing or invalid credentials."}


async def test_long_tokens_are_refused_without_a_look_at_the_database(inside, anyone):
    async with inside.hub.store.transaction():
        answer = await anyone("GET", "/user", headers={"Authorization": "token " + "a" * 10_000})
    assert answer.status == 403


async def test_a_token_in_the_query_is_none(anyone):
    assert (await anyone("GET", f"/user?token={ROOT}")).status == 403


async def test_a_service_without_roles_can_say_who_it_is(inside):
    async with ApiClient(inside.url, NOTHING) as nothing:
        me = (await nothing("GET", "/user")).json
        assert (me["kind"], me["name"], me["admin"], me["scopes"]) == ("service", "nothing", False, [])
        assert (await nothing("GET", "/users")).status == 403


async def test_a_token_that_is_revoked_or_expired_is_refused_at_once(inside, root):
    token = await new_user_token(root, "rev")
    async with ApiClient(inside.url, token) as rev:
        me = (await rev("GET", "/user")).json
        assert (await rev("GET", "/user")).status == 200  # remembered now
        assert (await root("DELETE", f"/users/rev/tokens/{me['token_id']}")).status == 204
        assert (await rev("GET", "/user")).status == 403
    short = await new_user_token(root, "rev", {"expires_in": 1})
    async with ApiClient(inside.url, short) as rev:
        assert (await rev("GET", "/user")).status == 200

        async def refused():
            return (await rev("GET", "/user")).status == 403

        await until(refused)


async def test_scopes_follow_the_owners_at_once(inside, root):
    token = await new_user_token(root, "shrink")
    narrow = await new_user_token(root, "shrink", {"scopes": ["read:users!user"]})
    async with ApiClient(inside.url, token) as wide, ApiClient(inside.url, narrow) as tight:
        assert (await wide("GET", "/users")).status == 403
        await root("PATCH", "/users/shrink", {"admin": True})
        assert (await wide("GET", "/users")).status == 200
        assert (await tight("GET", "/users")).status == 403
        await root("PATCH", "/users/shrink", {"admin": False})
        assert (await wide("GET", "/users")).status == 403


async def test_the_remembered_identity_shows_new_groups_servers_and_activity(inside, root):
    token = await new_user_token(root, "mem")
    async with ApiClient(inside.url, token) as mem:
        before = (await mem("GET", "/user")).json
        assert (before["groups"], before["server"]) == ([], None)
        await root("POST", "/groups/fresh", {"users": ["mem"]})
        assert (await mem("GET", "/user")).json["groups"] == ["fresh"]
        assert (await root("POST", "/users/mem/server")).status == 201
        running = (await mem("GET", "/user")).json
        assert running["server"] == "/user/mem/"
        at = "2026-11-01T00:00:00Z" if running["last_activity"] < "2026-11-01" else "2126-01-01T00:00:00Z"
        identity = await identify_user(inside.hub, "mem")
        inside.hub.activity.saw_user(identity.id, datetime.fromisoformat(at))
        assert (await mem("GET", "/user")).json["last_activity"] == at
        await root("DELETE", "/users/mem/server")
        assert (await mem("GET", "/user")).json["server"] is None


async def test_an_unchanged_identity_is_not_sent_again(inside, root):
    token = await new_user_token(root, "etag", {"scopes": ["read:users:name!user"]})
    async with ApiClient(inside.url, token) as client:
        first = await client("GET", "/user")
        again = await client("GET", "/user", headers={"If-None-Match": first.headers["ETag"]})
        assert (again.status, again.text) == (304, "")
        assert (await client("GET", "/user", headers={"If-None-Match": '"other"'})).status == 200


async def test_custom_scopes_reach_the_token(inside, root):
    token = await new_user_token(root, "zoe")
    async with ApiClient(inside.url, token) as zoe:
        assert "custom:greet:all" in (await zoe("GET", "/user")).json["scopes"]


async def test_many_at_once_are_answered_alike(inside, root):
    token = await new_user_token(root, "herd")
    async with ApiClient(inside.url, token) as herd:
        inside.hub.identities.forget("*")
        answers = await asyncio.gather(*(herd("GET", "/user") for _ in range(50)))
        assert {answer.status for answer in answers} == {200}


# -- cookies


async def test_a_browser_may_open_the_api(ada, inside):
    async with ApiClient(inside.url, browser=ada) as api:
        me = (await api("GET", "/user")).json
        assert (me["name"], me["token_id"], me["session_id"]) == ("ada", None, None)
        assert "read:users!user=ada" in me["scopes"]


XSRF_CASES = [
    # method, headers, with proof, allowed
    ("GET", {}, False, True),
    ("GET", {"Sec-Fetch-Mode": "navigate"}, False, True),
    ("GET", {"Sec-Fetch-Mode": "cors"}, False, False),
    ("GET", {"Sec-Fetch-Mode": "same-origin"}, False, False),
    ("GET", {"Sec-Fetch-Mode": "websocket"}, False, False),
    ("GET", {"Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Site": "same-origin"}, False, True),
    ("GET", {"Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Site": "cross-site"}, False, False),
    ("GET", {"Sec-Fetch-Mode": "cors"}, True, True),
    ("POST", {"Content-Type": "application/json"}, False, False),
    ("POST", {"Content-Type": "application/json", "Sec-Fetch-Mode": "navigate"}, False, False),
    ("POST", {"Content-Type": "application/json"}, True, True),
    ("DELETE", {}, False, False),
    ("DELETE", {}, True, True),
]


@pytest.mark.parametrize(("method", "headers", "proof", "allowed"), XSRF_CASES)
@pytest.mark.parametrize("carrier", ["X-XSRFToken", "X-CSRFToken", "query"])
async def test_cookies_need_the_proof_where_a_script_could_ask(ada, inside, method, headers, proof, allowed, carrier):
    path = "/users/ada/server" if method == "DELETE" else "/users/ada/tokens"
    if proof and carrier == "query":
        path += f"?_xsrf={ada.xsrf}"
    elif proof:
        headers = {**headers, carrier: ada.xsrf}
    async with ApiClient(inside.url, browser=ada) as api:
        answer = await api(method, path, headers=headers, data=b"{}" if method == "POST" else None)
    if allowed:
        assert answer.status in {200, 201, 204}, answer.text
    else:
        assert answer.status == 403
        assert answer.message == f"'_xsrf' argument missing from {method}"


async def test_the_proof_of_another_session_is_none(ada, inside):
    async with inside.browser() as eve:
        await eve.log_in("eve", "x")
        theirs = next(c.value for c in eve.session.cookie_jar if c.key == "_xsrf")
    async with ApiClient(inside.url, browser=ada) as api:
        answer = await api("DELETE", "/users/ada/server", headers={"X-XSRFToken": theirs})
        assert answer.status == 403
        assert "does not match" in answer.message


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"])
async def test_a_cookie_post_that_a_form_could_send_counts_as_nobodys(ada, inside, kind):
    async with ApiClient(inside.url, browser=ada) as api:
        answer = await api(
            "POST", "/users/ada/tokens", data=b"{}", headers={"Content-Type": kind, "X-XSRFToken": ada.xsrf}
        )
        assert answer.status == 403
        assert answer.message == "Missing or invalid credentials."


async def test_a_forged_login_cookie_is_none(inside, anyone):
    for value in ("x", "x.y", "", "a" * 5000, "\xe9.\xe9"):
        answer = await anyone("GET", "/user", headers={"Cookie": f"jupyterhub-hub-login={value}"})
        assert answer.status == 403


async def test_the_cookie_of_a_session_that_ended_is_refused_at_once(ada, inside):
    async with ApiClient(inside.url, browser=ada) as api:
        assert (await api("GET", "/user")).status == 200
        cookie = "; ".join(f"{c.key}={c.value}" for c in ada.session.cookie_jar)
        await ada.get("hub/logout")
    async with ApiClient(inside.url) as api:
        assert (await api("GET", "/user", headers={"Cookie": cookie})).status == 403


# -- every answer


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/user", 200),
        ("GET", "/nope", 404),
        ("GET", "/users/nobody", 404),
        ("PUT", "/user", 405),
        ("GET", "", 200),
    ],
)
async def test_headers_on_every_answer(root, method, path, status):
    answer = await root(method, path)
    assert answer.status == status
    assert answer.headers["X-JupyterHub-Version"] == WIRE_VERSION
    assert answer.headers["Content-Type"].startswith("application/json")
    assert answer.headers["Access-Control-Allow-Headers"] == "accept, content-type, authorization"
    assert answer.headers["Content-Security-Policy"].startswith("frame-ancestors 'none'")
    assert answer.headers["X-Extra"] == "yes"


@pytest.mark.parametrize("path", ["", "/", "/user", "/users", "/users/x/server", "/users/x/servers/y"])
async def test_options_need_no_credentials(anyone, path):
    answer = await anyone("OPTIONS", path)
    assert (answer.status, answer.text) == (200, "")


@pytest.mark.parametrize("path", ["", "/"])
async def test_the_version_is_told_to_everybody(anyone, path):
    answer = await anyone("GET", path)
    assert answer.json == {"version": "6.1.1"}
    assert answer.headers["Access-Control-Allow-Origin"] == "*"


async def test_info_names_the_plugins(root, anyone):
    info = (await root("GET", "/info")).json
    assert info["version"] == "6.1.1"
    assert set(info) == {"version", "python", "sys_executable", "spawner", "authenticator"}
    assert info["authenticator"]["class"] == "jupyterhub.auth.DummyAuthenticator"
    assert (await anyone("GET", "/info")).status == 403


async def test_etags_spare_unchanged_lists(root):
    first = await root("GET", "/services")
    again = await root("GET", "/services", headers={"If-None-Match": first.headers["ETag"]})
    assert (again.status, again.text) == (304, "")


async def test_methods_that_do_not_exist_say_which_do(root):
    answer = await root("PUT", "/users")
    assert answer.status == 405
    assert answer.headers["Allow"] == "GET, OPTIONS, POST"


async def test_services_are_listed_by_name(inside, root):
    services = (await root("GET", "/services")).json
    assert set(services) == {"root", "nothing"}
    assert services["root"]["admin"] is True
    assert services["nothing"]["command"] == []
    assert (await root("GET", "/services/nothing")).json == services["nothing"]
    assert (await root("GET", "/services/nope")).status == 404


async def test_health_is_empty(anyone):
    for method in ("GET", "HEAD"):
        answer = await anyone(method, "/health")
        assert (answer.status, answer.text) == (200, "")
