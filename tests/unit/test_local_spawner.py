"""Servers as processes of this machine: homes, profiles, environment, in Perijove and in stock JupyterHub."""

import os
import pwd
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from traitlets.config import Config

from perijove.domain.errors import SpawnFailed
from perijove.domain.ids import ServerId, UserId
from perijove.domain.ports import ServerSpec, UserFacts
from perijove.plugins.load import HubFacts, load_spawner_host
from perijove.spawners import profiles
from perijove.spawners.local import LocalSpawner, directory_name

SERVER = [sys.executable, str(Path(__file__).parents[1] / "contract" / "small_server.py")]
PROFILES = [
    {"display_name": "Minimal environment", "description": "Only <b>Python</b>."},
    {
        "display_name": "Big",
        "slug": "big",
        "default": True,
        "kubespawner_override": {
            "image": "a/b:1",
            "mem_limit": "2G",
            "environment": {"SIZE": "big", "GONE": None},
            "cpu_guarantee": None,
        },
        "profile_options": {
            "tool": {
                "display_name": "Tool",
                "choices": {
                    "r": {"display_name": "R", "kubespawner_override": {"default_url": "/r"}},
                    "lab": {
                        "display_name": "Lab", "default": True, "kubespawner_override": {"default_url": "/lab"}
                    },
                },
                "unlisted_choice": {
                    "enabled": True,
                    "display_name": "Other tool",
                    "validation_regex": "/[a-z]+",
                    "kubespawner_override": {"default_url": "{value}"},
                },
            }
        },
    },
]  # fmt: skip


def spec(name: str = "ann", **changes: Any) -> ServerSpec:
    plain = ServerSpec(id=ServerId(7), user=UserFacts(id=UserId(3), name=name), name="", generation=1, api_token="t")
    return replace(plain, **changes)


@pytest.fixture
async def make(tmp_path, request):
    hosts = []

    def make(config: Config | None = None):
        c = Config()
        c.Spawner.cmd = SERVER
        c.LocalSpawner.homes_dir = str(tmp_path / "homes")
        c.merge(config or Config())
        facts = HubFacts(hub_id=f"local{abs(hash(request.node.nodeid)):x}{os.getpid()}", data_dir=tmp_path)
        host = load_spawner_host(
            spawner_class="perijove.spawners.local.LocalSpawner", traits=c, facts=facts, log_dir=tmp_path / "logs"
        )
        hosts.append(host)
        return host

    yield make
    for host in hosts:
        for found in await host.find():
            await host.destroy(found)
        for child in host._table.children.values():
            child.wait(5)


def environment_of(pid: int) -> dict[str, str]:
    text = Path(f"/proc/{pid}/environ").read_text()
    return dict(item.split("=", 1) for item in text.split("\0") if "=" in item)


def directory_of(pid: int) -> Path:
    return Path(f"/proc/{pid}/cwd").readlink()


async def started(host, server: ServerSpec) -> tuple[int, dict[str, str]]:
    spawner = await host.open(server)
    await spawner.start()
    pid = spawner.state()["pid"]
    return pid, environment_of(pid)


# -- homes ---------------------------------------------------------------------------------------


async def test_a_user_without_an_account_gets_a_home_of_their_own(make, tmp_path):
    pid, env = await started(make(), spec("ann@example.org"))
    home = tmp_path / "homes" / "ann@example.org"
    assert (env["HOME"], env["USER"]) == (str(home), "ann@example.org")
    assert directory_of(pid) == home
    assert home.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("name", ["ann", "a b", "ä/ö", "..", ".", "../../etc", "x" * 500, "ann@example.org", "A+b"])
def test_a_name_of_a_user_is_never_a_path(name):
    directory = directory_name(name)
    assert Path("/homes", directory).parent == Path("/homes")
    assert directory not in (".", "..", "")
    assert len(directory.encode()) < 255


def test_different_users_have_different_homes():
    names = ["a/b", "a%2Fb", "a_b", "A/b", "x" * 300, "x" * 301, ".", "%2E"]
    assert len({directory_name(name) for name in names}) == len(names)


async def test_a_directory_of_an_image_that_is_not_here_is_left_out(make):
    config = Config()
    config.Spawner.notebook_dir = "/home/jovyan/nowhere"
    _, env = await started(make(config), spec())
    assert env.get("JUPYTERHUB_ROOT_DIR", "") == ""


# -- environment and command ---------------------------------------------------------------------


async def test_variables_are_expanded_as_a_pod_would(make):
    config = Config()
    config.Spawner.environment = {
        "BUCKET": "gs://b/$(JUPYTERHUB_USER)/{username}",
        "JSON": '{{"a": 1}}',
        "BRACES": '{"a": 1}',
        "UNKNOWN": "$(NOPE)",
    }
    _, env = await started(make(config), spec())
    assert env["BUCKET"] == "gs://b/ann/ann"
    assert env["JSON"] == env["BRACES"] == '{"a": 1}'
    assert env["UNKNOWN"] == "$(NOPE)"


