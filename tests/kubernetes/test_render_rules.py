"""The decisions that a rendering takes, one promise each."""

import base64
import re
from pathlib import Path

import pytest

from perijove.config import ConfigError, NoteKind, load
from perijove.deploy.release import AUTH_TOKEN, COOKIE_SECRET, CRYPT_KEYS, GeneratedSecrets, Release, release_name_of
from perijove.deploy.render import APPLY, CONFIG_HASH, render
from perijove.deploy.render.scope import dns_label

SECRETS = GeneratedSecrets(cookie_secret="0" * 64, auth_token="1" * 64, crypt_keys="2" * 64)
POSTGRES = "hub: {db: {type: postgres, url: 'postgresql://hub@db/hub'}}\n"


@pytest.fixture
def rendered(tmp_path):
    def make(text: str = "", release: Release | None = None, secrets: GeneratedSecrets = SECRETS):
        config = tmp_path / "config.yaml"
        config.write_text(text)
        result = render(load([config]), release or Release(namespace="jhub"), secrets)
        found = {(manifest["kind"], manifest["metadata"]["name"]): manifest for manifest in result.manifests}
        return found, result.notes

    return make


@pytest.fixture
def refused(rendered):
    def make(text: str):
        with pytest.raises(ConfigError) as caught:
            rendered(text)
        return caught.value.problems

    return make


def pod(found, name: str, kind: str = "Deployment"):
    return found[kind, name]["spec"]["template"]["spec"]


def arguments(found, name: str) -> list[str]:
    return pod(found, name)["containers"][0]["args"]


def config_hash(found, name: str) -> str:
    return found["Deployment", name]["spec"]["template"]["metadata"]["annotations"][CONFIG_HASH]


def entry(found, name: str) -> str:
    return base64.b64decode(found["Secret", "hub"]["data"][name]).decode()


# -- how many, and how they are replaced ---------------------------------------------------------


def test_one_hub_on_sqlite_is_stopped_before_its_successor_starts(rendered):
    found, _ = rendered()
    spec = found["Deployment", "hub"]["spec"]
    assert (spec["replicas"], spec["strategy"]) == (1, {"type": "Recreate"})
    assert ("PodDisruptionBudget", "hub") not in found


@pytest.mark.parametrize(
    "text",
    [
        POSTGRES,
        "hub: {db: {type: mysql, url: 'mysql+pymysql://hub@db/hub'}}",
        "hub: {db: {type: other, url: 'postgresql://hub@db/hub'}}",
        "hub: {config: {JupyterHub: {db_url: 'postgresql://hub@db/hub'}}}",
    ],
)
def test_two_hubs_on_a_database_server_replace_each_other_one_by_one(rendered, text):
    found, _ = rendered(text)
    spec = found["Deployment", "hub"]["spec"]
    assert spec["replicas"] == 2
    assert spec["strategy"] == {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}
    assert ("PodDisruptionBudget", "hub") in found
    assert spec["template"]["spec"]["topologySpreadConstraints"]
    assert pod(found, "hub")["containers"][0]["readinessProbe"]["failureThreshold"] == 3


@pytest.mark.parametrize("database", ["{}", "{type: sqlite-memory}", "{type: other, url: 'sqlite:////mnt/hub.sqlite'}"])
def test_several_hubs_on_a_file_are_refused_with_a_way_out(refused, database):
    (problem,) = refused(f"hub: {{replicas: 2, db: {database}}}")
    assert problem.position.line == 1
    assert "postgres" in problem.remedy


def test_a_claim_is_made_for_sqlite_alone(rendered):
    assert ("PersistentVolumeClaim", "hub-db-dir") in rendered()[0]
    for text in (POSTGRES, "hub: {db: {type: sqlite-memory}}"):
        found, _ = rendered(text)
        assert ("PersistentVolumeClaim", "hub-db-dir") not in found
        assert {"name": "perijove-data", "emptyDir": {}} in pod(found, "hub")["volumes"]


