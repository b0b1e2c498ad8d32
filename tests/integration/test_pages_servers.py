"""Servers on pages: start, progress, failure, options, stop, names. Through a socket, as a browser sees it."""

import asyncio
import html
import re
from urllib.parse import unquote

import aiohttp
import pytest

from perijove.domain.errors import SpawnFailed
from perijove.domain.last_lines import with_last_lines
from perijove.services.server_rows import get_server, list_servers
from perijove.testing.browser import xsrf_of
from perijove.testing.inside import hub_inside
from perijove.testing.waiting import until

FORM = """
<label for="image">Image</label>
<select id="image" name="image"><option value="small">Small</option><option value="big">Big</option></select>
<label for="note">Note</label><input id="note" name="note">
<label for="data">Data</label><input id="data" type="file" name="data">
"""


@pytest.fixture
async def inside(tmp_path):
    async with hub_inside(tmp_path, redirect_to_server=False, allow_named_servers=True) as hub:
        yield hub


@pytest.fixture
async def ada(inside):
    async with inside.browser() as browser:
        status, _ = await browser.log_in("ada", "x")
        assert status == 200
        yield browser


async def settled(inside, user="ada", name=""):
    async def row():
        found = await get_server(inside.hub, user, name)
        return found if found.pending is None else None

    return await until(row)


async def press(browser, page, action, **fields):
    """Send the form on `page` whose action ends so."""
    actions = re.findall(r'<form[^>]* action="([^"]*)"', page)
    (target,) = {html.unescape(found) for found in actions if found.endswith(action)}
    return await browser.post(target, {"_xsrf": xsrf_of(page), **fields})


async def test_a_new_person_finds_a_stopped_server_and_a_start_button(ada):
    response, page = await ada.get("hub/home")
    assert response.status == 200
    assert 'href="/hub/spawn/ada"' in page
    assert ">Start</a>" in page
    assert "Not started yet" in page


async def test_start_leads_through_the_pending_page_to_the_server(inside, ada):
    inside.behaviour.hold_start = asyncio.Event()
    response, page = await ada.get("hub/spawn/ada")
    assert response.status == 200
    assert response.url.path == "/hub/spawn-pending/ada"
    progress = html.unescape(re.search(r'data-progress-url="([^"]*)"', page)[1])
    assert progress.startswith("/hub/api/users/ada/server/progress?_xsrf=")
    assert '<meta http-equiv="refresh" content="3">' in page
    inside.behaviour.hold_start.set()
    await settled(inside)
    response, _ = await ada.get("hub/spawn-pending/ada", allow_redirects=False)
    assert (response.status, response.headers["location"]) == (302, "/user/ada/")
    _, page = await ada.get("hub/home")
    assert ">Open</a>" in page


async def test_the_progress_stream_of_the_page_ends_with_ready(inside, ada):
    inside.behaviour.hold_start = asyncio.Event()
    _, page = await ada.get("hub/spawn/ada")
    progress = html.unescape(re.search(r'data-progress-url="([^"]*)"', page)[1])
    inside.behaviour.hold_start.set()
    response, stream = await ada.get(progress, headers={"Sec-Fetch-Mode": "cors", "Accept": "text/event-stream"})
    assert response.status == 200
    assert '"ready":true' in stream.replace(" ", "")


async def test_next_survives_the_way_to_the_server(inside, ada):
    inside.behaviour.hold_start = asyncio.Event()
    response, _ = await ada.get("hub/spawn/ada?next=%2Fuser%2Fada%2Flab%2Ftree%2Fa%2520b.ipynb%3Fx%3D1%26y%3D2")
    inside.behaviour.hold_start.set()
    await settled(inside)
    response, _ = await ada.get(response.url.raw_path_qs.removeprefix("/"), allow_redirects=False)
    assert response.headers["location"] == "/user/ada/lab/tree/a%20b.ipynb?x=1&y=2"


async def test_a_failed_start_says_why_and_offers_another_try(inside, ada):
    inside.behaviour.fail_start = SpawnFailed("No GPU is free.", reason="capacity", details="Traceback: secret path")
    await ada.get("hub/spawn/ada")
    await settled(inside)
    response, page = await ada.get("hub/spawn-pending/ada")
    assert response.status == 500
    assert "No GPU is free." in page
    assert "secret path" not in page
    assert 'id="try-again"' in page
    _, page = await ada.get("hub/home")
    assert "No GPU is free." in page
    assert "Try again" in page
    inside.behaviour.fail_start = None
    await ada.get("hub/spawn/ada")
    assert (await settled(inside)).ready


