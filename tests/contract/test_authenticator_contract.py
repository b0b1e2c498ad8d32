"""What the hub asks of an authenticator, shown with JupyterHub's own classes and one written in a configuration."""

import os
import pwd
import secrets
import shutil
import subprocess

import pytest
from jupyterhub.auth import DummyAuthenticator
from traitlets.config import Config

from perijove.domain.errors import Forbidden, Unavailable
from perijove.domain.ids import UserId
from perijove.domain.ports import AuthModel, UserFacts
from perijove.plugins.load import HubFacts, PluginMisconfigured, load_authenticator

REQUEST = {
    "method": "POST",
    "path": "/hub/login",
    "query": "next=%2Fhub%2Fhome",
    "headers": {"host": "hub.example.org", "user-agent": "Firefox"},
    "remote_ip": "192.0.2.7",
    "scheme": "https",
}
USER_PASSWORD = "open-sesame-1"
ADMIN_PASSWORD = "an-admin-password-that-is-long-enough"


@pytest.fixture
def c():
    return Config()


@pytest.fixture
def load(c, tmp_path):
    def load(cls, **arguments):
        facts = HubFacts(hub_id="x", data_dir=tmp_path, cookie_secret=secrets.token_bytes(32))
        return load_authenticator(authenticator_class=cls, traits=c, facts=facts, **arguments)

    return load


def login(authenticator, username, password):
    return authenticator.authenticate({"username": username, "password": password}, REQUEST)


async def test_the_dummy_lets_everybody_in_under_a_normalised_name(load):
    assert await login(load("dummy"), "Ann", "anything") == AuthModel(name="ann")


@pytest.mark.filterwarnings("ignore:DummyAuthenticator.password is deprecated")
async def test_the_dummys_password_is_asked_for_when_set(load, c):
    c.DummyAuthenticator.password = "secret"
    authenticator = load("dummy")
    assert await login(authenticator, "ann", "wrong") is None
    assert await login(authenticator, "ann", "secret") == AuthModel(name="ann")


async def test_the_shared_password_tells_admins_from_users(load, c):
    c.SharedPasswordAuthenticator.user_password = USER_PASSWORD
    c.SharedPasswordAuthenticator.admin_password = ADMIN_PASSWORD
    c.Authenticator.admin_users = {"Root"}
    c.Authenticator.allow_all = True
    authenticator = load("shared-password")
    assert await login(authenticator, "ann", USER_PASSWORD) == AuthModel(name="ann", admin=False)
    assert await login(authenticator, "root", ADMIN_PASSWORD) == AuthModel(name="root", admin=True)
    assert await login(authenticator, "root", USER_PASSWORD) is None
    assert await login(authenticator, "ann", ADMIN_PASSWORD) is None
    assert authenticator.is_admin_by_config("root")
    assert not authenticator.is_admin_by_config("ann")


@pytest.mark.parametrize("form", [{}, {"username": "ann"}, {"username": "ann", "password": "pässword"}])
async def test_odd_forms_are_refusals_not_crashes(load, c, form):
    c.SharedPasswordAuthenticator.user_password = USER_PASSWORD
    c.Authenticator.allow_all = True
    assert await load("shared-password").authenticate(form, REQUEST) is None


async def test_the_null_authenticator_lets_nobody_in(load):
    assert await login(load("null"), "ann", "x") is None


async def test_a_name_that_may_not_be_is_refused(load, c):
    c.Authenticator.username_pattern = "[a-z]+"
    authenticator = load("dummy")
    assert await login(authenticator, "ann1", "x") == AuthModel(name="ann1")
    assert await login(authenticator, "1ann", "x") is None
    assert await login(authenticator, "a/b", "x") is None
    assert not authenticator.validate("..")


async def test_mapped_names_are_used(load, c):
    c.Authenticator.username_map = {"ann.longname": "ann"}
    authenticator = load("dummy")
    assert await login(authenticator, "Ann.Longname", "x") == AuthModel(name="ann")
    assert authenticator.normalize("ANN.longname") == "ann"


async def test_allowed_blocked_and_admin_lists_decide(load, c):
    c.DummyAuthenticator.allow_all = False
    c.Authenticator.allowed_users = {"Ann", "eve"}
    c.Authenticator.blocked_users = {"eve"}
    c.Authenticator.admin_users = {"root"}
    authenticator = load("dummy")
    assert await login(authenticator, "ann", "x") == AuthModel(name="ann")
    assert await login(authenticator, "root", "x") == AuthModel(name="root", admin=True)
    assert await login(authenticator, "eve", "x") is None
    assert await login(authenticator, "joe", "x") is None
    assert authenticator.admin_names == {"root"}
    assert authenticator.blocked_names == {"eve"}