@pytest.mark.parametrize(("command", "flagged"), [("jupyterhub-singleuser", True), ("sleep", False)])
def test_jupyter_is_told_when_it_runs_as_root(command, flagged, monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    spawner = LocalSpawner(cmd=[f"/x/{command}"])
    monkeypatch.setattr(spawner, "_account", lambda: None)
    assert ("--allow-root" in spawner.get_args()) is flagged


def test_a_user_with_an_account_runs_as_it(monkeypatch):
    """As JupyterHub's own class has it: the account's home and shell, and its user id."""
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    spawner = LocalSpawner()
    spawner.user = type("User", (), {"name": "daemon"})()
    env = spawner.user_env({})
    assert (env["USER"], env["HOME"]) == ("daemon", pwd.getpwnam("daemon").pw_dir)
    assert spawner.make_preexec_fn("daemon").__module__ == "jupyterhub.spawner"


# -- profiles ------------------------------------------------------------------------------------


@pytest.fixture
def profiled(make):
    config = Config()
    config.LocalSpawner.profile_list = PROFILES
    config.LocalSpawner.environment = {"GONE": "1", "KEPT": "1"}
    config.LocalSpawner.default_url = "/tree"
    return make(config)


async def test_profiles_make_a_form_with_the_default_chosen(profiled):
    form = await profiled.options_form(spec())
    assert '<input type="radio" name="profile" id="profile-big" value="big" checked' in form
    assert 'value="minimal-environment"' in form
    assert "Only <b>Python</b>." in form
    assert '<select id="profile-option-big--tool" name="profile-option-big--tool">' in form
    assert '<option value="lab" selected>' in form


async def test_without_profiles_there_is_no_form(make):
    assert await make().options_form(spec()) == ""


async def test_profiles_may_be_a_function_of_the_spawner(make):
    config = Config()

    async def offered(spawner):
        return [{"display_name": f"For {spawner.user.name}"}]

    config.LocalSpawner.profile_list = offered
    assert "For ann" in await make(config).options_form(spec())


async def test_a_form_becomes_options_under_kubespawners_names(profiled):
    options = await profiled.options_from_form(
        spec(), {"profile": ["big"], "profile-option-big--tool": ["r"], "profile-option-other--tool": ["lab"]}
    )
    assert options == {"profile": "big", "tool": "r"}


async def test_a_chosen_profile_sets_what_a_process_can_have(profiled):
    _, env = await started(profiled, spec(user_options={"profile": "big", "tool": "r"}))
    assert (env["SIZE"], env["KEPT"], env.get("GONE")) == ("big", "1", None)
    assert (env["MEM_LIMIT"], env["JUPYTERHUB_DEFAULT_URL"]) == (str(2 * 1024**3), "/r")


async def test_without_a_choice_the_default_profile_is_taken(profiled):
    _, env = await started(profiled, spec())
    assert (env["SIZE"], env["JUPYTERHUB_DEFAULT_URL"]) == ("big", "/lab")


async def test_another_profile_leaves_the_defaults(profiled):
    _, env = await started(profiled, spec(user_options={"profile": "minimal-environment"}))
    assert ("SIZE" in env, env["JUPYTERHUB_DEFAULT_URL"]) == (False, "/tree")


@pytest.mark.parametrize(
    "options",
    [
        {"profile": "nope"},
        {"profile": "big", "tool": "nope"},
        {"profile": "big", "tool": "unlisted-choice", "tool--unlisted-choice": "no slash"},
    ],
)
async def test_a_choice_that_does_not_exist_is_refused(profiled, options):
    spawner = await profiled.open(spec(user_options=options))
    with pytest.raises(SpawnFailed) as caught:
        await spawner.start()
    assert caught.value.status == 400


def test_a_free_choice_is_filled_in():
    chosen = {"profile": "big", "tool": "unlisted-choice", "tool--unlisted-choice": "/mine"}
    assert list(profiles.overrides(PROFILES, chosen))[1] == {"default_url": "/mine"}


async def test_traits_of_pods_are_said_once_and_do_no_harm(caplog):
    spawner = LocalSpawner(profile_list=[{"display_name": "x", "kubespawner_override": {"image_x": 1, "port": "no"}}])
    await spawner._apply_profile({})
    await spawner._apply_profile({})
    assert len([record for record in caplog.records if "image_x" in record.message]) == 1
    assert spawner.port == 0


async def test_a_second_start_begins_from_the_configuration_again():
    offered = [
        {"display_name": "a", "kubespawner_override": {"default_url": "/a", "environment": {"A": "1"}}},
        {"display_name": "b"},
    ]
    spawner = LocalSpawner(profile_list=offered, environment={"B": "1"})
    await spawner._apply_profile({"profile": "a"})
    assert (spawner.default_url, spawner.environment) == ("/a", {"A": "1", "B": "1"})
    await spawner._apply_profile({"profile": "b"})
    assert (spawner.default_url, spawner.environment) == ("", {"B": "1"})