async def test_an_admin_sees_the_details_of_a_failure(inside, ada):
    inside.behaviour.fail_start = SpawnFailed("No GPU is free.", reason="capacity", details="Traceback: the path")
    await ada.get("hub/spawn/ada")
    await settled(inside)
    async with inside.browser() as admin:
        await admin.log_in("admin", "x")
        response, page = await admin.get("hub/spawn-pending/ada")
    assert response.status == 500
    assert "Traceback: the path" in page


async def test_a_server_that_dies_at_once_shows_its_exit_code_and_last_lines(inside, ada):
    inside.behaviour.exit_at_start = 3
    inside.behaviour.silent = True
    await ada.get("hub/spawn/ada")
    await settled(inside)
    _, page = await ada.get("hub/spawn-pending/ada")
    assert "exit code 3" in page
    assert "cannot start: told to fail" in page


async def test_what_the_cluster_says_of_a_server_that_ended_is_for_admins_and_its_last_lines_are_the_users(inside, ada):
    details = with_last_lines("Pod jupyter-ada on node-7: Failed", ["no such module: lab"])
    inside.behaviour.fail_start = SpawnFailed("It ended.", reason="exited", details=details)
    await ada.get("hub/spawn/ada")
    await settled(inside)
    _, page = await ada.get("hub/spawn-pending/ada")
    assert "no such module: lab" in page
    assert "node-7" not in page
    async with inside.browser() as admin:
        await admin.log_in("admin", "x")
        _, page = await admin.get("hub/spawn-pending/ada")
    assert "no such module: lab" in page
    assert "node-7" in page


async def test_a_start_can_be_cancelled_from_its_page(inside, ada):
    inside.behaviour.hold_start = asyncio.Event()
    _, page = await ada.get("hub/spawn/ada")
    response, _ = await press(ada, page, "/stop/ada")
    assert response.url.path == "/hub/home"

    async def cancelled():
        response, page = await ada.get("hub/spawn-pending/ada")
        return response.status == 200 and "The start was cancelled" in page

    await until(cancelled)
    await until(lambda: not inside.world.alive())


async def test_stop_from_home_and_the_page_says_so_while_it_takes_long(inside, ada):
    await ada.get("hub/spawn/ada")
    await settled(inside)
    inside.behaviour.hold_stop = asyncio.Event()
    _, page = await ada.get("hub/home")
    response, page = await press(ada, page, "/stop/ada")
    assert "Stopping" in page
    assert 'hx-get="/hub/home/servers"' in page
    response, page = await ada.get("hub/spawn-pending/ada")
    assert response.status == 200
    assert "is stopping" in page
    inside.behaviour.hold_stop.set()
    await settled(inside)
    response, page = await ada.get("hub/spawn-pending/ada")
    assert "is not running" in page
    assert not (await get_server(inside.hub, "ada", "")).active


async def test_the_part_of_home_that_refreshes_itself_is_a_part(inside, ada):
    response, part = await ada.get("hub/home/servers", headers={"HX-Request": "true"})
    assert response.status == 200
    assert part.lstrip().startswith('<div id="servers"')
    response, _ = await ada.get("hub/home/servers")
    assert response.url.path == "/hub/home"


async def test_an_options_form_is_shown_and_its_choice_reaches_the_spawner(inside, ada):
    inside.behaviour.options_form = FORM
    response, page = await ada.get("hub/spawn/ada")
    assert response.url.path == "/hub/spawn/ada"
    assert FORM in page
    await press(ada, page, "/spawn/ada", image="big", note="hello")
    row = await settled(inside)
    assert row.user_options == {"image": "big", "note": "hello"}


async def test_a_refused_choice_comes_back_as_it_was_typed(inside, ada):
    inside.behaviour.options_form = FORM
    _, page = await ada.get("hub/spawn/ada")
    response, page = await press(ada, page, "/spawn/ada", image="big", note='my "note"', refuse="Too <big> for you")
    assert response.status == 400
    assert "Too &lt;big&gt; for you" in page
    assert '<option value="big" selected>' in page
    assert 'value="my &quot;note&quot;"' in page
    assert not (await list_servers(inside.hub, "ada", stopped=False))


