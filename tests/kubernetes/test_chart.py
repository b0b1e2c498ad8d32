"""The chart with Helm itself: install, upgrade, roll back, uninstall, and what its controller makes of it."""

import json
from pathlib import Path

import aiohttp
import pytest
from ruamel.yaml import YAML

from perijove.deploy.history import State
from perijove.kube.client import open_client
from perijove.kube.refs import Ref
from perijove.testing.deploying import QUICK, Releases, config_text
from perijove.testing.helm import Helm, HelmFailed
from perijove.testing.waiting import until

HUB = ("perijove.io/v1alpha1", "Hub", "jhub")
CONTROLLER = ("apps/v1", "Deployment", "perijove-jhub-controller")


def values(**changes):
    return YAML(typ="safe").load(config_text(**changes))


@pytest.fixture
def helm(cluster):
    return Helm.or_skip(cluster.kubeconfig, cluster.namespace)


async def conditions(releases):
    """Those about the newest generation."""
    hub = await releases.get(*HUB)
    status = hub.get("status") or {}
    if status.get("observedGeneration") != hub["metadata"]["generation"]:
        return {}
    return {one["type"]: one for one in status["conditions"]}


async def until_condition(releases, kind, reason="", *, seconds=60):
    async def holds():
        found = (await conditions(releases)).get(kind)
        return found if found and found["status"] == "True" and reason in ("", found["reason"]) else None

    try:
        return await until(holds, seconds=seconds, every=0.1)
    except TimeoutError:
        raise AssertionError(f"{await conditions(releases)}\n{await said(releases)}") from None


async def controllers(releases):
    """Their pods."""
    labels = "app.kubernetes.io/name=perijove-controller"
    return (await releases.client.list("v1", "Pod", releases.namespace, labels=labels)).items


async def said(releases):
    """What the controller's container printed."""
    pods = await controllers(releases)
    where = [(releases.namespace, pod["metadata"]["name"], "controller") for pod in pods]
    restarted = [pod["status"]["containerStatuses"][0]["restartCount"] > 0 for pod in pods]
    logs = [await releases.client.logs(*one, previous=was) for one, was in zip(where, restarted, strict=True)]
    return "\n".join(logs)


# All that the controller grants in the whole cluster, which Kubernetes lets it only where it holds the same.
GRANTING = {
    "hub": {
        "config": {
            "JupyterHub": {"internal_ssl": True},
            "KubeSpawner": {"enable_user_namespaces": True, "services_enabled": True},
        }
    },
    "rbac": {"clusterRules": [{"apiGroups": [""], "resources": ["nodes"], "verbs": ["list"]}]},
    "scheduling": {"userScheduler": {"enabled": True, "replicas": 0}},
}
GRANTED = [("rbac.authorization.k8s.io/v1", "ClusterRole", name) for name in ("jhub-hub", "jhub-user-scheduler")]


def granting(**changes):
    found = values(**changes)
    for section, more in GRANTING.items():
        found[section] = {**found.get(section, {}), **more}
    return found