def test_a_budget_holds_one_number_the_given_one(rendered):
    found, _ = rendered(POSTGRES + "proxy: {chp: {pdb: {maxUnavailable: 1}}}\n")
    assert found["PodDisruptionBudget", "proxy"]["spec"]["maxUnavailable"] == 1
    assert "minAvailable" not in found["PodDisruptionBudget", "proxy"]["spec"]
    assert found["PodDisruptionBudget", "hub"]["spec"]["minAvailable"] == 1


def test_two_given_numbers_of_a_budget_are_one_and_a_note(rendered):
    found, notes = rendered("proxy: {chp: {pdb: {maxUnavailable: 1, minAvailable: 1}}}")
    assert "minAvailable" not in found["PodDisruptionBudget", "proxy"]["spec"]
    assert "both" in str(notes[0])


# -- secrets and restarts ------------------------------------------------------------------------


def test_what_the_configuration_says_wins_over_what_was_generated(rendered):
    text = """
        hub: {cookieSecret: "%s", config: {CryptKeeper: {keys: [a, b]}}}
        proxy: {secretToken: given}
    """ % ("f" * 64)
    found, _ = rendered(text)
    assert (entry(found, COOKIE_SECRET), entry(found, AUTH_TOKEN), entry(found, CRYPT_KEYS)) == (
        "f" * 64,
        "given",
        "a;b",
    )


def test_generated_values_are_kept_across_runs(rendered):
    first, _ = rendered(secrets=GeneratedSecrets.kept(None))
    kept = GeneratedSecrets.kept(first["Secret", "hub"])
    assert rendered(secrets=kept)[0] == first


def test_a_secret_of_an_old_release_is_understood():
    data = {"proxy.token": "dG9rZW4=", "hub.cookie-secret": base64.b64encode(b"a" * 64).decode()}
    kept = GeneratedSecrets.kept({"data": data})
    assert (kept.auth_token, kept.cookie_secret) == ("token", "a" * 64)
    assert re.fullmatch("[0-9a-f]{64}", kept.crypt_keys)


def test_a_cookie_secret_that_cannot_sign_is_made_anew():
    kept = GeneratedSecrets.kept({"data": {COOKIE_SECRET: base64.b64encode(b"not hex").decode()}})
    assert re.fullmatch("[0-9a-f]{64}", kept.cookie_secret)


def test_secrets_are_not_in_a_repr():
    assert "2222" not in repr(SECRETS)


def test_hubs_restart_when_the_configuration_changes_and_proxies_do_not(rendered):
    before, after = rendered()[0], rendered("cull: {timeout: 60}")[0]
    assert config_hash(before, "hub") != config_hash(after, "hub")
    assert config_hash(before, "proxy") == config_hash(after, "proxy")


def test_hub_and_proxies_restart_when_their_token_changes(rendered):
    before, after = rendered()[0], rendered("proxy: {secretToken: other}")[0]
    for name in ("hub", "proxy"):
        assert config_hash(before, name) != config_hash(after, name)


def test_proxies_restart_for_a_certificate_in_the_file(rendered):
    text = "proxy: {https: {enabled: true, type: manual, manual: {key: K, cert: %s}}}"
    assert config_hash(rendered(text % "one")[0], "proxy") != config_hash(rendered(text % "two")[0], "proxy")


# -- what the hub reads --------------------------------------------------------------------------


def test_the_hub_understands_in_its_pod_what_was_said_outside(rendered, tmp_path):
    text = """
        hub:
          extraConfig: |
            c.X.a = 1

            if True:
            \tc.X.b = "ü"
          extraEnv: {YES: "yes", NUMBER: "1e3", TIME: 12:30:45, EMPTY: ""}
          fsGid: 7
        singleuser: {memory: {limit: 1.5G}, cmd: null}
        auth: {type: dummy, dummy: {password: "0123"}}
    """
    outside = load([tmp_path / "config.yaml"]) if (tmp_path / "config.yaml").write_text(text) else None
    found, _ = rendered(text)
    inside = tmp_path / "values.yaml"
    inside.write_text(entry(found, "values.yaml"))
    again = load([inside])
    assert again.settings == outside.settings
    assert again.values == outside.values
    assert "auth.type" in " ".join(str(note) for note in again.notes if note.kind is NoteKind.TRANSLATED)


