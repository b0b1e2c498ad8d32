"""A file that is wrong is refused with every reason at once; one that is old is translated."""

from pathlib import Path

import pytest

from perijove.config import ConfigError, NoteKind, load
from perijove.config.schema.settings import Settings


@pytest.fixture
def written(tmp_path):
    def write(text: str, name: str = "config.yaml") -> Path:
        path = tmp_path / name
        path.write_text(text)
        return path

    return write


@pytest.fixture
def problems(written):
    def find(text: str):
        with pytest.raises(ConfigError) as caught:
            load([written(text)])
        return caught.value.problems

    return find


def notes(loaded, kind: NoteKind) -> str:
    return "\n".join(str(note) for note in loaded.notes if note.kind is kind)


# -- problems ------------------------------------------------------------------------------------


def test_all_problems_come_at_once_in_the_order_of_the_file(problems):
    found = problems("hub:\n  concurentSpawnLimit: 5\n  baseUrl: 7\ncul:\n  enabled: true\nsingleuser:\n  memory: 1G\n")
    assert [(problem.position.line, problem.path[-1]) for problem in found] == [
        (2, "concurentSpawnLimit"),
        (3, "baseUrl"),
        (4, "cul"),
        (7, "memory"),
    ]


def test_a_problem_says_where_what_was_expected_and_what_to_write(written):
    file = written("hub:\n  concurentSpawnLimit: 5\n")
    with pytest.raises(ConfigError) as caught:
        load([file])
    assert f"{file}:2:3  hub.concurentSpawnLimit" in str(caught.value)
    assert "2 |   concurentSpawnLimit: 5" in str(caught.value)
    assert "did you mean `concurrentSpawnLimit`?" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "remedy"),
    [
        ("singeluser: {}", "`singleuser`"),
        ("hub: {allow_named_servers: true}", "`allowNamedServers`"),
        ("hub: {extraconfig: {}}", "`extraConfig`"),
        ("hub: {prePuller: {}}", "top level"),
        ("singleuser: {matchNodePurpose: prefer}", "`scheduling."),
        ("singleuser: {privileged: true}", "hub.config.KubeSpawner.privileged"),
        ("profileList: []", "`singleuser.profileList`"),
        ("hub: {config: {kubeSpawner: {cmd: x}}}", "capital letter"),
        ("proxy: {https: {type: letsencript}}", "`letsencrypt`"),
        ("singleuser: {image: {name: a, tag: 1.10}}", '"1.10"'),
        ("singleuser: {cpu: {limit: 500m}}", "0.5"),
        ('singleuser: {cpu: {limit: "2"}}', "without quotes"),
        ("singleuser: {memory: {limit: 2Gi}}", "2G"),
        ('cull: {enabled: "true"}', "remove the quotes"),
        ("hub: {templatePaths: /x}", "[/x]"),
        ("cull:", "remove this line"),
        ("hub: {extraConfig: {a: [1]}}", "|"),
        ("hub: {extraEnv: [{value: 1}]}", "- name"),
    ],
)
def test_a_mistake_is_answered_with_what_to_write_instead(problems, text, remedy):
    (problem,) = problems(text)
    assert remedy in f"{problem.expected} {problem.remedy}"


def test_a_lost_indentation_is_shown_repaired(problems):
    (problem,) = problems("proxy:\nhttps:\n  enabled: true\n")
    assert problem.path == ("https",)
    assert "proxy:\n  https:" in problem.remedy


def test_a_secret_is_not_quoted_in_a_message(written):
    with pytest.raises(ConfigError) as caught:
        load([written("proxy:\n  secretToken: [hunter2]\nhub:\n  db: {password: 12345678}\n")])
    assert "hunter2" not in str(caught.value)
    assert "12345678" not in str(caught.value)


def test_a_missing_file_is_a_problem_like_any_other(tmp_path):
    with pytest.raises(ConfigError) as caught:
        load([tmp_path / "one.yaml", tmp_path / "two.yaml"])
    assert len(caught.value.problems) == 2


def test_a_problem_in_the_second_file_points_there(written):
    one, two = written("hub: {baseUrl: /a}\n", "one.yaml"), written("hub: {baseUrl: 5}\n", "two.yaml")
    with pytest.raises(ConfigError) as caught:
        load([one, two])
    assert caught.value.problems[0].position.file == two


def test_problems_are_data_too(problems):
    (problem,) = problems("hub: {baseURL: /x}")
    assert problem.as_dict()["path"] == "hub.baseURL"
    assert problem.as_dict()["line"] == 1


# -- merging and shapes --------------------------------------------------------------------------


def test_later_files_win_and_null_deletes_a_default(written):
    one = written("singleuser:\n  memory: {limit: 2G}\n  extraLabels: {a: b}\n", "one.yaml")
    two = written(
        "singleuser:\n  memory: {guarantee: null}\n  extraLabels: {hub.jupyter.org/network-access-hub: null}\n",
        "two.yaml",
    )
    loaded = load([one, two])
    assert (loaded.settings.singleuser.memory.limit, loaded.settings.singleuser.memory.guarantee) == ("2G", None)
    assert loaded.settings.singleuser.extra_labels == {"a": "b"}
    assert "guarantee" not in loaded.values["singleuser"]["memory"]


