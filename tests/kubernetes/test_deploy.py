"""`perijove deploy` from nothing to a release that serves, and from there to the next."""

import base64

import pytest

from perijove.deploy.errors import Blocked, DeployFailed, NamespaceMissing, ReleaseUnclear
from perijove.deploy.history import State
from perijove.deploy.plan import Action, Rights
from perijove.deploy.release import COOKIE_SECRET
from perijove.kube.client import open_client
from perijove.kube.refs import Ref
from perijove.testing.deploying import config_text

INGRESS = """
ingress:
  enabled: true
  hosts: [hub.example.org]
"""


async def revisions(releases):
    history = await releases.deployment().history(releases.namespace).all()
    return [(one.number, one.state) for one in history]


async def versions(releases):
    """The resource version of everything that the release consists of."""
    inventory = (await releases.prepare(config_text())).inventory
    found = {}
    for ref in inventory.objects:
        item = await releases.client.get(ref)
        spec = {key: value for key, value in item.items() if key not in ("metadata", "status")}
        found[ref] = (item["metadata"]["uid"], item["metadata"].get("generation"), str(spec))
    return found


def user_pod(name="jupyter-ada"):
    labels = {"component": "singleuser-server", "app": "jupyterhub", "hub.jupyter.org/username": "ada"}
    spec = {"containers": [{"name": "notebook", "image": "notebook"}], "automountServiceAccountToken": False}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": labels}, "spec": spec}


async def test_a_first_deploy_ends_with_a_release_that_serves(releases):
    revision = await releases.deploy(config_text())
    hub = await releases.get("apps/v1", "Deployment", "hub")
    proxy = await releases.get("apps/v1", "Deployment", "proxy")
    assert hub["status"]["availableReplicas"] == 1
    assert proxy["status"]["availableReplicas"] == 2
    assert (revision.number, revision.by) == (1, "ada")
    assert await revisions(releases) == [(1, State.DEPLOYED)]
    assert "done: Deployment hub: 1 of 1 pod ready" in releases.told.text


async def test_the_same_configuration_again_changes_nothing(releases):
    await releases.deploy(config_text())
    before = await versions(releases)
    assert (await releases.prepare(config_text())).plan.is_nothing
    await releases.deploy(config_text())
    assert await versions(releases) == before
    assert await revisions(releases) == [(1, State.DEPLOYED)]


async def test_a_changed_configuration_is_a_new_revision_with_the_same_secrets(releases):
    """Cookies signed before an upgrade are good after it."""
    await releases.deploy(config_text())
    before = await releases.get("v1", "Secret", "hub")
    await releases.deploy(config_text(more="cull: {timeout: 1234}"))
    after = await releases.get("v1", "Secret", "hub")
    assert after["data"][COOKIE_SECRET] == before["data"][COOKIE_SECRET]
    assert "1234" in base64.b64decode(after["data"]["values.yaml"]).decode()
    assert await revisions(releases) == [(2, State.DEPLOYED), (1, State.SUPERSEDED)]


async def test_what_the_configuration_drops_is_deleted_last(releases):
    await releases.deploy(config_text(more=INGRESS))
    assert await releases.find("networking.k8s.io/v1", "Ingress", "jupyterhub") is not None
    prepared = await releases.prepare(config_text())
    assert [str(ref) for ref in prepared.plan.prune] == ["Ingress jupyterhub"]
    await releases.deploy(config_text())
    assert await releases.find("networking.k8s.io/v1", "Ingress", "jupyterhub") is None
    ready = releases.told.lines.index("done: Ingress jupyterhub deleted")
    assert any("Deployment proxy" in line and "ready" in line for line in releases.told.lines[:ready])


async def test_an_object_that_is_marked_stays_though_nobody_asks_for_it(releases):
    await releases.deploy(config_text(more=INGRESS))
    ingress = await releases.get("networking.k8s.io/v1", "Ingress", "jupyterhub")
    await releases.client.patch(
        Ref.of(ingress), {"metadata": {"annotations": {"perijove.io/keep": "true"}}}, manager="kubectl"
    )
    await releases.deploy(config_text())
    assert await releases.find("networking.k8s.io/v1", "Ingress", "jupyterhub") is not None
    assert "note: Ingress jupyterhub is no longer asked for, and stays" in releases.told.text


async def test_a_volume_is_never_deleted(releases):
    """A release that moves from a file to a database server keeps the file."""
    await releases.deploy(config_text())
    claim = await releases.get("v1", "PersistentVolumeClaim", "hub-db-dir")
    await releases.deploy(config_text(db="postgres", url="postgresql+asyncpg://hub@db/hub"))
    assert (await releases.get("v1", "PersistentVolumeClaim", "hub-db-dir"))["metadata"]["uid"] == claim["metadata"][
        "uid"
    ]
    assert "note: PersistentVolumeClaim hub-db-dir is no longer asked for, and stays" in releases.told.text
    assert (await releases.get("apps/v1", "Deployment", "hub"))["status"]["availableReplicas"] == 2


async def test_a_volume_that_cannot_be_changed_stays_as_it_is(releases):
    await releases.deploy(config_text())
    smaller = config_text().replace("db: {type: sqlite-pvc", "db: {pvc: {storageClassName: fast}, type: sqlite-pvc")
    await releases.deploy(smaller)
    claim = await releases.get("v1", "PersistentVolumeClaim", "hub-db-dir")
    assert claim["spec"]["storageClassName"] == "standard"
    assert "note: PersistentVolumeClaim hub-db-dir stays as it is: " in releases.told.text


