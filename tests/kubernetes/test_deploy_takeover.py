"""A release that z2jh's chart installed becomes ours: what people depend on stays."""

from pathlib import Path

import pytest
from ruamel.yaml import YAML

from perijove.deploy.errors import Blocked, RolloutFailed
from perijove.deploy.history import State
from perijove.deploy.plan import Rights
from perijove.deploy.restoring import choose
from perijove.deploy.rollback import Rollback
from perijove.deploy.waiting import Deadline
from perijove.kube.refs import Ref
from perijove.testing.deploying import config_text
from perijove.testing.waiting import until

TAKE_OVER = Rights(take_over=True)
CONFIG = config_text(service="LoadBalancer")
LABELS = {"app": "jupyterhub", "release": "jhub", "chart": "jupyterhub-4.2.0", "heritage": "Helm"}
HELM_LABELS = {**LABELS, "app.kubernetes.io/managed-by": "Helm", "helm.sh/chart": "jupyterhub-4.2.0"}
ANNOTATIONS = {"meta.helm.sh/release-name": "jhub", "meta.helm.sh/release-namespace": "jhub"}


def of_user(kind, name, component, spec):
    labels = {"app": "jupyterhub", "component": component, "heritage": "jupyterhub", "hub.jupyter.org/username": "ada"}
    return {"apiVersion": "v1", "kind": kind, "metadata": {"name": name, "labels": labels}, "spec": spec}


@pytest.fixture
async def z2jh(releases):
    """The release, as Helm's client made it, with a user at work and a load balancer that has its address."""
    for manifest in YAML(typ="safe").load_all(Path(__file__).with_name("z2jh-release.yaml")):
        metadata = manifest["metadata"]
        metadata["namespace"] = releases.namespace
        metadata["labels"] |= HELM_LABELS
        metadata["annotations"] = metadata.get("annotations", {}) | ANNOTATIONS
        await releases.client.create(manifest, manager="helm")
    record = {"name": "sh.helm.release.v1.jhub.v1", "namespace": releases.namespace}
    record["labels"] = {"owner": "helm", "name": "jhub", "status": "deployed", "version": "1"}
    await releases.client.create(
        {"apiVersion": "v1", "kind": "Secret", "metadata": record, "type": "helm.sh/release.v1", "data": {}},
        manager="helm",
    )
    storage = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    await releases.apply(of_user("PersistentVolumeClaim", "claim-ada", "singleuser-storage", storage), manager="hub")
    volume = {"name": "home", "persistentVolumeClaim": {"claimName": "claim-ada"}}
    pod = {"containers": [{"name": "notebook", "image": "notebook"}], "volumes": [volume]}
    await releases.apply(of_user("Pod", "jupyter-ada", "singleuser-server", pod), manager="hub")

    async def has_address():
        service = await releases.get("v1", "Service", "proxy-public")
        return (service["status"].get("loadBalancer") or {}).get("ingress")

    await until(has_address)
    return releases


async def precious(releases):
    """What must be the very same afterwards."""
    found = {}
    for kind, name in (
        ("PersistentVolumeClaim", "hub-db-dir"),
        ("PersistentVolumeClaim", "claim-ada"),
        ("Pod", "jupyter-ada"),
        ("Service", "proxy-public"),
        ("Service", "hub"),
    ):
        item = await releases.get("v1", kind, name)
        assert not item["metadata"].get("deletionTimestamp")
        found[kind, name] = item["metadata"]["uid"]
    public = await releases.get("v1", "Service", "proxy-public")
    found["address"] = str(public["status"]["loadBalancer"])
    found["ports"] = [(port["port"], port["nodePort"]) for port in public["spec"]["ports"]]
    found["cluster address"] = public["spec"]["clusterIP"]
    return found


async def test_a_release_of_helm_is_not_taken_over_unasked(z2jh):
    with pytest.raises(Blocked) as caught:
        await z2jh.deploy(CONFIG)
    assert "Deployment hub: others manage fields of it:" in str(caught.value)
    assert '.spec.template.spec.containers[name="hub"].image is managed by helm' in str(caught.value)
    assert "--take-over" in caught.value.remedy
    assert (await z2jh.deployment().history("jhub").all()) == []


async def test_volumes_address_and_users_pods_survive_a_take_over(z2jh):
    before = await precious(z2jh)
    await z2jh.deploy(CONFIG, rights=TAKE_OVER)
    assert await precious(z2jh) == before
    hub = await z2jh.get("apps/v1", "Deployment", "hub")
    assert hub["metadata"]["labels"]["release"] == "jhub"
    assert hub["status"]["availableReplicas"] == 1
    secret = await z2jh.get("v1", "Secret", "hub")
    assert secret["data"]["hub.config.ConfigurableHTTPProxy.auth_token"] == "cHJveHktdG9rZW4="


