"""What users, their scripts and Kubernetes itself rely on in a release of z2jh is the same in ours.

The facts below are those of a release `jhub` with z2jh's defaults: kind, name, label `component`,
component that is selected, ports as (name, port, target).
"""

from pathlib import Path

import pytest

from perijove.config import load
from perijove.deploy.release import GeneratedSecrets, Release
from perijove.deploy.render import render
from perijove.deploy.render.dropped import dropped

SECRETS = GeneratedSecrets(cookie_secret="0" * 64, auth_token="1" * 64, crypt_keys="2" * 64)
CONFIGS = Path(__file__).parents[3] / "shared" / "configs"

FACTS = [
    ("ClusterRole", "jhub-user-scheduler", "user-scheduler", None, []),
    ("ClusterRoleBinding", "jhub-user-scheduler", "user-scheduler", None, []),
    ("ConfigMap", "hub", "hub", None, []),
    ("ConfigMap", "user-scheduler", "user-scheduler", None, []),
    ("DaemonSet", "continuous-image-puller", "continuous-image-puller", "continuous-image-puller", []),
    ("DaemonSet", "hook-image-puller", "hook-image-puller", "hook-image-puller", []),
    ("Deployment", "hub", "hub", "hub", []),
    ("Deployment", "proxy", "proxy", "proxy", []),
    ("Deployment", "user-scheduler", "user-scheduler", "user-scheduler", []),
    ("Job", "hook-image-awaiter", "image-puller", None, []),
    ("NetworkPolicy", "hub", "hub", "hub", []),
    ("NetworkPolicy", "proxy", "proxy", "proxy", []),
    ("NetworkPolicy", "singleuser", "singleuser", "singleuser-server", []),
    ("PersistentVolumeClaim", "hub-db-dir", "hub", None, []),
    ("PodDisruptionBudget", "user-placeholder", "user-placeholder", "user-placeholder", []),
    ("PodDisruptionBudget", "user-scheduler", "user-scheduler", "user-scheduler", []),
    ("Role", "hook-image-awaiter", "image-puller", None, []),
    ("Role", "hub", "hub", None, []),
    ("RoleBinding", "hook-image-awaiter", "image-puller", None, []),
    ("RoleBinding", "hub", "hub", None, []),
    ("Secret", "hub", "hub", None, []),
    ("Service", "hub", "hub", "hub", [("hub", 8081, "http")]),
    ("Service", "proxy-public", "proxy-public", "proxy", [("http", 80, "http")]),
    ("ServiceAccount", "continuous-image-puller", "image-puller", None, []),
    ("ServiceAccount", "hook-image-awaiter", "image-puller", None, []),
    ("ServiceAccount", "hook-image-puller", "image-puller", None, []),
    ("ServiceAccount", "hub", "hub", None, []),
    ("ServiceAccount", "user-scheduler", "user-scheduler", None, []),
    ("StatefulSet", "user-placeholder", "user-placeholder", "user-placeholder", []),
]
# Made by z2jh, not by us, on purpose.
NOT_MADE = [("Service", "proxy-api", "proxy-api")]
# Made by us besides: two proxies need a budget, one has none.
MADE_BESIDES = {("PodDisruptionBudget", "proxy")}
ACCESS = {
    "hub": {"network-access-proxy-api", "network-access-proxy-http", "network-access-singleuser"},
    "proxy": {"network-access-hub", "network-access-singleuser"},
}
SECRET_ENTRIES = {
    "values.yaml",
    "hub.config.ConfigurableHTTPProxy.auth_token",
    "hub.config.JupyterHub.cookie_secret",
    "hub.config.CryptKeeper.keys",
}


@pytest.fixture(scope="module")
def manifests():
    return render(load([]), Release(namespace="jhub", name="jhub"), SECRETS).manifests


@pytest.fixture(scope="module")
def by_name(manifests):
    return {(manifest["kind"], manifest["metadata"]["name"]): manifest for manifest in manifests}


def selected_labels(manifest):
    spec = manifest.get("spec", {})
    selector = spec.get("selector") or spec.get("podSelector") or {}
    return selector.get("matchLabels", selector)


