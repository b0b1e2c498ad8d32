"""Python in a configuration runs as written, and fails with the line it stands on."""

import os
import sys
import textwrap
import traceback
from pathlib import Path

import pytest
from jupyterhub.spawner import LocalProcessSpawner

from perijove.config import ConfigError, NoteKind, compile_config, load


@pytest.fixture(autouse=True)
def _import_path(monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))


@pytest.fixture
def compiled(tmp_path):
    def run(text: str, **options):
        file = tmp_path / "config.yaml"
        file.write_text(textwrap.dedent(text))
        return compile_config(load([file]), data_dir=tmp_path / "data", environment={}, **options)

    return run


@pytest.fixture
def code(compiled):
    def run(code: str, **options):
        return compiled("hub:\n  extraConfig:\n    a: |\n" + textwrap.indent(textwrap.dedent(code), " " * 6), **options)

    return run


# -- c -------------------------------------------------------------------------------------------


def test_containers_take_every_operation_people_use(code):
    result = code("""
        c.Spawner.environment += {"A": "1"}
        c.Spawner.environment.setdefault("B", "2")
        c.Spawner.environment.update({"C": "3"})
        c.Spawner.environment["D"] = "4"
        c.Spawner.args.append("--x")
        c.Spawner.args += ["--y"]
        c.JupyterHub.template_paths.insert(0, "/etc/jupyterhub/templates")
        c.JupyterHub.template_vars.setdefault("title", "Hub")
        c.JupyterHub.services.append({"name": "one"})
        c.JupyterHub.services += [{"name": "two"}]
        c.JupyterHub.load_roles.append({"name": "r", "scopes": ["self"]})
        c.JupyterHub.tornado_settings.setdefault("headers", {})["X-A"] = "b"
        c.Authenticator.admin_users.add("ann")
        c.Authenticator.admin_users |= {"bob"}
        c.KubeSpawner.volumes.append({"name": "v"})
        c.KubeSpawner.extra_pod_config.update({"restartPolicy": "Never"})
        c.KubeSpawner.singleuser_extra_pod_config.update({"restartPolicy": "Never"})
        c.SomePlugin.things += {"x": 1}
        c.SomePlugin.things.setdefault("y", 2)
        c.SomePlugin.others += [1]
    """)
    assert result.traits.Spawner.environment == {"A": "1", "B": "2", "C": "3", "D": "4"}
    assert result.traits.Spawner.args[-2:] == ["--x", "--y"]
    assert result.options.template_paths == ("/etc/jupyterhub/templates",)
    assert [service.name for service in result.options.services] == ["one", "two"]
    assert result.options.headers == {"X-A": "b"}
    assert result.options.slow_spawn_timeout_seconds == 0
    assert result.traits.Authenticator.admin_users == {"ann", "bob"}
    assert result.traits.SomePlugin.things.get_value({}) == {"x": 1, "y": 2}
    assert result.traits.SomePlugin.others.get_value([0]) == [0, 1]
    assert type(result.traits.Spawner.environment) is dict


def test_what_was_only_looked_at_is_not_set(code):
    result = code("""
        if c.Spawner.group_overrides or c.JupyterHub.load_groups:
            pass
        c.Spawner.env_keep
    """)
    assert "group_overrides" not in result.traits.Spawner
    assert "env_keep" not in result.traits.Spawner


def test_a_default_of_a_plugin_is_extended_and_not_replaced(code):
    result = code('c.Spawner.env_keep += ["EXTRA"]\nc.LocalProcessSpawner.env_keep.append("MORE")')
    spawner = LocalProcessSpawner(config=result.traits)
    assert {"PATH", "MORE"} <= set(spawner.env_keep)


def test_environment_of_servers_is_one_under_both_classes(compiled):
    result = compiled("""
        singleuser: {extraEnv: {A: "1"}}
        hub:
          extraConfig:
            a: |
              c.KubeSpawner.environment["B"] = "2"
              c.Spawner.environment["C"] = "3"
    """)
    assert result.traits.Spawner.environment == {"A": "1", "B": "2", "C": "3"}


def test_a_replaced_environment_keeps_what_the_chart_key_said(compiled):
    result = compiled("""
        singleuser: {extraEnv: {A: "1", B: "1"}}
        hub: {extraConfig: {a: 'c.Spawner.environment = {"B": "2"}'}}
    """)
    assert result.traits.Spawner.environment == {"A": "1", "B": "2"}


