"""Stock `jupyterhub-singleuser` of two releases, started by the hub, met through the proxy."""

import json
import re
import uuid
from datetime import UTC, datetime

import aiohttp
import pytest
from packaging.version import Version

from perijove.testing import until
from perijove.testing.browser import Browser, xsrf_of
from perijove.testing.kernels import execute, start_kernel

HOME = "hub/login?next=%2Fhub%2Fhome"


def lab_config(page: str) -> dict:
    """What JupyterLab's page tells its scripts."""
    return json.loads(re.search(r'<script id="jupyter-config-data"[^>]*>(.*?)</script>', page, re.DOTALL)[1])


def cookie(browser: Browser, name: str, path: str) -> str:
    """A cookie of exactly this path; "" if there is none."""
    found = [c.value for c in browser.session.cookie_jar if c.key == name and c["path"].rstrip("/") == path.rstrip("/")]
    return found[0] if found else ""


def proof(browser: Browser, server) -> dict[str, str]:
    """What JupyterLab sends along with requests that change something."""
    return {"X-XSRFToken": cookie(browser, "_xsrf", server.prefix)}


async def visit(browser: Browser, server) -> str:
    """Open JupyterLab; the access token that its page was given."""
    response, page = await browser.get(f"{server.prefix}lab")
    assert (response.status, str(response.url)) == (200, f"{server.url}lab"), page[:2000]
    return lab_config(page)["token"]


# -- start and activity


async def test_the_server_accepts_the_hubs_version(hub, server):
    """Its log has no warning but the one that every hub of another major release gets."""
    async with hub.browser() as browser:
        response, _ = await browser.get(f"{server.prefix}api")
        assert response.status == 200
        assert response.headers["X-JupyterHub-Version"].startswith(server.version)
        response, _ = await browser.get("hub/api")
    assert Version(response.headers["X-JupyterHub-Version"]).major == 6
    found = next(path for path in (hub.data_dir / "logs").iterdir() if f"/{server.user}/" in path.read_text())
    log = found.read_text()
    assert f"single-user server extension version {server.version}" in log
    assert ("could cause failure" in log) == server.version.startswith("5")
    assert "Traceback" not in log
    assert "Failed to connect" not in log


@pytest.mark.parametrize("path", ["hub/api", "hub/api/"])
async def test_the_version_call_needs_no_credentials_and_no_slash(hub, path):
    async with hub.browser() as browser:
        response, body = await browser.get(path, allow_redirects=False)
    assert (response.status, list(json.loads(body))) == (200, ["version"])
    assert response.headers["Access-Control-Allow-Origin"] == "*"
    assert Version(response.headers["X-JupyterHub-Version"]).major == 6


async def test_what_happens_in_a_server_reaches_the_hub_as_its_activity(hub, server):
    """Asked past the proxy, so that only the server itself can have told."""
    _, routes = await hub.api("GET", "/proxy")
    target = routes[server.prefix]["target"]
    headers = {"Authorization": f"token {server.environment['JUPYTERHUB_API_TOKEN']}"}
    before = datetime.now(UTC)
    async with aiohttp.ClientSession(headers=headers) as session:
        kernel = await start_kernel(session, target + server.prefix)
        assert await execute(session, target + server.prefix, kernel, "1+1") == "2"

    async def told() -> bool:
        _, user = await hub.api("GET", f"/users/{server.user}")
        times = (user["servers"][""]["last_activity"], user["last_activity"])
        return all(datetime.fromisoformat(time) >= before for time in times)

    await until(told, seconds=15, every=0.1)


async def test_a_server_reports_with_its_token_and_is_answered_with_nothing(server):
    environment = server.environment
    headers = {"Authorization": f"token {environment['JUPYTERHUB_API_TOKEN']}"}
    now = datetime.now(UTC).isoformat().replace("+00:00", "Z")
    body = {"servers": {server.name: {"last_activity": now}}, "last_activity": now}
    async with (
        aiohttp.ClientSession(headers=headers) as session,
        session.post(environment["JUPYTERHUB_ACTIVITY_URL"], json=body) as response,
    ):
        assert (response.status, await response.read()) == (200, b"")
        assert response.headers["Content-Type"] == "application/json"