def test_code_in_files_beside_the_configuration_goes_along(rendered, tmp_path):
    (tmp_path / "more code.py").write_text("c.X.y = 1\n")
    found, _ = rendered("hub: {extraConfigFiles: ['more code.py']}")
    assert entry(found, "extra-config-0-more-code.py") == "c.X.y = 1\n"
    assert "- extra-config-0-more-code.py" in entry(found, "values.yaml")


def test_missing_code_files_and_impossible_files_are_problems_with_a_place(refused):
    problems = refused(
        """
        hub:
          extraConfigFiles: [gone.py]
          extraFiles:
            a/b: {mountPath: /x, stringData: x}
            c: {mountPath: /x.ini, data: {a: b}}
        """
    )
    assert [problem.path[1:] for problem in problems] == [
        ("extraConfigFiles", 0),
        ("extraFiles", "a/b"),
        ("extraFiles", "c"),
    ]
    assert "a-b" in problems[1].remedy


def test_a_configuration_that_no_secret_can_hold_is_refused(refused):
    (problem,) = refused(f"hub: {{extraConfig: {{a: '# {'x' * 1100000}'}}}}")
    assert "1048576" in problem.message


def test_an_existing_secret_is_read_after_the_configuration(rendered):
    found, _ = rendered("hub: {existingSecret: mine}")
    files = [argument for argument in arguments(found, "hub") if argument.startswith("--file=")]
    mounts = {mount["mountPath"]: mount["name"] for mount in pod(found, "hub")["containers"][0]["volumeMounts"]}
    assert [mounts[str(Path(file.removeprefix("--file=").removesuffix("/values.yaml")))] for file in files] == [
        "secret",
        "existing-secret",
    ]


# -- the hub's pod -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("[jupyterhub, --config, /x/jupyterhub_config.py]", ["perijove", "hub"]),
        ("['pip install jupyterhub-x; jupyterhub --config /x/y.py --upgrade-db']", ["jupyterhub-x; perijove hub"]),
        ("['exec jupyterhub -f=/x/y.py']", ["exec perijove hub"]),
    ],
)
def test_a_command_that_starts_jupyterhub_starts_the_hub(rendered, given, words):
    found, notes = rendered(f"hub: {{args: {given}}}")
    assert " ".join(words) in " ".join(arguments(found, "hub"))
    assert "--file=/etc/perijove/values.yaml" in " ".join(arguments(found, "hub"))
    assert notes[0].path == ("hub", "args")


def test_a_command_of_ones_own_may_write_where_it_wants(rendered):
    assert pod(rendered()[0], "hub")["containers"][0]["securityContext"]["readOnlyRootFilesystem"]
    found, _ = rendered("hub: {args: [sh, -c, 'pip install x; perijove hub']}")
    assert "readOnlyRootFilesystem" not in pod(found, "hub")["containers"][0]["securityContext"]


def test_a_mount_that_is_there_already_is_left_out_with_a_note(rendered):
    found, notes = rendered(
        """
        hub:
          extraVolumes: [{name: own, emptyDir: {}}]
          extraVolumeMounts: [{name: own, mountPath: /etc/perijove/}, {name: own, mountPath: /tmp}]
        """
    )
    mounts = [(mount["name"], mount["mountPath"]) for mount in pod(found, "hub")["containers"][0]["volumeMounts"]]
    assert ("secret", "/etc/perijove") in mounts
    assert ("own", "/tmp") in mounts
    assert "perijove-tmp" not in dict(mounts)
    assert "/etc/perijove" in str(notes[0])