async def test_existing_users_are_allowed_by_asking_about_one_name(load, c):
    """Names are never loaded in bulk: the hub is asked about the one that logs in, each time."""
    c.DummyAuthenticator.allow_all = False
    c.Authenticator.allowed_users = {"ann"}
    asked, existing = [], {"joe"}

    async def user_exists(name):
        asked.append(name)
        return name in existing

    authenticator = load("dummy", user_exists=user_exists)
    assert await login(authenticator, "ann", "x")
    assert asked == []
    assert await login(authenticator, "joe", "x")
    assert await login(authenticator, "max", "x") is None
    existing.clear()
    assert await login(authenticator, "joe", "x") is None
    assert asked == ["joe", "max", "joe"]


async def test_without_an_allow_list_existing_users_are_not_asked_for(load, c):
    c.DummyAuthenticator.allow_all = False

    async def user_exists(name):
        raise AssertionError

    assert await login(load("dummy", user_exists=user_exists), "ann", "x") is None


# As real configurations write them.
IN_FILE = """
from secrets import compare_digest
from jupyterhub.auth import Authenticator
from tornado import web

users = {"admin": "adminpw", "ann": "annpw", "late": "latepw"}

class SimplePasswordAuthenticator(Authenticator):
    async def authenticate(self, handler, data):
        username = data.get("username", "")
        if username == "late":
            raise web.HTTPError(403, "%s is late: term ended", username)
        if username == "crash":
            raise RuntimeError("ldap://secret-host does not answer")
        expected = users.get(username)
        if expected and compare_digest(data.get("password", ""), expected):
            return {
                "name": username,
                "auth_state": {"ip": handler.request.remote_ip, "agent": handler.request.headers["User-Agent"]},
                "groups": ["class-1"],
            }
        return None

    def check_allowed(self, username, authentication=None):
        if username == "admin" and authentication["auth_state"]["ip"] != "192.0.2.7":
            return False
        return super().check_allowed(username, authentication)

    async def refresh_user(self, user, handler=None):
        state = await user.get_auth_state()
        if state is None:
            return False
        return True if state["ip"] != "moved" else {"name": "ignored", "groups": ["class-2"]}

async def post_auth_hook(authenticator, handler, auth_model):
    auth_model["auth_state"]["next"] = handler.get_argument("next")
    return auth_model

c.JupyterHub.authenticator_class = SimplePasswordAuthenticator
c.Authenticator.allowed_users = set(users.keys())
c.Authenticator.admin_users = {"admin"}
c.Authenticator.post_auth_hook = post_auth_hook
c.Authenticator.enable_auth_state = True
c.Authenticator.manage_groups = True
"""


@pytest.fixture
def in_file(load, c):
    exec(IN_FILE, {"c": c})
    return load(c.JupyterHub.authenticator_class)


async def test_a_class_from_the_configuration_gets_request_form_and_hooks(in_file):
    state = {"ip": "192.0.2.7", "agent": "Firefox", "next": "/hub/home"}
    assert await login(in_file, "ann", "annpw") == AuthModel(name="ann", groups=("class-1",), auth_state=state)
    assert await login(in_file, "admin", "adminpw") == AuthModel(
        name="admin", admin=True, groups=("class-1",), auth_state=state
    )
    assert await login(in_file, "ann", "wrong") is None


async def test_a_refusal_with_a_message_is_shown(in_file):
    with pytest.raises(Forbidden, match="late is late: term ended"):
        await login(in_file, "late", "latepw")


async def test_a_crash_is_unavailable_and_tells_users_nothing_internal(in_file):
    with pytest.raises(Unavailable) as caught:
        await login(in_file, "crash", "x")
    assert "secret-host" not in caught.value.message


async def test_refresh_keeps_ends_or_changes_a_login(in_file):
    ann = UserFacts(id=UserId(1), name="ann", auth_state={"ip": "192.0.2.7"})
    assert await in_file.refresh(ann) is True
    assert await in_file.refresh(UserFacts(id=UserId(1), name="ann")) is False
    moved = UserFacts(id=UserId(1), name="ann", auth_state={"ip": "moved"})
    assert await in_file.refresh(moved) == AuthModel(name="ann", groups=("class-2",))