async def test_the_environment_says_where_who_and_for_whom(hub, server):
    environment = server.environment
    expected = {
        "JUPYTERHUB_CLIENT_ID": f"jupyterhub-user-{server.user}",
        "JUPYTERHUB_USER": server.user,
        "JUPYTERHUB_SERVER_NAME": "",
        "JUPYTERHUB_API_URL": f"{hub.hub_url}hub/api",
        "JUPYTERHUB_ACTIVITY_URL": f"{hub.hub_url}hub/api/users/{server.user}/activity",
        "JUPYTERHUB_BASE_URL": "/",
        "JUPYTERHUB_SERVICE_PREFIX": server.prefix,
        "JUPYTERHUB_HOST": "",
        "JUPYTERHUB_PUBLIC_URL": "",
        "JUPYTERHUB_PUBLIC_HUB_URL": "",
        "JUPYTERHUB_OAUTH_CALLBACK_URL": f"{server.prefix}oauth_callback",
        "JUPYTERHUB_COOKIE_HOST_PREFIX_ENABLED": "0",
    }
    assert {name: environment.get(name) for name in expected} == expected
    assert environment["JPY_API_TOKEN"] == environment["JUPYTERHUB_API_TOKEN"]
    assert re.fullmatch(r"[0-9a-f]{32}", environment["JUPYTERHUB_API_TOKEN"])
    assert re.fullmatch(rf"http://127\.0\.0\.1:\d+{server.prefix}", environment["JUPYTERHUB_SERVICE_URL"])
    scopes = {f"access:servers!server={server.user}/", f"access:servers!user={server.user}"}
    assert set(json.loads(environment["JUPYTERHUB_OAUTH_ACCESS_SCOPES"])) == scopes
    assert set(json.loads(environment["JUPYTERHUB_OAUTH_SCOPES"])) == scopes
    assert json.loads(environment["JUPYTERHUB_OAUTH_CLIENT_ALLOWED_SCOPES"]) == []


# -- who gets in


async def test_the_owner_gets_in_without_being_asked(hub, server):
    async with hub.browser() as browser:
        await browser.log_in(server.user, path=HOME)
        response, page = await browser.get(f"{server.prefix}lab")
        assert [str(step.url.path) for step in response.history] == [
            f"{server.prefix}lab",
            "/hub/api/oauth2/authorize",
            f"{server.prefix}oauth_callback",
        ]
        assert response.status == 200
        config = lab_config(page)
        assert (config["hubUser"], config["hubServerUser"], config["hubServerName"]) == (server.user, server.user, "")
        assert (config["hubPrefix"], config["hubHost"]) == ("/hub/", "")
        # Named by its OAuth client id, signed by the server, sent to it alone.
        assert cookie(browser, f"jupyterhub-user-{server.user}", server.prefix)
        assert not cookie(browser, f"jupyterhub-user-{server.user}-oauth-state", server.prefix)
        response, body = await browser.get(f"{server.prefix}api/me")
        assert json.loads(body)["identity"]["username"] == server.user
        # Ours and the server's must not meet on one path.
        paths = {c["path"].rstrip("/") for c in browser.session.cookie_jar if c.key == "_xsrf"}
        assert paths == {"/hub", server.prefix.rstrip("/")}


async def test_the_token_in_a_visitors_cookie_says_who_they_are_and_lets_them_in_here_alone(hub, server):
    async with hub.browser() as browser:
        await browser.log_in(server.user, path=HOME)
        token = await visit(browser, server)
        session_id = cookie(browser, "jupyterhub-session-id", "/")
    assert re.fullmatch(r"[A-Za-z0-9]{30}", token)
    status, me = await hub.api("GET", "/user", token=token)
    assert status == 200
    assert re.fullmatch(r"a\d+", me.pop("token_id"))
    assert me == {
        "kind": "user",
        "name": server.user,
        "admin": False,
        "groups": ["students"],
        "user_info": None,
        "session_id": session_id,
        "scopes": [
            f"access:servers!server={server.user}/",
            f"read:users:groups!user={server.user}",
            f"read:users:name!user={server.user}",
        ],
    }


async def test_an_admin_is_asked_before_a_server_learns_who_they_are(hub, server):
    async with hub.browser() as browser:
        await browser.log_in("admin", path=HOME)
        response, page = await browser.get(f"{server.prefix}lab")
        assert (response.status, response.url.path) == (200, "/hub/api/oauth2/authorize")
        assert response.url.query["client_id"] == f"jupyterhub-user-{server.user}"
        # Releases since 6.0 prove that who exchanges the code is who asked for it.
        assert ("code_challenge" in response.url.query) == server.version.startswith("6")
        scopes = re.findall(r'name="scopes" value="([^"]+)"', page)
        response, page = await browser.post(str(response.url), {"_xsrf": xsrf_of(page), "scopes": scopes})
        assert (response.status, str(response.url)) == (200, f"{server.url}lab")
        assert (lab_config(page)["hubUser"], lab_config(page)["hubServerUser"]) == ("admin", server.user)
    # Agreed once, not asked again: in any browser of theirs, as long as a token for it lives.
    async with hub.browser() as browser:
        await browser.log_in("admin", path=HOME)
        await visit(browser, server)