def test_free_maps_merge_with_their_defaults(written):
    loaded = load([written("hub: {config: {Authenticator: {admin_users: [a]}}}")])
    assert loaded.settings.hub.config["JupyterHub"]["authenticator_class"] == "dummy"
    assert loaded.settings.hub.config["Authenticator"] == {"admin_users": ["a"]}


@pytest.mark.parametrize(
    "text",
    [
        "{A: x, B: 1, C: true, D: {valueFrom: {fieldRef: {}}}}",
        "[{name: A, value: x}, {name: B, value: 1}, {name: C, value: true}, {name: D, valueFrom: {fieldRef: {}}}]",
        "{one: {name: A, value: x}, B: 1, C: true, D: {valueFrom: {fieldRef: {}}}}",
    ],
)
def test_an_environment_may_be_a_map_or_a_list(written, text):
    loaded = load([written(f"hub: {{extraEnv: {text}}}")])
    expected = {"A": "x", "B": "1", "C": "true", "D": {"valueFrom": {"fieldRef": {}}}}
    assert loaded.settings.hub.extra_env == expected


@pytest.mark.parametrize(("text", "command"), [("run.sh", ["run.sh"]), ("[a, b]", ["a", "b"]), ("null", None)])
def test_a_command_may_be_a_string_or_a_list(written, text, command):
    assert load([written(f"singleuser: {{cmd: {text}}}")]).settings.singleuser.cmd == command


@pytest.mark.parametrize(
    ("text", "value"), [("1.5G", "1.5G"), ("512M", "512M"), ("1024", 1024), ('"1024"', 1024), ("1e9", 1e9)]
)
def test_memory_may_be_written_with_a_unit_or_in_bytes(written, text, value):
    assert load([written(f"singleuser: {{memory: {{limit: {text}}}}}")]).settings.singleuser.memory.limit == value


def test_volumes_may_be_a_list_or_a_map(written):
    text = "singleuser: {storage: {extraVolumes: {b: {emptyDir: {}}, a: {emptyDir: {}}}}}"
    names = [volume["name"] for volume in load([written(text)]).settings.singleuser.storage.extra_volumes]
    assert names == ["a", "b"]


def test_services_may_be_a_list_or_a_map(written):
    as_map = load([written("hub: {services: {x: {admin: true}}}")]).settings.hub.services
    as_list = load([written("hub: {services: [{name: x, admin: true}]}")]).settings.hub.services
    assert as_map == as_list == {"x": {"name": "x", "admin": True}}


def test_settings_are_frozen():
    with pytest.raises(ValueError, match="frozen"):
        Settings().hub.base_url = "/x"


def test_keys_without_effect_on_one_machine_are_named_once(written):
    loaded = load(
        [written("ingress: {enabled: true}\nprePuller: {hook: {enabled: false}}\nhub: {pdb: {enabled: true}}")]
    )
    assert notes(loaded, NoteKind.KUBERNETES) == (
        "applies on Kubernetes, not on one machine: hub.pdb, ingress, prePuller"
    )


# -- old spellings -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "path", "value"),
    [
        ("userPods: {nodeAffinity: {matchNodePurpose: require}}",
         ("scheduling", "userPods", "nodeAffinity", "matchNodePurpose"), "require"),
        ("hub: {extraConfigMap: {myString: Hello!}}", ("custom", "myString"), "Hello!"),
        ("singleuser: {imagePullSecret: {enabled: true, registry: r, username: u, password: p}}",
         ("imagePullSecret", "create"), True),
        ("singleuser: {cloudMetadata: {enabled: true}}",
         ("singleuser", "cloudMetadata", "blockWithIptables"), False),
        ("singleuser: {imagePullPolicy: Always}", ("singleuser", "image", "pullPolicy"), "Always"),
        ("singleuser: {image: 'a.b/c:1.2'}", ("singleuser", "image", "tag"), "1.2"),
        ("proxy: {nodeSelector: {a: b}}", ("proxy", "chp", "nodeSelector", "a"), "b"),
        ("proxy: {pdb: {enabled: true}}", ("proxy", "chp", "pdb", "enabled"), True),
        ("hub: {db: {type: postgresql, url: 'postgresql://x/y'}}", ("hub", "db", "type"), "postgres"),
        ("hub: {config: {JupyterHub: {authenticator_class: dummyauthenticator.DummyAuthenticator}}}",
         ("hub", "config", "JupyterHub", "authenticator_class"), "dummy"),
        ("hub: {config: {GitHubOAuthenticator: {github_organization_whitelist: [x]}}}",
         ("hub", "config", "GitHubOAuthenticator", "allowed_organizations"), ["x"]),
    ],
)  # fmt: skip
def test_an_old_spelling_is_translated_with_a_note(written, old, path, value):
    loaded = load([written(old)])
    assert loaded.given.at(path).plain() == value
    found = [note for note in loaded.notes if note.kind is NoteKind.TRANSLATED]
    assert found
    assert found[0].position.line == 1


