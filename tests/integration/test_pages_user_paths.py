"""`/user/...` without a route: what people and what programs get. The table of the wire contract, line by line."""

import asyncio
import json

import pytest

from perijove.domain.errors import SpawnFailed
from perijove.services.server_rows import get_server
from perijove.services.servers import create_server, request_start
from perijove.testing.browser import xsrf_of
from perijove.testing.inside import hub_inside
from perijove.testing.waiting import until

JSON = {"Accept": "application/json, text/html;q=0.5"}
HTML = {"Accept": "text/html,application/xhtml+xml,application/json;q=0.1"}


class InstantClock:
    """Waits take no time and are remembered."""

    def __init__(self, clock):
        self._clock = clock
        self.slept = []

    def __getattr__(self, name):
        return getattr(self._clock, name)

    async def sleep(self, seconds):
        self.slept.append(seconds)


@pytest.fixture
async def inside(tmp_path):
    async with hub_inside(tmp_path, redirect_to_server=False, allow_named_servers=True) as hub:
        yield hub


@pytest.fixture
async def ada(inside):
    async with inside.browser() as browser:
        await browser.log_in("ada", "x")
        yield browser


async def run_server(inside, user="ada", name=""):
    await request_start(inside.hub, user=user, name=name, actor=user)

    async def row():
        found = await get_server(inside.hub, user, name)
        return found if found.pending is None else None

    return await until(row)


@pytest.mark.parametrize(
    ("path", "location"),
    [
        ("", "/hub/"),
        ("?a=1", "/hub/?a=1"),
        ("user/ada/lab?x=1&y=%20", "/hub/user/ada/lab?x=1&y=%20"),
        ("user/ada/a%2Fb%20c", "/hub/user/ada/a%2Fb%20c"),
        ("foo", "/hub/foo"),
        ("services/none/", "/hub/services/none/"),
    ],
)
async def test_paths_outside_the_hub_go_below_it(inside, path, location):
    async with inside.browser() as nobody:
        response, _ = await nobody.get(path, allow_redirects=False)
        assert (response.status, response.headers["location"]) == (302, location)


async def test_the_hub_without_its_slash_gets_it_for_good(inside):
    async with inside.browser() as nobody:
        response, _ = await nobody.get("hub", allow_redirects=False)
        assert (response.status, response.headers["location"]) == (301, "/hub/")


@pytest.mark.parametrize("method", ["POST", "PATCH", "DELETE", "PUT"])
@pytest.mark.parametrize("path", ["user/ada/api/kernels", "hub/user/ada/api/kernels"])
async def test_writing_to_a_stopped_server_is_told_that_it_does_not_run(inside, ada, method, path):
    async with ada.session.request(method, ada.url.join(ada.url / path), data=b"{}") as response:
        assert response.status == 424
        assert "no longer running at /user/ada/api/kernels" in (await response.json())["message"]


async def test_a_visitor_who_is_not_logged_in_logs_in_first(inside):
    async with inside.browser() as nobody:
        for path in ("hub/user/ada/lab?a=1", "hub/user/ada/api/kernels"):
            response, _ = await nobody.get(path, allow_redirects=False, headers=JSON)
            assert response.status == 302
            assert response.headers["location"].startswith("/hub/login?next=%2Fhub%2Fuser%2Fada%2F")


async def test_a_stopped_server_has_a_page_that_starts_it_and_comes_back(ada):
    response, page = await ada.get("user/ada/lab/tree/x?y=1", headers=HTML)
    assert response.status == 424
    assert "is not running" in page
    assert 'href="/hub/spawn/ada?next=/user/ada/lab/tree/x%3Fy%3D1"' in page


@pytest.mark.parametrize(
    ("path", "headers"),
    [("user/ada/api/kernels", HTML), ("user/ada/lab", JSON), ("user/ada/a/api/b", {}), ("user/ada/api", HTML)],
)
async def test_programs_learn_of_a_stopped_server_by_424_json(ada, path, headers):
    response, text = await ada.get(path, headers=headers)
    assert response.status == 424
    message = json.loads(text)["message"]
    assert message.startswith(f"JupyterHub server no longer running at /{path}")
    assert message.endswith(f"{ada.url}hub/spawn/ada")


