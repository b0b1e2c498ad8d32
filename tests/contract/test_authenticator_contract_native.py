"""nativeauthenticator, unmodified: its own table in its own database, its pages over the hub's templates."""

import aiohttp
import pytest
from nativeauthenticator import NativeAuthenticator
from nativeauthenticator.handlers import LocalBase
from traitlets.config import Config

from perijove.domain.ids import UserId
from perijove.domain.ports import UserFacts
from perijove.testing.plugin_hub import XSRF, plugin_hub


@pytest.fixture
def c():
    config = Config()
    config.Authenticator.admin_users = {"root"}
    config.Authenticator.allow_all = True
    return config


@pytest.fixture
async def native(c, tmp_path, monkeypatch):
    # The package adds its templates to the first environment of a process only.
    monkeypatch.setattr(LocalBase, "_template_dir_registered", False)
    async with plugin_hub(NativeAuthenticator, c, tmp_path) as running:
        yield running


@pytest.fixture
async def browser():
    async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as session:
        yield session


async def sign_up(browser, url, name, password):
    form = {
        "username": name,
        "signup_password": password,
        "signup_password_confirmation": password,
        "_xsrf": XSRF,
    }
    async with browser.post(f"{url}/hub/signup", data=form) as response:
        assert response.status == 200
        return await response.text()


async def log_in(browser, url, name, password):
    form = {"username": name, "password": password, "_xsrf": XSRF}
    async with browser.post(f"{url}/hub/login", data=form, allow_redirects=False) as response:
        return response.status, await response.text()


async def test_a_person_signs_up_is_authorised_by_an_admin_and_logs_in(native, browser):
    url, hub, _ = native
    async with browser.get(f"{url}/hub/login") as response:
        assert "signup" in await response.text()
    assert "sent to the admin" in await sign_up(browser, url, "ann", "secret-1")
    status, text = await log_in(browser, url, "ann", "secret-1")
    assert status == 200
    assert "not been authorized" in text
    admin = hub.session("root", "admin:users")
    async with browser.get(f"{url}/hub/authorize/ann", cookies=admin, allow_redirects=False) as response:
        assert response.headers["Location"] == "/hub/authorize#ann"
    assert (await log_in(browser, url, "ann", "wrong"))[0] == 200
    status, _ = await log_in(browser, url, "ann", "secret-1")
    assert status == 302
    assert "ann" in hub.models


async def test_only_who_may_administer_users_sees_the_list(native, browser):
    url, hub, _ = native
    await sign_up(browser, url, "ann", "secret-1")
    async with browser.get(f"{url}/hub/authorize", cookies=hub.session("ann")) as response:
        assert response.status == 403
    async with browser.get(f"{url}/hub/authorize", cookies=hub.session("root", "admin:users")) as response:
        assert response.status == 200
        assert "ann" in await response.text()


async def test_accounts_are_kept_in_a_database_of_the_plugin_across_restarts(c, tmp_path, browser):
    c.NativeAuthenticator.open_signup = True
    async with plugin_hub(NativeAuthenticator, c, tmp_path) as (url, _, _):
        await sign_up(browser, url, "ann", "secret-1")
    assert (tmp_path / "plugins.sqlite").exists()
    async with plugin_hub(NativeAuthenticator, c, tmp_path) as (url, hub, authenticator):
        assert (await log_in(browser, url, "ann", "secret-1"))[0] == 302
        await authenticator.user_deleted(UserFacts(id=UserId(1), name="ann"))
        browser.cookie_jar.clear()
        hub.models.clear()
        await log_in(browser, url, "ann", "secret-1")
        assert hub.models == {}


async def test_a_form_without_the_hubs_token_changes_nothing(native, browser):
    url, _, authenticator = native
    form = {"username": "eve", "signup_password": "x", "signup_password_confirmation": "x"}
    async with browser.post(f"{url}/hub/signup", data=form) as response:
        assert response.status == 403
    assert not authenticator.plugin.user_exists("eve")