async def test_a_visitor_by_way_of_groups_gets_in_until_they_leave_the_group(hub, server):
    """Servers know no groups: the token must name the server, and must lose it with the membership."""
    async with hub.browser() as browser:
        await browser.log_in("teacher", path=HOME)
        response, page = await browser.get(f"{server.prefix}lab")
        assert (response.status, response.url.path) == (200, "/hub/api/oauth2/authorize")
        scopes = re.findall(r'name="scopes" value="([^"]+)"', page)
        response, page = await browser.post(str(response.url), {"_xsrf": xsrf_of(page), "scopes": scopes})
        assert (response.status, str(response.url)) == (200, f"{server.url}lab")
    token = lab_config(page)["token"]
    access = f"access:servers!server={server.user}/"
    assert access in (await hub.api("GET", "/user", token=token))[1]["scopes"]
    await hub.api("DELETE", "/groups/teachers/users", {"users": ["teacher"]})
    assert access not in (await hub.api("GET", "/user", token=token))[1]["scopes"]
    await hub.api("POST", "/groups/teachers/users", {"users": ["teacher"]})
    assert access in (await hub.api("GET", "/user", token=token))[1]["scopes"]


async def test_a_confirmation_without_proof_of_the_form_is_refused(hub, server):
    async with hub.browser() as browser:
        await browser.log_in("admin", path=HOME)
        query = f"client_id=jupyterhub-user-{server.user}&response_type=code&state=s"
        response, _ = await browser.post(f"hub/api/oauth2/authorize?{query}", {"scopes": "self"}, allow_redirects=False)
        assert response.status == 403


async def test_a_stranger_is_refused_once_and_not_sent_in_circles(hub, server):
    async with hub.browser() as browser:
        await browser.log_in("eve", path=HOME)
        response, page = await browser.get(f"{server.prefix}lab")
        assert (response.status, response.url.path) == (403, "/hub/api/oauth2/authorize")
        assert f"You do not have permission to access Server at {server.prefix}" in page
        assert len(response.history) == 1


async def test_a_strangers_token_is_refused_by_the_server(hub, server, token_of):
    for scopes in ([], ["read:users:name!user=eve"]):
        headers = {"Authorization": f"token {await token_of('eve', *scopes)}"}
        async with hub.browser() as browser:
            response, _ = await browser.get(f"{server.prefix}api/contents", headers=headers)
        assert response.status == 403
        assert not response.history


async def test_nobody_in_particular_is_sent_to_log_in(hub, server):
    async with hub.browser() as browser:
        response, page = await browser.get(f"{server.prefix}lab")
        assert (response.status, response.url.path) == (200, "/hub/login")
        form = {"username": server.user, "password": "x", "_xsrf": xsrf_of(page)}
        response, _ = await browser.post(str(response.url), form)
        assert (response.status, str(response.url)) == (200, f"{server.url}lab")
        response, _ = await browser.get(f"{server.prefix}api/contents", headers={"Cookie": ""})
    async with hub.browser() as browser:
        response, _ = await browser.get(f"{server.prefix}api/contents")
        assert response.status == 403


# -- how they get out


async def test_logging_out_of_the_hub_ends_this_browsers_visits_and_no_others(hub, server):
    async with hub.browser() as here, hub.browser() as there:
        for browser in (here, there):
            await browser.log_in(server.user, path=HOME)
        token_here, token_there = await visit(here, server), await visit(there, server)
        await here.get("hub/logout")
        # The server's own cookie is still in the jar; what it stands for is gone.
        assert cookie(here, f"jupyterhub-user-{server.user}", server.prefix)
        response, _ = await here.get(f"{server.prefix}api/contents")
        assert response.status == 403
        response, _ = await here.get(f"{server.prefix}lab")
        assert response.url.path == "/hub/login"
        assert (await hub.api("GET", "/user", token=token_here))[0] == 403
        response, _ = await there.get(f"{server.prefix}api/contents")
        assert response.status == 200
        assert (await hub.api("GET", "/user", token=token_there))[0] == 200


async def test_logging_out_of_a_server_logs_out_of_the_hub(hub, server):
    async with hub.browser() as browser:
        await browser.log_in(server.user, path=HOME)
        await visit(browser, server)
        response, _ = await browser.get(f"{server.prefix}logout")
        assert response.url.path == "/hub/login"
        assert not cookie(browser, f"jupyterhub-user-{server.user}", server.prefix)
        response, _ = await browser.get("hub/home")
        assert response.url.path == "/hub/login"


