"""Services made through the REST API, and the questions old services ask."""

import pytest
import pytest_asyncio

from perijove.config.options import RoleOptions, ServiceOptions
from perijove.testing.api import ApiClient
from perijove.testing.inside import hub_inside

pytestmark = pytest.mark.asyncio(loop_scope="module")

ROOT, MAKER = "root-token", "maker-token"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def inside(tmp_path_factory):
    async with hub_inside(
        tmp_path_factory.mktemp("hub"),
        services=(
            ServiceOptions(name="root", api_token=ROOT, admin=True),
            ServiceOptions(name="maker", api_token=MAKER),
        ),
        load_roles=(RoleOptions(name="maker", scopes=("admin:services", "read:users:name"), services=("maker",)),),
    ) as hub:
        async with ApiClient(hub.url, ROOT) as root:
            await root("POST", "/users", {"usernames": ["ann"]})
        yield hub


@pytest_asyncio.fixture(loop_scope="module")
async def root(inside):
    async with ApiClient(inside.url, ROOT) as client:
        yield client


@pytest_asyncio.fixture(loop_scope="module")
async def maker(inside):
    async with ApiClient(inside.url, MAKER) as client:
        yield client


async def test_a_service_from_its_beginning_to_its_end(inside, root):
    body = {"url": "http://127.0.0.1:9", "api_token": "shelf-token", "info": {"a": 1}}
    made = await root("POST", "/services/shelf", body)
    assert made.status == 201
    assert made.json == {
        "kind": "service",
        "name": "shelf",
        "admin": False,
        "url": "http://127.0.0.1:9",
        "prefix": "/services/shelf/",
        "command": [],
        "pid": 0,
        "info": {"a": 1},
        "display": True,
        "roles": [],
    }
    assert (await root("POST", "/services/shelf", body)).status == 409
    assert (await root("GET", "/services/shelf")).json == made.json
    assert (await root("GET", "/proxy")).json["/services/shelf/"]["target"] == "http://127.0.0.1:9"
    async with ApiClient(inside.url, "shelf-token") as shelf:
        assert (await shelf("GET", "/user")).json["name"] == "shelf"
        ended = await root("DELETE", "/services/shelf")
        assert (ended.status, ended.text) == (200, "")
        assert (await shelf("GET", "/user")).status == 403
    assert (await root("DELETE", "/services/shelf")).status == 404
    assert "/services/shelf/" not in (await root("GET", "/proxy")).json


async def test_a_token_is_made_for_a_service_that_brings_none(inside, root):
    made = await root("POST", "/services/plain", {})
    async with ApiClient(inside.url, made.json["api_token"]) as plain:
        assert (await plain("GET", "/user")).json["name"] == "plain"
    await root("DELETE", "/services/plain")


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/services/s", {"command": ["true"]}, 400),
        ("/services/s", {"nonsense": 1}, 400),
        ("/services/s", {"url": 3}, 400),
        ("/services/s", {"url": "ftp://x"}, 400),
        ("/services/s", {"url": "http://[x"}, 400),
        ("/services/s", {"oauth_client_id": "other"}, 400),
        ("/services/s", {"oauth_client_allowed_scopes": ["nonsense"]}, 400),
        ("/services/s", {"api_token": "short"}, 400),
        ("/services/s", {"name": "other"}, 400),
        ("/services/s", None, 400),
        ("/services/%2e%2e", {}, 400),
        ("/services/root", {}, 409),
        ("/services", {}, 405),
    ],
)
async def test_what_is_no_service_is_refused(root, path, body, status):
    assert (await root("POST", path, body)).status == status


async def test_nobody_makes_a_service_that_may_more_than_they_may(maker):
    assert (await maker("POST", "/services/big", {"admin": True})).status == 403
    refused = await maker("POST", "/services/big", {"oauth_client_allowed_scopes": ["read:users"]})
    assert (refused.status, "read:users" in refused.message) == (400, True)
    allowed = await maker("POST", "/services/small", {"oauth_client_allowed_scopes": ["read:users:name"]})
    assert allowed.status == 201
    assert (await maker("DELETE", "/services/small")).status == 200


async def test_an_admins_token_for_services_makes_no_admin(inside, root):
    """Whoever is let have it could become everything by the token of a service of their own."""
    await root("POST", "/users", {"usernames": ["boss"], "admin": True})
    cut = (await root("POST", "/users/boss/tokens", {"scopes": ["admin:services", "admin:users!user=ann"]})).json
    assert (await root("POST", "/services/great", {"admin": True})).status == 201
    async with ApiClient(inside.url, cut["token"]) as boss:
        assert (await boss("POST", "/services/big", {"admin": True})).status == 403
        assert (await boss("DELETE", "/services/great")).status == 403
        assert (await boss("PATCH", "/users/ann", {"admin": True})).status == 403
        assert (await boss("POST", "/services/little", {})).status == 201
    assert (await root("DELETE", "/services/great")).status == 200
    assert (await root("GET", "/users/ann")).json["admin"] is False


async def test_services_of_the_configuration_stay(root):
    refused = await root("DELETE", "/services/maker")
    assert (refused.status, refused.message) == (405, "Service maker is not modifiable at runtime")


async def test_old_questions_about_tokens_and_cookies_are_answered(inside, root, maker):
    token = (await root("POST", "/users/ann/tokens")).json["token"]
    assert (await root("GET", f"/authorizations/token/{token}")).json["name"] == "ann"
    assert "servers" not in (await maker("GET", f"/authorizations/token/{token}")).json
    assert (await root("GET", f"/authorizations/token/{MAKER}")).json["kind"] == "service"
    assert (await root("GET", "/authorizations/token/unknown")).status == 404
    assert (await root("POST", "/authorizations/token")).status == 404
    async with inside.browser() as ann:
        await ann.log_in("ann", "x")
        value = next(c.value for c in ann.session.cookie_jar if c.key == "jupyterhub-hub-login").strip('"')
    assert (await root("GET", f"/authorizations/cookie/jupyterhub-hub-login/{value}")).json["name"] == "ann"
    assert (await root("GET", f"/authorizations/cookie/other/{value}")).status == 404
    async with ApiClient(inside.url) as nobody:
        assert (await nobody("GET", f"/authorizations/token/{token}")).status == 403
    assert (await root("POST", "/users/ann/admin-access", {})).status == 403


async def test_the_hub_is_told_of_another_proxy(root, maker):
    assert (await root("PATCH", "/proxy", {"auth_token": "x"})).status == 200
    assert (await root("PATCH", "/proxy", [1])).status == 400
    assert (await root("PATCH", "/proxy")).status == 400
    assert (await maker("PATCH", "/proxy", {})).status == 403


async def test_the_api_describes_itself_to_programs_and_to_people(inside):
    async with ApiClient(inside.url) as nobody:
        document = (await nobody("GET", "/openapi.json")).json
        assert document["openapi"] == "3.1.0"
        assert document["servers"] == [{"url": "/hub/api"}]
    async with inside.browser() as somebody:
        response, page = await somebody.get("hub/api-docs")
        assert response.status == 200
        assert "GET /users/{name}" in page
        assert "read:users:name!user" in page
        assert "<script" not in page.partition("<main")[2]
