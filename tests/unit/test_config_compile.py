"""A configuration becomes options and traits; its code runs as it would in z2jh's own file."""

import os
import sys
import textwrap
from datetime import timedelta
from pathlib import Path

import pytest
from jupyterhub.app import JupyterHub

import z2jh
from perijove.config import ConfigError, NoteKind, compile_config, load
from perijove.config.app_traits import OWN_TRAITS, known_app_traits

COOKIE = "0123456789abcdef" * 4


@pytest.fixture(autouse=True)
def _import_path(monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))


@pytest.fixture
def compiled(tmp_path):
    def run(text: str, *more: str, environment: dict[str, str] | None = None, **options):
        files = []
        for index, content in enumerate([text, *more]):
            files.append(tmp_path / f"config{index or ''}.yaml")
            files[-1].write_text(textwrap.dedent(content))
        return compile_config(load(files), data_dir=tmp_path / "data", environment=environment or {}, **options)

    return run


@pytest.fixture
def problems(compiled):
    def run(text: str, **options):
        with pytest.raises(ConfigError) as caught:
            compiled(text, **options)
        return caught.value.problems

    return run


def notes(result, kind: NoteKind) -> str:
    return "\n".join(str(note) for note in result.notes if note.kind is kind)


# -- without a file ------------------------------------------------------------------------------


def test_without_a_file_the_hub_protects_itself(tmp_path):
    first = compile_config(load([]), data_dir=tmp_path, environment={})
    again = compile_config(load([]), data_dir=tmp_path, environment={})
    assert first.options.authenticator_class == "shared-password"
    assert first.options.public_ip == "127.0.0.1"
    assert first.unprotected == ""
    password = (tmp_path / "admin-password").read_text().strip()
    assert (tmp_path / "admin-password").stat().st_mode & 0o777 == 0o600
    assert (first.new_password, again.new_password) == (password, "")
    section = again.traits.SharedPasswordAuthenticator
    assert section.admin_password == password
    assert section.admin_users == {first.generated_admin}
    assert len(password) >= 32


def test_without_a_file_servers_are_jupyterhubs_own_processes(tmp_path):
    result = compile_config(load([]), data_dir=tmp_path, environment={})
    assert result.options.spawner_class == "localprocess"
    assert result.traits.Spawner.cmd == [str(Path(sys.executable).parent / "jupyterhub-singleuser")]
    assert ("--allow-root" in result.traits.Spawner.get("args", [])) == (os.geteuid() == 0)


def test_a_password_file_that_is_too_short_is_replaced(tmp_path):
    (tmp_path / "admin-password").write_text("short\n")
    assert compile_config(load([]), data_dir=tmp_path, environment={}).new_password


# -- keys of the chart ---------------------------------------------------------------------------


def test_keys_of_the_hub_become_options(compiled):
    options = compiled(f"""
        hub:
          baseUrl: /jupyter
          cookieSecret: {COOKIE}
          allowNamedServers: true
          namedServerLimitPerUser: 3
          activeServerLimit: 40
          concurrentSpawnLimit: 7
          consecutiveFailureLimit: 2
          redirectToServer: false
          shutdownOnLogout: true
          authenticatePrometheus: false
          templatePaths: [/etc/templates]
          templateVars: {{title: Hub}}
          services:
            announcer: {{url: "http://127.0.0.1:9", apiToken: t0ken, oauth_no_confirm: true}}
          loadRoles:
            staff: {{scopes: [list:users], users: [ann]}}
        cull: {{timeout: 60, every: 10, users: true, maxAge: 100}}
        proxy: {{secretToken: proxy-token}}
        debug: {{enabled: true}}
    """).options
    assert options.base_url == "/jupyter/"
    assert options.cookie_secret == bytes.fromhex(COOKIE)
    assert (options.allow_named_servers, options.named_server_limit_per_user) == (True, 3)
    assert (options.active_server_limit, options.concurrent_spawn_limit) == (40, 7)
    assert options.consecutive_failure_limit == 2
    assert (options.redirect_to_server, options.shutdown_on_logout) == (False, True)
    assert options.authenticate_prometheus is False
    assert (options.template_paths, options.template_vars) == (("/etc/templates",), {"title": "Hub"})
    (service,) = options.services
    assert (service.name, service.url, service.api_token) == ("announcer", "http://127.0.0.1:9", "t0ken")
    assert service.oauth_no_confirm
    (role,) = options.load_roles
    assert (role.name, role.scopes, role.users, role.groups) == ("staff", ("list:users",), ("ann",), None)
    assert (options.cull.timeout_seconds, options.cull.every_seconds, options.cull.max_age_seconds) == (60, 10, 100)
    assert (options.cull.enabled, options.cull.users) == (True, True)
    assert (options.proxy_token, options.debug) == ("proxy-token", True)


