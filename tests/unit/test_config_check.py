"""A check says everything, with its place, and what authenticator and spawner would be set to."""

import json
import sys
import textwrap
from pathlib import Path

import pytest
from typer.testing import CliRunner

from perijove.cli.main import app
from perijove.config import NoteKind, compile_config, load


@pytest.fixture(autouse=True)
def _import_path(monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))


@pytest.fixture
def config(tmp_path):
    def write(text: str) -> Path:
        file = tmp_path / "config.yaml"
        file.write_text(textwrap.dedent(text))
        return file

    return write


@pytest.fixture
def tried(config, tmp_path):
    def run(text: str, **options):
        given = {"target": "kubernetes", "environment": {}, "trial": True, **options}
        return compile_config(load([config(text)]), data_dir=tmp_path / "data", **given)

    return run


@pytest.fixture
def check(config):
    def run(text: str, *options: str):
        result = CliRunner().invoke(app, ["check", "-f", str(config(text)), *options, "--format", "json"])
        return result.exit_code, json.loads(result.stdout)

    return run


def places(problems) -> dict[str, int]:
    return {problem.path[-1]: problem.position.line for problem in problems}


def missing(result) -> list[tuple[int, str]]:
    return [(note.position.line, note.message) for note in result.notes if note.kind is NoteKind.MISSING]


# -- traits --------------------------------------------------------------------------------------


def test_values_of_the_wrong_kind_are_named_with_the_line_that_sets_them(tried):
    result = tried("""
        hub:
          config:
            JupyterHub: {authenticator_class: github}
            GitHubOAuthenticator:
              allowed_organizations: my-org
              client_id: 5
            KubeSpawner:
              http_timeout: soon
              profile_list: 5
          extraConfig:
            a: |
              c.KubeSpawner.port = "http"
        singleuser:
          memory: {limit: 1.5G}
    """)
    assert places(result.problems) == {
        "allowed_organizations": 6, "client_id": 7, "http_timeout": 9, "profile_list": 10, "port": 13
    }  # fmt: skip
    assert all(problem.expected for problem in result.problems)


def test_an_unknown_trait_is_a_problem_with_a_suggestion(tried):
    result = tried("""
        hub:
          config:
            JupyterHub: {concurent_spawn_limit: 5}
            KubeSpawner: {working_dri: /x}
    """)
    remedies = {problem.path[-1]: problem.remedy for problem in result.problems}
    assert remedies == {
        "concurent_spawn_limit": "did you mean `concurrent_spawn_limit`?",
        "working_dri": "did you mean `working_dir`?",
    }


@pytest.mark.parametrize(
    ("said", "line", "remedy"),
    [
        ("GithubOAuthenticator: {client_id: x}", 3, "did you mean `GitHubOAuthenticator`?"),
        ("KubeSpawnr: {uid: 4}", 3, "did you mean `KubeSpawner`?"),
        ("JupyterHub: {authenticator_class: githb}", 3, "did you mean `github`?"),
    ],
)
def test_a_misspelt_class_is_a_problem_with_a_suggestion(tried, said, line, remedy):
    (problem,) = tried(f"hub:\n  config:\n    {said}\n").problems
    assert (problem.position.line, problem.remedy) == (line, remedy)


def test_a_class_that_is_not_the_configured_one_is_no_mistake(tried):
    config = "{GitHubOAuthenticator: {client_id: x}, BinderSpawner: {a: 1}, JupyterHub: {authenticator_class: gitlab}}"
    assert not tried(f"hub: {{config: {config}}}").problems


def test_each_trait_is_shown_with_its_value_and_its_line(tried):
    result = tried("""
        singleuser:
          memory:
            limit: 2G
          extraEnv: {A: b, DB_PASSWORD: hush}
        hub:
          extraConfig:
            a: |
              async def hook(spawner): ...
              c.Spawner.pre_spawn_hook = hook
    """)
    found = {
        setting.trait: (setting.value, setting.position and setting.position.line) for setting in result.trait_settings
    }
    assert found["mem_limit"] == ("2G", 4)
    assert found["environment"] == ({"A": "b", "DB_PASSWORD": "…"}, 5)
    assert found["pre_spawn_hook"] == ("<function hook>", 10)