async def test_files_of_an_options_form_reach_the_spawner(inside, ada):
    inside.behaviour.options_form = FORM
    _, page = await ada.get("hub/spawn/ada")
    form = aiohttp.FormData({"_xsrf": xsrf_of(page), "note": "with file"})
    form.add_field("data", b"\x00\x01", filename="a.bin", content_type="application/octet-stream")
    seen = []
    inside.spawners.options_from_form = lambda spec, fields: _note(seen, fields)
    await ada.post("hub/spawn/ada", form)
    (fields,) = seen
    assert fields["note"] == ["with file"]
    (file,) = fields["data_file"]
    assert (file["filename"], file["body"], file["content_type"]) == ("a.bin", b"\x00\x01", "application/octet-stream")
    assert "_xsrf" not in fields


async def _note(seen, fields):
    seen.append(fields)
    return {}


async def test_options_in_the_address_start_at_once(inside, ada):
    inside.behaviour.options_form = FORM
    await ada.get("hub/spawn/ada?opt-image=big&next=%2Fhub%2Fhome")
    assert (await settled(inside)).user_options == {"image": "big"}


async def test_options_in_the_address_that_are_refused_fill_the_form(inside, ada):
    inside.behaviour.options_form = FORM
    response, page = await ada.get("hub/spawn/ada?opt-image=big&opt-refuse=No")
    assert response.status == 400
    assert '<option value="big" selected>' in page


async def test_spawn_of_a_running_server_goes_there(inside, ada):
    await ada.get("hub/spawn/ada")
    await settled(inside)
    response, _ = await ada.get("hub/spawn/ada", allow_redirects=False)
    assert (response.status, response.headers["location"]) == (302, "/user/ada/")
    response, _ = await ada.get("hub/spawn?next=/user/ada/lab", allow_redirects=False)
    assert response.headers["location"] == "/user/ada/lab"


async def test_a_named_server_is_added_started_and_deleted(inside, ada):
    _, page = await ada.get("hub/home")
    response, _ = await press(ada, page, "/home/servers", server_name="Thesis data")
    assert unquote(response.url.path) == "/hub/spawn-pending/ada/thesis-data"
    await settled(inside, name="thesis-data")
    _, page = await ada.get("hub/home")
    assert "Thesis data" in page
    await press(ada, page, "/stop/ada/thesis-data")
    await settled(inside, name="thesis-data")
    _, page = await ada.get("hub/home")
    await press(ada, page, "/delete/ada/thesis-data")

    async def gone():
        return not [row for row in await list_servers(inside.hub, "ada") if row.name]

    await until(gone)


async def test_a_bad_name_for_a_server_is_answered_beside_the_field(ada):
    _, page = await ada.get("hub/home")
    response, page = await press(ada, page, "/home/servers", server_name="bell \x07")
    assert response.status == 400
    assert 'aria-invalid="true"' in page
    assert "printable" in page


async def test_nobody_stops_or_starts_another_persons_server(inside, ada):
    await ada.get("hub/spawn/ada")
    await settled(inside)
    async with inside.browser() as eve:
        await eve.log_in("eve", "x")
        _, page = await eve.get("hub/home")
        response, _ = await eve.post("hub/stop/ada", {"_xsrf": xsrf_of(page)})
        assert response.status == 404
        response, _ = await eve.get("hub/spawn/ada")
        assert response.status == 404
        response, _ = await eve.get("hub/spawn-pending/ada")
        assert response.status == 404
    assert (await get_server(inside.hub, "ada", "")).ready


async def test_an_admin_starts_a_server_for_somebody(inside, ada):
    async with inside.browser() as admin:
        await admin.log_in("admin", "x")
        _, page = await admin.get("hub/spawn/ada")
    assert "ada’s server" in html.unescape(page)
    assert (await settled(inside)).user_name == "ada"


async def test_user_redirect_leads_each_visitor_to_their_own_server(inside, ada):
    await ada.get("hub/spawn/ada")
    await settled(inside)
    response, _ = await ada.get("hub/user-redirect/git-pull?repo=a%2Fb&x=1", allow_redirects=False)
    assert response.status == 302
    assert response.headers["location"].startswith("/hub/spawn/ada?next=")
    response, _ = await ada.get(response.headers["location"], allow_redirects=False)
    assert response.headers["location"] == "/user/ada/git-pull?repo=a%2Fb&x=1"