def test_a_file_brings_the_defaults_of_z2jh(compiled):
    options = compiled("custom: {}").options
    assert options.concurrent_spawn_limit == 64
    assert options.consecutive_failure_limit == 5
    assert options.slow_spawn_timeout_seconds == 0
    assert options.cull.enabled
    assert options.cleanup_servers is False
    assert options.db_url == ""


def test_keys_of_servers_become_traits_of_the_spawner(compiled):
    result = compiled("""
        singleuser:
          startTimeout: 40
          defaultUrl: /lab
          memory: {limit: 1.5G, guarantee: 512M}
          cpu: {limit: 2, guarantee: 0.5}
          extraEnv: {GREETING: hi, COUNT: 3}
          profileList: [{display_name: Small}]
    """)
    spawner = result.traits.Spawner
    assert result.options.spawner_class == "perijove.spawners.local.LocalSpawner"
    assert (spawner.start_timeout, spawner.default_url) == (40, "/lab")
    assert (spawner.mem_limit, spawner.mem_guarantee) == ("1.5G", "512M")
    assert (spawner.cpu_limit, spawner.cpu_guarantee) == (2, 0.5)
    assert spawner.environment == {"GREETING": "hi", "COUNT": "3"}
    assert result.traits.LocalSpawner.profile_list == [{"display_name": "Small"}]


def test_on_kubernetes_servers_are_pods_with_z2jhs_traits(compiled):
    result = compiled(
        """
        singleuser:
          image: {name: a/b, tag: "1"}
          storage: {extraVolumes: {x: {emptyDir: {}}}, extraVolumeMounts: [{name: x, mountPath: /x}]}
          extraTolerations: [{key: gpu}]
        """,
        target="kubernetes",
    )
    pod = result.traits.KubeSpawner
    assert result.options.spawner_class == "kubespawner.KubeSpawner"
    assert (pod.image, pod.start_timeout, pod.mem_guarantee) == ("a/b:1", 300, "1G")
    assert [volume["name"] for volume in pod.volumes] == ["volume-{user_server}", "x"]
    assert [mount["mountPath"] for mount in pod.volume_mounts] == ["/home/jovyan", "/x"]
    assert pod.tolerations[-1] == {"key": "gpu"}
    assert pod.scheduler_name == "jhub-user-scheduler"
    assert pod.common_labels["release"] == "jhub"
    assert result.options.hub_connect_url == "http://hub:8081"
    assert pod.node_affinity_preferred[0]["weight"] == 100
    assert pod.init_containers[0]["name"] == "block-cloud-metadata"
    assert notes(result, NoteKind.KUBERNETES) == ""


def test_files_of_a_pod_are_at_their_mount_path_and_need_no_note(compiled):
    text = "hub: {extraFiles: {a: {mountPath: /etc/a, stringData: x}}}"
    assert "one machine" in notes(compiled(text), NoteKind.INFO)
    assert notes(compiled(text, target="kubernetes"), NoteKind.INFO) == ""


def test_code_and_hub_config_override_the_keys_in_this_order(compiled):
    options = compiled("""
        hub:
          concurrentSpawnLimit: 1
          config: {JupyterHub: {concurrent_spawn_limit: 2, active_server_limit: 2}}
          extraConfig:
            b: c.JupyterHub.active_server_limit = 4
            a: c.JupyterHub.active_server_limit = 3
    """).options
    assert (options.concurrent_spawn_limit, options.active_server_limit) == (2, 4)


@pytest.mark.parametrize("account", [0, 1000])
def test_a_hub_that_runs_as_root_says_what_that_means(compiled, monkeypatch, account):
    monkeypatch.setattr(os, "geteuid", lambda: account)
    assert ("run as root" in notes(compiled("custom: {}"), NoteKind.INFO)) is (account == 0)


