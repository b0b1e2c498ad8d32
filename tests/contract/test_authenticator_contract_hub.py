"""Plug-ins in a real hub, configured as operators do: what a person sees through the proxy."""

import sys
from pathlib import Path

import pytest

from perijove.testing import run_hub, until
from perijove.testing.browser import xsrf_of
from perijove.testing.hub import OPEN, write_config
from perijove.testing.npm import NPMMissing
from perijove.testing.oidc_provider import CLIENT_ID, CLIENT_SECRET, log_in, oidc_provider

SMALL = [sys.executable, str(Path(__file__).with_name("small_server.py"))]

PROVIDER = {
    "hub": {
        "config": {
            "JupyterHub": {"authenticator_class": "generic-oauth", "spawner_class": "simple"},
            "GenericOAuthenticator": {
                "client_id": CLIENT_ID,
                "client_secret": CLIENT_SECRET,
                "scope": ["openid", "profile", "email"],
                "username_claim": "preferred_username",
                "auth_state_groups_key": "oauth_user.groups",
                "manage_groups": True,
                "admin_groups": ["staff"],
                "allowed_groups": ["class", "staff"],
                "enable_auth_state": True,
                "login_service": "the provider",
            },
        },
        "extraConfig": {
            "greeting": """
def auth_state_hook(spawner, auth_state):
    spawner.environment["GREETING"] = auth_state["oauth_user"]["email"]

c.Spawner.auth_state_hook = auth_state_hook
"""
        },
    },
    "singleuser": {"cmd": SMALL},
}


@pytest.fixture
async def oidc_hub(tmp_path):
    key = {"JUPYTERHUB_CRYPT_KEY": "00" * 32}
    async with run_hub(PROVIDER, environment=key, start=False) as hub:
        try:
            async with oidc_provider(f"{hub.url}hub/oauth_callback") as issuer:
                urls = {
                    "authorize_url": f"{issuer}/auth",
                    "token_url": f"{issuer}/token",
                    "userdata_url": f"{issuer}/me",
                }
                config = {"hub": {"config": {"GenericOAuthenticator": urls}}}
                hub.files = [*hub.files, write_config(tmp_path / "provider.yaml", config)]
                await hub.start()
                yield hub
        except NPMMissing as missing:
            pytest.skip(str(missing))


async def test_a_person_of_an_openid_provider_logs_in_and_their_server_gets_the_auth_state(oidc_hub):
    """Button, provider, callback, home; groups in the API; the hook hands encrypted auth state to the server."""
    async with oidc_hub.browser() as browser:
        _, page = await browser.get("/hub/login?next=/hub/home")
        assert "the provider" in page
        await log_in(browser.session, f"{oidc_hub.url}hub/oauth_login?next=/hub/home", "ann+class")
        response, page = await browser.get("/hub/home")
        assert response.status == 200
        assert "ann" in page
        status, user = await oidc_hub.api("GET", "/users/ann")
        assert (status, user["groups"], user["admin"]) == (200, ["class"], False)
        assert (await oidc_hub.api("POST", "/users/ann/server"))[0] in (201, 202)

        async def greeting():
            response, text = await browser.get("/user/ann/", allow_redirects=False)
            return response.status == 200 and text

        assert await until(greeting, seconds=15) == "ann@example.org"
        response, _ = await browser.get("/hub/logout", allow_redirects=False)
        assert response.status == 302
        response, _ = await browser.get("/hub/home", allow_redirects=False)
        assert response.status == 302


async def test_who_the_providers_groups_keep_out_reads_why(oidc_hub):
    async with oidc_hub.browser() as browser:
        response = await log_in(browser.session, f"{oidc_hub.url}hub/oauth_login", "eve")
        assert response.status == 403
        assert "not currently authorized" in await response.text()
    status, _ = await oidc_hub.api("GET", "/users/eve")
    assert status == 404


async def test_people_sign_up_with_nativeauthenticator_in_the_hubs_own_pages():
    config = {
        "hub": {
            "config": {
                "JupyterHub": {"authenticator_class": "native", "spawner_class": "simple"},
                "NativeAuthenticator": {"open_signup": True, "allow_all": True},
            }
        }
    }
    async with run_hub(config) as hub, hub.browser() as browser:
        response, page = await browser.get("/hub/signup")
        assert response.status == 200
        form = {"username": "ann", "signup_password": "pw-of-ann", "signup_password_confirmation": "pw-of-ann"}
        response, page = await browser.post("/hub/signup", {**form, "_xsrf": xsrf_of(page)})
        assert "signup was successful" in page
        _, page = await browser.get("/hub/login?next=/hub/home")
        login = {"username": "ann", "password": "wrong", "_xsrf": xsrf_of(page)}
        _, page = await browser.post("/hub/login?next=/hub/home", login)
        assert "Invalid username or password" in page
        login = {"username": "ann", "password": "pw-of-ann", "_xsrf": xsrf_of(page)}
        response, page = await browser.post("/hub/login?next=/hub/home", login)
        assert (response.status, response.url.path) == (200, "/hub/home")
        assert "ann" in page