async def test_accept_star_gets_the_page(ada):
    response, page = await ada.get("user/ada/lab")
    assert response.status == 424
    assert page.startswith("<!doctype html>")


async def test_a_starting_server_shows_its_progress(inside, ada):
    inside.behaviour.hold_start = asyncio.Event()
    await request_start(inside.hub, user="ada", actor="ada")
    response, _ = await ada.get("hub/user/ada/lab", headers=HTML, allow_redirects=False)
    assert response.status == 303
    assert response.headers["location"] == "/hub/spawn-pending/ada?next=/user/ada/lab"
    response, _ = await ada.get("hub/user/ada/api/kernels", headers=HTML, allow_redirects=False)
    assert response.status == 424
    inside.behaviour.hold_start.set()


async def test_a_failed_server_says_why_and_is_not_tried_again_by_itself(inside, ada):
    inside.behaviour.fail_start = SpawnFailed("No GPU is free.")
    await run_server(inside)
    response, page = await ada.get("user/ada/lab", headers=HTML)
    assert response.status in {424, 500}
    assert "No GPU is free." in page
    assert "http-equiv" not in page


async def test_a_named_server_is_chosen_by_the_first_segment_if_it_exists(inside, ada):
    await create_server(inside.hub, user="ada", name="gpu", actor="ada")
    _, page = await ada.get("user/ada/gpu/lab", headers=HTML)
    assert 'href="/hub/spawn/ada/gpu?next=/user/ada/gpu/lab"' in page
    _, page = await ada.get("user/ada/other/lab", headers=HTML)
    assert 'href="/hub/spawn/ada?next=/user/ada/other/lab"' in page


async def test_other_peoples_servers_are_not_there(inside, ada):
    async with inside.browser() as eve:
        await eve.log_in("eve", "x")
        for path in ("user/ada/lab", "user/ada/api/kernels", "user/nobody/lab"):
            response, _ = await eve.get(path)
            assert response.status == 404


async def test_an_admin_sees_a_stopped_server_and_404_for_an_unknown_user(inside, ada):
    async with inside.browser() as admin:
        await admin.log_in("admin", "x")
        response, page = await admin.get("user/ada/lab", headers=HTML)
        assert response.status == 424
        assert "ada’s server is not running" in page
        response, _ = await admin.get("user/nobody/lab", headers=HTML)
        assert response.status == 404


async def test_a_ready_server_is_redirected_to_until_that_is_a_loop(inside, ada, monkeypatch):
    await run_server(inside)
    clock = InstantClock(inside.hub.clock)
    # The context is frozen: what follows it is told so by its own attribute.
    object.__setattr__(inside.hub, "clock", clock)
    for count in range(4):
        path = "hub/user/ada/lab?x=1" + (f"&redirects={count}" if count else "")
        response, _ = await ada.get(path, allow_redirects=False)
        assert (response.status, response.headers["location"]) == (302, f"/user/ada/lab?x=1&redirects={count + 1}")
    assert clock.slept == [2, 4, 8]
    response, page = await ada.get("hub/user/ada/lab?redirects=4", allow_redirects=False)
    assert response.status == 500
    assert "Redirect loop detected" in page


async def test_older_lab_versions_can_be_answered_503(tmp_path):
    async with hub_inside(tmp_path, stopped_server_status=503) as inside, inside.browser() as ada:
        await ada.log_in("ada", "x", path="hub/login?next=%2Fhub%2Fhome")
        response, _ = await ada.get("user/ada/lab")
        assert response.status == 503


async def test_a_hub_below_a_path_keeps_to_it(tmp_path):
    async with hub_inside(tmp_path, base_url="/jh/", redirect_to_server=False) as inside, inside.browser() as ada:
        response, _ = await ada.get("/", allow_redirects=False)
        assert response.headers["location"] == "/jh/hub/"
        response, _ = await ada.get("/jh/user/ada/lab", allow_redirects=False)
        assert response.headers["location"] == "/jh/hub/user/ada/lab"
        status, url = await ada.log_in("ada", "x")
        assert (status, url.endswith("/jh/hub/home")) == (200, True)
        _, page = await ada.get("/jh/user/ada/lab")
        assert 'href="/jh/hub/spawn/ada?next=/jh/user/ada/lab"' in page
        assert xsrf_of((await ada.get("/jh/hub/token"))[1])
