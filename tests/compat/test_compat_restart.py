"""What browsers and programs meet while a stock server is stopped, and what survives its restart."""

import json
from urllib.parse import quote

import aiohttp
import pytest

from perijove.testing.kernels import execute, start_kernel

HOME = "hub/login?next=%2Fhub%2Fhome"


async def visit(browser, server) -> None:
    response, page = await browser.get(f"{server.prefix}lab")
    assert (response.status, str(response.url)) == (200, f"{server.url}lab"), page[:2000]


async def test_a_restart_ends_what_was_granted_for_the_server_before(hub, own_server):
    """Cookies and tokens of visitors, and the server's own token."""
    server = await own_server("bob")
    async with hub.browser() as browser:
        await browser.log_in(server.user, path=HOME)
        await visit(browser, server)
        old = server.environment["JUPYTERHUB_API_TOKEN"]
        cookies = {c.key: c.value for c in browser.session.cookie_jar if c["path"].rstrip("/") == server.prefix[:-1]}
        await server.stop()
        assert (await hub.api("GET", "/user", token=old))[0] == 403
        await server.start()
        assert server.environment["JUPYTERHUB_API_TOKEN"] != old
        async with hub.browser() as elsewhere:
            response, _ = await elsewhere.get(f"{server.prefix}api/contents", cookies=cookies)
            assert response.status == 403
            response, _ = await elsewhere.get(f"{server.prefix}lab", cookies=cookies)
            assert response.url.path == "/hub/login"
        # Whoever is still logged in to the hub gets a new cookie on the way.
        await visit(browser, server)


@pytest.mark.parametrize("own_server", ["6"], indirect=True)
async def test_a_server_that_will_resume_keeps_what_was_granted(hub, own_server):
    """As spawners promise whose servers are frozen, not ended: cookies of before are good after."""
    server = await own_server("resuming")
    async with hub.browser() as browser:
        await browser.log_in(server.user, path=HOME)
        await visit(browser, server)
        await server.stop()
        await server.start()
        response, _ = await browser.get(f"{server.prefix}api/contents")
        assert response.status == 200


async def test_names_with_signs_and_named_servers_work_from_cookie_to_kernel(hub, own_server):
    """The prefix keeps the @, the client id (which names the cookie) escapes it, and both sides agree."""
    server = await own_server("grace@example.org-", "gpu")
    environment = server.environment
    assert environment["JUPYTERHUB_SERVICE_PREFIX"] == f"/user/{server.user}/gpu/"
    assert environment["JUPYTERHUB_CLIENT_ID"] == f"jupyterhub-user-{quote(server.user)}-gpu"
    assert environment["JUPYTERHUB_OAUTH_CALLBACK_URL"] == f"/user/{server.user}/gpu/oauth_callback"
    assert environment["JUPYTERHUB_SERVER_NAME"] == "gpu"
    scopes = {f"access:servers!server={server.user}/gpu", f"access:servers!user={server.user}"}
    assert set(json.loads(environment["JUPYTERHUB_OAUTH_ACCESS_SCOPES"])) == scopes
    async with hub.browser() as browser:
        await browser.log_in(server.user, path=HOME)
        await visit(browser, server)
        names = {cookie.key for cookie in browser.session.cookie_jar}
        assert environment["JUPYTERHUB_CLIENT_ID"] in names
        xsrf = next(c.value for c in browser.session.cookie_jar if c.key == "_xsrf" and "gpu" in c["path"])
        kernel = await start_kernel(browser.session, server.url, headers={"X-XSRFToken": xsrf})
        assert await execute(browser.session, server.url, kernel, "1+1") == "2"


@pytest.mark.parametrize("own_server", ["6"], indirect=True)
async def test_two_servers_whose_ids_would_be_the_same_do_not_get_in_each_others_way(hub, own_server):
    """`x-y`'s default server and `x`'s server `y`: an id from names alone would be one for both."""
    named = await own_server("hal", "gpu")
    default = await own_server(f"{named.user}-gpu", exactly=True)
    for server in (named, default):
        async with hub.browser() as browser:
            await browser.log_in(server.user, path=HOME)
            await visit(browser, server)


