"""The admin page: who sees it, searching, sorting, paging, and acting on users and servers."""

import html
import re

import pytest

from perijove.services.server_rows import get_server, list_servers
from perijove.services.servers import request_start
from perijove.services.users import UserQuery, create_users, get_user, list_users
from perijove.testing.browser import xsrf_of
from perijove.testing.inside import hub_inside
from perijove.testing.waiting import until


@pytest.fixture
async def inside(tmp_path):
    async with hub_inside(tmp_path, redirect_to_server=False, allow_named_servers=True) as hub:
        yield hub


@pytest.fixture
async def admin(inside):
    async with inside.browser() as browser:
        await browser.log_in("admin", "x")
        yield browser


def names_on(page):
    return re.findall(r'form="bulk" name="users" value="([^"]*)"', page.split('id="results"')[1])


async def submit(browser, path, fields):
    _, page = await browser.get("hub/admin")
    data = [("_xsrf", xsrf_of(page)), *fields]
    async with browser.session.post(browser.url / path, data=data) as response:
        return response, await response.text()


async def test_only_admins_see_it(inside):
    async with inside.browser() as ada:
        await ada.log_in("ada", "x")
        response, _ = await ada.get("hub/admin")
        assert response.status == 403
        _, page = await ada.get("hub/home")
        assert 'href="/hub/admin"' not in page


async def test_the_database_searches_sorts_and_pages(inside, admin):
    await create_users(inside.hub, [f"student{n:03}" for n in range(120)], actor="admin")
    _, page = await admin.get("hub/admin")
    assert "121 users" in page
    assert names_on(page) == ["admin", *(f"student{n:03}" for n in range(49))]
    _, page = await admin.get("hub/admin?offset=100")
    assert names_on(page) == [f"student{n:03}" for n in range(99, 120)]
    _, page = await admin.get("hub/admin?name_filter=STUDENT11&sort=-name")
    assert names_on(page) == [f"student{n:03}" for n in range(119, 109, -1)]
    _, page = await admin.get("hub/admin?name_filter=nobody")
    assert "No user matches." in page


async def test_links_keep_the_filter(inside, admin):
    await create_users(inside.hub, [f"student{n:03}" for n in range(120)], actor="admin")
    _, page = await admin.get("hub/admin?name_filter=student&sort=-name")
    following = html.unescape(re.search(r'rel="next" href="([^"]*)"', page)[1])
    _, page = await admin.get(following)
    assert names_on(page)[0] == "student069"


async def test_a_swap_gets_the_list_alone(admin):
    response, part = await admin.get("hub/admin?name_filter=adm", headers={"HX-Request": "true"})
    assert part.lstrip().startswith('<section id="results"')
    assert names_on(part) == ["admin"]
    assert response.headers["vary"] == "HX-Request"


async def test_users_are_added_and_bad_names_explained(inside, admin):
    response, page = await submit(admin, "hub/admin/users", [("usernames", "ada, grace\nlinus")])
    assert response.status == 201
    assert "Added 3 users." in page
    response, page = await submit(admin, "hub/admin/users", [("usernames", "ok\nbad/name")])
    assert response.status == 400
    assert "slash" in page
    assert "bad/name</textarea>" in page
    found = await list_users(inside.hub, UserQuery())
    assert {user.name for user in found.items} == {"admin", "ada", "grace", "linus"}


async def test_an_admin_is_made_and_unmade_but_not_oneself(inside, admin):
    await create_users(inside.hub, ["ada"], actor="admin")
    await submit(admin, "hub/admin/users/edit", [("user", "ada"), ("admin", "1")])
    assert (await get_user(inside.hub, "ada")).admin
    await submit(admin, "hub/admin/users/edit", [("user", "ada"), ("admin", "0")])
    assert not (await get_user(inside.hub, "ada")).admin
    response, _ = await submit(admin, "hub/admin/users/edit", [("user", "admin"), ("admin", "0")])
    assert response.status == 400
    assert (await get_user(inside.hub, "admin")).admin


async def running(inside, *users):
    async def all_ready():
        return all([(await get_server(inside.hub, user, "")).ready for user in users])

    await until(all_ready)


async def test_servers_are_started_and_stopped_in_bulk(inside, admin):
    await create_users(inside.hub, ["ada", "grace"], actor="admin")
    chosen = [("users", "ada"), ("users", "grace")]
    response, _ = await submit(
        admin, "hub/admin/bulk", [*chosen, ("action", "start"), ("back", "/hub/admin?sort=-name")]
    )
    assert str(response.url).endswith("/hub/admin?sort=-name")
    await running(inside, "ada", "grace")
    _, page = await admin.get("hub/admin?state=ready")
    assert names_on(page) == ["ada", "grace"]
    await submit(admin, "hub/admin/bulk", [*chosen, ("action", "stop")])

    async def stopped():
        return not [row for user in ("ada", "grace") for row in await list_servers(inside.hub, user, stopped=False)]

    await until(stopped)


async def test_a_user_is_deleted_with_a_running_server_and_not_oneself(inside, admin):
    await create_users(inside.hub, ["ada"], actor="admin")
    await request_start(inside.hub, user="ada", actor="admin")
    await running(inside, "ada")
    response, page = await submit(admin, "hub/admin/bulk", [("users", "ada"), ("users", "admin"), ("action", "delete")])
    assert response.status == 409
    assert "cannot delete yourself" in page
    found = await list_users(inside.hub, UserQuery())
    assert [user.name for user in found.items] == ["admin"]
    assert not inside.world.alive()


async def test_what_cannot_be_done_in_bulk_is_said(inside, admin):
    response, page = await submit(admin, "hub/admin/bulk", [("users", "ghost"), ("action", "start")])
    assert response.status == 409
    assert "ghost" in page
    for fields in ([("action", "start")], [("users", "admin"), ("action", "explode")]):
        response, _ = await submit(admin, "hub/admin/bulk", fields)
        assert response.status in {400, 409}


@pytest.mark.parametrize("back", ["https://evil.example", "//evil.example", "/hub/logout", "/hub/admin/../logout", "x"])
async def test_where_a_form_came_from_is_the_admin_page_or_home(inside, admin, back):
    await create_users(inside.hub, ["ada"], actor="admin")
    response, _ = await submit(admin, "hub/admin/users/edit", [("user", "ada"), ("admin", "1"), ("back", back)])
    assert response.url.path == "/hub/home"