def test_settings_of_pods_reach_the_local_spawner_where_they_can(code):
    result = code("""
        c.KubeSpawner.start_timeout = 7
        c.KubeSpawner.profile_list = [{"display_name": "x"}]
        c.KubeSpawner.image = "a/b"
    """)
    assert result.traits.LocalSpawner.start_timeout == 7
    assert result.traits.LocalSpawner.profile_list == [{"display_name": "x"}]
    (note,) = [note for note in result.notes if "c.KubeSpawner" in note.message]
    assert note.message.endswith("c.KubeSpawner.image")


def test_a_spawner_that_was_chosen_is_kept(code):
    assert code('c.JupyterHub.spawner_class = "simple"').options.spawner_class == "simple"
    chosen = code('c.JupyterHub.spawner_class = "kubespawner.KubeSpawner"').options.spawner_class
    assert chosen == "kubespawner.KubeSpawner"


def test_classes_written_in_the_file_are_used(code):
    result = code("""
        from jupyterhub.auth import Authenticator
        from jupyterhub.spawner import SimpleLocalProcessSpawner

        class MyAuthenticator(Authenticator):
            async def authenticate(self, handler, data):
                return data["username"]

        class MySpawner(SimpleLocalProcessSpawner):
            pass

        c.JupyterHub.authenticator_class = MyAuthenticator
        c.JupyterHub.spawner_class = MySpawner
        c.JupyterHub.extra_handlers = [("/x", MyAuthenticator)]
        c.JupyterHub.named_server_limit_per_user = lambda handler: 3
    """)
    assert result.options.authenticator_class.__name__ == "MyAuthenticator"
    assert result.options.spawner_class.__name__ == "MySpawner"
    assert result.options.named_server_limit_per_user(None) == 3


# -- the namespace -------------------------------------------------------------------------------


def test_the_names_of_z2jhs_own_file_are_there(code):
    result = code("""
        assert get_config() is c
        assert get_config("hub.baseUrl") == "/"
        assert get_config("custom.nope", 3) == 3
        set_config_if_not_none(c.JupyterHub, "active_server_limit", "hub.concurrentSpawnLimit")
        c.JupyterHub.template_vars = {
            "names": [get_name("hub"), get_name_env("hub", "_SERVICE_PORT"), camelCaseify("a_b")],
            "modules": [os.sep, re.escape("."), sys.platform, bool(glob), url_path_join("/a", "b")],
            "secret": get_secret_value("hub.db.password", None),
            "directory": configuration_directory,
            "bytes": a2b_hex("00").hex(),
            "client": AsyncHTTPClient.__name__,
        }
        c.ConfigurableHTTPProxy.should_start = False
    """)
    assert result.options.active_server_limit == 64
    assert result.options.template_vars["names"] == ["hub", "8081", "aB"]


def test_pieces_share_one_namespace_with_each_other_and_with_files(compiled, tmp_path):
    (tmp_path / "more.py").write_text("c.JupyterHub.active_server_limit = number + len(tool.NAME)\n")
    (tmp_path / "tool.py").write_text('NAME = "abc"\n')
    (tmp_path / "sub.py").write_text("c = get_config()\nc.JupyterHub.concurrent_spawn_limit = 9\nnumber = 0\n")
    result = compiled("""
        hub:
          extraConfig:
            2-uses: number += 1
            1-sets: |
              import tool
              number = 1
              load_subconfig("sub.py")
          extraConfigFiles: [more.py]
    """)
    assert result.options.active_server_limit == 5
    assert result.options.concurrent_spawn_limit == 9


def test_functions_of_the_file_see_each_other_and_later_names(code):
    result = code("""
        def outer():
            return inner() + SUFFIX

        def inner():
            return "a"

        SUFFIX = "b"
        c.JupyterHub.default_url = outer()
    """)
    assert result.options.default_url == "ab"


def test_variables_of_the_hub_are_there_while_code_runs_and_handed_on(compiled, monkeypatch):
    monkeypatch.delenv("MADE", raising=False)
    result = compiled("""
        hub:
          extraEnv: {GIVEN: x}
          extraConfig:
            a: os.environ["MADE"] = os.environ["GIVEN"] + "y"
    """)
    assert result.environment == {"GIVEN": "x", "MADE": "xy"}
    assert "MADE" not in os.environ
    assert "GIVEN" not in os.environ


