"""Files of any age, and in whatever they are wrapped, are taken as they are."""

import pytest

from perijove.config import ConfigError, NoteKind, load
from perijove.config.migrate import migrate
from perijove.deploy.release import GeneratedSecrets, Release
from perijove.deploy.render import render


@pytest.fixture
def written(tmp_path):
    def write(text: str, name: str = "config.yaml"):
        file = tmp_path / name
        file.write_text(text)
        return file

    return write


@pytest.fixture
def settings(written):
    return lambda text: load([written(text)]).settings


@pytest.fixture
def problem(written):
    def one(text: str):
        with pytest.raises(ConfigError) as caught:
            load([written(text)])
        (found,) = caught.value.problems
        return found

    return one


# One key in each spelling that charts from 0.3 to 0.9 had.
OLD = """\
token: {proxy: e734c6d0d526140a7de392cf67ec7bc990625be1e8502da672b829df8ef34e91}
rbac: {enabled: false}
hub:
  cookieSecret: e734c6d0d526140a7de392cf67ec7bc990625be1e8502da672b829df8ef34e91
  publicURL: https://hub.example.org
  uid: 1001
  fsGid: 1002
  extraConfigMap: {colour: red}
  extraConfig: ""
  extraEnv: [{name: A, value: b}]
  image: jupyterhub/k8s-hub:v0.4
  imagePullPolicy: Always
  imagePullSecret: {enabled: true, registry: r.example.org, username: u, password: p, email: a@example.org}
  services: {a: {apiToken: x, admin: true}}
  db: {upgrade: true}
proxy:
  # A comment of somebody's.
  nginx: {proxyBodySize: 64m}
  lego: {image: {name: a, tag: b}}
  chp: {cmd: [configurable-http-proxy]}
  nodeSelector: {disk: fast}
  pdb: {enabled: false}
  networkPolicy: {enabled: false}
  https: {hosts: [hub.example.org], letsencrypt: {contactEmail: a@example.org}}
auth:
  type: google
  google: {clientId: a, clientSecret: b, hostedDomain: example.org}
  admin: {access: false, users: [root]}
  state: {enabled: true, cryptoKey: e734c6d0d526140a7de392cf67ec7bc990625be1e8502da672b829df8ef34e91}
singleuser:
  image: jupyter/scipy:abc
  imagePullPolicy: Always
  imagePullSecret: {enabled: false, registry: r}
  storage: {type: dynamic, class: gold}
  schedulerStrategy: pack
  cloudMetadata: {enabled: true, ip: 169.254.169.254}
  workingDir: /home/jovyan/work
scheduling: {userScheduler: {policy: {kind: Policy}}}
prePuller:
  enabled: false
  extraImages: [{name: a, tag: "1"}]
cull: {podCuller: {image: {name: a, tag: b}}}
debug:
"""


def test_the_spellings_of_old_charts_mean_what_they_meant(settings):
    new = settings(OLD)
    assert new.proxy.secret_token.startswith("e734")
    assert new.rbac.create is False
    assert new.hub.config["JupyterHub"]["public_url"] == "https://hub.example.org"
    assert new.hub.container_security_context["runAsUser"] == 1001
    assert new.hub.pod_security_context["fsGroup"] == 1002
    assert new.custom == {"colour": "red"}
    assert new.hub.extra_config == {}
    assert (new.hub.image.name, new.hub.image.tag, new.hub.image.pull_policy) == (
        "jupyterhub/k8s-hub", "v0.4", "Always",
    )  # fmt: skip
    assert (new.image_pull_secret.create, new.image_pull_secret.registry) == (True, "r.example.org")
    assert new.proxy.chp.node_selector == {"disk": "fast"}
    assert (new.proxy.chp.pdb.enabled, new.proxy.chp.network_policy.enabled) == (False, False)
    assert new.proxy.https.enabled is True
    assert new.hub.config["GoogleOAuthenticator"]["hosted_domain"] == ["example.org"]
    assert new.hub.config["Authenticator"] == {
        "admin_users": ["root"], "allow_all": True, "enable_auth_state": True,
    }  # fmt: skip
    assert (new.singleuser.image.name, new.singleuser.image.pull_policy) == ("jupyter/scipy", "Always")
    assert new.singleuser.storage.dynamic.storage_class == "gold"
    assert new.singleuser.cloud_metadata.block_with_iptables is False
    assert new.hub.config["KubeSpawner"] == {"working_dir": "/home/jovyan/work"}
    assert new.pre_puller.hook.enabled is False
    assert [image.name for image in new.pre_puller.extra_images.values()] == ["a"]


# What charts before 0.5 called otherwise still.
OLDEST = """\
version: v0.4
hub:
  rbac: {enabled: false}
  whitelist: {users: [ana]}
proxy:
  service: {type: NodePort, nodePort: 30080}
  image: {name: a, tag: b}
  imagePullPolicy: Always
  cmd: [configurable-http-proxy]
ingress: {enabled: false, https: {enabled: true, type: kube-lego}}
auth: {type: github, github: {org_whitelist: [jupyter]}}
admin: {access: true, users: [root]}
singleuser: {storage: {type: hostPath}}
prePuller: {image: {name: a, tag: b}}
"""


