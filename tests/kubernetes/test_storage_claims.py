"""Users' claims under a hosted KubeSpawner: the old one is found and kept, nobody gets another's, deleting is exact."""

from dataclasses import replace

import pytest

from perijove.domain.errors import Conflict
from perijove.domain.ids import ServerId, UserId
from perijove.domain.ports import UserFacts
from perijove.testing.kube.spawning import SPEC, open_spawner_half

OLD = "claim-miksch-40win-2edtu-2edk"
NEW = "claim-miksch-win-dtu-dk---"
MIKSCH = UserFacts(id=UserId(7), name="miksch@win.dtu.dk")


@pytest.fixture
async def hub(cluster, tmp_path, monkeypatch):
    async with open_spawner_half(cluster, tmp_path, monkeypatch) as half:
        section = half.config.KubeSpawner
        section.storage_pvc_ensure = True
        section.storage_capacity = "1Mi"
        section.storage_access_modes = ["ReadWriteOnce"]
        section.volumes = [{"name": "home", "persistentVolumeClaim": {"claimName": "{pvc_name}"}}]
        yield half


@pytest.fixture
def claims(cluster):
    return Claims(cluster)


class Claims:
    def __init__(self, cluster):
        self.core, self.namespace = cluster.core, cluster.namespace

    async def make(self, name, user="", **labels):
        annotations = {"hub.jupyter.org/username": user} if user else {}
        spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Mi"}}}
        body = {"metadata": {"name": name, "annotations": annotations, "labels": labels}, "spec": spec}
        return await self.core.create_namespaced_persistent_volume_claim(self.namespace, body)

    async def names(self):
        found = await self.core.list_namespaced_persistent_volume_claim(self.namespace)
        return {claim.metadata.name for claim in found.items if claim.metadata.deletion_timestamp is None}

    async def delete(self, name):
        await self.core.delete_namespaced_persistent_volume_claim(name, self.namespace)


def mounted(pod):
    return [one["persistentVolumeClaim"]["claimName"] for one in pod["spec"]["volumes"] if one["name"] == "home"]


async def test_a_user_whose_files_are_in_a_claim_of_the_old_scheme_gets_that_one_and_it_is_remembered(hub, claims):
    """Also where nothing of JupyterHub's database came along; the next start does not have to look."""
    await claims.make(OLD, user=MIKSCH.name)
    spawner = await hub.open(user=MIKSCH)
    pod = await hub.made(spawner)
    assert mounted(pod) == [OLD]
    assert spawner.state()["pvc_name"] == OLD
    assert await claims.names() == {OLD}
    [volume] = await hub.host().storage.volumes([replace(SPEC, user=MIKSCH, state=spawner.state())])
    assert volume.name == OLD
    assert volume.servers == ("",)
    assert volume.used_by == (f"pod {pod['metadata']['name']} (Running)",)


async def test_a_new_user_gets_a_claim_of_the_current_scheme_and_again_after_somebody_deleted_it(hub, claims):
    spawner = await hub.open(user=MIKSCH)
    [name] = mounted(await hub.made(spawner))
    assert name.startswith(NEW)
    assert await claims.names() == {name}
    await spawner.stop(now=True)
    await claims.delete(name)
    again = await hub.open(user=MIKSCH, state=spawner.state(), lease_epoch=6)
    assert mounted(await hub.made(again)) == [name]
    assert await claims.names() == {name}


async def test_a_claim_that_the_old_scheme_calls_by_ones_name_and_is_anothers_is_left_alone(hub, claims):
    """`a.b` was `a-2eb` once, which is what the user `a-2eb` is called now."""
    await claims.make("claim-a-2eb", user="a-2eb")
    other = UserFacts(id=UserId(8), name="a.b")
    spawner = await hub.open(user=other)
    assert mounted(await hub.made(spawner)) != ["claim-a-2eb"]
    volumes = await hub.host().storage.volumes([replace(SPEC, user=other)])
    assert "claim-a-2eb" not in {volume.name for volume in volumes}


async def test_deleting_a_user_deletes_the_claim_of_whatever_scheme_and_nobody_elses(hub, claims):
    await claims.make(OLD, user=MIKSCH.name)
    await claims.make("claim-ann", user="somebody-else")
    await (await hub.open(user=MIKSCH)).delete_forever()
    await (await hub.open()).delete_forever()
    assert await claims.names() == {"claim-ann"}


async def test_a_named_servers_own_claim_goes_with_it_and_a_shared_one_stays(hub, claims):
    """As KubeSpawner documents it: what a template without `{user_server}` names is the default server's."""
    for name in ("claim-ann", "claim-ann--gpu"):
        await claims.make(name, user="ann")
    await (await hub.open(name="gpu")).delete_forever()
    assert await claims.names() == {"claim-ann"}
    hub.config.KubeSpawner.pvc_name_template = "claim-{username}"
    await (await hub.open(name="gpu")).delete_forever()
    assert await claims.names() == {"claim-ann"}


async def test_delete_pvc_off_keeps_the_files_of_deleted_users(hub, claims):
    hub.config.KubeSpawner.delete_pvc = False
    await claims.make(OLD, user=MIKSCH.name)
    await (await hub.open(user=MIKSCH)).delete_forever()
    assert await claims.names() == {OLD}


async def test_volumes_are_found_by_what_is_written_on_them_and_by_their_names(hub, claims):
    """Made by a template that is no longer configured, restored without annotations, and of a named server."""
    await claims.make("home-of-miksch", user=MIKSCH.name, **{"hub.jupyter.org/username": "miksch-40win-2edtu-2edk"})
    await claims.make(OLD)
    await claims.make("claim-ann", user="ann", **{"hub.jupyter.org/username": "ann"})
    specs = [replace(SPEC, user=MIKSCH), replace(SPEC, id=ServerId(22), user=MIKSCH, name="gpu")]
    found = await hub.host().storage.volumes(specs)
    assert [volume.name for volume in found] == [OLD, "home-of-miksch"]
    assert not any(volume.used_by or volume.shared for volume in found)


async def test_only_the_very_volume_that_was_looked_at_is_deleted(hub, claims):
    await claims.make(OLD, user=MIKSCH.name)
    storage, spec = hub.host().storage, replace(SPEC, user=MIKSCH)
    [volume] = await storage.volumes([spec])
    with pytest.raises(Conflict):
        await storage.delete_volume(replace(volume, uid="00000000-0000-0000-0000-000000000000"))
    assert await claims.names() == {OLD}
    await storage.delete_volume(volume)
    await storage.delete_volume(volume)
    assert await claims.names() == set()