def test_a_command_of_an_image_gives_way_to_the_one_of_this_machine(compiled):
    result = compiled("singleuser: {cmd: /opt/lsst/runlab.sh}")
    assert Path(result.traits.Spawner.cmd[0]).name == "jupyterhub-singleuser"
    assert "runlab.sh" in notes(result, NoteKind.KUBERNETES)
    assert compiled(f"singleuser: {{cmd: [{sys.executable}, -V]}}").traits.Spawner.cmd == [sys.executable, "-V"]


def test_a_chosen_spawner_for_pods_keeps_the_command_of_the_image(compiled):
    pods = "config: {JupyterHub: {spawner_class: kubespawner.KubeSpawner}}"
    assert compiled(f"hub: {{{pods}}}").traits.Spawner.cmd == ["jupyterhub-singleuser"]
    result = compiled(f"hub: {{{pods}}}\nsingleuser: {{cmd: null, extraEnv: {{A: {{valueFrom: {{}}}}}}}}")
    assert "cmd" not in result.traits.Spawner
    assert result.traits.Spawner.environment == {"A": {"valueFrom": {}}}


def test_variables_from_secrets_come_from_the_environment_here(compiled):
    text = """
        hub:
          extraEnv:
            TOKEN: {valueFrom: {secretKeyRef: {name: s, key: k}}}
            PLAIN: x
        singleuser: {extraEnv: {POD: {valueFrom: {fieldRef: {}}}, OTHER: why}}
    """
    without, given = compiled(text), compiled(text, environment={"TOKEN": "abc"})
    assert "TOKEN" in notes(without, NoteKind.KUBERNETES)
    assert "TOKEN" not in notes(given, NoteKind.KUBERNETES)
    assert given.environment == {"PLAIN": "x"}
    assert given.traits.Spawner.environment == {"OTHER": "why"}


@pytest.mark.parametrize(
    ("given", "url"),
    [
        ("postgresql://u:p@h:5432/d", "postgresql+asyncpg://u:p@h:5432/d"),
        ("postgres+psycopg2://u@h/d?sslmode=require", "postgresql+asyncpg://u:hush@h/d?sslmode=require"),
        ("mysql+pymysql://u@h/d", "mysql+asyncmy://u:hush@h/d"),
        ("mysql+mysqlconnector://u:p%40@h/d?ssl_ca=/ca.pem", "mysql+asyncmy://u:p%40@h/d?ssl_ca=%2Fca.pem"),
        ("mariadb+mariadbconnector://u@h/d", "mysql+asyncmy://u:hush@h/d"),
        ("sqlite:////var/lib/hub.sqlite", "sqlite+aiosqlite:////var/lib/hub.sqlite"),
    ],
)
def test_a_database_url_is_turned_into_that_of_an_asynchronous_driver(compiled, given, url):
    assert compiled(f"hub: {{db: {{type: other, url: '{given}', password: hush}}}}").options.db_url == url


def test_a_password_that_breaks_the_url_is_not_repeated_in_the_error(problems):
    (problem,) = problems("hub: {db: {type: postgres, url: 'postgresql://u:secret@h:hunter2/d'}}")
    shown = f"{problem} {problem.remedy}"
    assert "hunter2" not in shown
    assert "secret" not in shown
    assert "%40" in str(problem)


def test_nothing_shows_secrets_when_it_is_printed(compiled):
    secret = "5ecre7" * 11
    text = f"""
        hub:
          cookieSecret: {COOKIE}
          db: {{type: postgres, url: "postgresql://u@h/d", password: {secret}}}
          extraEnv: {{TOKEN: {secret}}}
          services: {{a: {{apiToken: {secret}}}}}
          config: {{JupyterHub: {{api_tokens: {{{secret}: ann}}}}, DummyAuthenticator: {{password: {secret}}}}}
        proxy: {{secretToken: {secret}}}
    """
    printed = repr(compiled(text))
    assert secret not in printed
    assert repr(bytes.fromhex(COOKIE)) not in printed


def test_extra_routes_of_the_proxy_are_kept(compiled):
    options = compiled("hub: {config: {Proxy: {extra_routes: {/x/: 'http://h:1'}}}}").options
    assert options.extra_routes == {"/x/": "http://h:1"}