def test_extra_files_are_written_below_the_data_directory(compiled, tmp_path):
    result = compiled("""
        hub:
          templatePaths: [/etc/jupyterhub/templates]
          config: {JupyterHub: {logo_file: /usr/local/share/logo.svg}}
          extraFiles:
            page: {mountPath: /etc/jupyterhub/templates/page.html, stringData: "<p>", mode: 0644}
            logo: {mountPath: /usr/local/share/logo.svg, binaryData: PHN2Zz4=}
            json: {mountPath: /etc/x.json, data: {a: [1]}}
            toml: {mountPath: /etc/x.toml, data: {a: {b: 1}, c: "d"}}
            yaml: {mountPath: /etc/x.yaml, data: {a: 1}}
            code:
              mountPath: /usr/local/etc/jupyterhub/jupyterhub_config.d/a.py
              stringData: c.JupyterHub.active_server_limit = 12
    """)
    files = tmp_path / "data" / "files"
    assert (files / "etc/jupyterhub/templates/page.html").read_text() == "<p>"
    assert (files / "etc/jupyterhub/templates/page.html").stat().st_mode & 0o777 == 0o644
    assert (files / "etc/x.toml").read_text() == '"c" = "d"\n\n["a"]\n"b" = 1\n'
    assert (files / "etc/x.yaml").read_text().strip() == "{a: 1}"
    assert result.options.template_paths == (str(files / "etc/jupyterhub/templates"),)
    assert Path(result.options.logo_file).read_bytes() == b"<svg>"
    assert result.options.active_server_limit == 12
    assert "hub.extraFiles" in "".join(note.message for note in result.notes if note.kind is NoteKind.INFO)


# -- failures ------------------------------------------------------------------------------------


@pytest.fixture
def problem(compiled):
    def run(text: str):
        with pytest.raises(ConfigError) as caught:
            compiled(text)
        (found,) = caught.value.problems
        return found

    return run


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("hub:\n  extraConfig:\n    a: |\n      x = 1\n\n      y = nope\n", 6, "NameError"),
        ("hub:\n  extraConfig:\n    a: |-\n\n      x = 1\n      1/0\n", 6, "ZeroDivisionError"),
        ("hub:\n  extraConfig: |\n    x = 1\n    raise ValueError('no')\n", 4, "ValueError: no"),
        ("hub:\n  extraConfig:\n    a: 1/0\n", 3, "ZeroDivisionError"),
        ("hub:\n  extraConfig:\n    a: |\n      def f():\n        return missing\n      f()\n", 5, "NameError"),
        ("hub:\n  extraConfig:\n    a: |\n      x = (\n      y = 2\n", 4, "not Python"),
        ("hub:\n  extraConfig:\n    a: |\n      import sys\n      sys.exit('stop')\n", 5, "SystemExit"),
        ("hub:\n  extraConfig:\n    a: |\n      import no_such_module\n", 4, "no_such_module"),
    ],
)
def test_a_failure_names_the_line_of_the_yaml_file_and_the_piece(problem, text, line, message):
    found = problem(text)
    assert found.position.file.name == "config.yaml"
    assert found.position.line == line
    assert message in found.message
    assert found.path[:2] == ("hub", "extraConfig")


def test_a_failure_in_a_file_names_that_file(compiled, tmp_path):
    (tmp_path / "more.py").write_text("\n\nboom\n")
    with pytest.raises(ConfigError) as caught:
        compiled("hub: {extraConfigFiles: [more.py]}")
    position = caught.value.problems[0].position
    assert (position.file.name, position.line) == ("more.py", 3)


def test_all_syntax_errors_come_at_once_and_nothing_runs(compiled, tmp_path):
    marker = tmp_path / "ran"
    with pytest.raises(ConfigError) as caught:
        compiled(f"""
            hub:
              extraConfig:
                a: open({str(marker)!r}, "w").close()
                b: "x ="
                c: "y ="
        """)
    assert len(caught.value.problems) == 2
    assert not marker.exists()


def test_a_missing_package_is_answered_with_the_command_that_installs_it(problem):
    found = problem("hub:\n  extraConfig:\n    a: import kubespawner.nothing_like_it\n")
    assert "pip install jupyterhub-kubespawner" in found.remedy


def test_a_wrong_value_set_by_code_names_its_line(problem):
    found = problem("hub:\n  extraConfig:\n    a: |\n      x = 1\n      c.JupyterHub.hub_port = 'abc'\n")
    assert (found.position.line, found.expected) == (5, "a whole number")


def test_a_traceback_of_a_hook_shows_the_line_of_the_file(code):
    result = code("def hook(spawner):\n    raise RuntimeError('late')\nc.Spawner.pre_spawn_hook = hook\n")
    try:
        result.traits.Spawner.pre_spawn_hook(None)
    except RuntimeError as exc:
        frame = traceback.extract_tb(exc.__traceback__)[-1]
    assert (Path(frame.filename).name, frame.lineno) == ("config.yaml", 5)
    assert frame.line == "raise RuntimeError('late')"
