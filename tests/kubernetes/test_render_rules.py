"""Decisions that a rendering takes about proxies, image pullers, names and keys without effect."""

from pathlib import Path

import pytest

from perijove.config import ConfigError, NoteKind
from perijove.deploy.release import Release, release_name_of
from perijove.deploy.render import APPLY
from perijove.deploy.render.scope import dns_label


@pytest.fixture
def refused(rendered):
    def make(text: str):
        with pytest.raises(ConfigError) as caught:
            rendered(text)
        return caught.value.problems

    return make


def pod(found, name: str, kind: str = "Deployment"):
    return found[kind, name]["spec"]["template"]["spec"]


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