def test_the_spellings_of_the_first_charts_mean_what_they_meant(settings):
    new = settings(OLDEST)
    assert new.rbac.create is False
    assert new.hub.config["Authenticator"] == {"allowed_users": ["ana"], "admin_users": ["root"]}
    assert new.hub.config["GitHubOAuthenticator"] == {"allowed_organizations": ["jupyter"]}
    assert new.hub.config["JupyterHub"] == {"admin_access": True, "authenticator_class": "github"}
    assert new.proxy.service.node_ports.http == 30080
    assert new.proxy.chp.image.pull_policy == "Always"
    assert new.singleuser.storage.type == "none"


def test_who_may_come_in_is_heeded_without_auth_too(settings):
    new = settings("hub: {whitelist: {users: [ana]}}\nadmin: {users: [root]}")
    assert new.hub.config["Authenticator"] == {"allowed_users": ["ana"], "admin_users": ["root"]}


def test_identity_providers_once_listed_say_where_names_come_from(settings):
    new = settings("auth: {type: cilogon, cilogon: {idpWhitelist: [https://a, https://b], usernameClaim: email}}")
    derived = {"username_derivation": {"username_claim": "email"}}
    assert new.hub.config["CILogonOAuthenticator"]["allowed_idps"] == {"https://a": derived, "https://b": derived}


def test_a_trait_that_its_class_has_lost_is_left_out(written):
    loaded = load([written("hub: {config: {GenericOAuthenticator: {userdata_method: GET, client_id: a}}}")])
    assert loaded.settings.hub.config["GenericOAuthenticator"] == {"client_id": "a"}


def test_the_notes_on_an_old_file_stand_in_its_order(written):
    lines = [note.position.line for note in load([written(OLD)]).notes if note.position]
    assert lines == sorted(lines)


def test_an_old_file_is_migrated_into_one_with_nothing_to_say_about_and_the_same_manifests(written):
    migrated = migrate(OLD, written(OLD)).text
    assert "# A comment of somebody's." in migrated
    before, after = load([written(OLD)]), load([written(migrated, "new.yaml")])
    assert [note for note in after.notes if note.kind is not NoteKind.KUBERNETES] == []
    assert _manifests(before) == _manifests(after)


SECRETS = GeneratedSecrets.generate()


def _manifests(loaded):
    """Without the Secret that holds the file itself, and what is computed of it."""
    found = render(loaded, Release(name="jhub", namespace="jhub"), SECRETS).manifests
    return [_without_hash(one) for one in found if one["kind"] != "Secret"]


def _without_hash(value):
    match value:
        case dict():
            return {key: _without_hash(inner) for key, inner in value.items() if key != "perijove.io/config-hash"}
        case list():
            return [_without_hash(inner) for inner in value]
    return value


def test_keys_that_hold_nothing_are_not_worth_a_note(written):
    text = "auth: {dummy: {password: }, ldap: {dn: {search: {}}}, whitelist: {users: }}\nhub: {extraConfigMap: {}}\n"
    assert load([written(text)]).notes == ()


def test_both_pull_secrets_of_old_charts_become_one(written):
    one = "{enabled: true, registry: %s, username: u, password: p}"
    text = f"hub: {{imagePullSecret: {one % 'a'}}}\nsingleuser: {{imagePullSecret: {one % 'b'}}}\n"
    loaded = load([written(text)])
    assert loaded.settings.image_pull_secret.registry == "b"
    assert any("`hub.imagePullSecret` is left out" in note.message for note in loaded.notes)


@pytest.mark.parametrize("kind", ["manual", "secret", "offload"])
def test_https_of_old_charts_was_on_without_saying_so(settings, kind):
    assert settings(f"auth: {{type: dummy}}\nproxy: {{https: {{type: {kind}}}}}").proxy.https.enabled is True
    assert settings(f"proxy: {{https: {{type: {kind}}}}}").proxy.https.enabled is False


# -- what charts without a schema took -----------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("auth: {type: dummy}\nhub: {prePuller: {enabled: false}}", "`hub.prePuller` is left out"),
        ("auth: {type: dummy}\ncreateNamespace: true", "`createNamespace` is left out"),
        ("hub: {config: {singleuser: {cpu: {limit: 1}}}}", "as `singleuser:` without indentation"),
    ],
)
def test_what_a_chart_without_a_schema_took_unread_is_left_out_with_a_note(written, text, words):
    (note,) = [note for note in load([written(text)]).notes if note.kind is NoteKind.UNUSED]
    assert words in note.message
    assert note.position is not None


def test_several_sections_among_the_classes_are_all_left_out(written):
    loaded = load([written("hub: {config: {singleuser: {uid: 1}, scheduling: {userScheduler: {enabled: false}}}}")])
    unused = [note.message for note in loaded.notes if note.kind is NoteKind.UNUSED]
    assert sorted(words.split("`")[1] for words in unused) == ["hub.config.scheduling", "hub.config.singleuser"]