OWN = """
from jupyterhub.auth import Authenticator
from jupyterhub.handlers import BaseHandler
from jupyterhub.spawner import SimpleLocalProcessSpawner
from tornado import web

class ListAuthenticator(Authenticator):
    async def authenticate(self, handler, data):
        if data["password"] == "expired":
            raise web.HTTPError(403, "Your account expired, %s", data["username"])
        return data["username"] if data["password"] == "pw" else None

class GreetingSpawner(SimpleLocalProcessSpawner):
    async def start(self):
        self.environment["GREETING"] = f"from {type(self).__mro__[2].__name__}"
        return await super().start()

class NoticeHandler(BaseHandler):
    @web.authenticated
    async def get(self):
        self.finish(f"notice for {self.current_user.name}")

def pre_spawn_hook(spawner):
    if spawner.user.name == "eve":
        raise web.HTTPError(403, "No quota for eve")

c.JupyterHub.authenticator_class = ListAuthenticator
c.JupyterHub.spawner_class = GreetingSpawner
c.JupyterHub.extra_handlers = [("notice", NoticeHandler)]
c.Authenticator.allowed_users = {"ann", "eve"}
c.Spawner.pre_spawn_hook = pre_spawn_hook
"""


async def test_listed_users_exist_and_listed_admins_are_admins_before_anybody_logged_in():
    config = {
        "hub": {
            "config": {
                "JupyterHub": {"authenticator_class": "pam", "spawner_class": "simple"},
                # Neither has a system account: that is a warning, not a reason to stay down.
                "Authenticator": {"admin_users": ["Boss-Of-Tests"], "allowed_users": ["ann-of-tests"]},
            }
        }
    }
    async with run_hub(config) as hub:
        status, boss = await hub.api("GET", "/users/boss-of-tests")
        assert (status, boss["admin"]) == (200, True)
        status, ann = await hub.api("GET", "/users/ann-of-tests")
        assert (status, ann["admin"]) == (200, False)
        assert "ann-of-tests" in hub.log


CUSTOM = """
from jupyterhub.auth import DummyAuthenticator

class OwnForm(DummyAuthenticator):
    def authenticate(self, handler, data):
        return data["username"] if data["key"] == "k" else None

    custom_html = '''<form action="{{ login_url }}?next={{ next }}" method="post">{{ login_error }}
        <input name="_xsrf" value="{{ xsrf }}">
        <input name="username" value="{{ username }}"><input name="key"></form>'''

c.JupyterHub.authenticator_class = OwnForm
"""


async def test_a_form_of_the_authenticators_own_is_a_template_and_logs_in():
    async with run_hub({"hub": {"extraConfig": {"own": CUSTOM}}}) as hub, hub.browser() as browser:
        _, page = await browser.get("/hub/login?next=/hub/home")
        form = {"username": "<b>ann", "key": "wrong", "_xsrf": xsrf_of(page)}
        response, page = await browser.post("/hub/login?next=/hub/home", form)
        assert response.status == 403
        assert 'value="&lt;b&gt;ann"' in page
        assert 'action="/hub/login?next=/hub/home"' in page
        form |= {"username": "ann", "key": "k", "_xsrf": xsrf_of(page)}
        response, page = await browser.post("/hub/login?next=/hub/home", form)
        assert response.url.path == "/hub/home"


RECONCILE = """
def reconcile(authenticator, model, existing):
    return {"logins": (existing or {}).get("logins", 0) + 1}

def auth_state_hook(spawner, auth_state):
    spawner.environment["GREETING"] = f"login number {auth_state['logins']}"

c.Authenticator.reconcile_auth_state_hook = reconcile
c.Authenticator.enable_auth_state = True
c.Spawner.auth_state_hook = auth_state_hook
"""


async def test_a_reconcile_hook_sees_the_stored_auth_state_at_each_login():
    config = {**OPEN, "singleuser": {"cmd": SMALL}}
    config["hub"] = {**config["hub"], "extraConfig": {"reconcile": RECONCILE}}
    async with run_hub(config, environment={"JUPYTERHUB_CRYPT_KEY": "00" * 32}) as hub:
        for _ in range(2):
            async with hub.browser() as browser:
                await browser.log_in("ann", path="hub/login?next=/hub/home")
        async with hub.browser() as browser:
            await browser.log_in("ann", path="hub/login?next=/hub/home")
            await hub.api("POST", "/users/ann/server")

            async def greeting():
                response, text = await browser.get("/user/ann/", allow_redirects=False)
                return response.status == 200 and text

            assert await until(greeting, seconds=15) == "login number 3"


@pytest.fixture
async def own_hub():
    config = {"hub": {"extraConfig": {"own": OWN}}, "singleuser": {"cmd": SMALL}}
    async with run_hub(config) as hub:
        yield hub


async def test_classes_hooks_and_handlers_written_in_extra_config_do_their_work(own_hub):
    async with own_hub.browser() as browser:
        response, _ = await browser.get("/hub/notice", allow_redirects=False)
        assert response.headers["Location"].endswith("/hub/login?next=%2Fhub%2Fnotice")
        _, page = await browser.get("/hub/login?next=/hub/notice")
        form = {"username": "ann", "password": "expired", "_xsrf": xsrf_of(page)}
        response, page = await browser.post("/hub/login?next=/hub/notice", form)
        assert response.status == 403
        assert "Your account expired, ann" in page
        assert (await browser.log_in("joe", "pw"))[0] == 403
        form = {"username": "ann", "password": "pw", "_xsrf": xsrf_of(page)}
        response, page = await browser.post("/hub/login?next=/hub/notice", form)
        assert page == "notice for ann"
        await own_hub.api("POST", "/users/ann/server")

        async def greeting():
            response, text = await browser.get("/user/ann/", allow_redirects=False)
            return response.status == 200 and text

        assert await until(greeting, seconds=15) == "from GreetingSpawner"


async def test_a_hook_that_refuses_a_start_is_quoted_to_the_person(own_hub):
    async with own_hub.browser() as browser:
        await browser.log_in("eve", "pw", path="hub/login?next=/hub/home")
        await own_hub.api("POST", "/users/eve/server")

        async def failed():
            _, page = await browser.get("/hub/home")
            return "No quota for eve" in page

        assert await until(failed, seconds=15)
