"""What hosting adds to local processes, and that JupyterHub's own contract holds: environment, hooks, their order."""

import asyncio
import json
import os
import pwd
import sys
from pathlib import Path
from typing import Any

import pytest
from jupyterhub.spawner import SimpleLocalProcessSpawner, SpawnException
from tornado.web import HTTPError

from perijove.domain.errors import Invalid, SpawnFailed
from perijove.plugins import spawner as spawner_module
from perijove.testing.local_process import environment_of
from perijove.testing.local_process import server_spec as spec
from perijove.testing.waiting import until

SERVER = [sys.executable, str(Path(__file__).with_name("small_server.py"))]
ACCOUNT = pwd.getpwuid(os.getuid()).pw_name


async def test_a_server_gets_the_whole_environment_of_the_contract(make, c):
    """Every variable of the single-user contract, built by the class itself over the façades."""
    c.Spawner.default_url = "/lab"
    c.Spawner.notebook_dir = "~/{username}"
    c.Spawner.mem_limit = "1G"
    c.Spawner.cpu_limit = 0.5
    c.Spawner.debug = True
    c.Spawner.environment = {"FIXED": "1", "CALLED": lambda spawner: spawner.user.name}
    c.Spawner.oauth_client_allowed_scopes = ["read:users!user"]
    host = make(
        base_url="/base/",
        public_url="https://hub.example.org/base/",
        connect_url="http://10.0.0.4:8081",
        cookie_options={"samesite": "None"},
    )
    spawner = await host.open(spec())
    url = await spawner.start()
    env = environment_of(spawner.state()["pid"])
    prefix = "/base/user/ann@example.org/gpu/"
    expected = {
        "JUPYTERHUB_API_TOKEN": "fresh",
        "JPY_API_TOKEN": "fresh",
        "JUPYTERHUB_CLIENT_ID": "jupyterhub-user-ann%40example.org-gpu",
        "JUPYTERHUB_USER": "ann@example.org",
        "JUPYTERHUB_SERVER_NAME": "gpu",
        "JUPYTERHUB_API_URL": "http://10.0.0.4:8081/base/hub/api",
        "JUPYTERHUB_ACTIVITY_URL": "http://10.0.0.4:8081/base/hub/api/users/ann@example.org/activity",
        "JUPYTERHUB_BASE_URL": "/base/",
        "JUPYTERHUB_SERVICE_PREFIX": prefix,
        "JUPYTERHUB_SERVICE_URL": f"{url}{prefix}",
        "JUPYTERHUB_HOST": "https://hub.example.org",
        "JUPYTERHUB_PUBLIC_URL": f"https://hub.example.org{prefix}",
        "JUPYTERHUB_PUBLIC_HUB_URL": "https://hub.example.org/base/hub/",
        "JUPYTERHUB_OAUTH_CALLBACK_URL": f"{prefix}oauth_callback",
        "JUPYTERHUB_COOKIE_HOST_PREFIX_ENABLED": "0",
        "JUPYTERHUB_DEFAULT_URL": "/lab",
        "JUPYTERHUB_ROOT_DIR": "~/ann@example.org",
        "JUPYTERHUB_DEBUG": "1",
        "MEM_LIMIT": str(1024**3),
        "CPU_LIMIT": "0.5",
        "FIXED": "1",
        "CALLED": "ann@example.org",
    }
    assert {key: env.get(key) for key in expected} == expected
    scopes = ["access:servers!server=ann@example.org/gpu", "access:servers!user=ann@example.org"]
    assert json.loads(env["JUPYTERHUB_OAUTH_ACCESS_SCOPES"]) == scopes
    assert json.loads(env["JUPYTERHUB_OAUTH_SCOPES"]) == scopes
    assert json.loads(env["JUPYTERHUB_OAUTH_CLIENT_ALLOWED_SCOPES"]) == ["read:users!user"]
    assert json.loads(env["JUPYTERHUB_COOKIE_OPTIONS"]) == {"samesite": "None"}


async def test_the_hubs_own_secrets_stay_out_of_a_servers_environment(make, monkeypatch):
    monkeypatch.setenv("CONFIGPROXY_AUTH_TOKEN", "secret")
    spawner = await make().open(spec())
    await spawner.start()
    assert "CONFIGPROXY_AUTH_TOKEN" not in environment_of(spawner.state()["pid"])


async def test_the_access_scope_of_a_default_server_ends_with_a_slash(make):
    spawner = await make().open(spec(name=""))
    scopes = json.loads(spawner.plugin.get_env()["JUPYTERHUB_OAUTH_ACCESS_SCOPES"])
    assert scopes[0] == "access:servers!server=ann@example.org/"