def test_sqlite_memory_is_kept_in_memory(compiled):
    assert compiled("hub: {db: {type: sqlite-memory}}").options.db_url == "sqlite+aiosqlite://"


def test_a_malformed_database_url_is_answered_with_the_corrected_one(problems):
    url = "postpostgres+psycopg2://jupyerhub:jupyterhub@hub-db-postgresql:5432/jupyterhub"
    (problem,) = problems(f"hub:\n  db:\n    type: postgresql\n    url: {url}\n")
    assert problem.position.line == 4
    assert "postgresql+psycopg2://jupyerhub:***@hub-db-postgresql:5432/jupyterhub" in problem.remedy
    assert ":jupyterhub@" not in str(problem)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("hub: {cookieSecret: abc}", "64 hex digits"),
        ("hub: {db: {type: postgres}}", "hub.db.url"),
        ("hub: {config: {JupyterHub: {concurrent_spawn_limit: many}}}", "a whole number"),
        ("hub: {config: {JupyterHub: {services: [{url: x}]}}}", "a name"),
        ("hub: {config: {JupyterHub: {load_roles: [{name: a, scope: []}]}}}", "scope"),
        ("hub: {config: {CryptKeeper: {keys: [short]}}}", "32 bytes"),
        ("proxy: {https: {enabled: true, type: manual}}", "proxy.https.manual.key"),
        ("hub: {extraConfigFiles: [gone.py]}", "No such file"),
        ("hub: {extraFiles: {a: {mountPath: ../x, stringData: text}}}", "absolute path"),
        ("hub: {extraFiles: {a: {mountPath: /x, binaryData: '!'}}}", "base64"),
        ("hub: {extraFiles: {a: {mountPath: /x.ini, data: {}}}}", ".yaml"),
    ],
)
def test_a_value_that_cannot_be_used_is_a_problem_with_a_place(problems, text, message):
    problem = problems(text)[0]
    assert message in f"{problem.message} {problem.expected} {problem.remedy}"
    assert problem.position is not None


def test_a_manual_certificate_goes_to_the_proxy(compiled):
    options = compiled("""
        proxy:
          https:
            enabled: true
            type: manual
            hosts: [hub.example.org]
            manual: {key: KEY, cert: CERT}
    """).options.proxy_options
    assert Path(options["ssl_key"]).read_text() == "KEY"
    assert Path(options["ssl_key"]).stat().st_mode & 0o777 == 0o600
    assert options["hosts"] == ["hub.example.org"]


def test_secrets_are_read_from_the_environment_as_jupyterhub_does(compiled):
    options = compiled(
        "hub: {extraEnv: {JUPYTERHUB_CRYPT_KEY: " + "11" * 32 + ";" + "22" * 32 + "}}",
        environment={"JPY_COOKIE_SECRET": COOKIE, "CONFIGPROXY_AUTH_TOKEN": "tok"},
    ).options
    assert options.crypt_keys == (b"\x11" * 32, b"\x22" * 32)
    assert options.cookie_secret == bytes.fromhex(COOKIE)
    assert options.proxy_token == "tok"


def test_thirty_two_letters_are_a_key_as_they_are(compiled):
    letters = "a-sentence-of-thirty-two-letters"
    options = compiled(f"hub: {{config: {{CryptKeeper: {{keys: [{letters}]}}}}}}").options
    assert options.crypt_keys == (letters.encode(),)


@pytest.mark.parametrize(
    ("config", "open_"),
    [
        ("{JupyterHub: {authenticator_class: dummy}}", True),
        ("{JupyterHub: {authenticator_class: jupyterhub.auth.DummyAuthenticator}, DummyAuthenticator: {password: x}}",
         True),
        ("{JupyterHub: {authenticator_class: pam}}", False),
        ("{JupyterHub: {authenticator_class: 'null'}}", False),
        ("{JupyterHub: {authenticator_class: github}}", False),
    ],
)  # fmt: skip
def test_it_is_known_whether_strangers_get_in(compiled, config, open_):
    assert bool(compiled(f"hub: {{config: {config}}}").unprotected) is open_


# -- traits of the application -------------------------------------------------------------------