def test_an_image_as_other_charts_have_it_is_told_to_be_one_name(written):
    with pytest.raises(ConfigError) as raised:
        load([written("singleuser: {image: {registry: docker.io, repository: jupyter/base-notebook}}")])
    assert str(raised.value).count("registry, repository and name are one here") == 2


@pytest.mark.parametrize("text", ["auth: {type: dummy}\nproxy:\n", "hub:\n  db:\n", "singleuser: {lifecycleHooks: }"])
def test_an_empty_section_has_its_defaults(written, text):
    (note,) = [note for note in load([written(text)]).notes if note.kind is NoteKind.INFO]
    assert "is empty, so its defaults are used" in note.message


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("auth: {type: dummy}\nhub: {extraConfg: {}}", "did you mean `extraConfig`?"),
        ("auth: {type: dummy}\nproxy:\nhttps: {enabled: true}", "it belongs under `proxy`"),
        ("hub: {prePuller: {enabled: false}}", "it belongs at the top level"),
    ],
)
def test_a_misspelt_key_is_an_error_at_any_age_and_a_misplaced_one_where_charts_had_a_schema(problem, text, words):
    assert words in problem(text).remedy


# -- wrapped -------------------------------------------------------------------------------------

INNER = "hub: {baseUrl: /inner}"


@pytest.mark.parametrize(
    "text",
    [
        f"config: {{BinderHub: {{a: 1}}}}\ningress: {{enabled: true}}\njupyterhub: {{{INNER}}}",
        f"basehub: {{custom: {{}}, jupyterhub: {{{INNER}}}}}\ndask-gateway: {{}}",
        f"z2jh: {{{INNER}, singleuser: {{}}}}",
        f"apiVersion: v2\nkind: HelmRelease\nspec: {{values: {{{INNER}}}}}",
        f"apiVersion: v2\nkind: HelmRelease\nspec: {{values: {{jupyterhub: {{{INNER}}}}}}}",
    ],
)
def test_values_below_the_name_of_a_chart_are_taken_out_with_a_note(written, text):
    loaded = load([written(text)])
    assert loaded.settings.hub.base_url == "/inner"
    assert any("is used" in note.message and note.position for note in loaded.notes)


def test_a_wrapped_file_goes_with_one_that_is_not(written):
    plain, wrapped = written("hub: {baseUrl: /a}"), written("jupyterhub: {hub: {baseUrl: /b}}", "more.yaml")
    assert load([plain, wrapped]).settings.hub.base_url == "/b"


def test_what_is_around_the_values_survives_a_migration(written):
    text = "# Mine.\nconfig: {a: 1}\njupyterhub:\n  rbac: {enabled: false}\n  hub: {}\n"
    migrated = migrate(text, written(text)).text
    assert migrated == "# Mine.\nconfig: {a: 1}\njupyterhub:\n  rbac: {create: false}\n  hub: {}\n"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: {jupyterhub: {hub: {}}}\nb: {jupyterhub: {hub: {}}}", "several hubs"),
        ("hub: {}\nsops: {mac: x}", "encrypted with SOPS"),
        ("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}", "of kind ConfigMap"),
    ],
)
def test_what_holds_no_values_is_said_in_one_sentence(problem, text, words):
    found = problem(text)
    assert words in found.message
    assert found.remedy


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{{- if .Values.x }}\nhub: {}\n{{- end }}\n", "template"),
        ("hub:\n%{ if x }\n  baseUrl: /\n%{ endif }\n", "template"),
        ("hub:\n<<<<<<< HEAD\n  baseUrl: /a\n=======\n  baseUrl: /b\n>>>>>>> other\n", "merge"),
        ("hub:\n\tbaseUrl: /a\n", "spaces"),
    ],
)
def test_a_file_that_is_no_yaml_is_told_why(problem, text, words):
    assert words in problem(text).remedy


@pytest.mark.parametrize(
    ("content", "words"),
    [(b"\0GITCRYPT\0\x8a\xff", "git-crypt"), ("hub: {}".encode("utf-16"), "UTF-8"), (b"hub: \x8a", "UTF-8")],
)
def test_a_file_that_is_no_text_is_told_so_without_showing_it(tmp_path, content, words):
    file = tmp_path / "config.yaml"
    file.write_bytes(content)
    with pytest.raises(ConfigError, match=words) as caught:
        load([file])
    assert "\0" not in str(caught.value)


def test_a_class_inside_of_the_application_is_the_class_itself(settings):
    """traitlets finds `c.JupyterHub.Authenticator.…`: the authenticator is made by the application."""
    config = settings("""
        hub:
          config:
            JupyterHub:
              authenticator_class: github
              Authenticator: {admin_users: [ada], allowed_users: [bob]}
            Authenticator: {allowed_users: [eve]}
    """).hub.config
    assert "Authenticator" not in config["JupyterHub"]
    assert config["Authenticator"] == {"admin_users": ["ada"], "allowed_users": ["eve"]}
