"""What pages of others can do to somebody who is logged in: another site, and another user's server on the same host.

The latter shares the hub's origin unless users have hosts of their own, so the browser protects nobody by itself: what
a script asks for is told apart from what a person opens.
"""

import contextlib
import http.server
import json
import sys
import threading
from http import HTTPStatus
from pathlib import Path

import pytest_asyncio
from playwright.async_api import Error

from perijove.testing import run_hub, until
from perijove.testing.hub import OPEN

HOSTILE_SERVER = Path(__file__).with_name("hostile_server.py")
# Each runs in a hostile page and says what came of it.
FETCH = """async ([url, options]) => {
    try {
        const answer = await fetch(url, {credentials: "include", ...options});
        return [answer.status, answer.type, await answer.text()];
    } catch (error) { return [0, "error", String(error)]; }
}"""
FRAME = """async (url) => {
    const frame = document.createElement("iframe");
    frame.src = url;
    const loaded = new Promise((resolve) => { frame.onload = resolve; });
    document.body.append(frame);
    await loaded;
    try { return frame.contentDocument?.body?.innerText ?? ""; } catch (error) { return ""; }
}"""
# Of whatever page of the hub may be framed, the cookies that a script of the same origin can read in it.
PEEK = """async (url) => {
    const frame = document.createElement("iframe");
    frame.src = url;
    const loaded = new Promise((resolve) => { frame.onload = resolve; });
    document.body.append(frame);
    await loaded;
    try { return frame.contentDocument?.cookie ?? ""; } catch (error) { return ""; }
}"""
# Of a window that a script opens, what it can read in it after a while.
OPEN_WINDOW = """async (url) => {
    const opened = window.open(url);
    for (let tries = 0; tries < 40; tries++) {
        await new Promise((resolve) => setTimeout(resolve, 50));
        let text = "";
        try { text = opened.document.body?.innerText ?? ""; } catch (error) { continue; }
        if (text) return text;
    }
    return "";
}"""
SEND = """([url, fields]) => {
    const form = document.createElement("form");
    form.method = "post";
    form.action = url;
    for (const [name, value] of Object.entries(fields)) {
        const field = document.createElement("input");
        field.name = name;
        field.value = value;
        form.append(field);
    }
    document.body.append(form);
    form.submit();
}"""
REGISTER = """async ([script, scope]) => {
    try { return (await navigator.serviceWorker.register(script, {scope})).scope; }
    catch (error) { return String(error); }
}"""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def hub():
    """Eve's server is hostile, and runs; ada may be led there by a link."""
    classes = {**OPEN["hub"]["config"], "Spawner": {"args": []}}
    config = {
        "hub": {"config": classes, "redirectToServer": False},
        "singleuser": {"cmd": [sys.executable, str(HOSTILE_SERVER)]},
    }
    async with run_hub(config) as running:
        await running.api("POST", "/users/eve")
        await running.api("POST", "/users/eve/server")

        async def ready() -> bool:
            _, user = await running.api("GET", "/users/eve")
            return bool(user["servers"].get("", {}).get("ready"))

        await until(ready, seconds=30, every=0.1)
        yield running


@pytest_asyncio.fixture
async def page(chromium):
    """In a browser whose console may say that a frame was refused, which is what is tested."""
    context = await chromium.new_context()
    yield await context.new_page()
    await context.close()


@contextlib.contextmanager
def other_site():
    """A page on another origin. Browsers send cookies there all the same: a port makes no other site."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(b"<!doctype html><p>elsewhere")

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()


async def attack(page, hub):
    """What a script in `page` gets at; {} when nothing."""
    found = {}
    token = json.dumps({"note": "stolen"})
    for name, path, options in (
        ("who", "hub/api/user", {}),
        ("users", "hub/api/users", {}),
        ("token", "hub/api/users/admin/tokens", {"method": "POST", "body": token}),
        ("plain token", "hub/api/users/admin/tokens", {"method": "POST", "body": token, "mode": "no-cors"}),
        ("admin", "hub/api/users/eve", {"method": "PATCH", "body": '{"admin": true}'}),
        ("home", "hub/home", {}),
        ("token page", "hub/token", {}),
        ("admin page", "hub/admin/roles", {}),
        ("trail", "hub/admin/audit/export", {}),
        ("own server", "user/admin/api/contents", {}),
    ):
        status, _, text = await page.evaluate(FETCH, [hub.url + path, options])
        # The login page says nothing about anybody, and what is hostile is the server's own.
        if 0 < status < HTTPStatus.BAD_REQUEST and "login_submit" not in text and "hostile" not in text:
            found[name] = text
    for path in ("hub/home", "hub/token", "hub/admin"):
        if await page.evaluate(FRAME, hub.url + path):
            found[f"frame {path}"] = "shown"
    return found


async def forge(page, hub, start, path, fields):
    """A form that a script sends, which takes the browser along; the answer's status."""
    await page.goto(start)
    async with page.expect_navigation(url=f"**/{path}") as sent:
        await page.evaluate(SEND, [hub.url + path, fields])
    return (await sent.value).status