def test_an_unknown_trait_of_the_application_is_noted_with_the_nearest_one(compiled):
    result = compiled("hub:\n  extraConfig:\n    a: |\n      x = 1\n      c.JupyterHub.concurent_spawn_limit = 4\n")
    (note,) = [note for note in result.notes if note.kind is NoteKind.UNKNOWN_TRAIT]
    assert "did you mean `concurrent_spawn_limit`" in note.message
    assert note.position.line == 5


def test_every_trait_of_jupyterhubs_application_is_known():
    """A new JupyterHub with a new trait fails here first."""
    own = set(JupyterHub.class_traits(config=True))
    assert own - known_app_traits() == set()
    assert known_app_traits() - own - {"upgrade_db", *OWN_TRAITS} == set()


def test_the_application_is_set_through_its_traits(compiled):
    options = compiled("""
        hub:
          config:
            JupyterHub:
              bind_url: http://0.0.0.0:9000/hubs
              hub_ip: ""
              cookie_max_age_days: 2
              token_expires_in_max_seconds: 60
              load_groups: {red: [ann], blue: {users: [bob], properties: {x: 1}}}
              api_tokens: {abc: ann}
              service_tokens: {def: announcer}
              admin_users: [ann]
              tornado_settings: {headers: {X-A: b}, slow_spawn_timeout: 3, other: 1}
              use_legacy_stopped_server_status_code: true
    """).options
    assert (options.public_ip, options.public_port, options.base_url) == ("0.0.0.0", 9000, "/hubs/")
    assert options.hub_ip == "0.0.0.0"
    assert options.cookie_max_age == timedelta(days=2)
    assert options.token_expires_max == timedelta(seconds=60)
    assert [(group.name, group.users) for group in options.load_groups] == [("red", ("ann",)), ("blue", ("bob",))]
    assert options.api_tokens == {"abc": "ann"}
    assert options.services[0].api_token == "def"
    assert (options.headers, options.slow_spawn_timeout_seconds) == ({"X-A": "b"}, 3)
    assert options.tornado_settings == {"other": 1}
    assert options.stopped_server_status == 503


def test_admins_of_the_application_become_admins_of_the_authenticator(compiled):
    result = compiled("hub: {config: {JupyterHub: {admin_users: [ann]}, Authenticator: {admin_users: [bob]}}}")
    assert set(result.traits.Authenticator.admin_users) == {"ann", "bob"}


# -- z2jh's module -------------------------------------------------------------------------------


def test_the_z2jh_module_answers_from_the_configuration(compiled):
    compiled("hub: {services: {x: {apiToken: t}}}\ncustom: {a: {b: 1}}\nfullnameOverride: my")
    assert z2jh.get_config("custom.a.b") == 1
    assert z2jh.get_config("custom.a.b.c", 5) == 5
    assert z2jh.get_config("hub.concurrentSpawnLimit") == 64
    assert z2jh.get_config("Release.Name")
    assert z2jh.get_secret_value("hub.services.x.apiToken") == "t"
    assert z2jh.get_secret_value("hub.db.password", None) is None
    assert z2jh.get_name("hub") == "my-hub"
    with pytest.raises(KeyError):
        z2jh.get_secret_value("nothing")


def test_a_value_is_set_only_if_there_is_one(compiled):
    compiled("custom: {}")

    class Target:
        pass

    z2jh.set_config_if_not_none(Target, "limit", "hub.concurrentSpawnLimit")
    z2jh.set_config_if_not_none(Target, "other", "hub.activeServerLimit")
    assert (Target.limit, hasattr(Target, "other")) == (64, False)
    assert z2jh.camelCaseify("some_value_x") == "someValueX"


def test_a_trait_that_the_configured_class_does_not_have_is_noted(compiled):
    result = compiled("""
        hub:
          config:
            JupyterHub: {authenticator_class: generic-oauth}
            Authenticator: {enable_auth_state: true, client_id: x, alowed_users: [a]}
            GenericOAuthenticator: {authorise_url: u}
            GitHubOAuthenticator: {anything: 1}
            Spawner: {http_timeout: 3, http_timeuot: 3}
    """)
    found = {note.path[-1]: note.message for note in result.notes if note.kind is NoteKind.UNKNOWN_TRAIT}
    assert set(found) == {"alowed_users", "authorise_url", "http_timeuot"}
    assert "`authorize_url`" in found["authorise_url"]
    assert "`http_timeout`" in found["http_timeuot"]
