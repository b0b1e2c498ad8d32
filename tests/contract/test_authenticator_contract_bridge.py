"""Tornado handlers of authenticators and operators, run by the bridge and used through a socket."""

import asyncio
import io
import json
import socket

import aiohttp
import pytest
from jupyterhub import apihandlers
from jupyterhub.apihandlers import APIHandler
from jupyterhub.auth import Authenticator, DummyAuthenticator
from jupyterhub.handlers import BaseHandler
from jupyterhub.handlers.login import LogoutHandler
from jupyterhub.scopes import needs_scope
from oauthenticator.generic import GenericOAuthenticator
from tornado import web
from traitlets.config import Config

from perijove.domain.ids import UserId
from perijove.domain.ports import UserFacts
from perijove.testing.npm import NPMMissing
from perijove.testing.oidc_provider import CLIENT_ID, CLIENT_SECRET, log_in, oidc_provider
from perijove.testing.plugin_hub import XSRF, plugin_hub
from perijove.testing.waiting import until


@pytest.fixture
def c():
    return Config()


@pytest.fixture
async def browser():
    async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as session:
        yield session


# -- OpenID Connect


def _oidc_config(c: Config, issuer: str, url: str) -> None:
    c.GenericOAuthenticator.client_id = CLIENT_ID
    c.GenericOAuthenticator.client_secret = CLIENT_SECRET
    c.GenericOAuthenticator.authorize_url = f"{issuer}/auth"
    c.GenericOAuthenticator.token_url = f"{issuer}/token"
    c.GenericOAuthenticator.userdata_url = f"{issuer}/me"
    c.GenericOAuthenticator.oauth_callback_url = f"{url}/hub/oauth_callback"
    c.GenericOAuthenticator.scope = ["openid", "profile", "email", "offline_access"]
    c.GenericOAuthenticator.extra_authorize_params = {"prompt": "consent"}
    c.GenericOAuthenticator.username_claim = "preferred_username"
    c.GenericOAuthenticator.auth_state_groups_key = "oauth_user.groups"
    c.GenericOAuthenticator.manage_groups = True
    c.GenericOAuthenticator.admin_groups = {"staff"}
    c.GenericOAuthenticator.allowed_groups = {"class", "staff"}
    c.GenericOAuthenticator.enable_auth_state = True
    c.GenericOAuthenticator.login_service = "the provider"


@pytest.fixture
async def oidc(c, tmp_path):
    """A hub whose people are known to a real OpenID Connect provider."""
    listening = socket.create_server(("127.0.0.1", 0))
    url = f"http://127.0.0.1:{listening.getsockname()[1]}"
    try:
        async with oidc_provider(f"{url}/hub/oauth_callback") as issuer:
            _oidc_config(c, issuer, url)
            async with plugin_hub(GenericOAuthenticator, c, tmp_path, listening=listening) as running:
                yield running
    except NPMMissing as missing:
        listening.close()
        pytest.skip(str(missing))


async def test_a_login_through_a_real_provider_ends_logged_in_at_next(oidc, browser):
    """Login redirect with PKCE and state cookie, provider's pages, callback, code for tokens, userinfo, groups."""
    url, hub, authenticator = oidc
    login = f"{url}{authenticator.login_url('/hub/')}"
    response = await log_in(browser, f"{login}?next=%2Fhub%2Fhome%3Ftab%3D2", "ann+class")
    assert response.url.path_qs == "/hub/home?tab=2"
    model = hub.models["ann"]
    assert (model.admin, model.groups) == (False, ("class",))
    assert model.auth_state["access_token"]
    assert model.auth_state["oauth_user"]["email"] == "ann@example.org"
    cookies = {cookie.key: cookie for cookie in browser.cookie_jar}
    assert hub.sessions[cookies["login"].value].name == "ann"
    assert "oauthenticator-state" not in cookies


async def test_a_login_without_next_goes_where_the_hub_sends_people(oidc, browser):
    url, _, authenticator = oidc
    response = await log_in(browser, f"{url}{authenticator.login_url('/hub/')}", "ann+class")
    assert response.url.path == "/hub/spawn"