FORGED = (
    ("hub/admin/users/edit", {"user": "eve", "admin": "1"}),
    ("hub/admin/new-role", {"name": "forged", "scopes": "read:hub"}),
    ("hub/token", {"note": "forged"}),
    ("hub/share/admin", {"action": "make-link", "expires_in": "3600"}),
    ("hub/stop/eve", {}),
)


async def test_a_page_of_another_site_learns_and_changes_nothing(page, hub, enter):
    await enter(page, hub.url, "admin")
    with other_site() as start:
        await page.goto(start)
        assert await attack(page, hub) == {}
        for path, fields in FORGED:
            assert await forge(page, hub, start, path, fields) == 403, path
    await nothing_happened(hub)


async def test_a_page_of_another_users_server_learns_and_changes_nothing(page, hub, enter):
    """It is of the hub's own origin here. It sees no login cookie, gets no page or answer as the admin who opened it,
    and frames none."""
    await enter(page, hub.url, "admin")
    start = f"{hub.url}user/eve/"
    await page.goto(start)
    assert "hostile" in await page.content()
    cookies = {cookie["name"]: cookie for cookie in await page.context.cookies(hub.url + "hub/")}
    login = next(cookie for name, cookie in cookies.items() if "session" in name or "login" in name or "hub" in name)
    assert login["httpOnly"]
    seen = await page.evaluate("document.cookie")
    assert not any(cookie["value"] in seen for cookie in cookies.values() if cookie["httpOnly"])
    assert await attack(page, hub) == {}
    for path, fields in FORGED:
        assert await forge(page, hub, start, path, fields) == 403, path
    await nothing_happened(hub)


async def test_a_page_of_another_users_server_cannot_read_a_window_it_opens(page, hub, enter):
    """Where browsers know `noopener-allow-popups`; in others only hosts of users' own keep them apart."""
    await enter(page, hub.url, "admin")
    await page.goto(f"{hub.url}user/eve/")
    async with page.context.expect_page() as opened:
        assert await page.evaluate(OPEN_WINDOW, f"{hub.url}hub/token") == ""
    await (await opened.value).wait_for_url("**/hub/token")


async def test_no_part_of_the_hub_can_be_framed_to_read_its_cookies(page, hub, enter):
    """The proof is in a cookie for the hub's paths: a document there, of whatever kind, would give it away."""
    await enter(page, hub.url, "admin")
    own = {c["value"] for c in await page.context.cookies(hub.url + "hub/home")}
    await page.goto(f"{hub.url}user/eve/")
    for path in (
        "static/hub.js",
        "static/favicon.svg",
        "logo",
        "api/",
        "api/openapi.json",
        "health",
        "nothing",
        "api-docs",
    ):
        seen = await page.evaluate(PEEK, f"{hub.url}hub/{path}")
        assert not any(value in seen for value in own), path


async def nothing_happened(hub):
    assert (await hub.api("GET", "/users/eve"))[1]["admin"] is False
    _, tokens = await hub.api("GET", "/users/admin/tokens")
    assert not any(token["note"] in {"stolen", "forged"} for token in tokens["api_tokens"])
    assert (await hub.api("GET", "/users/eve"))[1]["servers"][""]["ready"]


async def test_cookies_of_a_users_server_do_not_reach_the_hub_or_another_server(page, hub, enter):
    """The login's own cookie is for the hub's paths alone: servers never see it."""
    await enter(page, hub.url, "admin")
    # Names the session to whoever it logs out of, and proves nothing.
    elsewhere = {cookie["name"] for cookie in await page.context.cookies(hub.url + "user/eve/")}
    assert elsewhere <= {"jupyterhub-session-id"}
    sent = {}
    page.on("request", lambda request: sent.setdefault(request.url, request))
    await page.goto(f"{hub.url}user/eve/")
    headers = await sent[f"{hub.url}user/eve/"].all_headers()
    known = await page.context.cookies(hub.url + "hub/home")
    hub_only = [cookie["value"] for cookie in known if cookie["name"] not in elsewhere]
    assert hub_only
    assert not any(value in headers.get("cookie", "") for value in hub_only)


async def test_a_users_service_worker_controls_their_own_server_at_most(page, hub, enter):
    """A server may ask for more with a header, and would then answer for the hub in everybody's browser."""
    await enter(page, hub.url, "admin")
    await page.goto(f"{hub.url}user/eve/")
    for scope in ("/", "/hub/", "/user/", "/user/admin/"):
        assert "SecurityError" in await page.evaluate(REGISTER, ["/user/eve/sw.js", scope]), scope
    assert await page.evaluate(REGISTER, ["/user/eve/sw.js", "/user/eve/"]) == f"{hub.url}user/eve/"
    await page.goto(f"{hub.url}hub/home")
    assert await page.get_by_role("link", name="Log out").is_visible()


async def test_a_users_server_cannot_make_browsers_forget_the_hub(page, hub, enter):
    await enter(page, hub.url, "admin")
    with contextlib.suppress(Error):
        await page.goto(f"{hub.url}user/eve/clear")
    await page.goto(f"{hub.url}hub/home")
    assert await page.get_by_role("link", name="Log out").is_visible()