def test_secrets_and_services_are_out_of_reach_unless_code_may_need_them(rendered):
    def resources(text: str) -> set[str]:
        rules = rendered(text)[0]["Role", "hub"]["rules"]
        return {resource for rule in rules for resource in rule["resources"]}

    assert resources("") == {"pods", "pods/log", "persistentvolumeclaims", "events"}
    for text in (
        "hub: {extraConfig: {a: x = 1}}",
        "hub: {config: {JupyterHub: {spawner_class: my.Spawner}}}",
        "hub: {extraFiles: {a: {mountPath: /x/a.py, stringData: x = 1}}}",
        "hub: {config: {KubeSpawner: {services_enabled: true}}}",
    ):
        assert {"secrets", "services"} <= resources(text), text


def test_a_certificate_to_be_fetched_gives_the_hub_a_right_to_that_secret_alone(rendered):
    found, _ = rendered("proxy: {https: {enabled: true, hosts: [a.b], letsencrypt: {contactEmail: a@b}}}")
    (rule,) = (rule for rule in found["Role", "hub"]["rules"] if "secrets" in rule["resources"])
    assert rule["resourceNames"] == ["proxy-public-tls-acme"]
    assert "data" not in found["Secret", "proxy-public-tls-acme"], "applying must not empty it"
    assert pod(found, "proxy")["automountServiceAccountToken"] is False


# -- https ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "ports"),
    [
        ("", {80: "http"}),
        ("{enabled: true, type: offload}", {443: "http", 80: "http"}),
        ("{enabled: true, type: manual, manual: {key: K, cert: C}}", {443: "https", 80: "http"}),
        ("{enabled: true, type: secret, secret: {name: x}}", {443: "https", 80: "http"}),
        ("{enabled: true, hosts: [a.b]}", {443: "https", 80: "http"}),
        ("{enabled: true}", {80: "http"}),
        ("{hosts: [a.b]}", {80: "http"}),
    ],
)
def test_public_ports_are_those_that_https_asks_for(rendered, text, ports):
    found, _ = rendered(f"proxy: {{https: {text}}}" if text else "")
    spec = found["Service", "proxy-public"]["spec"]["ports"]
    assert {port["port"]: port["targetPort"] for port in spec} == ports
    open_ports = {port["name"] for port in pod(found, "proxy")["containers"][0]["ports"]}
    assert set(ports.values()) <= open_ports


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("{enabled: true, type: manual, manual: {cert: C}}", "proxy.https.manual.key"),
        ("{enabled: true, type: secret}", "proxy.https.secret.name"),
    ],
)
def test_a_certificate_without_its_parts_is_refused(refused, text, path):
    (problem,) = refused(f"proxy: {{https: {text}}}")
    assert ".".join(problem.path) == path


def test_https_that_is_off_although_there_are_hosts_is_noted(rendered):
    _, notes = rendered("proxy: {https: {hosts: [a.b], letsencrypt: {contactEmail: a@b}}}")
    assert "proxy.https.enabled" in str(notes[0])


def test_a_public_service_without_a_port_is_refused(refused):
    (problem,) = refused("proxy: {service: {disableHttpPort: true}}")
    assert "proxy.https" in problem.remedy


# -- pullers -------------------------------------------------------------------------------------


def test_pullers_run_again_only_when_there_is_something_to_pull(rendered):
    first, _ = rendered()
    pulled = first["ConfigMap", "hub"]["data"]["checksum_hook-image-puller"]
    release = Release(namespace="jhub", pulled_images=pulled)
    assert ("DaemonSet", "hook-image-puller") in first
    assert ("DaemonSet", "hook-image-puller") not in rendered("", release)[0]
    assert ("DaemonSet", "hook-image-puller") not in rendered("prePuller: {annotations: {a: b}}", release)[0]
    assert ("DaemonSet", "hook-image-puller") in rendered("singleuser: {image: {name: a, tag: b}}", release)[0]
    assert ("DaemonSet", "hook-image-puller") in rendered("prePuller: {hook: {pullOnlyOnChanges: false}}", release)[0]