async def test_the_providers_groups_decide_who_is_admin_and_who_may_not_enter(oidc, browser):
    url, hub, _ = oidc
    await log_in(browser, f"{url}/hub/oauth_login", "root+staff")
    assert hub.models["root"].admin is True
    browser.cookie_jar.clear()
    response = await log_in(browser, f"{url}/hub/oauth_login", "eve")
    assert response.status == 403
    assert "not currently authorized" in await response.text()
    assert "eve" not in hub.models


async def test_a_refresh_renews_the_providers_tokens(oidc, browser):
    url, hub, authenticator = oidc
    await log_in(browser, f"{url}/hub/oauth_login", "ann+class")
    stored = hub.models["ann"].auth_state

    def refreshed(**changes):
        state = {**stored, "token_response": {**stored["token_response"], "access_token": "expired"}, **changes}
        return authenticator.refresh(UserFacts(id=UserId(1), name="ann", auth_state=state))

    answer = await refreshed()
    assert (answer.name, answer.groups) == ("ann", ("class",))
    assert answer.auth_state["access_token"] not in ("expired", stored["access_token"])
    assert await refreshed(refresh_token="revoked") is False


async def test_a_callback_that_nobody_began_is_refused(oidc, browser):
    url, hub, _ = oidc
    async with browser.get(f"{url}/hub/oauth_callback?code=x&state=eyJzdGF0ZV9pZCI6ICJ4In0=") as response:
        assert response.status == 400
        assert "OAuth state" in await response.text()
    assert hub.models == {}


async def test_the_providers_error_is_shown(oidc, browser):
    url, _, _ = oidc
    query = "error=access_denied&error_description=Not+today"
    async with browser.get(f"{url}/hub/oauth_callback?{query}") as response:
        assert response.status == 400
        assert "Not today" in await response.text()


async def test_logging_out_goes_through_the_authenticators_own_handler(oidc, browser):
    url, hub, _ = oidc
    await log_in(browser, f"{url}/hub/oauth_login", "ann+class")
    async with browser.get(f"{url}/hub/logout", allow_redirects=False) as response:
        assert response.status == 302
        assert response.headers["Location"] == "/hub/login"
    assert hub.logged_out == ["ann"]
    assert "login" not in {cookie.key for cookie in browser.cookie_jar}


# -- handlers people write


class RemoteUserLogin(BaseHandler):
    """As jhub_remote_user_authenticator does it: everything synchronous."""

    def get(self):
        name = self.request.headers.get("REMOTE_USER", "")
        if not name:
            raise web.HTTPError(401)
        user = self.user_from_username(name)
        self.set_login_cookie(user)
        self.redirect(self.get_next_url(user))


class RemoteUserAuthenticator(Authenticator):
    def get_handlers(self, app):
        assert app.authenticator is self
        return [(r"/login", RemoteUserLogin), (r"/logout", LogoutHandler)]


async def test_a_handler_that_logs_in_synchronously_gets_its_cookies_sent(c, tmp_path, browser):
    async with plugin_hub(RemoteUserAuthenticator, c, tmp_path) as (url, hub, _):
        headers = {"REMOTE_USER": "ann"}
        async with browser.get(f"{url}/hub/login?next=/hub/x", headers=headers, allow_redirects=False) as response:
            assert response.status == 302
            assert response.headers["Location"] == "/hub/x"
            assert response.cookies["login"]["httponly"]
        assert "ann" in hub.models
        async with browser.get(f"{url}/hub/login", allow_redirects=False) as response:
            assert response.status == 401


async def test_a_login_that_the_hub_refuses_becomes_an_error_page_without_cookies(c, tmp_path, browser):
    async with plugin_hub(RemoteUserAuthenticator, c, tmp_path) as (url, hub, _):
        hub.refuse = "No <more> users"
        headers = {"REMOTE_USER": "ann"}
        async with browser.get(f"{url}/hub/login", headers=headers, allow_redirects=False) as response:
            assert response.status == 403
            assert await response.text() == "403: No &lt;more&gt; users"
            assert not response.cookies


class HeaderAuthenticator(Authenticator):
    """auto_login without a handler of its own: the name is in the request to /hub/login."""

    auto_login = True

    async def authenticate(self, handler, data):
        assert data is None
        return handler.request.headers.get("X-Forwarded-User") or None


