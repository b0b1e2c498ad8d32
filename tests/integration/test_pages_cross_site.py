"""How pages answer requests that no person made: fetched by a script, framed, or asked for by another origin."""

import aiohttp
import pytest
import pytest_asyncio

from perijove.config.options import ServiceOptions
from perijove.testing.browser import xsrf_of
from perijove.testing.inside import hub_inside

pytestmark = pytest.mark.asyncio(loop_scope="module")

PATHS = ("home", "token", "sessions", "spawn", "share/admin", "admin", "admin/roles", "admin/audit", "admin/groups")
SCRIPTS = (
    {"Sec-Fetch-Mode": "cors", "Sec-Fetch-Site": "same-origin"},
    {"Sec-Fetch-Mode": "same-origin", "Sec-Fetch-Site": "same-origin"},
    {"Sec-Fetch-Mode": "cors", "Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Mode": "cors", "Sec-Fetch-Site": "same-origin", "HX-Request": "true"},
)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def inside(tmp_path_factory):
    services = (ServiceOptions(name="root", api_token="root-token", admin=True),)
    async with hub_inside(tmp_path_factory.mktemp("hub"), services=services, redirect_to_server=False) as hub:
        yield hub


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def admin(inside):
    async with inside.browser() as browser:
        await browser.log_in("admin", "x")
        yield browser


@pytest.mark.parametrize("headers", SCRIPTS, ids=lambda headers: " ".join(headers.values()))
async def test_a_script_without_the_proof_gets_no_page_and_no_proof(admin, headers):
    """What it gets instead is for nobody: it names no user, and the proof of this session is not in it."""
    _, page = await admin.get("hub/token")
    proof = xsrf_of(page)
    for path in (*PATHS, "nothing-such", "error/404"):
        response, text = await admin.get(f"hub/{path}", headers=headers)
        assert path == "error/404" or response.status in (403, 404), path
        assert proof not in text
        assert 'id="logout"' not in text


async def test_the_hubs_own_scripts_bring_the_proof(admin):
    _, page = await admin.get("hub/token")
    headers = {**SCRIPTS[0], "X-XSRFToken": xsrf_of(page)}
    for path in PATHS[:3]:
        response, _ = await admin.get(f"hub/{path}", headers=headers)
        assert response.status == 200


async def test_a_person_opens_pages_wherever_the_link_was(admin):
    headers = {"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Site": "cross-site", "Sec-Fetch-Dest": "document"}
    response, _ = await admin.get("hub/home", headers=headers)
    assert response.status == 200


async def test_another_origin_reads_the_api_where_the_operator_lets_it(tmp_path):
    """`tornado_settings["headers"]`, as JupyterHub's documentation has it: on answers and on what is asked before."""
    allowed = {"Access-Control-Allow-Origin": "https://courses.example", "Access-Control-Allow-Headers": "x-course"}
    async with (
        hub_inside(tmp_path, headers=allowed) as hub,
        aiohttp.ClientSession(headers={"Origin": "https://courses.example"}) as session,
    ):
        for method, path, status in (("OPTIONS", "users", 200), ("GET", "", 200), ("GET", "users", 403)):
            async with session.request(method, f"{hub.url}hub/api/{path}") as response:
                assert response.status == status
                for name, value in allowed.items():
                    assert response.headers.getall(name) == [value]


async def test_no_page_may_be_framed_and_none_is_for_another_origin(admin):
    headers = {"Origin": "https://evil.example"}
    for path in (*PATHS, "login", "health", "nothing-such", "api/", "api/user", "api/nothing", "logo", "static/hub.js"):
        response, _ = await admin.get(f"hub/{path}", headers=headers)
        # The version of the API is for everybody, as JupyterHub has it.
        assert path == "api/" or "Access-Control-Allow-Origin" not in response.headers, path
        assert "Access-Control-Allow-Credentials" not in response.headers, path
        if not path.startswith(("logo", "static/")):
            assert "frame-ancestors 'none'" in response.headers["Content-Security-Policy"], path
