"""Logging in: the form's proof in several tabs, where one is led afterwards, cookies, throttling."""

import asyncio
from collections import Counter
from urllib.parse import quote

import aiohttp
import pytest
import pytest_asyncio
from sqlalchemy import select

from perijove.services import login as logins
from perijove.services import sessions
from perijove.services.login import RequestFacts
from perijove.store import schema
from perijove.testing.api import ApiClient
from perijove.testing.browser import xsrf_of
from perijove.testing.inside import hub_inside

pytestmark = pytest.mark.asyncio(loop_scope="module")

SHARED = {"SharedPasswordAuthenticator": {"user_password": "right-password"}, "Authenticator": {"allow_all": True}}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def inside(tmp_path_factory):
    async with hub_inside(
        tmp_path_factory.mktemp("hub"), traits=SHARED, authenticator_class="shared-password", redirect_to_server=False
    ) as hub:
        yield hub


async def form(browser, path="hub/login"):
    _, page = await browser.get(path)
    return {"username": "ada", "password": "right-password", "_xsrf": xsrf_of(page)}


async def send(browser, fields, path="hub/login", **options):
    return await browser.post(path, fields, allow_redirects=False, **options)


# -- several tabs


async def test_two_tabs_may_both_log_in(inside):
    """The second tab's form is from before the first one's login: it is led on, not refused."""
    async with inside.browser() as browser:
        one, two = await form(browser), await form(browser, "hub/login?next=%2Fhub%2Ftoken")
        first, _ = await send(browser, one)
        assert (first.status, first.headers["Location"]) == (302, "/hub/")
        second, _ = await send(browser, two, "hub/login?next=%2Fhub%2Ftoken")
        assert (second.status, second.headers["Location"]) == (302, "/hub/token")


async def test_two_tabs_may_log_in_at_the_very_same_time(inside):
    async with inside.browser() as browser:
        one, two = await form(browser), await form(browser)
        answers = await asyncio.gather(send(browser, one), send(browser, two))
        assert [response.status for response, _ in answers] == [302, 302]
        async with ApiClient(inside.url, browser=browser) as api:
            assert (await api("GET", "/user")).json["name"] == "ada"


async def test_a_stale_form_comes_back_with_what_was_typed_and_works_then(inside):
    async with inside.browser() as browser:
        fields = await form(browser)
        browser.session.cookie_jar.clear()
        refused, page = await send(browser, fields)
        assert refused.status == 403
        assert "log in again" in page
        assert 'value="ada"' in page
        assert "right-password" not in page
        again, _ = await send(browser, {**fields, "_xsrf": xsrf_of(page)})
        assert again.status == 302


@pytest.mark.parametrize("proof", [None, "", "x", "a-0.x", "é"])
async def test_a_login_without_proof_is_refused(inside, proof):
    async with inside.browser() as browser:
        fields = await form(browser)
        fields.pop("_xsrf")
        refused, _ = await send(browser, fields if proof is None else {**fields, "_xsrf": proof})
        assert refused.status == 403
        async with ApiClient(inside.url, browser=browser) as api:
            assert (await api("GET", "/user")).status == 403


async def test_the_form_of_another_browser_is_none(inside):
    """Otherwise a site could log its visitors in as somebody of its choice."""
    async with inside.browser() as mine, inside.browser() as theirs:
        await form(mine)
        refused, _ = await send(mine, await form(theirs))
        assert refused.status == 403


async def test_clients_without_a_page_may_send_the_cookie_back(inside):
    """Scripts fetch the form for its cookie and never look at the HTML."""
    async with inside.browser() as browser:
        response, _ = await browser.get("hub/login")
        cookie = response.cookies["_xsrf"].value
        sent, _ = await send(browser, {"username": "ada", "password": "right-password"}, f"hub/login?_xsrf={cookie}")
        assert sent.status == 302