async def test_an_automatic_login_reads_the_request_itself(c, tmp_path, browser):
    c.Authenticator.allow_all = True
    async with plugin_hub(HeaderAuthenticator, c, tmp_path) as (url, hub, _):
        headers = {"X-Forwarded-User": "Ann"}
        async with browser.get(f"{url}/hub/login", headers=headers, allow_redirects=False) as response:
            assert response.status == 302
        assert "ann" in hub.models
        browser.cookie_jar.clear()
        async with browser.get(f"{url}/hub/login", allow_redirects=False) as response:
            assert response.status == 403


class Echo(BaseHandler):
    def initialize(self, greeting="hello"):
        self.greeting = greeting

    async def get(self, name):
        await asyncio.sleep(0)
        self.write({"greeting": self.greeting, "name": name, "uri": self.request.uri, "ip": self.request.remote_ip})

    def post(self, name):
        upload = self.request.files["file"][0]
        self.write(f"{name} {self.get_body_argument('note')} {upload['filename']} {len(upload['body'])}")


class Who(BaseHandler):
    @web.authenticated
    async def get(self):
        state = await self.current_user.get_auth_state()
        self.write({"name": self.current_user.name, "state": state, "scopes": sorted(self.expanded_scopes)})


class Protected(APIHandler):
    @needs_scope("read:users:name")
    async def get(self, user_name):
        self.finish(json.dumps({"name": user_name, "by": self.current_user.name}))

    @needs_scope("admin:users")
    async def post(self, user_name):
        self.finish(json.dumps(self.get_json_body()))


class Crash(BaseHandler):
    def get(self):
        raise RuntimeError("the database password is hunter2")


class Stream(BaseHandler):
    async def get(self):
        self.set_header("Content-Type", "text/event-stream")
        for number in range(3):
            self.write(f"data: {number}\n\n")
            await self.flush()
        await gate.wait()
        self.write("data: end\n\n")


class Endless(BaseHandler):
    async def get(self):
        while True:
            self.write("x" * 10_000)
            await self.flush()

    def on_connection_close(self):
        closed.set()


class Plain(web.RequestHandler):
    """Not even JupyterHub's base."""

    def get(self):
        self.set_secure_cookie("mine", "value")
        self.write("plain")

    def put(self):
        self.write(self.get_secure_cookie("mine"))


gate, closed = asyncio.Event(), asyncio.Event()
HANDLERS = [
    (r"/echo/([^/]+)", Echo),
    (r"echo2/(.*)", Echo, {"greeting": "hi"}),
    (r"/who", Who),
    (r"/api/mine/([^/]+)", Protected),
    (r"/crash", Crash),
    (r"/stream", Stream),
    (r"/endless", Endless),
    (r"/plain", Plain),
]


@pytest.fixture
async def extra(c, tmp_path):
    async with plugin_hub(DummyAuthenticator, c, tmp_path, extra_handlers=HANDLERS) as running:
        yield running


async def test_extra_handlers_answer_below_the_hub_with_arguments_and_options(extra, browser):
    url, _, _ = extra
    async with browser.get(f"{url}/hub/echo/a%2Fb%20c?q=%C3%A9&q=2") as response:
        answer = await response.json()
        assert answer["name"] == "a/b c"
        assert answer["uri"] == "/hub/echo/a%2Fb%20c?q=%C3%A9&q=2"
        assert answer["ip"] == "127.0.0.1"
    async with browser.get(f"{url}/hub/echo2/x") as response:
        assert (await response.json())["greeting"] == "hi"
    async with browser.get(f"{url}/hub/nothing") as response:
        assert response.status == 404


async def test_a_form_with_a_file_needs_the_token_of_the_hubs_forms(extra, browser):
    url, _, _ = extra

    def form(**fields):
        data = aiohttp.FormData(fields)
        data.add_field("file", b"\0" * 5000, filename="x.bin")
        return data

    async with browser.post(f"{url}/hub/echo/ann", data=form(note="hey", _xsrf=XSRF)) as response:
        assert await response.text() == "ann hey x.bin 5000"
    async with browser.post(f"{url}/hub/echo/ann", data=form(note="hey")) as response:
        assert response.status == 403
        assert "The form has expired." in await response.text()


async def test_a_handler_knows_the_person_their_scopes_and_their_auth_state(extra, browser):
    url, hub, _ = extra
    async with browser.get(f"{url}/hub/who", allow_redirects=False) as response:
        assert response.status == 302
        assert response.headers["Location"].startswith("/hub/login?next=")
    cookies = hub.session("ann", "read:users!user=ann")
    async with browser.get(f"{url}/hub/who", cookies=cookies) as response:
        assert await response.json() == {"name": "ann", "state": None, "scopes": ["read:users!user=ann"]}