@pytest.mark.parametrize(("kind", "name", "component", "selected", "ports"), FACTS)
def test_an_object_has_its_name_labels_selector_and_ports(by_name, kind, name, component, selected, ports):
    manifest = by_name[kind, name]
    labels = manifest["metadata"]["labels"]
    release = {"app": "jupyterhub", "release": "jhub"}
    assert labels.items() >= {"component": component, **release}.items()
    assert labels["app.kubernetes.io/instance"] == "jhub"
    assert selected_labels(manifest) == ({"component": selected, **release} if selected else {})
    if kind == "Service":
        spec = manifest["spec"]["ports"]
        assert [(port["name"], port["port"], port["targetPort"]) for port in spec] == ports


def test_nothing_else_is_made(by_name):
    assert set(by_name) == {(kind, name) for kind, name, *_ in FACTS} | MADE_BESIDES


def test_cluster_wide_objects_alone_have_no_namespace(manifests):
    cluster_wide = {manifest["kind"] for manifest in manifests if "namespace" not in manifest["metadata"]}
    assert cluster_wide == {"ClusterRole", "ClusterRoleBinding"}
    assert {manifest["metadata"].get("namespace", "jhub") for manifest in manifests} == {"jhub"}


@pytest.mark.parametrize("name", ["hub", "proxy"])
def test_pods_carry_the_labels_that_selectors_and_network_policies_ask_for(by_name, name):
    labels = by_name["Deployment", name]["spec"]["template"]["metadata"]["labels"]
    assert labels.items() >= by_name["Deployment", name]["spec"]["selector"]["matchLabels"].items()
    assert {label.split("/")[1] for label in labels if label.startswith("hub.jupyter.org/")} == ACCESS[name]


def test_containers_and_volumes_have_z2jhs_names_so_that_old_ones_are_replaced(by_name):
    hub = by_name["Deployment", "hub"]["spec"]["template"]["spec"]
    assert [container["name"] for container in hub["containers"]] == ["hub"]
    assert {"config", "secret", "pvc"} <= {volume["name"] for volume in hub["volumes"]}
    proxy = by_name["Deployment", "proxy"]["spec"]["template"]["spec"]
    assert [container["name"] for container in proxy["containers"]] == ["chp"]
    assert proxy["containers"][0]["command"], "an old container's command must not stay"


def test_the_public_service_reaches_a_port_of_the_proxies(by_name):
    ports = by_name["Deployment", "proxy"]["spec"]["template"]["spec"]["containers"][0]["ports"]
    targets = {port["targetPort"] for port in by_name["Service", "proxy-public"]["spec"]["ports"]}
    assert targets <= {port["name"] for port in ports}


def test_the_secret_has_z2jhs_entries(by_name):
    assert set(by_name["Secret", "hub"]["data"]) == SECRET_ENTRIES


def test_what_z2jh_had_and_we_do_not_make_is_listed_with_the_reason(manifests):
    labels = {"app": "jupyterhub", "release": "jhub"}
    existing = [
        {"kind": kind, "metadata": {"name": name, "namespace": "jhub", "labels": {**labels, "component": component}}}
        for kind, name, component in [
            *((kind, name, component) for kind, name, component, *_ in FACTS if not kind.startswith("ClusterRole")),
            *NOT_MADE,
            ("Deployment", "autohttps", "autohttps"),
            ("Ingress", "jupyterhub", "ingress"),
            ("PersistentVolumeClaim", "claim-alice", "singleuser-storage"),
            ("Pod", "jupyter-alice", "singleuser-server"),
        ]
    ]
    existing.append({"kind": "Service", "metadata": {"name": "other", "namespace": "jhub", "labels": {}}})
    assert list(map(str, dropped(manifests, existing, "jhub"))) == [
        "Deployment autohttps: the proxies end TLS themselves",
        "Ingress jupyterhub",
        "Service proxy-api: nobody tells the proxies their routes; they ask the hub",
    ]


@pytest.mark.skipif(not CONFIGS.is_dir(), reason=f"{CONFIGS} with configurations from the field is not here")
def test_configurations_from_the_field_are_rendered_with_notes_that_have_a_place():
    files = sorted(CONFIGS.glob("*.yaml"))
    assert files
    for file in files:
        for message in outcome(file):
            assert message.position is not None, (file, message)


def outcome(file: Path):
    """Everything that is said about a file; what is rendered of it has the objects nobody can do without."""
    result = render(load([file]), Release(namespace="jhub"), SECRETS)
    found = {(manifest["kind"], manifest["metadata"]["labels"]["component"]) for manifest in result.manifests}
    assert {("Deployment", "hub"), ("Deployment", "proxy"), ("Service", "proxy-public")} <= found, file
    return result.notes
