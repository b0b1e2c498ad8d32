"""Logging in and out, tokens, sessions, and what every page has in common."""

import asyncio
import re

import pytest

from perijove.services.server_rows import get_server
from perijove.services.servers import request_start
from perijove.testing.browser import xsrf_of
from perijove.testing.inside import hub_inside
from perijove.testing.waiting import until
from perijove.web.pages import Pages, routes


@pytest.fixture
async def inside(tmp_path):
    async with hub_inside(tmp_path, redirect_to_server=False, allow_named_servers=True) as hub:
        yield hub


@pytest.fixture
async def ada(inside):
    async with inside.browser() as browser:
        await browser.log_in("ada", "x")
        yield browser


async def test_logging_in_leads_to_where_one_wanted_to_go(inside):
    async with inside.browser() as ada:
        response, page = await ada.get("hub/token")
        assert response.url.path == "/hub/login"
        form = {"username": "ada", "password": "x", "_xsrf": xsrf_of(page)}
        action = re.search(r'<form action="([^"]*)"', page)[1]
        response, _ = await ada.post(action.replace("&amp;", "&"), form)
        assert response.url.path == "/hub/token"


async def test_a_refused_login_keeps_the_name_and_says_so(tmp_path):
    traits = {"SharedPasswordAuthenticator": {"user_password": "right-password"}, "Authenticator": {"allow_all": True}}
    async with (
        hub_inside(tmp_path, traits=traits, authenticator_class="shared-password") as inside,
        inside.browser() as ada,
    ):
        _, page = await ada.get("hub/login")
        response, page = await ada.post("hub/login", {"username": "ada<", "password": "no", "_xsrf": xsrf_of(page)})
        assert response.status == 403
        assert 'value="ada&lt;"' in page
        assert 'role="alert"' in page
        assert "no" not in re.findall(r'name="password"[^>]*value="([^"]*)"', page)


async def test_where_nobody_may_log_in_the_page_says_what_to_set(tmp_path):
    async with hub_inside(tmp_path, traits={}, authenticator_class="pam") as inside, inside.browser() as ada:
        _, page = await ada.get("hub/login")
        assert "Nobody may log in yet" in page
        assert "allow_all: true" in page


async def test_two_visitors_get_the_same_form_each_with_a_token_of_their_own(inside, ada):
    _, _, token = await request_token(ada)
    async with inside.browser() as known:
        _, page = await known.get("hub/login?next=%2Fhub%2Ftoken", headers={"Authorization": f"token {token}"})
        assert 'href="/hub/sessions"' in page
    seen = set()
    for _ in range(3):
        async with inside.browser() as somebody:
            _, page = await somebody.get("hub/login?next=%2Fhub%2Ftoken")
            assert 'href="/hub/sessions"' not in page
            seen.add(xsrf_of(page))
            status, url = await somebody.log_in("eve", "x", path="hub/login?next=%2Fhub%2Ftoken")
            assert (status, url.endswith(("/hub/token", "/hub/home"))) == (200, True)
    assert len(seen) == 3


async def test_whoever_is_logged_in_is_sent_on_from_the_login_page(ada):
    response, _ = await ada.get("hub/login?next=%2Fhub%2Ftoken", allow_redirects=False)
    assert (response.status, response.headers["location"]) == (302, "/hub/token")
    response, _ = await ada.get("hub/login?next=https%3A%2F%2Fevil.example", allow_redirects=False)
    assert response.headers["location"] == "/hub/"


async def test_logging_out_ends_the_session(inside, ada):
    response, _ = await ada.get("hub/logout")
    assert response.url.path == "/hub/login"
    response, _ = await ada.get("hub/home")
    assert response.url.path == "/hub/login"


