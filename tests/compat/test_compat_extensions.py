"""What people install beside JupyterLab and in services, unmodified from PyPI: it leans on the hub in its own ways.

nbgitpuller links, jupyter-server-proxy, jupyter-collaboration in a shared server, JupyterLab's own menu of the hub, and
`HubOAuth` in Flask. One hub and one server of one person for all of them.
"""

import asyncio
import os
import re
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio
from aiohttp import WSServerHandshakeError, web
from playwright.async_api import expect

from perijove.cli.listening import free_port
from perijove.testing import RunningHub, run_hub, until
from perijove.testing.chromium import PATIENCE_MS, log_in, open_chromium

pytestmark = pytest.mark.asyncio(loop_scope="module")

BIN = Path(__file__).parents[2] / "build" / "extensions" / "bin"
FLASK_SERVICE = Path(__file__).with_name("flask_service.py")
ROLES = {
    "sharers": {"scopes": ["shares!user"], "users": ["ada"]},
    "visitors": {"scopes": ["access:services!service=flask"], "users": ["ada"]},
}


@dataclass(frozen=True)
class Ada:
    """Ada's server with the extensions, running, and her home."""

    hub: RunningHub
    home: Path

    @property
    def url(self) -> str:
        return f"{self.hub.url}user/ada/"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def ada():
    assert BIN.exists(), "make build/extensions/.stamp installs them, as `make test` does"
    flask = {"url": f"http://127.0.0.1:{free_port()}", "command": [str(BIN / "python"), str(FLASK_SERVICE)]}
    classes = {
        "JupyterHub": {"authenticator_class": "dummy", "spawner_class": "simple"},
        "Authenticator": {"allow_all": True, "admin_users": ["admin"]},
        "Spawner": {"args": ["--allow-root"] if os.geteuid() == 0 else []},
    }
    config = {
        "hub": {"config": classes, "redirectToServer": False, "services": {"flask": flask}, "loadRoles": ROLES},
        "singleuser": {"cmd": [str(BIN / "jupyterhub-singleuser")]},
    }
    async with run_hub(config) as hub:
        await hub.api("POST", "/users/ada/server")

        async def ready() -> bool:
            _, user = await hub.api("GET", "/users/ada")
            return bool(user["servers"].get("", {}).get("ready"))

        await until(ready, seconds=60, every=0.1)
        yield Ada(hub, hub.data_dir.parent / "homes" / "ada")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def chromium():
    async with open_chromium() as browser:
        yield browser


@pytest_asyncio.fixture(loop_scope="module")
async def browse(chromium, ada):
    """`await browse(user)`: a page of somebody's own browser, logged in and at home."""
    contexts = []

    async def enter(user: str):
        contexts.append(await chromium.new_context(viewport={"width": 1280, "height": 800}))
        page = await contexts[-1].new_page()
        await log_in(page, ada.hub.url, user)
        return page

    yield enter
    for context in contexts:
        await context.close()


# -- nbgitpuller


async def git(folder: Path, *arguments: str) -> None:
    identity = ["-c", "user.name=Teacher", "-c", "user.email=teacher@example.org", "-c", "init.defaultBranch=main"]
    process = await asyncio.create_subprocess_exec("git", *identity, *arguments, cwd=folder)
    assert await process.wait() == 0


async def test_an_nbgitpuller_link_fetches_the_course_into_whoever_follows_it(ada, browse, tmp_path):
    """The links of JupyterHub courses: `/hub/user-redirect/git-pull?repo=…`, the same for everybody."""
    work = tmp_path / "course"
    work.mkdir()
    await git(work, "init", "-q")
    (work / "lesson.txt").write_text("read me\n")
    await git(work, "add", "lesson.txt")
    await git(work, "commit", "-q", "-m", "Add lesson")
    await git(tmp_path, "clone", "-q", "--bare", str(work), "course.git")
    page = await browse("ada")
    link = f"repo=file://{tmp_path}/course.git&branch=main&targetpath=course&urlpath=lab/tree/course/lesson.txt"
    await page.goto(f"{ada.hub.url}hub/user-redirect/git-pull?{link}")
    await page.wait_for_url("**/user/ada/lab/**", timeout=PATIENCE_MS)
    assert (ada.home / "course" / "lesson.txt").read_text() == "read me\n"


# -- jupyter-server-proxy