async def test_logging_in_as_somebody_else_replaces_the_session(inside):
    async with inside.browser() as browser:
        await browser.log_in("ada", "right-password")
        mark = {c.key: c.value for c in browser.session.cookie_jar}["jupyterhub-session-id"]
        fields = {"username": "eve", "password": "right-password"}
        fields["_xsrf"] = {c.key: c.value for c in browser.session.cookie_jar}["_xsrf"]
        sent, _ = await send(browser, fields)
        assert sent.status == 302
        async with ApiClient(inside.url, browser=browser) as api:
            assert (await api("GET", "/user")).json["name"] == "eve"
        # A mark of her own: her logout must not end what was issued to his.
        assert {c.key: c.value for c in browser.session.cookie_jar}["jupyterhub-session-id"] != mark


# -- cookies


async def set_cookies(inside, headers=None) -> dict[str, str]:
    async with inside.browser() as browser:
        response, _ = await send(browser, await form(browser), headers=headers or {})
        return {line.partition("=")[0]: line for line in response.headers.getall("Set-Cookie")}


async def test_cookies_have_the_paths_and_flags_of_the_contract(inside):
    cookies = await set_cookies(inside)
    assert set(cookies) == {"jupyterhub-hub-login", "jupyterhub-session-id", "_xsrf"}
    assert "; Path=/hub/;" in cookies["jupyterhub-hub-login"] + ";"
    assert "; Path=/;" in cookies["jupyterhub-session-id"] + ";"
    assert "; Path=/hub/;" in cookies["_xsrf"] + ";"
    assert "Max-Age=1209600" in cookies["jupyterhub-hub-login"]
    assert "Max-Age" not in cookies["jupyterhub-session-id"]
    for name in ("jupyterhub-hub-login", "jupyterhub-session-id"):
        assert "HttpOnly" in cookies[name]
    assert "HttpOnly" not in cookies["_xsrf"]
    assert not any("Secure" in line for line in cookies.values())


@pytest.mark.parametrize(
    ("forwarded", "secure"), [("https", True), ("https,http", True), ("http", False), ("ftp", False)]
)
async def test_cookies_are_secure_where_the_browser_sees_tls(inside, forwarded, secure):
    cookies = await set_cookies(inside, {"X-Forwarded-Proto": forwarded})
    assert all(("Secure" in line) is secure for line in cookies.values())


async def test_host_prefixed_cookies(tmp_path):
    async with (
        hub_inside(tmp_path, cookie_host_prefix_enabled=True, redirect_to_server=False) as inside,
        aiohttp.ClientSession(inside.url, cookie_jar=aiohttp.DummyCookieJar()) as session,
    ):
        async with session.get("hub/login") as response:
            xsrf = xsrf_of(await response.text())
        form = {"username": "ada", "password": "x", "_xsrf": xsrf}
        headers = {"Cookie": f"__Host-_xsrf={xsrf}"}
        async with session.post("hub/login", data=form, headers=headers, allow_redirects=False) as response:
            assert response.status == 302
            lines = response.headers.getall("Set-Cookie")
        # Single-user servers look for the session's name as it is.
        bound = [line for line in lines if not line.startswith("jupyterhub-session-id=")]
        assert len(bound) == len(lines) - 1
        assert all(line.startswith("__Host-") and "; Path=/;" in line and "Secure" in line for line in bound)
        login = next(line for line in lines if "hub-login" in line).partition(";")[0]
        async with session.get("hub/api/user", headers={"Cookie": login}) as response:
            assert (await response.json())["name"] == "ada"


async def test_logout_clears_every_cookie(inside):
    async with inside.browser() as browser:
        await browser.log_in("ada", "right-password")
        response, _ = await browser.get("hub/logout", allow_redirects=False)
        assert (response.status, response.headers["Location"]) == (302, "/hub/login")
        gone = {line.partition("=")[0] for line in response.headers.getall("Set-Cookie") if "Max-Age=0" in line}
        assert gone >= {"jupyterhub-hub-login", "jupyterhub-session-id", "_xsrf", "jupyterhub-services"}


# -- where to