async def test_servers_stop_at_logout_where_that_is_configured(tmp_path):
    async with (
        hub_inside(tmp_path, shutdown_on_logout=True, redirect_to_server=False) as inside,
        inside.browser() as ada,
    ):
        await ada.log_in("ada", "x")
        await request_start(inside.hub, user="ada", actor="ada")

        async def running():
            return (await get_server(inside.hub, "ada", "")).ready

        await until(running)
        await ada.get("hub/logout")

        async def stopped():
            return not (await get_server(inside.hub, "ada", "")).active

        await until(stopped)


async def test_a_form_sent_after_the_session_ended_leads_to_the_login_page(inside, ada):
    _, page = await ada.get("hub/home")
    form = {"_xsrf": xsrf_of(page), "server_name": "gpu"}
    await ada.get("hub/logout")
    response, _ = await ada.post("hub/home/servers", form)
    assert response.url.path == "/hub/login"
    assert response.url.query["next"] == "/hub/home"


async def test_a_swap_by_htmx_after_the_session_ended_leaves_the_page(inside):
    async with inside.browser() as nobody:
        response, text = await nobody.get("hub/home/servers", headers={"HX-Request": "true"})
        assert (response.status, text) == (200, "")
        assert response.headers["hx-redirect"].startswith("/hub/login?next=")


@pytest.mark.parametrize(("option", "there"), [("", "/hub/home"), ("/hub/token", "/hub/token")])
async def test_the_front_door_leads_to_the_configured_page(tmp_path, option, there):
    async with hub_inside(tmp_path, redirect_to_server=False, default_url=option) as inside, inside.browser() as ada:
        _, url = await ada.log_in("ada", "x")
        assert url.endswith(there)


async def test_the_front_door_asks_a_function_of_the_configuration_where_it_leads(tmp_path):
    async def default_url(handler):
        return f"{handler.base_url}token?of={handler.current_user.name}"

    options = {"redirect_to_server": False, "default_url": default_url}
    async with hub_inside(tmp_path, **options) as inside, inside.browser() as ada:
        _, url = await ada.log_in("ada", "x")
        assert url.endswith("/hub/token?of=ada")


async def test_the_front_door_starts_the_server_where_that_is_configured(tmp_path):
    async with hub_inside(tmp_path) as inside, inside.browser() as ada:
        inside.behaviour.hold_start = asyncio.Event()
        _, url = await ada.log_in("ada", "x")
        assert url.endswith("/hub/spawn-pending/ada")
        inside.behaviour.hold_start.set()


# -- tokens


async def request_token(browser, **fields):
    _, page = await browser.get("hub/token")
    response, page = await browser.post("hub/token", {"_xsrf": xsrf_of(page), "expires_in": "3600", **fields})
    found = re.search(r'id="new-token"[^>]* value="([^"]*)"', page)
    return response, page, found[1] if found else ""


async def api_user(browser, token):
    return await browser.get("hub/api/user", headers={"Authorization": f"token {token}"})


async def test_a_token_is_shown_once_and_works_until_it_is_revoked(inside, ada):
    response, page, token = await request_token(ada, note="for <ci>")
    assert response.status == 201
    assert "for &lt;ci&gt;" in page
    async with inside.browser() as program:
        assert (await api_user(program, token))[0].status == 200
    _, page = await ada.get("hub/token")
    assert token not in page
    token_id = re.search(r'name="token" value="(\d+)"', page)[1]
    await ada.post("hub/token/revoke", {"_xsrf": xsrf_of(page), "token": token_id})
    async with inside.browser() as program:
        assert (await api_user(program, token))[0].status == 403


async def test_a_token_has_the_chosen_scopes_alone(inside, ada):
    _, _page, token = await request_token(ada, permissions="some", scopes="read:users:activity!user=ada")
    async with inside.browser() as program:
        _, text = await api_user(program, token)
    assert "read:users:activity!user=ada" in text
    assert "servers" not in re.search(r'"scopes":\s*\[([^\]]*)\]', text)[1]


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"permissions": "some"}, "Choose at least one permission"),
        ({"permissions": "some", "more_scopes": "admin:users"}, "admin:users"),
        ({"permissions": "some", "more_scopes": "no:such:scope"}, "does not exist"),
        ({"expires_in": "0"}, "Choose when the token expires"),
        ({"expires_in": "-5"}, "Choose when the token expires"),
    ],
)
async def test_a_token_that_cannot_be_made_is_explained_in_the_form(ada, fields, said):
    response, page, token = await request_token(ada, note="kept", **fields)
    assert response.status == 400
    assert said in page
    assert 'value="kept"' in page
    assert not token