def test_what_comes_before_everything_else_says_so_and_comes_first(rendered):
    manifests = list(rendered()[0].values())
    before = [manifest["metadata"].get("annotations", {}).get(APPLY) == "before" for manifest in manifests]
    assert before == sorted(before, reverse=True)
    assert sum(before) == 6


def test_each_image_is_pulled_once_and_unknown_ones_not_at_all(rendered):
    found, _ = rendered((Path(__file__).parent / "golden" / "pullers" / "config.yaml").read_text())
    images = [container["image"] for container in pod(found, "continuous-image-puller", "DaemonSet")["initContainers"]]
    assert images == ["quay.io/jupyterhub/k8s-network-tools:4.2.0", "a/b:1", "init:1", "side:1", "c/one:1", "tool:1"]


# -- names ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "release", "hub", "scheduler", "priority"),
    [
        ("", "jhub", "hub", "jhub-user-scheduler", "jhub-default-priority"),
        ("fullnameOverride: lab", "jhub", "lab-hub", "lab-user-scheduler", "lab"),
        ("fullnameOverride: null", "prod", "prod-jupyterhub-hub", "prod-jupyterhub-user-scheduler", "prod-jupyterhub"),
        (
            "fullnameOverride: null",
            "my-jupyterhub",
            "my-jupyterhub-hub",
            "my-jupyterhub-user-scheduler",
            "my-jupyterhub",
        ),
        ("{fullnameOverride: null, nameOverride: x}", "prod", "prod-x-hub", "prod-x-user-scheduler", "prod-x"),
        ("{fullnameOverride: null, nameOverride: ''}", "prod", "prod-hub", "prod-user-scheduler", "prod"),
    ],
)
def test_names_follow_the_overrides(rendered, text, release, hub, scheduler, priority):
    found, _ = rendered(text, Release(namespace="ns", name=release))
    names = found["ConfigMap", hub]["data"]
    assert (names["hub"], names["user-scheduler"], names["priority"]) == (hub, scheduler, priority)
    assert ("Deployment", hub) in found
    assert ("ClusterRole", scheduler) in found


def test_the_app_label_is_the_overridden_name(rendered):
    found, _ = rendered("nameOverride: teaching")
    assert found["Deployment", "hub"]["spec"]["selector"]["matchLabels"]["app"] == "teaching"


def test_the_release_of_an_existing_object_is_known_by_its_labels():
    assert release_name_of({"metadata": {"labels": {"release": "prod"}}}) == "prod"
    assert release_name_of({"metadata": {"labels": {"app.kubernetes.io/instance": "prod"}}}) == "prod"
    assert release_name_of({"metadata": {}}) is None


@pytest.mark.parametrize("name", ["", "Prod", "a b", "x" * 54, "-a"])
def test_names_that_kubernetes_refuses_are_refused_early(name):
    with pytest.raises(ValueError, match="release name"):
        Release(namespace="jhub", name=name)


@pytest.mark.parametrize(
    ("text", "label"),
    [("jupyterhubSSHKey", "jupyterhubsshkey"), ("a_b.c", "a-b-c"), ("___", "unnamed"), ("x" * 70, "x" * 63)],
)
def test_labels_inside_of_a_pod_are_what_kubernetes_takes(text, label):
    assert dns_label(text) == label


# -- keys without effect -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("hub: {image: {name: my/hub, tag: '1'}}", "perijove.image"),
        ("proxy: {chp: {command: [x]}}", "configurable-http-proxy"),
        ("proxy: {traefik: {resources: {a: b}}}", "traefik"),
        ("proxy: {secretSync: {image: {tag: x}}}", "one Secret"),
    ],
)
def test_a_key_without_effect_is_noted_once_with_the_reason(rendered, text, word):
    _, notes = rendered(text)
    (note,) = (note for note in notes if note.kind is NoteKind.UNUSED)
    assert word in note.message
    assert note.position.line == 1


def test_defaults_are_rendered_without_a_word(rendered):
    assert rendered()[1] == ()