@pytest.mark.parametrize(
    ("target", "lands"),
    [
        ("/hub/token", "/hub/token"),
        ("/user/ada/lab?x=1&y=%2F", "/user/ada/lab?x=1&y=%2F"),
        ("http://HOST/hub/token", "/hub/token"),
        ("https://HOST/hub/token#there", "/hub/token#there"),
        ("", "/hub/"),
        ("hub/token", "/hub/"),
        ("//evil.example/x", "/hub/"),
        ("///evil.example/x", "/hub/"),
        ("/\\evil.example/x", "/%5Cevil.example/x"),
        ("\\\\evil.example/x", "/hub/"),
        ("https://evil.example/x", "/hub/"),
        ("https:evil.example", "/hub/"),
        ("javascript:alert(1)", "/hub/"),
        (" //evil.example", "/hub/"),
        ("/\t/evil.example", "/hub/"),
        ("/\r\nSet-Cookie: x=y", "/hub/"),
        ("http://HOST@evil.example/", "/hub/"),
        ("http://HOST//evil.example", "/hub/"),
        ("http://[::1", "/hub/"),
    ],
)
async def test_next_leads_nowhere_else(inside, target, lands):
    async with inside.browser() as browser:
        target = target.replace("HOST", f"127.0.0.1:{browser.url.port}")
        path = f"hub/login?next={quote(target, safe='')}"
        response, _ = await send(browser, await form(browser), path)
        assert (response.status, response.headers["Location"]) == (302, lands)


async def test_without_next_the_rest_of_the_query_is_carried_over(inside):
    async with inside.browser() as browser:
        response, _ = await send(browser, await form(browser), "hub/login?theme=dark&_xsrf=zz")
        assert response.headers["Location"] == "/hub/?theme=dark"


# -- guessing


async def test_guessing_is_slowed_down_for_the_account_from_that_address_only(inside):
    here, there = {"X-Forwarded-For": "192.0.2.1"}, {"X-Forwarded-For": "192.0.2.2"}
    async with inside.browser() as browser:
        fields = await form(browser)
        for _ in range(10):
            refused, _ = await send(browser, {**fields, "password": "wrong"}, headers=here)
            assert refused.status == 403
        throttled, page = await send(browser, fields, headers=here)
        assert throttled.status == 429
        assert int(throttled.headers["Retry-After"]) > 0
        assert "Too many failed logins" in page
        other, _ = await send(browser, {**fields, "username": "eve"}, headers=here)
        assert other.status == 302
    async with inside.browser() as browser:
        elsewhere, _ = await send(browser, await form(browser), headers=there)
        assert elsewhere.status == 302


# -- what is written


async def test_logins_that_come_together_all_count(inside):
    model = await inside.hub.authenticator.authenticate({"username": "many", "password": "right-password"}, {})
    facts = RequestFacts(remote_ip="192.0.2.7", headers={"user-agent": "test"})
    done = await asyncio.gather(*(logins.complete_login(inside.hub, model, facts) for _ in range(60)))
    assert len({one.secret for one in done}) == 60
    assert len({one.browser_session for one in done}) == 60
    listed = await sessions.list_sessions(inside.hub, "many")
    assert len(listed) == 60
    assert {(one.user_agent, one.address) for one in listed} == {("test", "192.0.2.7")}
    async with inside.hub.store.read() as connection:
        query = select(schema.audit.c.action).where(schema.audit.c.subject == "many")
        actions = (await connection.execute(query)).scalars().all()
    assert Counter(actions) == {"login": 60, "user.create": 1}


async def test_nothing_secret_is_in_the_database(inside):
    async with inside.browser() as browser:
        await browser.log_in("ada", "right-password")
        cookie = {c.key: c.value for c in browser.session.cookie_jar}["jupyterhub-hub-login"]
    secret = inside.hub.signer.unsign("login", cookie)
    async with inside.hub.store.read() as connection:
        for table in schema.metadata.sorted_tables:
            if table.name == "meta":
                continue
            text = str((await connection.execute(table.select())).all())
            assert secret not in text
            assert "right-password" not in text


async def test_logging_out_everywhere(inside):
    async with inside.browser() as here, inside.browser() as there:
        for browser in (here, there):
            await browser.log_in("gus", "right-password")
        assert await sessions.revoke_all_sessions(inside.hub, "gus", actor="gus") == 2
        for browser in (here, there):
            async with ApiClient(inside.url, browser=browser) as api:
                assert (await api("GET", "/user")).status == 403