def test_secrets_are_not_shown(check):
    _, found = check("""
        hub:
          config:
            JupyterHub: {authenticator_class: github}
            GitHubOAuthenticator: {client_id: id, client_secret: hunter2}
            Spawner: {environment: {DATABASE: "postgresql://u:hunter2@h/d"}}
    """)
    values = {trait["name"]: trait["value"] for trait in found["traits"]}
    assert values["GitHubOAuthenticator.client_id"] == "id"
    assert "hunter2" not in json.dumps(found)


def test_old_names_of_kubespawners_traits_in_code_are_translated(tried):
    result = tried("""
        hub:
          extraConfig:
            a: |
              c.KubeSpawner.singleuser_extra_pod_config.update({"restartPolicy": "Never"})
              c.KubeSpawner.singleuser_image_spec = "a/b:1"
              c.KubeSpawner.user_storage_class = "fast"
        singleuser: {extraPodConfig: {dnsPolicy: Default}}
    """)
    pod = result.traits.KubeSpawner
    assert pod.extra_pod_config == {"dnsPolicy": "Default", "restartPolicy": "Never"}
    assert (pod.image, pod.storage_class) == ("a/b:1", "fast")
    assert len([note for note in result.notes if note.kind is NoteKind.TRANSLATED]) == 3
    assert not result.problems


# -- what only the cluster has -------------------------------------------------------------------


def test_what_the_hubs_image_has_is_noted_and_the_other_pieces_are_run(tried):
    result = tried("""
        hub:
          extraConfig:
            a: |
              x = 1
              from nowhere_to_be_found import Hook
              c.Spawner.pre_spawn_hook = Hook
            b: c.JupyterHub.active_server_limit = 7
            c: c.Spawner.post_stop_hook = Hook
            d: exec(open("/nowhere/extra.py").read())
    """)
    assert [line for line, _ in missing(result)] == [6, 9, 10]
    assert "nowhere_to_be_found" in missing(result)[0][1]
    assert result.options.active_server_limit == 7


def test_variables_from_secrets_have_stand_ins_in_a_trial(tried):
    text = """
        hub:
          extraEnv:
            CLIENT: {valueFrom: {secretKeyRef: {name: s, key: k}}}
            USERS: {valueFrom: {secretKeyRef: {name: s, key: k}}}
          config: {JupyterHub: {authenticator_class: github}}
          extraConfig:
            a: c.GitHubOAuthenticator.client_id = os.environ["CLIENT"]
            b: |
              import json
              c.Authenticator.allowed_users = set(json.loads(os.environ["USERS"]))
    """
    result = tried(text)
    values = {setting.trait: setting.value for setting in result.trait_settings}
    assert values["client_id"] == "…"
    assert [line for line, _ in missing(result)] == [11]
    assert "CLIENT" not in result.environment


def test_a_mistake_in_code_stays_a_problem(check):
    code, found = check("hub: {extraConfig: {a: c.X.y = undefined}}")
    assert code == 2
    assert "NameError" in found["problems"][0]["message"]


@pytest.mark.parametrize("options", [(), ("--no-run",), ("--target", "kubernetes", "--no-run")])
def test_a_database_without_an_address_is_a_problem_said_once(check, options):
    code, found = check("hub:\n  db:\n    type: postgres\n", *options)
    assert code == 2
    (problem,) = found["problems"]
    assert (problem["path"], problem["line"]) == ("hub.db.url", 2)
    assert "postgresql://user@host" in problem["remedy"]