async def test_a_narrow_token_cannot_make_a_wider_one_through_a_form(inside, ada):
    _, _, token = await request_token(ada, permissions="some", scopes="read:users:activity!user=ada")
    async with inside.browser() as program:
        headers = {"Authorization": f"token {token}"}
        _, page = await program.get("hub/login", headers=headers)
        fields = {"_xsrf": xsrf_of(page), "expires_in": "3600", "permissions": "all"}
        response, page = await program.post("hub/token", fields, headers=headers)
        assert response.url.path == "/hub/login"
        assert "new-token" not in page


async def test_nobody_revokes_anothers_token(inside, ada):
    await request_token(ada, note="mine")
    _, page = await ada.get("hub/token")
    token_id = re.search(r'name="token" value="(\d+)"', page)[1]
    async with inside.browser() as eve:
        await eve.log_in("eve", "x")
        _, own = await eve.get("hub/token")
        response, _ = await eve.post("hub/token/revoke", {"_xsrf": xsrf_of(own), "token": token_id})
        assert response.status == 404
    assert token_id in (await ada.get("hub/token"))[1]


# -- sessions


async def test_another_browser_is_listed_and_can_be_logged_out(inside, ada):
    async with inside.browser() as phone:
        phone.session.headers["User-Agent"] = "Mozilla/5.0 (iPhone) Version/18 Safari/604"
        await phone.log_in("ada", "x")
        _, page = await ada.get("hub/sessions")
        assert "Safari on iPhone" in page
        assert page.count("This browser") == 1
        session = re.search(r'name="session" value="(\d+)"', page)[1]
        await ada.post("hub/sessions/revoke", {"_xsrf": xsrf_of(page), "session": session})
        response, _ = await phone.get("hub/home")
        assert response.url.path == "/hub/login"
    response, _ = await ada.get("hub/home")
    assert response.url.path == "/hub/home"


async def test_log_out_everywhere_ends_every_session(inside, ada):
    async with inside.browser() as phone:
        await phone.log_in("ada", "x")
        _, page = await ada.get("hub/sessions")
        await ada.post("hub/sessions/revoke-all", {"_xsrf": xsrf_of(page)})
        for browser in (ada, phone):
            response, _ = await browser.get("hub/home")
            assert response.url.path == "/hub/login"


# -- all pages


PAGES = [
    "hub/login",
    "hub/home",
    "hub/token",
    "hub/sessions",
    "hub/admin",
    "hub/spawn-pending/admin",
    "hub/error/503",
    "hub/nothing/here",
    "hub/user/admin/lab",
]


@pytest.mark.parametrize("path", PAGES)
async def test_every_page_is_self_contained_under_a_strict_policy(inside, path):
    async with inside.browser() as admin:
        if path != "hub/login":
            await admin.log_in("admin", "x")
        response, page = await admin.get(path)
        policy = response.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe-inline" not in policy
        assert response.headers["cache-control"] == "no-store"
        assert response.headers["x-content-type-options"] == "nosniff"
        assert page.startswith("<!doctype html>")
        assert '<html lang="en">' in page
        for address in re.findall(r'(?:href|src|action)="([^"]*)"', page):
            assert address.startswith(("/", "#", inside.url)), address
        assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\son\w+=|\sstyle=", page)
        assert len(re.findall(r"<h1", page)) == 1
        assert "{{" not in page
        for field in re.findall(r'<(?:input|select|textarea)\b[^>]*\bid="([^"]*)"', page):
            assert f'for="{field}"' in page or f'id="{field}"' in page