# -- tokens and kernels


@pytest.mark.parametrize("spelling", ["token", "Bearer", "TOKEN", "bearer"])
async def test_tokens_are_accepted_in_every_spelling(hub, server, token_of, spelling):
    token = await token_of(server.user, f"access:servers!user={server.user}", "read:users:name!user")
    headers = {"Authorization": f"{spelling} {token}"}
    async with hub.browser() as browser:
        for path in (f"{server.prefix}api/contents", "hub/api/user"):
            response, _ = await browser.get(path, headers=headers)
            assert response.status == 200


async def test_a_servers_own_token_opens_itself_and_nothing_more(hub, server):
    token = server.environment["JUPYTERHUB_API_TOKEN"]
    async with hub.browser() as browser:
        headers = {"Authorization": f"token {token}"}
        response, _ = await browser.get(f"{server.prefix}api/contents", headers=headers)
        assert response.status == 200
    status, me = await hub.api("GET", "/user", token=token)
    assert (status, me["name"]) == (200, server.user)
    assert me["scopes"] == [
        f"access:servers!server={server.user}/",
        f"read:users:activity!user={server.user}",
        f"read:users:groups!user={server.user}",
        f"read:users:name!user={server.user}",
        f"users:activity!user={server.user}",
    ]
    assert (await hub.api("DELETE", f"/users/{server.user}/server", token=token))[0] in (403, 404)


async def test_a_cell_runs_over_a_websocket_with_the_visitors_cookie(hub, server):
    async with hub.browser() as browser:
        await browser.log_in(server.user, path=HOME)
        await visit(browser, server)
        kernel = await start_kernel(browser.session, server.url, headers=proof(browser, server))
        headers = {"Origin": hub.url.rstrip("/"), "Sec-Fetch-Mode": "websocket", **proof(browser, server)}
        assert await execute(browser.session, server.url, kernel, "1+1", headers=headers) == "2"


async def test_a_cell_runs_over_a_websocket_with_a_token(hub, server, token_of):
    token = await token_of(server.user, f"access:servers!user={server.user}")
    headers = {"Authorization": f"Bearer {token}"}
    async with aiohttp.ClientSession() as session:
        kernel = await start_kernel(session, server.url, headers=headers)
        assert await execute(session, server.url, kernel, "1+1", headers=headers) == "2"
        # As scripts in a browser do it, which cannot set headers.
        fetched = {"Sec-Fetch-Mode": "websocket"}
        assert await execute(session, server.url, kernel, "2+2", headers=fetched, query={"token": token}) == "4"


@pytest.mark.parametrize("headers", [{}, {"Authorization": "token wrong"}], ids=["none", "wrong"])
async def test_a_websocket_without_credentials_is_refused(hub, server, headers):
    async with aiohttp.ClientSession() as session:
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await execute(session, server.url, str(uuid.uuid4()), "1+1", headers=headers)
        assert refused.value.status == 403


async def test_a_websocket_of_another_site_is_refused(hub, server):
    """The server compares `Origin` with `Host`, which must reach it as the browser sent it."""
    async with hub.browser() as browser:
        await browser.log_in(server.user, path=HOME)
        await visit(browser, server)
        kernel = await start_kernel(browser.session, server.url, headers=proof(browser, server))
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await execute(browser.session, server.url, kernel, "1", headers={"Origin": "http://evil.example"})
        assert refused.value.status == 403


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_cookies_are_secure_where_the_browser_speaks_tls(hub, server, scheme):
    """As told by whatever ends TLS before our proxy: a wrong flag here is the endless login loop people know."""
    headers = {"X-Forwarded-Proto": scheme} if scheme == "https" else {}
    async with hub.browser() as browser:
        response, _ = await browser.get(f"{server.prefix}lab", headers=headers, allow_redirects=False)
        [state] = [c for c in response.headers.getall("Set-Cookie") if "-oauth-state" in c]
        assert ("secure" in state.lower()) == (scheme == "https")


async def test_two_tabs_that_log_in_at_the_same_time_both_arrive(hub, server):
    """The second begins before the first is through: each has a state of its own, and each code its own proof."""
    async with hub.browser() as browser:
        await browser.log_in(server.user, path=HOME)
        begun = []
        for tab in range(2):
            response, _ = await browser.get(f"{server.prefix}lab/tree/{tab}", allow_redirects=False)
            begun.append(response.headers["Location"])
        for tab, location in enumerate(begun):
            response, _ = await browser.get(location)
            assert (response.status, response.url.path) == (200, f"{server.prefix}lab/tree/{tab}")