ORDER = """
from jupyterhub.auth import DummyAuthenticator
from jupyterhub.spawner import SimpleLocalProcessSpawner

class NotingAuthenticator(DummyAuthenticator):
    def pre_spawn_start(self, user, spawner):
        done.append(("pre_spawn_start", user.name, spawner.api_token))

    async def post_spawn_stop(self, user, spawner):
        done.append("post_spawn_stop")

class NotingSpawner(SimpleLocalProcessSpawner):
    def clear_state(self):
        super().clear_state()
        done.append("clear_state")

    def load_state(self, state):
        super().load_state(state)
        done.append("load_state")

    async def start(self):
        done.append("start")
        return await super().start()

    async def stop(self, now=False):
        await super().stop(now=now)
        done.append("stop")

async def auth_state_hook(spawner, auth_state):
    done.append(("auth_state_hook", auth_state))

def apply_user_options(spawner, options):
    done.append(("apply_user_options", options, spawner.environment.get("TEAM")))

c.NotingSpawner.auth_state_hook = auth_state_hook
c.Spawner.apply_user_options = apply_user_options
c.Spawner.group_overrides = {"a": {"groups": ["team-a"], "spawner_override": {"environment": {"TEAM": "a"}}}}
c.Spawner.pre_spawn_hook = lambda spawner: done.append(("pre_spawn_hook", spawner.server is not None))
c.Spawner.post_stop_hook = lambda spawner: done.append(("post_stop_hook", spawner.server))
"""


async def test_hooks_run_in_the_order_of_the_contract(make, c):
    done: list[Any] = []
    scope: dict[str, Any] = {"c": c, "done": done}
    exec(ORDER, scope)
    host = make(scope["NotingSpawner"], authenticator=scope["NotingAuthenticator"])
    spawner = await host.open(spec(user_options={"size": "big"}))
    await spawner.start()
    assert done == [
        "load_state",
        "clear_state",
        ("pre_spawn_start", "ann@example.org", "fresh"),
        ("auth_state_hook", {"key": "v"}),
        ("apply_user_options", {"size": "big"}, "a"),
        ("pre_spawn_hook", True),
        "start",
    ]
    done.clear()
    await spawner.stop()
    done = [step for index, step in enumerate(done) if index == 0 or step != done[index - 1]]
    # The process spawner clears its state itself when it sees the process gone.
    assert done == ["clear_state", "stop", ("post_stop_hook", None), "clear_state", "post_spawn_stop"]


async def test_configuration_of_a_class_and_of_its_parents_applies_once(make, c):
    """Sections of parent classes are inherited, the derived class is invisible, lists are appended once."""

    class MySpawner(SimpleLocalProcessSpawner):
        pass

    c.Spawner.args = ["plain"]
    c.LocalProcessSpawner.term_timeout = 5
    c.SimpleLocalProcessSpawner.kill_timeout = 6
    c.MySpawner.http_timeout = 7
    c.MySpawner.env_keep.append("EXTRA")
    spawner = await make(MySpawner).open(spec())
    plugin = spawner.plugin
    assert (plugin.args, plugin.term_timeout, plugin.kill_timeout, plugin.http_timeout) == (["plain"], 5, 6, 7)
    assert plugin.env_keep.count("EXTRA") == 1
    assert spawner.http_timeout_seconds == 7
    assert isinstance(plugin, MySpawner)


async def test_options_may_change_the_start_timeout(make, c):
    c.Spawner.apply_user_options = {"patience": "start_timeout"}
    spawner = await make().open(spec(user_options={"patience": "77"}))
    await spawner.start()
    assert spawner.start_timeout_seconds == 77


def _raiser(error: BaseException):
    def raise_it(spawner):
        raise error

    return raise_it


POLITE = RuntimeError("internal")
POLITE.jupyterhub_message = "Your quota is used up."
POLITE.jupyterhub_html_message = "Your <b>quota</b> is used up."

FAILURES = [
    (
        SpawnException("No such image", reason="image", message_html="<i>No</i>", status_code=409),
        ("No such image", "image", 409, "<i>No</i>"),
    ),
    (HTTPError(403, "Not on %s", "Sundays"), ("Not on Sundays", "error", 403, "")),
    (POLITE, ("Your quota is used up.", "error", 500, "Your <b>quota</b> is used up.")),
    (SystemExit(3), (None, "error", 500, "")),
    (ValueError("the password is hunter2"), (None, "error", 500, "")),
]