async def test_auth_state_without_being_enabled_is_dropped(load, c):
    exec(IN_FILE, {"c": c})
    c.Authenticator.enable_auth_state = False
    model = await login(load(c.JupyterHub.authenticator_class), "ann", "annpw")
    assert model.auth_state is None


async def test_managed_groups_must_be_named_at_every_login(load, c):
    c.Authenticator.manage_groups = True
    with pytest.raises(Unavailable, match="manage_groups"):
        await login(load("dummy"), "ann", "x")


async def test_an_old_style_check_is_still_asked(load, c):
    """A class that only knows `check_whitelist(username)` must not be bypassed by the hosting."""

    class Old(DummyAuthenticator):
        def check_whitelist(self, username):
            return username == "ann"

    c.DummyAuthenticator.allow_all = False
    c.Authenticator.allowed_users = {"joe"}

    async def user_exists(name):
        return True

    with pytest.warns(DeprecationWarning, match="check_whitelist"):
        authenticator = load(Old, user_exists=user_exists)
    assert await login(authenticator, "ann", "x")
    assert await login(authenticator, "joe", "x") is None


async def test_adding_and_deleting_users_reaches_the_plugin(load, c):
    c.DummyAuthenticator.allow_all = False
    c.Authenticator.allowed_users = {"joe"}
    authenticator = load("dummy")
    await authenticator.user_added(UserFacts(id=UserId(2), name="max"))
    assert await login(authenticator, "max", "x")
    await authenticator.user_deleted(UserFacts(id=UserId(2), name="max"))
    assert await login(authenticator, "max", "x") is None


async def test_auth_state_is_reconciled_with_what_is_stored(load, c):
    c.Authenticator.enable_auth_state = True
    c.Authenticator.reconcile_auth_state_hook = lambda authenticator, model, existing: {
        **existing,
        "new": model["name"],
    }
    authenticator = load("dummy")
    model = AuthModel(name="ann", auth_state=None)
    assert await authenticator.reconcile_auth_state(model, {"old": 1}) == {"old": 1, "new": "ann"}


def test_a_class_that_refuses_its_configuration_says_why(load, c):
    c.SharedPasswordAuthenticator.user_password = "short"
    with pytest.raises(PluginMisconfigured, match="at least 8 characters"):
        load("shared-password")


def test_texts_and_flags_of_the_login_page_are_the_plugins(load, c):
    c.Authenticator.request_otp = True
    c.Authenticator.otp_prompt = "Code:"
    c.Authenticator.auto_login = True

    class Own(DummyAuthenticator):
        def get_custom_html(self, base_url):
            return f"<form action='{base_url}own'></form>"

    authenticator = load(Own)
    assert (authenticator.request_otp, authenticator.otp_prompt, authenticator.auto_login) == (True, "Code:", True)
    assert authenticator.custom_html == "<form action='/hub/own'></form>"
    assert authenticator.login_url("/base/hub/") == "/base/hub/login"
    assert authenticator.logout_url("/base/hub/") == "/base/hub/logout"
    assert load("dummy").version.startswith("6.")


@pytest.fixture(scope="module")
def account():
    """A system account with a password, made for these tests."""
    if os.geteuid() != 0 or not shutil.which("useradd") or not shutil.which("chpasswd"):
        pytest.skip("PAM needs root, useradd and chpasswd")
    name, password = f"pj{secrets.token_hex(4)}", secrets.token_urlsafe(12)
    made = subprocess.run(["useradd", "--no-create-home", name], check=False, capture_output=True, text=True)
    if made.returncode:
        pytest.skip(f"useradd: {made.stderr}")
    try:
        subprocess.run(["chpasswd"], input=f"{name}:{password}\n", check=True, text=True, capture_output=True)
        yield name, password
    finally:
        subprocess.run(["userdel", name], check=True, capture_output=True)


async def test_pam_checks_the_password_of_a_system_account(load, c, account):
    name, password = account
    c.Authenticator.allow_all = True
    authenticator = load("pam")
    assert await login(authenticator, name, "wrong") is None
    assert await login(authenticator, name, password) == AuthModel(name=name)
    await authenticator.user_added(UserFacts(id=UserId(9), name=name))


async def test_a_user_without_a_system_account_is_not_added(load):
    with pytest.raises(KeyError):
        pwd.getpwnam("no-such-account")
    with pytest.raises(Unavailable):
        await load("pam").user_added(UserFacts(id=UserId(9), name="no-such-account"))