AUTH = {
    "azuread": (
        "auth: {type: azuread, azuread: {clientId: i, clientSecret: s, tenantId: t, callbackUrl: u}}",
        {
            "JupyterHub": {"authenticator_class": "azuread"},
            "AzureAdOAuthenticator": {
                "client_id": "i", "client_secret": "s", "tenant_id": "t", "oauth_callback_url": "u"
            },
            "Authenticator": {"allow_all": True},
        },
    ),
    "github": (
        ("auth: {type: github, github: {clientId: i, orgWhitelist: [o]}, scopes: [read:org], "
        "admin: {access: true, users: [a]}}"),
        {
            "JupyterHub": {"authenticator_class": "github", "admin_access": True},
            "GitHubOAuthenticator": {"client_id": "i", "allowed_organizations": ["o"]},
            "OAuthenticator": {"scope": ["read:org"]},
            "Authenticator": {"admin_users": ["a"]},
        },
    ),
    "custom": (
        ("auth: {type: custom, custom: {className: a.b.ShibbolethAuthenticator, config: {x: 1}}, "
        "state: {enabled: true, cryptoKey: k}}"),
        {
            "JupyterHub": {"authenticator_class": "a.b.ShibbolethAuthenticator"},
            "ShibbolethAuthenticator": {"x": 1},
            "CryptKeeper": {"keys": ["k"]},
            "Authenticator": {"enable_auth_state": True, "allow_all": True},
        },
    ),
    "ldap": (
        ("auth: {type: ldap, whitelist: {users: [a]}, ldap: {server: {address: h, port: 389}, "
        "dn: {templates: [t], user: {searchBase: b}}, allowedGroups: [g]}}"),
        {
            "JupyterHub": {"authenticator_class": "ldapauthenticator.LDAPAuthenticator"},
            "LDAPAuthenticator": {
                "server_address": "h", "server_port": 389, "bind_dn_template": ["t"],
                "user_search_base": "b", "allowed_groups": ["g"],
            },
            "Authenticator": {"allowed_users": ["a"]},
        },
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", AUTH)
def test_auth_becomes_traits_of_classes(written, kind):
    old, expected = AUTH[kind]
    loaded = load([written(old)])
    assert loaded.given.at(("hub", "config")).plain() == expected
    # Old code may still ask for it by its old name.
    assert loaded.values["auth"]["type"] == kind


def test_an_open_provider_is_not_opened_to_everybody_by_a_translation(written):
    loaded = load([written("auth: {type: github, github: {clientId: i}}")])
    assert loaded.given.at(("hub", "config", "Authenticator")) is None
    assert "allow_all: true" in notes(loaded, NoteKind.TRANSLATED)


def test_an_unknown_auth_type_names_the_known_ones(problems):
    (problem,) = problems("auth: {type: gihub}")
    assert "github" in problem.expected


def test_a_new_spelling_wins_over_the_old_one_beside_it(written):
    loaded = load([written("userPods: {nodeAffinity: {matchNodePurpose: require}}\n"
                           "scheduling: {userPods: {nodeAffinity: {matchNodePurpose: ignore}}}")])  # fmt: skip
    assert loaded.settings.scheduling.user_pods.node_affinity.match_node_purpose == "ignore"


# -- files of others -----------------------------------------------------------------------------

CONFIGS = sorted((Path(__file__).parents[3] / "shared" / "configs").glob("*.yaml"))


@pytest.mark.skipif(not CONFIGS, reason="no directory ../shared/configs with configurations of others")
@pytest.mark.parametrize("file", CONFIGS, ids=lambda path: path.name)
def test_a_configuration_from_the_field_loads(file):
    load([file])


# -- a mounted Secret ----------------------------------------------------------------------------


def test_a_directory_is_a_secret_whose_entries_are_files_and_values(written, tmp_path):
    secret = tmp_path / "secret"
    (secret / "..data").mkdir(parents=True)
    (secret / "values.yaml").write_text("hub: {baseUrl: /a, config: {X: {a: 1, b: 2}}}\n")
    (secret / "hub.config.X.b").write_text("from the entry\n")
    (secret / "hub.db.password").write_text("0123")
    (secret / "hub.config.ConfigurableHTTPProxy.auth_token").write_text("not the proxies' one")
    (secret / "certificate.pem.bak~").write_text("no path")
    hub = load([written("hub: {baseUrl: /b}\n"), secret]).settings.hub
    assert hub.base_url == "/a"
    assert hub.config["X"] == {"a": 1, "b": "from the entry"}
    assert hub.db.password == "0123"
    assert "ConfigurableHTTPProxy" not in hub.config


def test_a_mistake_in_a_mounted_entry_names_it(tmp_path):
    (tmp_path / "hub.concurrentSpawnLimit").write_text("many")
    with pytest.raises(ConfigError) as caught:
        load([tmp_path])
    assert caught.value.problems[0].position.file == tmp_path / "hub.concurrentSpawnLimit"
