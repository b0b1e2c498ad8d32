"""The hub: how many there are, what their pods are and may do."""

import pytest

from perijove.config import ConfigError

POSTGRES = "hub: {db: {type: postgres, url: 'postgresql://hub@db/hub'}}\n"


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
        "hub: {config: {JupyterHub: {internal_ssl: true}}}",
    ):
        assert {"secrets", "services"} <= resources(text), text
    services = resources("hub: {config: {KubeSpawner: {services_enabled: true}}}")
    assert "services" in services
    assert "secrets" not in services


def test_a_certificate_to_be_fetched_gives_the_hub_a_right_to_that_secret_alone(rendered):
    found, _ = rendered("proxy: {https: {enabled: true, hosts: [a.b], letsencrypt: {contactEmail: a@b}}}")
    (rule,) = (rule for rule in found["Role", "hub"]["rules"] if "secrets" in rule["resources"])
    assert rule["resourceNames"] == ["proxy-public-tls-acme"]
    assert "data" not in found["Secret", "proxy-public-tls-acme"], "applying must not empty it"
    assert pod(found, "proxy")["automountServiceAccountToken"] is False