async def test_every_form_is_refused_without_its_proof(inside, ada):
    paths = [route.path for route in routes(Pages(inside.hub)) if route.methods == {"POST"}]
    assert len(paths) >= 12
    for path in paths:
        if path in {"/security/csp-report", "/login"}:
            continue
        target = "hub" + path.replace("{user}", "ada").replace("{server}", "gpu")
        response, _page = await ada.post(target, {"server_name": "gpu"})
        # The admin page's are refused for another reason first.
        assert response.status == 403, path
        response, _ = await ada.post(target, {"_xsrf": "forged"})
        assert response.status == 403, path


@pytest.mark.parametrize("path", ["hub/nothing", "hub/api-less/x", "hub/static/none.css"])
async def test_an_unknown_address_says_what_to_do_and_names_the_request(ada, path):
    response, page = await ada.get(path)
    assert response.status == 404
    assert response.headers["x-request-id"] in page
    assert 'href="/hub/home"' in page


@pytest.mark.parametrize(("code", "shown"), [("404", "404"), ("503", "503"), ("599", "599"), ("abc", "404")])
async def test_proxies_get_error_pages_with_status_200(inside, code, shown):
    async with inside.browser() as proxy:
        response, page = await proxy.get(f"hub/error/{code}?url=%2Fuser%2Fada%2Flab")
        assert response.status == 200
        assert f">{shown}<" in page


async def test_reports_of_policy_violations_are_taken_up_to_a_size(inside):
    async with inside.browser() as browser:
        for size, status in ((100, 204), (100_000, 413)):
            url = browser.url.join(browser.url / "hub/security/csp-report")
            async with browser.session.post(url, data=b"x" * size) as response:
                assert response.status == status


async def test_an_options_form_with_a_script_relaxes_its_own_page_alone(inside, ada):
    inside.behaviour.options_form = "<script>document.title = 'x'</script>"
    response, page = await ada.get("hub/spawn/ada")
    assert "'unsafe-inline'" in response.headers["content-security-policy"]
    assert "jquery" in page
    response, page = await ada.get("hub/home")
    assert "'unsafe-inline'" not in response.headers["content-security-policy"]
    assert "jquery" not in page


async def test_a_frame_ancestors_of_the_operator_is_sent_with_pages(tmp_path):
    headers = {"Content-Security-Policy": "frame-ancestors https://lms.example.org", "X-Extra": "1"}
    async with hub_inside(tmp_path, headers=headers) as inside, inside.browser() as browser:
        response, _ = await browser.get("hub/login")
        policy = response.headers["content-security-policy"]
        assert "frame-ancestors https://lms.example.org" in policy
        assert "script-src 'self'" in policy
        assert response.headers["x-extra"] == "1"


async def test_templates_of_the_operator_come_first_and_may_have_scripts(tmp_path):
    custom = tmp_path / "custom"
    custom.mkdir()
    (custom / "page.html").write_text(
        '{% extends "templates/page.html" %}{% block footer %}<footer>{{ campus }}'
        "{% if user.spawner.active %}on{% else %}off{% endif %}<script>go()</script></footer>{% endblock %}"
    )
    options = {"template_paths": (str(custom),), "template_vars": {"campus": "University of Io"}}
    async with hub_inside(tmp_path, redirect_to_server=False, **options) as inside, inside.browser() as ada:
        await ada.log_in("ada", "x")
        for path in ("hub/home", "hub/logout", "hub/nothing"):
            response, page = await ada.get(path)
            assert "<footer>University of Iooff<script>go()" in page
            assert "script-src 'self' 'unsafe-inline' https:" in response.headers["content-security-policy"]


async def test_a_custom_template_with_a_mistake_still_says_what_happened(tmp_path):
    (tmp_path / "page.html").write_text("{% if %}")
    async with hub_inside(tmp_path, template_paths=(str(tmp_path),)) as inside, inside.browser() as ada:
        response, page = await ada.get("hub/login")
        assert response.status == 500
        assert "<h1>500 Internal Server Error</h1>" in page