@asynccontextmanager
async def tiny_app():
    """Somebody's own web application beside their server: what it is asked, and echoes over a websocket."""

    async def hello(request: web.Request) -> web.Response:
        return web.json_response(
            {"path": request.path_qs, "method": request.method, "body": await request.text()},
            headers={"X-Tiny": "yes"},
        )

    async def echo(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        async for message in socket:
            await socket.send_str(f"{request.path}: {message.data}")
        return socket

    app = web.Application()
    app.router.add_get("/echo", echo)
    app.router.add_route("*", "/{path:.*}", hello)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    yield runner.addresses[0][1]
    await runner.cleanup()


async def test_an_application_behind_jupyter_server_proxy_is_its_owners_alone(ada):
    """Requests and websockets pass through our proxy, the server's and to the application; nobody else's do."""
    async with tiny_app() as port, ada.hub.browser() as mine, ada.hub.browser() as other:
        await mine.log_in("ada", path="hub/login?next=%2Fhub%2Fhome")
        await other.log_in("eve", path="hub/login?next=%2Fhub%2Fhome")
        path = f"user/ada/proxy/{port}/some/where?x=1&y=%20"
        response, _ = await mine.get(path)
        assert response.headers["X-Tiny"] == "yes"
        assert await response.json() == {"path": "/some/where?x=1&y=%20", "method": "GET", "body": ""}
        sockets = f"{ada.url}proxy/{port}/echo".replace("http", "ws", 1)
        async with mine.session.ws_connect(sockets, origin=ada.hub.url.rstrip("/")) as socket:
            await socket.send_str("knock")
            assert await socket.receive_str() == "/echo: knock"
        response, _ = await other.get(path)
        assert response.status in (403, 404)
        assert "X-Tiny" not in response.headers
        with pytest.raises(WSServerHandshakeError):
            await other.session.ws_connect(sockets, origin=ada.hub.url.rstrip("/"))


# -- HubOAuth in Flask


async def test_a_flask_service_learns_who_visits_and_only_lets_those_in_who_may(ada):
    async with ada.hub.browser() as mine, ada.hub.browser() as other:

        async def up() -> bool:
            async with mine.session.get(f"{ada.hub.url}services/flask/", allow_redirects=False) as response:
                return response.status == 302

        await until(up, seconds=30, every=0.1)
        await mine.log_in("ada", path="hub/login?next=%2Fhub%2Fhome")
        response, page = await mine.get("services/flask/?q=1")
        if response.headers["content-type"].startswith("text/html"):
            assert "flask" in page
            response = await agree(mine, response, page)
        assert (await response.json())["name"] == "ada"
        assert response.url.path == "/services/flask/"
        await other.log_in("eve", path="hub/login?next=%2Fhub%2Fhome")
        response, _ = await other.get("services/flask/")
        assert response.status == 403


async def agree(browser, response, page):
    fields = re.findall(r'<input[^>]*name="([^"]+)"[^>]*value="([^"]*)"', page)
    async with browser.session.post(response.url, data=fields) as answered:
        await answered.read()
        return answered


# -- JupyterLab's menu


async def test_jupyterlab_leads_to_the_hub_and_logs_out_of_it(ada, browse):
    """File → Hub Control Panel, and Log Out, which ends the session with the hub and not with the server alone."""
    page = await browse("ada")
    await page.goto(f"{ada.url}lab")
    async with page.context.expect_page() as opened:
        await choose(page, "Hub Control Panel")
    home = await opened.value
    await home.wait_for_url("**/hub/home")
    await expect(home.locator("#default-server")).to_contain_text("Running")
    # A menu that led to another window opens again after a reload only.
    await page.reload()
    await choose(page, "Log Out")
    await page.wait_for_url(re.compile(r"/hub/(login|logout)"))
    await home.reload()
    await home.wait_for_url("**/hub/login**")
    await page.goto(f"{ada.url}lab")
    await page.wait_for_url("**/hub/login**")


async def choose(page, item: str) -> None:
    await page.locator(".lm-MenuBar-itemLabel:text-is('File')").click(timeout=PATIENCE_MS)
    # Log Out is there twice: JupyterLab's own, hidden where the hub's is.
    await page.locator(f".lm-Menu-itemLabel:text-is('{item}')").locator("visible=true").first.click()


async def test_a_token_of_the_token_page_opens_the_servers_own_api(ada, browse):
    page = await browse("ada")
    await page.get_by_role("link", name="Tokens").click()
    await page.get_by_label("Note").fill("for a script")
    await page.get_by_role("button", name="Request token").click()
    token = await page.locator("#new-token").input_value()
    async with ada.hub.browser() as script:
        headers = {"Authorization": f"token {token}"}
        response, _ = await script.get("user/ada/api/status", headers=headers)
        assert response.status == 200
        assert "kernels" in await response.json()
        response, _ = await script.get("user/ada/api/status", headers={"Authorization": f"token {token[:-1]}"})
        assert response.status in (302, 401, 403)


# -- jupyter-collaboration


async def test_two_people_edit_one_document_in_a_shared_server(ada, browse):
    """Ada gives out a link; Ben follows it and opens the document. Each sees what the other types."""
    (ada.home / "notes.txt").write_text("begun\n")
    mine, other = await browse("ada"), await browse("ben")
    await other.goto(f"{ada.url}lab")
    await expect(other.get_by_text("You do not have permission")).to_be_visible()
    await mine.get_by_role("link", name="Share").click()
    await mine.get_by_role("button", name="Make a link").click()
    await other.goto(await mine.locator("#new-link").input_value())
    await other.get_by_role("button", name="Accept").click()
    await other.wait_for_url(re.compile(r"/user/ada/|/oauth2/authorize"))
    for page in (mine, other):
        await page.goto(f"{ada.url}lab/tree/notes.txt")
        agree_button = page.get_by_role("button", name="Authorize")
        editor = page.locator(".jp-FileEditor .cm-content")
        await expect(editor.or_(agree_button)).to_be_visible(timeout=PATIENCE_MS)
        if await agree_button.is_visible():
            await agree_button.click()
        await expect(editor).to_contain_text("begun", timeout=PATIENCE_MS)
    for writer, reader, words in ((other, mine, "ben was here"), (mine, other, "so was ada")):
        await writer.locator(".jp-FileEditor .cm-content").click()
        await writer.keyboard.press("Control+End")
        await writer.keyboard.type(words)
        await expect(reader.locator(".jp-FileEditor .cm-content")).to_contain_text(words, timeout=20_000)
    saved = ada.home / "notes.txt"
    await until(lambda: "ben was here" in saved.read_text() and "so was ada" in saved.read_text(), seconds=20)
