"""What befalls a pod that runs: told at once, and the end of its server only where the cluster says so."""

import asyncio
from dataclasses import replace

import pytest

from perijove.plugins import kube_life
from perijove.testing.kube.spawning import ANN, POD, open_spawner_half
from perijove.testing.waiting import until


@pytest.fixture
async def hub(cluster, tmp_path, monkeypatch):
    async with open_spawner_half(cluster, tmp_path, monkeypatch) as half:
        yield half


async def looked_at(hub, spawner):
    """Polls of a server that runs, until one tells of a mishap."""
    later = await hub.later(spawner)

    async def told():
        assert await later.poll() is None
        return later.mishap

    return await until(told, seconds=20, every=0.02)


async def noticed(host):
    """The servers that the watch brings forward to be polled."""
    return set(await until(host.ended, seconds=20, every=0.02))


async def settled(host):
    """Until nothing new is to be noticed."""

    async def quiet():
        return not await host.ended()

    await until(quiet)


# -- restarted in place


async def test_a_server_killed_for_its_memory_is_restarted_in_its_pod_and_stays(hub):
    spawner, host = await hub.running(), hub.host()
    before = await hub.pods.read(POD)
    await settled(host)
    hub.cluster.fake.kubelet.kill_for_memory(hub.cluster.namespace, POD)
    assert await noticed(host) == {21}
    mishap = await looked_at(hub, spawner)
    assert mishap.reason == "oom"
    assert mishap.message.startswith("The server was restarted because it used more memory than its limit")
    assert "OOMKilled" in mishap.details
    await hub.pods.until_ready(POD)
    assert (await looked_at(hub, spawner)).mark == mishap.mark
    assert (await hub.pods.read(POD)).metadata.uid == before.metadata.uid


async def test_a_server_that_ends_as_often_as_it_is_restarted_is_given_up(hub):
    once = "[ -e /tmp/again ] && exit 9; touch /tmp/again; sleep 0.5; exit 9"
    hub.config.KubeSpawner.volumes = [{"name": "t", "emptyDir": {}}]
    hub.config.KubeSpawner.volume_mounts = [{"name": "t", "mountPath": "/tmp"}]
    hub.config.KubeSpawner.cmd = ["sh", "-c", once]
    spawner = await hub.running()
    exited = await hub.ended(await hub.later(spawner))
    assert (exited.code, exited.cause.reason) == (9, "exited")
    later = await hub.later(spawner)
    await later.stop()
    assert await hub.pods.find(POD) is None


def test_a_container_that_ran_for_a_while_is_worth_another_run():
    ended = {"startedAt": "2026-01-01T10:00:00Z", "finishedAt": "2026-01-01T10:00:59Z"}
    assert kube_life.is_hopeless(ended)
    assert not kube_life.is_hopeless(ended | {"finishedAt": "2026-01-01T10:01:00Z"})


# -- its machine


async def test_a_machine_that_is_silent_for_a_while_is_told_and_ends_nothing(hub):
    spawner, host, nodes = await hub.running(), hub.host(), hub.cluster.fake.nodes
    await settled(host)
    nodes.lose()
    assert await noticed(host) == {21}
    assert (await looked_at(hub, spawner)).message == "The machine of the server does not answer."
    nodes.recover()
    assert await noticed(host) == {21}
    later = await hub.later(spawner)
    assert await later.poll() is None
    assert later.mishap is None


async def test_a_machine_that_is_gone_ends_its_servers_and_leaves_no_pod_in_the_way(hub):
    spawner, host, nodes = await hub.running(), hub.host(), hub.cluster.fake.nodes
    await settled(host)
    nodes.lose()
    nodes.give_up()
    assert await noticed(host) == {21}
    later = await hub.later(spawner)
    exited = await hub.ended(later)
    assert exited.cause.reason == "evicted"
    assert "unreachable" in exited.cause.details
    # Nobody there confirms the pod's end: it stays until somebody does without.
    assert await hub.pods.find(POD)
    await later.stop()
    assert await hub.pods.find(POD) is None


# -- the API server


async def test_an_api_server_that_is_away_ends_no_server_and_is_not_asked_for_everything_again(hub):
    spawner, host, server = await hub.running(), hub.host(), hub.cluster.fake.server
    await settled(host)
    later = await hub.later(spawner)
    await server.stop()
    reflector = later.plugin.pod_reflector
    await until(lambda: reflector.interrupted)
    assert await later.poll() is None
    assert await host.ended() == set()
    server.log.clear()
    await server.start()
    await until(lambda: not reflector.interrupted, seconds=20)
    assert await later.poll() is None
    assert server.log.count(verb="list", resource="pods") == 0
    await hub.pods.delete(POD, grace_period_seconds=0)
    assert (await hub.ended(later)).cause.reason == "deleted"


# -- pods of others


async def test_a_pod_that_z2jhs_hub_left_to_us_is_watched_too(hub):
    """It carries KubeSpawner's annotations and none of our labels."""
    host = hub.host()
    metadata = {
        "name": "jupyter-ann--gpu",
        "labels": {"component": "singleuser-server", "hub.jupyter.org/username": "ann"},
        "annotations": {"hub.jupyter.org/username": "ann", "hub.jupyter.org/servername": "gpu"},
    }
    spec = {"containers": [{"name": "notebook", "image": "busybox", "command": ["sleep", "60"]}]}
    core, namespace = hub.cluster.core, hub.cluster.namespace
    await core.create_namespaced_pod(namespace, {"metadata": metadata, "spec": spec})
    await hub.pods.until_phase("Running", "jupyter-ann--gpu")
    await settled(host)
    await hub.pods.delete("jupyter-ann--gpu", grace_period_seconds=0)
    assert await noticed(host) == {("ann", "gpu")}


# -- names


async def test_names_are_chosen_once_and_survive_other_templates(hub):
    section = hub.config.KubeSpawner
    section.storage_pvc_ensure = True
    section.storage_capacity = "1Mi"
    section.volumes = [{"name": "home", "persistentVolumeClaim": {"claimName": "{pvc_name}"}}]
    first = await hub.running()
    claim = first.plugin.pvc_name
    section.pod_name_template = "lab-{username}"
    section.pvc_name_template = "home-{username}"
    second = await hub.later(first, lease_epoch=6)
    assert await second.poll() is None
    await second.stop()
    assert await hub.pods.find(POD) is None
    third = await hub.later(second, lease_epoch=7, generation=4)
    await third.start()
    pod = await hub.pods.read("lab-ann")
    assert pod.spec.volumes[0].persistent_volume_claim.claim_name == claim
    assert claim == "claim-ann"


async def test_users_of_the_same_escaped_name_get_servers_of_their_own(hub):
    names = ["a.b", "a-2eb", "A.B"]
    spawners = [
        await hub.open(id=number, user=replace(ANN, id=number, name=name)) for number, name in enumerate(names, 41)
    ]
    urls = await asyncio.gather(*(spawner.start() for spawner in spawners))
    assert len(set(urls)) == len({spawner.plugin.pod_name for spawner in spawners}) == len(names)