@pytest.mark.parametrize("server", ["6"], indirect=True)
async def test_who_works_on_a_server_does_not_notice_a_crash_of_the_hub(hub, server):
    """A kernel answers while there is no hub, and the cookies of before are good with the next one."""
    async with hub.browser() as browser:
        await browser.log_in(server.user, path=HOME)
        await visit(browser, server)
        xsrf = next(c.value for c in browser.session.cookie_jar if c.key == "_xsrf" and server.prefix[:-1] in c["path"])
        kernel = await start_kernel(browser.session, server.url, headers={"X-XSRFToken": xsrf})
        assert await execute(browser.session, server.url, kernel, "answer = 42; 0") == "0"
        hub.hub_process().kill()
        assert await execute(browser.session, server.url, kernel, "answer") == "42"
        await hub.until_healthy()
        assert await execute(browser.session, server.url, kernel, "answer + 1") == "43"
        response, _ = await browser.get("hub/home")
        assert (response.status, response.url.path) == (200, "/hub/home")
        # Asked of the new hub, by a server that the old one started.
        async with hub.browser() as another:
            await another.log_in(server.user, path=HOME)
            await visit(another, server)


@pytest.fixture
async def stopped(hub):
    """A browser of somebody whose server does not run."""
    async with hub.browser() as browser:
        await browser.log_in("idle", path=HOME)
        yield browser


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        ("/user/idle/api/kernels", {}),
        ("/user/idle/api/kernels/1/channels", {}),
        ("/user/idle/lab/api/settings", {}),
        ("/user/idle/lab", {"Accept": "application/json"}),
        ("/user/idle/lab", {"Accept": "application/json, text/html;q=0.5"}),
    ],
)
async def test_programs_learn_that_the_server_is_stopped(hub, stopped, path, headers):
    response, body = await stopped.get(path, headers=headers)
    assert (response.status, response.content_type) == (424, "application/json")
    message = json.loads(body)["message"]
    assert message == (f"JupyterHub server no longer running at {path}. Restart the server at {hub.url}hub/spawn/idle")


async def test_people_learn_that_the_server_is_stopped_and_how_to_start_it(stopped):
    response, page = await stopped.get("/user/idle/lab/tree/a%20b.ipynb?x=1", headers={"Accept": "text/html,*/*"})
    assert (response.status, response.content_type) == (424, "text/html")
    assert "/hub/spawn/idle?next=/user/idle/lab/tree/a%2520b.ipynb%3Fx%3D1" in page


@pytest.mark.parametrize("method", ["POST", "PATCH", "DELETE"])
async def test_writing_to_a_stopped_server_is_told_so(hub, stopped, method):
    async with stopped.session.request(method, f"{hub.url}user/idle/api/kernels", json={}) as response:
        assert (response.status, response.content_type) == (424, "application/json")


async def test_a_websocket_to_a_stopped_server_is_told_so(hub, stopped):
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        await execute(stopped.session, f"{hub.url}user/idle/", "0", "1")
    assert refused.value.status == 424


async def test_a_ready_server_is_redirected_to_but_not_for_ever(hub, server):
    """What the hub answers when a proxy keeps sending it what it should send to the server."""
    async with hub.browser() as browser:
        await browser.log_in(server.user, path=HOME)
        response, _ = await browser.get(f"/hub{server.prefix}lab?a=1", allow_redirects=False)
        assert (response.status, response.headers["Location"]) == (302, f"{server.prefix}lab?a=1&redirects=1")
        response, page = await browser.get(f"/hub{server.prefix}lab?redirects=4", allow_redirects=False)
        assert response.status == 500
        assert "Redirect loop detected" in page