async def test_nothing_of_helms_stays_in_what_was_taken_over(z2jh):
    """Merged with z2jh's fields, our proxy would have its ports, and our hub its variables and mounts."""
    await z2jh.deploy(CONFIG, rights=TAKE_OVER)
    hub = (await z2jh.get("apps/v1", "Deployment", "hub"))["spec"]["template"]["spec"]["containers"][0]
    assert "ONLY_OF_Z2JH" not in {one["name"] for one in hub["env"]}
    assert not any(mount["mountPath"].endswith(".py") for mount in hub["volumeMounts"])
    proxy = await z2jh.get("apps/v1", "Deployment", "proxy")
    container = proxy["spec"]["template"]["spec"]["containers"][0]
    assert {port["name"] for port in container["ports"]} == {"http", "metrics"}
    assert container["command"] == ["perijove"]
    config_map = await z2jh.get("v1", "ConfigMap", "hub")
    assert "jupyterhub_config.py" not in config_map["data"]
    for item in (hub, proxy, config_map):
        assert "helm" not in str(item).lower().replace("helm_release_name", "")


async def test_what_became_obsolete_is_listed_and_deleted_only_when_told(z2jh):
    prepared = await z2jh.prepare(CONFIG, rights=TAKE_OVER)
    obsolete = {str(Ref.of(item)) for item in prepared.obsolete}
    assert {"Service proxy-api", "Deployment autohttps", "ConfigMap autohttps"} <= obsolete
    assert not any("claim" in one or "hub-db-dir" in one for one in obsolete)
    await z2jh.deploy(CONFIG, rights=TAKE_OVER)
    assert await z2jh.find("v1", "Service", "proxy-api") is not None
    before = await precious(z2jh)
    await z2jh.deploy(CONFIG, remove_obsolete=True)
    assert await z2jh.find("v1", "Service", "proxy-api") is None
    assert await z2jh.find("apps/v1", "Deployment", "autohttps") is None
    assert await z2jh.find("v1", "Secret", "sh.helm.release.v1.jhub.v1") is None
    assert await precious(z2jh) == before


async def test_after_a_take_over_there_is_nothing_left_to_take(z2jh):
    await z2jh.deploy(CONFIG, rights=TAKE_OVER)
    prepared = await z2jh.prepare(CONFIG)
    assert prepared.plan.is_nothing


async def test_a_take_over_that_fails_gives_the_release_back(z2jh):
    """z2jh's hub serves again, as it was."""
    before = await precious(z2jh)
    with pytest.raises(RolloutFailed, match="exit code 3"):
        await z2jh.deploy(
            config_text(hub="crash", service="LoadBalancer"),
            rights=TAKE_OVER,
            deadline=Deadline(timeout_seconds=10, hopeless_seconds=0.3, look_seconds=0.05),
        )
    hub = await z2jh.get("apps/v1", "Deployment", "hub")
    container = hub["spec"]["template"]["spec"]["containers"][0]
    assert container["image"] == "quay.io/jupyterhub/k8s-hub:4.2.0"
    assert {"name": "ONLY_OF_Z2JH", "value": "yes"} in container["env"]
    assert hub["status"]["availableReplicas"] == 1
    assert hub["metadata"]["annotations"]["meta.helm.sh/release-name"] == "jhub"
    assert await precious(z2jh) == before
    history = await z2jh.deployment().history("jhub").all()
    assert [(one.state, one.note) for one in history] == [
        (State.FAILED, "deploy"),
        (State.DEPLOYED, "as Helm left it"),
    ]


async def test_a_take_over_can_be_rolled_back(z2jh):
    before = await precious(z2jh)
    await z2jh.deploy(CONFIG, rights=TAKE_OVER)
    chosen = await choose(z2jh.deployment().history("jhub"), None)
    assert chosen.note == "as Helm left it"

    async def yes(_):
        return True

    await Rollback(client=z2jh.client, wishes=z2jh.wishes(), report=z2jh.told).run(None, yes)
    hub = await z2jh.get("apps/v1", "Deployment", "hub")
    assert hub["spec"]["template"]["spec"]["containers"][0]["image"] == "quay.io/jupyterhub/k8s-hub:4.2.0"
    assert await precious(z2jh) == before
    # What only z2jh has is still not ours to delete.
    await z2jh.deploy(CONFIG, rights=TAKE_OVER)
    assert await z2jh.find("v1", "Service", "proxy-api") is not None