async def test_api_handlers_take_tokens_and_check_scopes(extra, browser):
    url, hub, _ = extra
    hub.tokens["t0ken"] = "ann"
    hub.scopes["ann"] = frozenset({"read:users:name!user=ann"})
    headers = {"Authorization": "token t0ken"}
    async with browser.get(f"{url}/hub/api/mine/ann", headers=headers) as response:
        assert await response.json() == {"name": "ann", "by": "ann"}
    async with browser.get(f"{url}/hub/api/mine/bob", headers=headers) as response:
        # JupyterHub's own answer where somebody may see others but not this one.
        assert (await response.json())["status"] == 404
    async with browser.get(f"{url}/hub/api/mine/ann") as response:
        assert response.status == 403
    hub.scopes["ann"] = frozenset({"admin:users"})
    async with browser.post(f"{url}/hub/api/mine/ann", headers=headers, json={"a": 1}) as response:
        assert await response.json() == {"a": 1}
    async with browser.post(f"{url}/hub/api/mine/ann", headers=headers, data=b"{") as response:
        assert response.status == 400


async def test_a_crashing_handler_is_a_500_page_that_tells_nothing_internal(extra, browser):
    url, _, _ = extra
    async with browser.get(f"{url}/hub/crash") as response:
        assert response.status == 500
        assert "hunter2" not in await response.text()


async def test_a_flushed_response_arrives_piece_by_piece(extra, browser):
    url, _, _ = extra
    gate.clear()
    async with browser.get(f"{url}/hub/stream") as response:
        first = await response.content.readuntil(b"data: 2\n\n")
        assert first.count(b"data:") == 3
        gate.set()
        assert await response.read() == b"data: end\n\n"


async def test_a_handler_learns_that_its_client_went_away(extra, browser):
    url, _, _ = extra
    closed.clear()
    response = await browser.get(f"{url}/hub/endless")
    await response.content.readexactly(100_000)
    response.close()
    await asyncio.wait_for(closed.wait(), 5)


async def test_handlers_of_plain_tornado_work_with_signed_cookies(extra, browser):
    url, _, _ = extra
    async with browser.get(f"{url}/hub/plain") as response:
        assert await response.text() == "plain"
    async with browser.get(f"{url}/hub/plain", headers={"Host": "a,b"}) as response:
        assert response.status == 400


@pytest.mark.parametrize("method", ["HEAD", "DELETE", "PATCH"])
async def test_methods_a_handler_does_not_have_are_405(extra, browser, method):
    url, hub, _ = extra
    hub.tokens["t0ken"] = "ann"
    async with browser.request(method, f"{url}/hub/echo/x", data={"_xsrf": XSRF}) as response:
        assert response.status == 405


async def test_a_body_beyond_the_limit_is_413(extra, browser):
    url, _, _ = extra
    async with browser.post(f"{url}/hub/echo/x", data=io.BytesIO(b"x" * (11 * 1024 * 1024))) as response:
        assert response.status == 413


class PortHandler(APIHandler):
    """As batchspawner registers it: the server reports the port it chose."""

    def post(self):
        spawner = self.current_user.spawners[""]
        spawner.port = self.get_json_body()["port"]
        self.finish("{}")


async def test_handlers_that_packages_append_to_the_api_reach_the_server_being_started(
    c, tmp_path, browser, monkeypatch
):
    entry = ("/api/batchspawner", type("Port", (PortHandler,), {"__module__": "batchspawner.api"}))
    monkeypatch.setattr(apihandlers, "default_handlers", [*apihandlers.default_handlers, entry])

    class Starting:
        port = 0

    starting = Starting()
    live = {("ann", ""): starting}
    async with plugin_hub(DummyAuthenticator, c, tmp_path, live_spawners=live) as (url, hub, _):
        hub.tokens["t0ken"] = "ann"
        headers = {"Authorization": "token t0ken"}
        async with browser.post(f"{url}/hub/api/batchspawner", headers=headers, json={"port": 4321}) as response:
            assert response.status == 200
        await until(lambda: starting.port == 4321)
        async with browser.get(f"{url}/hub/api/users", headers=headers) as response:
            assert response.status == 404