def test_a_database_without_an_address_may_be_completed_by_code_or_a_secret(tried, config, tmp_path):
    ((_, text),) = missing(tried("hub:\n  existingSecret: own\n  db:\n    type: postgres\n"))
    assert "hub.existingSecret" in text
    code = "hub: {db: {type: other}, extraConfig: {a: 'c.JupyterHub.db_url = \"sqlite:////x.db\"'}}"
    ((_, text),) = missing(tried(code, run_code=False))
    assert "code" in text
    assert tried(code).problems == ()
    assert compile_config(load([config(code)]), data_dir=tmp_path, environment={}).options.db_url


def test_an_address_that_nobody_can_connect_to_is_not_rendered_either(check):
    code, found = check("hub: {db: {type: postgres, url: 'postgers://a@b/c'}}", "--target", "kubernetes")
    assert code == 2
    assert [problem["path"] for problem in found["problems"]] == ["hub.db.url"]


# -- the command ---------------------------------------------------------------------------------


def test_a_note_is_a_problem_when_strict(check):
    text = "singleuser:\n  memory: {limit: 1G}\n  memory: {limit: 2G}\n"
    assert check(text)[0] == 0
    code, found = check(text, "--strict")
    assert code == 2
    assert (found["problems"][0]["line"], found["problems"][0]["column"]) == (3, 3)
    assert "line 2" in found["problems"][0]["message"]


def test_what_cannot_be_rendered_is_found_too(check):
    code, found = check("hub: {replicas: 3}", "--target", "kubernetes")
    assert code == 2
    assert found["problems"][0]["path"] == "hub.replicas"


def test_without_running_code_traits_are_shown_all_the_same(check, tmp_path):
    marker = tmp_path / "ran"
    code, found = check(
        f"hub: {{extraConfig: {{a: 'open(\"{marker}\", \"w\")'}}}}\nsingleuser: {{uid: 7}}", "--no-run",
        "--target", "kubernetes",
    )  # fmt: skip
    assert code == 0
    assert not marker.exists()
    assert any(trait["name"] == "KubeSpawner.uid" and trait["line"] == 2 for trait in found["traits"])


def test_the_text_shows_problems_and_traits(config):
    result = CliRunner().invoke(app, ["check", "-f", str(config("singleuser: {uid: 7}")), "--target", "kubernetes"])
    assert result.exit_code == 0
    assert f"c.KubeSpawner.uid = 7  {config('singleuser: {uid: 7}')}:1:14" in result.stdout
    assert "The configuration is good." in result.stdout


# -- files of others -----------------------------------------------------------------------------

CONFIGS = sorted((Path(__file__).parents[3] / "shared" / "configs").glob("*.yaml"))
# z2jh's own schema refuses these too.
FAULTY = {"17", "23", "33"}
STARTS_PROCESSES = ("subprocess", "os.system")


@pytest.mark.skipif(not CONFIGS, reason="no directory ../shared/configs with configurations of others")
@pytest.mark.parametrize("file", [file for file in CONFIGS if file.name[:2] not in FAULTY], ids=lambda path: path.name)
def test_a_configuration_from_the_field_compiles_for_the_cluster(file, tmp_path):
    harmless = not any(word in file.read_text() for word in STARTS_PROCESSES)
    result = compile_config(
        load([file]), data_dir=tmp_path, environment={}, target="kubernetes", trial=True, run_code=harmless
    )
    assert result.trait_settings
    assert all(problem.position for problem in result.problems)
    assert all(note.position for note in result.notes if note.kind is NoteKind.MISSING)


def test_an_authenticator_that_lacks_a_package_here_is_not_taken_for_a_misspelt_one(check, monkeypatch):
    """mediawiki's wants `mwoauth`, which only the hub's image may have."""
    monkeypatch.setitem(sys.modules, "mwoauth", None)
    code, found = check("hub: {config: {JupyterHub: {authenticator_class: mediawiki}}}", "--target", "kubernetes")
    assert (code, found["problems"]) == (0, [])
    assert any("cannot be imported here" in note["message"] for note in found["notes"])