async def test_users_pods_are_left_alone(releases):
    before = await releases.apply(user_pod())
    await releases.deploy(config_text(more=INGRESS))
    await releases.deploy(config_text())
    after = await releases.get("v1", "Pod", "jupyter-ada")
    assert after["metadata"]["uid"] == before["metadata"]["uid"]
    assert not after["metadata"].get("deletionTimestamp")


async def test_a_missing_namespace_is_made_only_when_told_to(releases):
    with pytest.raises(NamespaceMissing, match="there is no namespace elsewhere; nothing was changed") as caught:
        await releases.deploy(config_text(), namespace="elsewhere")
    assert "--create-namespace" in caught.value.remedy
    await releases.deploy(config_text(), namespace="elsewhere", create_namespace=True)
    hub = await releases.client.get(Ref("apps/v1", "Deployment", "hub", "elsewhere"))
    assert hub["metadata"]["labels"]["release"] == "elsewhere"
    await releases.client.delete(Ref("v1", "Namespace", "elsewhere"))


async def test_a_plan_says_what_would_happen_and_changes_nothing(releases):
    prepared = await releases.prepare(config_text())
    assert prepared.plan.of(Action.CREATE)
    assert await releases.find("apps/v1", "Deployment", "hub") is None
    await releases.deploy(config_text())
    prepared = await releases.prepare(config_text(hub="other"))
    changed = {str(step.ref): step.diff for step in prepared.plan.of(Action.CHANGE)}
    assert set(changed) == {"Deployment hub", "Secret hub"}
    assert "+          value: other" in changed["Deployment hub"]
    assert "POD_IP" not in changed["Secret hub"]


async def test_a_release_of_another_name_is_not_deployed_over(releases):
    await releases.deploy(config_text(), release="first")
    with pytest.raises(ReleaseUnclear, match="holds the release first, not second"):
        await releases.deploy(config_text(), release="second")
    revision = await releases.deploy(config_text(hub="x"))
    assert revision.number == 2


async def test_what_belongs_to_the_cluster_is_not_taken_from_a_release_elsewhere(releases):
    """Two releases of one name in two namespaces share no PriorityClass."""
    text = config_text().replace("scheduling:\n", "scheduling:\n  podPriority: {enabled: true}\n")
    await releases.deploy(text)
    with pytest.raises(Blocked, match=f"belongs to a release of the same name in the namespace {releases.namespace}"):
        await releases.deploy(text, namespace="default", release=releases.namespace)


async def test_fields_of_others_are_named_and_nothing_is_changed(releases):
    await releases.deploy(config_text())
    await releases.apply(
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": "proxy"},
            "spec": {"replicas": 5},
        },
        manager="kubectl-edit",
    )
    with pytest.raises(Blocked) as caught:
        await releases.deploy(config_text(hub="changed"))
    assert "Deployment proxy: others manage fields of it:" in str(caught.value)
    assert ".spec.replicas is managed by kubectl-edit" in str(caught.value)
    assert "--force-conflicts" in caught.value.remedy
    assert await revisions(releases) == [(1, State.DEPLOYED)]
    await releases.deploy(config_text(hub="changed"), rights=Rights(force_conflicts=True))
    assert (await releases.get("apps/v1", "Deployment", "proxy"))["spec"]["replicas"] == 2


async def test_everything_that_is_not_permitted_is_said_at_once(releases, cluster):
    """Somebody who may all but two things learns of both, and nothing was changed."""
    every = ["get", "list", "create", "patch", "update", "delete"]
    core = ["configmaps", "secrets", "services", "serviceaccounts", "persistentvolumeclaims", "pods", "events"]
    rbac = "rbac.authorization.k8s.io"
    rules = [
        {"apiGroups": [""], "resources": core, "verbs": every},
        {"apiGroups": ["apps"], "resources": ["deployments", "replicasets"], "verbs": every},
        {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": every},
        {"apiGroups": ["*"], "resources": ["networkpolicies", "poddisruptionbudgets"], "verbs": ["get"]},
        {"apiGroups": [rbac], "resources": ["roles", "rolebindings"], "verbs": [*every, "escalate", "bind"]},
    ]
    api = {"apiVersion": f"{rbac}/v1"}
    await releases.apply({**api, "kind": "Role", "metadata": {"name": "deployer"}, "rules": rules})
    subject = {"kind": "ServiceAccount", "name": "deployer", "namespace": releases.namespace}
    reference = {"apiGroup": rbac, "kind": "Role", "name": "deployer"}
    binding = {"kind": "RoleBinding", "metadata": {"name": "deployer"}, "subjects": [subject], "roleRef": reference}
    await releases.apply({**api, **binding})
    path = cluster.fake.kubeconfig(cluster.fake.token_for("deployer"), name="deployer")
    async with open_client(kubeconfig=path) as client:
        with pytest.raises(Blocked) as caught:
            await releases.deploy(config_text(), client=client)
    refused = {str(obstacle.ref) for obstacle in caught.value.obstacles}
    assert refused == {
        "NetworkPolicy hub", "NetworkPolicy proxy", "NetworkPolicy singleuser", "PodDisruptionBudget proxy"
    }  # fmt: skip
    assert 'cannot patch resource "networkpolicies"' in str(caught.value)
    assert "--verb=patch --resource=networkpolicies.networking.k8s.io" in caught.value.remedy
    assert await releases.find("apps/v1", "Deployment", "hub") is None


async def test_a_controller_is_not_deployed_over_by_a_person(releases):
    await releases.deploy(config_text(), deployer="controller")
    with pytest.raises(DeployFailed, match="is deployed by its controller"):
        await releases.deploy(config_text())
