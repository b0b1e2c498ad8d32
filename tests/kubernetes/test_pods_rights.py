"""What a hub may do in the cluster: all that it needs, as seen in the API server's log, and nothing else."""

import asyncio
import tempfile
from dataclasses import replace

import pytest

from perijove.domain.errors import SpawnFailed
from perijove.domain.ids import ServerId, UserId
from perijove.domain.ports import ServerSpec, UserFacts
from perijove.testing.kube.spawning import POD, SPEC, open_spawner_half

NOBODY = ServerSpec(id=ServerId(0), user=UserFacts(id=UserId(0), name="nobody"), name="")
BASE = """
hub:
  config:
    KubeSpawner: {%(traits)s}
singleuser:
  storage: {capacity: 1Mi}
"""


class Account:
    """A hub's, with the rights that a configuration renders, and nothing else."""

    def __init__(self, cluster, manifests):
        self.cluster = cluster
        self.rules = {
            (resource, verb)
            for (kind, name), manifest in manifests.items()
            if kind in ("Role", "ClusterRole") and name in ("hub", "jhub-hub")
            for rule in manifest["rules"]
            for resource in rule["resources"]
            for verb in rule["verbs"]
        }

    @property
    def used(self):
        user = f"system:serviceaccount:{self.cluster.namespace}:hub"
        entries = self.cluster.fake.server.log.find(user=user)
        refused = [str(entry) for entry in entries if entry.status == 403]
        assert refused == []
        return {(entry.info.resource, entry.info.verb) for entry in entries if entry.info.is_resource}


@pytest.fixture
async def account(cluster, rendered, grant):
    async def make(traits=""):
        manifests, _ = rendered(BASE % {"traits": traits})
        await grant(manifests)
        return Account(cluster, manifests)

    return make


@pytest.fixture
async def as_hub(cluster, tmp_path, monkeypatch, account):
    """The spawner half of a hub that has but its own token."""
    open_halves = []

    async def make(traits="", **values):
        held = await account(traits)
        half = open_spawner_half(await cluster.as_account("hub"), tmp_path, monkeypatch)
        open_halves.append(half)
        hub = await half.__aenter__()
        section = hub.config.KubeSpawner
        section.update({"storage_pvc_ensure": True, "storage_capacity": "1Mi", "delete_pvc": True, **values})
        section.pvc_name_template = "claim-{user_server}"
        section.volumes = [{"name": "home", "persistentVolumeClaim": {"claimName": "{pvc_name}"}}]
        return hub, held

    yield make
    for half in open_halves:
        await half.__aexit__(None, None, None)


async def live_through(hub):
    """All that a hub does with a server: a start that ends badly, one that does not, looks, its end, its storage."""
    broken = await hub.open()
    # Where containers are processes of this machine, it ends when it is told to.
    with tempfile.NamedTemporaryFile(dir="/dev/shm", prefix="perijove-running-") as running:
        wait = f"while [ -e {running.name} ]; do sleep 0.05; done; sleep 0.3"
        broken.plugin.cmd = ["sh", "-c", f"{wait}; echo no; exit 3"]
        progress = asyncio.create_task(_collected(broken.progress()))
        await broken.start()
    exited = await hub.ended(broken)
    assert "exit code 3" in exited.cause.message
    assert exited.log_lines == ("no",)
    await progress
    await broken.stop(now=True)
    spawner = await hub.running(lease_epoch=6)
    assert await spawner.poll() is None
    host = hub.host()
    [volume] = await host.storage.volumes([replace(SPEC, state=spawner.state())])
    assert volume.name == "claim-ann"
    [found] = await host.find()
    await spawner.stop()
    await host.destroy(found)
    await spawner.delete_forever()


async def _collected(events):
    return [event async for event in events]


async def test_a_hub_lives_on_its_rendered_rights_and_uses_every_one_of_them(as_hub):
    hub, account = await as_hub()
    await live_through(hub)
    assert account.used == account.rules


async def test_namespaces_for_users_need_rights_in_the_cluster_and_get_no_other(as_hub):
    hub, account = await as_hub("enable_user_namespaces: true", enable_user_namespaces=True)
    await live_through(hub)
    assert account.used == account.rules


async def test_services_for_users_add_the_right_to_make_services(as_hub):
    hub, account = await as_hub("services_enabled: true", services_enabled=True)
    left_over = {"metadata": {"name": POD}, "spec": {"ports": [{"port": 80}]}}
    await hub.cluster.core.create_namespaced_service(hub.cluster.namespace, left_over)
    await live_through(hub)
    assert account.used == account.rules
    assert ("secrets", "get") not in account.rules


@pytest.mark.parametrize(
    ("resource", "verb", "said"),
    [
        ("pods", "create", 'cannot create resource "pods"'),
        ("pods", "list", 'cannot list resource "pods"'),
        ("pods", "watch", 'cannot watch resource "pods"'),
        ("persistentvolumeclaims", "create", 'cannot create resource "persistentvolumeclaims"'),
    ],
)
async def test_a_right_that_is_missing_ends_the_start_with_its_name(as_hub, cluster, releases, resource, verb, said):
    hub, _ = await as_hub(start_timeout=2)
    role = await releases.get("rbac.authorization.k8s.io/v1", "Role", "hub")
    for rule in role["rules"]:
        if resource in rule["resources"]:
            rule["verbs"].remove(verb)
    path = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{cluster.namespace}/roles/hub"
    assert (await cluster.request("PUT", path, role))[0] == 200
    spawner = await hub.open()
    with pytest.raises(SpawnFailed) as caught:
        await spawner.start()
    assert caught.value.reason in ("not_permitted", "cluster")
    assert said in caught.value.details
    if verb == "create":
        await spawner.stop(now=True)
        assert await hub.pods.find(POD) is None