@pytest.mark.parametrize(("error", "expected"), FAILURES, ids=lambda value: type(value).__name__)
async def test_what_a_hook_raises_becomes_the_reason_of_a_failed_start(make, c, error, expected):
    """Messages meant for users are shown, everything else is for the admin only."""
    c.Spawner.pre_spawn_hook = _raiser(error)
    spawner = await make().open(spec())
    with pytest.raises(SpawnFailed) as caught:
        await spawner.start()
    failure = caught.value
    message, *rest = expected
    assert [failure.reason, failure.status, failure.html_message] == rest
    if message:
        assert failure.message == message
    assert "hunter2" not in failure.message
    assert "pre_spawn_hook" in failure.details


async def test_a_start_that_never_returns_ends_at_its_timeout(make):
    class Sleepy(SimpleLocalProcessSpawner):
        async def start(self):
            await asyncio.Event().wait()

    spawner = await make(Sleepy).open(spec())
    spawner.plugin.start_timeout = 0
    with pytest.raises(SpawnFailed) as caught:
        await spawner.start()
    assert caught.value.reason == "timeout"
    assert "start_timeout" in caught.value.details


async def test_a_start_that_ignores_its_cancellation_is_abandoned(make, monkeypatch):
    monkeypatch.setattr(spawner_module, "ABANDON_SECONDS", 0.01)
    released = asyncio.Event()

    class Deaf(SimpleLocalProcessSpawner):
        async def start(self):
            while not released.is_set():
                try:
                    await released.wait()
                except asyncio.CancelledError:
                    continue
            return "http://127.0.0.1:1"

    spawner = await make(Deaf).open(spec())
    start = asyncio.create_task(spawner.start())
    await until(spawner._begun.is_set)
    start.cancel()
    with pytest.raises(asyncio.CancelledError):
        await start
    released.set()


async def test_a_ready_hook_may_change_the_last_event(make, c):
    async def hook(spawner, event):
        event["html_message"] = f"Ready: {spawner.name}"
        return event

    c.Spawner.progress_ready_hook = hook
    spawner = await make().open(spec())
    assert (await spawner.ready_event({"ready": True}))["html_message"] == "Ready: gpu"


async def test_a_broken_ready_hook_does_not_spoil_a_good_start(make, c):
    c.Spawner.progress_ready_hook = lambda spawner, event: 1 / 0
    spawner = await make().open(spec())
    assert await spawner.ready_event({"ready": True}) == {"ready": True}


async def test_options_forms_may_be_callables_of_the_spawner(make, c):
    async def form(spawner):
        return f"<input name='size' value='{spawner.user.name}'>"

    c.Spawner.options_form = form
    c.Spawner.options_from_form = "simple"
    host = make()
    assert "ann@example.org" in await host.options_form(spec())
    options = await host.options_from_form(spec(), {"size": ["big"], "box": ["on"], "file_file": [{"body": b"\0\1"}]})
    assert options["size"] == "big"
    assert options["box"] is True
    assert json.dumps(options)
    reopened = await host.open(spec(user_options=options))
    assert reopened.plugin.user_options["file_file"] == {"body": b"\0\1"}


async def test_options_that_the_plugin_refuses_come_back_with_its_message(make, c):
    def parse(form):
        raise ValueError("Choose at most 8 GB")

    c.Spawner.options_from_form = parse
    with pytest.raises(Invalid, match="at most 8 GB"):
        await make().options_from_form(spec(), {})


async def test_scopes_may_be_callables_of_the_spawner(make, c):
    async def scopes(spawner):
        return ["users:activity!user", f"read:users!user={spawner.user.name}"]

    c.Spawner.server_token_scopes = scopes
    spawner = await make().open(spec())
    assert tuple(spawner.server_token_scopes) == ("users:activity!user", "read:users!user=ann@example.org")


async def test_a_misconfigured_spawner_fails_the_start_with_the_reason(make, c):
    c.Spawner.start_timeout = "soon"
    with pytest.raises(SpawnFailed) as caught:
        await make().open(spec())
    assert caught.value.reason == "configuration"
    assert "start_timeout" in caught.value.details


async def test_a_spawner_sees_its_user_with_groups_and_siblings(make):
    spawner = await make().open(spec(sibling_names=("", "gpu", "cpu")))
    user = spawner.plugin.user
    assert [group.name for group in user.groups] == ["team-a"]
    assert set(user.orm_spawners) == {"", "gpu", "cpu"}
    assert user.escaped_name == "ann@example.org"
    assert user.server_url("gpu") == "/user/ann@example.org/gpu/"
    spawner.plugin._deprecated_db_session.commit()
    with pytest.raises(AttributeError, match="no database session"):
        spawner.plugin._deprecated_db_session.query(object)