@pytest.fixture
async def anns(releases):
    """What she has in the namespace: the uids of her server's pod and of her volume."""
    app = {"app": "jupyterhub", "release": "jhub", "hub.jupyter.org/username": "ann"}
    server = {"name": "jupyter-ann", "labels": {**app, "component": "singleuser-server"}}
    await releases.apply({"apiVersion": "v1", "kind": "Pod", "metadata": server, "spec": {"containers": [NOTEBOOK]}})
    volume = {"name": "claim-ann", "labels": {**app, "component": "singleuser-storage"}}
    storage = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    await releases.apply({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": volume, "spec": storage})

    async def found():
        pod, claim = await releases.get(*POD), await releases.get(*CLAIM)
        assert "deletionTimestamp" not in pod["metadata"] | claim["metadata"]
        return [pod["metadata"]["uid"], claim["metadata"]["uid"], pod["status"]["phase"]]

    async def runs():
        return (await found())[-1] == "Running"

    await until(runs, seconds=30, every=0.05)
    return found


NOTEBOOK = {"name": "notebook", "image": "busybox:1.36", "command": ["sleep", "3600"]}
POD = ("v1", "Pod", "jupyter-ann")
CLAIM = ("v1", "PersistentVolumeClaim", "claim-ann")


async def test_a_config_yaml_is_installed_upgraded_rolled_back_and_uninstalled_with_helm(helm, releases, anns):
    """What a user runs and stores outlives all of it."""
    hers = await anns()
    await helm.install("jhub", values(), wait=False)
    await until_condition(releases, "Ready")
    hub = await releases.get("apps/v1", "Deployment", "hub")
    assert hub["status"]["availableReplicas"] == 1
    events = await releases.client.list("v1", "Event", releases.namespace, fields="involvedObject.kind=Hub")
    assert {"Deploying", "Deployed"} <= {one["reason"] for one in events.items}

    # The same values are the same manifests: nothing starts again.
    generation = (await releases.get(*CONTROLLER))["metadata"]["generation"]
    await helm.upgrade("jhub", values(), wait=False)
    assert (await releases.get(*CONTROLLER))["metadata"]["generation"] == generation

    # Helm waits for the controller's pod, and that for the release.
    await helm.upgrade("jhub", granting(hub="other"), wait=True, timeout=60)
    assert None not in [await releases.client.find(Ref(*what)) for what in GRANTED]
    assert (await conditions(releases))["Ready"]["status"] == "True"
    assert variables(await releases.get("apps/v1", "Deployment", "hub"))["BEHAVIOUR"] == "other"

    # What `helm rollback` does; the package's own call of it fails for want of a wait strategy.
    await helm.upgrade("jhub", values(), wait=False)
    await until_condition(releases, "Ready")
    assert variables(await releases.get("apps/v1", "Deployment", "hub"))["BEHAVIOUR"] == ""
    assert [await releases.client.find(Ref(*what)) for what in GRANTED] == [None, None]

    await helm.run("uninstall", release_name="jhub", wait=True, timeout=60)
    left = [await releases.find(*what) for what in (CONTROLLER, HUB, ("apps/v1", "Deployment", "hub"))]
    assert left == [None, None, None]
    assert await releases.find("v1", "PersistentVolumeClaim", "hub-db-dir") is not None
    listing = await releases.client.list("v1", "Secret", releases.namespace)
    assert [item["metadata"]["name"] for item in listing.items] == ["hub"]
    assert (await releases.client.list("coordination.k8s.io/v1", "Lease", releases.namespace)).items == []
    assert await anns() == hers


async def test_a_controller_killed_between_two_writes_is_started_again_by_its_node_and_goes_on(helm, releases, cluster):
    """A real process and a real SIGKILL: what it had not applied yet is, and nothing is deployed twice."""
    assert cluster.fake, "which holds a write back for as long as it takes to kill"
    faults, write = cluster.fake.server.faults, {"verb": "patch", "resource": "services", "name": "proxy-public"}
    tried, held = faults.slow(0, times=1, **write), faults.hang(times=1, **write)
    await helm.install("jhub", values(), wait=False)
    await until(lambda: held.exhausted, seconds=60, every=0.05)
    assert tried.exhausted, "first all is tried by a dry run"
    assert await releases.find("v1", "Secret", "hub") is not None
    assert await releases.find("v1", "Service", "proxy-public") is None
    pod = (await controllers(releases))[0]["metadata"]
    cluster.fake.kubelet.container(cluster.namespace, pod["name"], "controller").kill("Error")

    await until_condition(releases, "Ready")
    [after] = await controllers(releases)
    assert after["metadata"]["uid"] == pod["uid"]
    assert after["status"]["containerStatuses"][0]["restartCount"] == 1
    assert [one.state for one in await releases.deployment().history("jhub").all()] == [State.DEPLOYED]
    assert await releases.find("v1", "Service", "proxy-public") is not None


def variables(deployment):
    return {one["name"]: one.get("value") for one in deployment["spec"]["template"]["spec"]["containers"][0]["env"]}


REAL = """
hub: {config: {JupyterHub: {authenticator_class: dummy}, Authenticator: {allow_all: true}}}
proxy: {service: {type: ClusterIP}}
prePuller: {hook: {enabled: false}, continuous: {enabled: false}}
scheduling: {userScheduler: {enabled: false}, userPlaceholder: {enabled: false}}
"""


@pytest.mark.slow
async def test_from_helm_install_to_a_login_page(helm, cluster, tmp_path):
    """Nothing is a stub here: controller, hub and proxy are the image's program, each with the rights it was given."""
    async with open_client(kubeconfig=cluster.kubeconfig, patience=QUICK) as client:
        releases = Releases(cluster, client, tmp_path)
        await helm.install("jhub", YAML(typ="safe").load(REAL), wait=False)
        await until_condition(releases, "Ready", seconds=120)
        pods = await client.list("v1", "Pod", cluster.namespace, labels="component=proxy")
        addresses = [pod["status"]["podIP"] for pod in pods.items]
        assert len(addresses) == 2
        async with aiohttp.ClientSession() as session:
            for address in addresses:
                async with session.get(f"http://{address}:8000/hub/login") as response:
                    assert response.status == 200
                    assert "Log in" in await response.text()


@pytest.fixture
def z2jh(tmp_path):
    """z2jh's chart, as far as it matters here: what it left in a cluster as templates."""
    directory = tmp_path / "jupyterhub"
    (directory / "templates").mkdir(parents=True)
    (directory / "Chart.yaml").write_text("{apiVersion: v2, name: jupyterhub, version: 4.2.0}")
    yaml = YAML(typ="safe")
    manifests = list(yaml.load_all(Path(__file__).with_name("z2jh-release.yaml")))
    for manifest in manifests:
        manifest["metadata"]["labels"] |= {"chart": "jupyterhub-4.2.0", "heritage": "Helm", "release": "jhub"}
    (directory / "templates" / "all.yaml").write_text("\n---\n".join(map(json.dumps, manifests)))
    return directory


async def kept(releases):
    """What people depend on."""
    found = [
        await releases.find("v1", *what)
        for what in (("Service", "proxy-public"), ("PersistentVolumeClaim", "hub-db-dir"))
    ]
    return [item and item["metadata"]["uid"] for item in found]


async def test_a_release_of_z2jh_is_taken_over_with_helm_and_never_by_an_upgrade(helm, releases, z2jh):
    """Helm would delete what our chart does not have; so that is refused, and the way that the guide shows is gone."""
    await helm.run("install", release_name="jhub", chart_path=str(z2jh), wait=False)
    before = await kept(releases)
    assert all(before)
    with pytest.raises(HelmFailed, match=r"installed from the chart jupyterhub-4\.2\.0"):
        await helm.upgrade("jhub", values(), wait=False)
    assert await kept(releases) == before

    for record in (await releases.client.list("v1", "Secret", releases.namespace, labels="owner=helm,name=jhub")).items:
        await releases.client.delete(Ref.of(record))
    await helm.install("jhub", values(), wait=False)
    ready = await until_condition(releases, "Ready")
    assert "Service proxy-api" in ready["message"]
    assert await kept(releases) == before
    hub = await releases.get("apps/v1", "Deployment", "hub")
    assert hub["spec"]["template"]["spec"]["containers"][0]["args"][:2] == ["perijove", "hub"]

    await helm.run("uninstall", release_name="jhub", wait=True, timeout=60)
    assert (await kept(releases))[1] == before[1]
