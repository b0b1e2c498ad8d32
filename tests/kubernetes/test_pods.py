"""Every way in which a hosted KubeSpawner's pod does not come up or does not stay, told with the cluster's words."""

import asyncio

import pytest
from kubernetes_asyncio.client import ApiException
from kubespawner import KubeSpawner

from perijove.domain.errors import SpawnFailed
from perijove.plugins import kube_causes
from perijove.reconcile.readiness import died
from perijove.testing.kube.spawning import POD, SpawnerHalf, open_spawner_half
from perijove.testing.waiting import until


class Hub(SpawnerHalf):
    """With starts that fail."""

    async def failure(self):
        """Of a start, which ends long before its timeout; nothing of it is left after the stop that follows."""
        spawner = await self.open()
        events = asyncio.create_task(_collect(spawner.progress()))
        with pytest.raises(SpawnFailed) as caught:
            await asyncio.wait_for(self._start(spawner), 40)
        await events
        await spawner.stop(now=True)
        assert await self.pods.find(POD) is None
        return caught.value

    async def exists(self):
        return await self.pods.find(POD)

    async def _start(self, spawner):
        await spawner.start()
        # Ready for a moment before it ended: the hub hears of it while it waits for an answer.
        raise died(await self.ended(spawner))


async def _collect(events):
    return [event async for event in events]


@pytest.fixture
async def hub(cluster, tmp_path, monkeypatch):
    async with open_spawner_half(cluster, tmp_path, monkeypatch) as half:
        yield Hub(half.cluster, half.directory, half.config)


# -- starts that fail


async def test_an_image_that_cannot_be_pulled_ends_the_start_with_its_name(hub):
    hub.config.KubeSpawner.image = "registry.invalid/lab:1"
    failure = await hub.failure()
    assert failure.reason == "image"
    assert "registry.invalid/lab:1" in failure.message
    assert "Back-off pulling image" in failure.details
    assert "Warning Failed" in failure.details


async def test_a_server_that_ends_at_once_is_told_with_its_last_words(hub):
    hub.config.KubeSpawner.cmd = ["sh", "-c", "echo no such module: lab; exit 3"]
    failure = await hub.failure()
    assert failure.reason == "exited"
    assert "exit code 3" in failure.message
    assert "no such module: lab" in failure.details


async def test_memory_beyond_the_limit_is_told_as_such(hub):
    """Before it answers: the container is restarted in its pod, and nobody waits for that."""
    spawner = await hub.running()
    hub.cluster.fake.kubelet.kill_for_memory(hub.cluster.namespace, POD)
    exited = await hub.ended(spawner)
    assert exited.cause.reason == "oom"
    assert "memory" in exited.cause.message
    await spawner.stop(now=True)
    assert await hub.pods.find(POD) is None


async def test_a_volume_that_is_missing_ends_the_start_with_its_name(hub):
    hub.config.KubeSpawner.volumes = [{"name": "home", "persistentVolumeClaim": {"claimName": "claim-ann"}}]
    failure = await hub.failure()
    assert failure.reason == "volume"
    assert failure.message == "The volume claim-ann of this server is missing."
    assert "FailedScheduling" in failure.details


async def test_a_volume_that_is_stuck_in_its_deletion_ends_the_start_with_its_name(hub):
    core, namespace = hub.cluster.core, hub.cluster.namespace
    spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Mi"}}}
    await core.create_namespaced_persistent_volume_claim(namespace, {"metadata": {"name": "home"}, "spec": spec})
    home = [{"name": "home", "persistentVolumeClaim": {"claimName": "home"}}]
    await hub.pods.create(name="holder", volumes=home)
    await hub.pods.until_phase("Running", "holder")
    await core.delete_namespaced_persistent_volume_claim("home", namespace)
    hub.config.KubeSpawner.volumes = home
    failure = await hub.failure()
    assert failure.reason == "volume"
    assert failure.message == "The volume home of this server is being deleted."


async def test_a_start_beyond_the_quota_says_so(hub):
    quota = {"metadata": {"name": "none"}, "spec": {"hard": {"pods": "0"}}}
    await hub.cluster.core.create_namespaced_resource_quota(hub.cluster.namespace, quota)
    failure = await hub.failure()
    assert failure.reason == "quota"
    assert "exceeded quota: none" in failure.details.splitlines()[0]


async def test_a_pod_that_no_machine_takes_is_given_up_when_nobody_helps(hub):
    hub.config.KubeSpawner.cpu_guarantee = 10_000
    failure = await hub.failure()
    assert failure.reason == "unschedulable"
    assert failure.message == "No machine of the cluster can take the server: not enough cpu."
    assert "nodes are available" in failure.details


def test_a_pod_that_an_autoscaler_makes_room_for_is_waited_for():
    waiting = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "Insufficient memory."}
    pod = {"metadata": {"name": POD}, "status": {"phase": "Pending", "conditions": [waiting]}}
    nobody, helped, refused = (
        kube_causes.starting(pod, [{"reason": reason}]).patience_seconds
        for reason in ("FailedScheduling", "TriggeredScaleUp", "NotTriggerScaleUp")
    )
    assert refused < nobody < helped == kube_causes.FOREVER


async def test_a_timeout_is_blamed_on_what_was_in_the_way(hub):
    hub.config.KubeSpawner.cpu_guarantee = 10_000
    hub.config.KubeSpawner.start_timeout = 2
    assert (await hub.failure()).reason == "unschedulable"


async def test_a_pod_deleted_while_it_starts_ends_the_start(hub):
    hub.config.KubeSpawner.image = "registry.invalid/lab:1"
    spawner = await hub.open()
    starting = asyncio.create_task(spawner.start())
    await until(lambda: hub.pods.find(POD))
    await hub.pods.until_waiting("ErrImagePull", POD)
    await hub.pods.delete(POD, grace_period_seconds=0)
    with pytest.raises(SpawnFailed) as caught:
        await asyncio.wait_for(starting, 10)
    assert caught.value.reason == "deleted"


async def test_a_pod_that_an_autoscaler_helps_becomes_a_server(hub):
    """Told as unschedulable while it waits, by the cluster's own events; started when the machine is there."""
    hub.config.KubeSpawner.node_selector = {"pool": "gpu"}
    spawner = await hub.open()
    starting = asyncio.create_task(spawner.start())
    fake = hub.cluster.fake
    pod = await hub.pods.until(lambda one: bool(one.status.conditions), POD) if await until(hub.exists) else None
    assert pod.status.conditions[0].reason == "Unschedulable"
    item = fake.control.find("pods", (hub.cluster.namespace, POD))
    fake.recorder.say(item, "TriggeredScaleUp", "pod triggered scale-up: [{gpu 0->1 (max: 3)}]")
    await until(lambda: spawner.plugin._trouble and spawner.plugin._trouble.patience_seconds == kube_causes.FOREVER)
    node = fake.control.find("nodes", ("", fake.kubelet.name))
    fake.control.change("nodes", node, lambda one: one["metadata"]["labels"].update(pool="gpu"))
    assert (await asyncio.wait_for(starting, 20)).endswith(":8888")


async def test_a_volume_that_no_class_provides_ends_the_start(hub):
    hub.config.KubeSpawner.storage_pvc_ensure = True
    hub.config.KubeSpawner.storage_capacity = "1Mi"
    hub.config.KubeSpawner.storage_class = "no-such-class"
    hub.config.KubeSpawner.volumes = [{"name": "home", "persistentVolumeClaim": {"claimName": "{pvc_name}"}}]
    failure = await hub.failure()
    assert failure.reason == "volume"
    assert failure.message == "The server's volume is not provided by the cluster."
    assert 'storageclass.storage.k8s.io "no-such-class" not found' in failure.details


async def test_an_image_that_needs_a_secret_that_is_missing_is_told_with_both(hub):
    hub.config.KubeSpawner.image = "registry.invalid/private:1"
    hub.config.KubeSpawner.image_pull_secrets = ["nowhere"]
    failure = await hub.failure()
    assert failure.reason == "image"
    assert "nowhere" in failure.details


async def test_an_init_container_that_fails_ends_the_start_with_its_name(hub):
    script = ["sh", "-c", "echo no mount at /data; exit 7"]
    hub.config.KubeSpawner.init_containers = [{"name": "prepare", "image": "busybox:1.36", "command": script}]
    failure = await hub.failure()
    assert failure.reason == "crashed"
    assert failure.message == "A step before the server's start fails (prepare)."
    assert "exitCode': 7" in failure.details
    assert "no mount at /data" in failure.details


async def test_a_hook_that_fails_after_the_start_is_told_as_the_cause(hub):
    """As when gitpuller finds no repository: the node kills the container because of it."""
    hook = {"postStart": {"exec": {"command": ["sh", "-c", "echo no such repository >&2; exit 1"]}}}
    hub.config.KubeSpawner.lifecycle_hooks = hook
    failure = await hub.failure()
    assert failure.reason == "hook"
    assert failure.message == "A step after the server's start fails (its postStart hook)."
    assert "FailedPostStartHook" in failure.details


# -- servers that end


async def test_a_pod_deleted_behind_the_hubs_back_is_told_as_that(hub):
    spawner = await hub.running()
    assert await spawner.poll() is None
    await hub.pods.delete(POD)
    exited = await hub.ended(spawner)
    assert exited.cause.reason == "deleted"
    assert "Killing" in exited.cause.details
    await spawner.stop()
    assert await hub.pods.find(POD) is None


async def test_an_eviction_is_told_with_the_nodes_reason(hub):
    spawner = await hub.running()
    await hub.cluster.fake.kubelet.evict(hub.cluster.namespace, POD, "The node was low on resource: memory.")
    exited = await hub.ended(spawner)
    assert exited.cause.reason == "evicted"
    assert "low on resource: memory" in exited.cause.message
    await spawner.stop()
    assert await hub.pods.find(POD) is None


# -- the fence


async def test_a_hub_that_comes_after_finds_the_pod_and_stops_it(hub):
    first = await hub.running()
    [found] = await hub.host().find()
    assert (found.server_id, found.generation) == (21, 3)
    assert found.state.items() <= first.state().items()
    second = await hub.open(state=first.state(), lease_epoch=6)
    assert await second.poll() is None
    await second.stop()
    assert await hub.pods.find(POD) is None


async def test_a_hub_that_slept_never_deletes_its_successors_pod(hub):
    late = await hub.open()
    await hub.running(lease_epoch=6)
    before = await hub.pods.read(POD)
    for act in (late.start, late.stop):
        with pytest.raises(SpawnFailed) as caught:
            await act()
        assert "later lease" in caught.value.details
    assert (await hub.pods.read(POD)).metadata.uid == before.metadata.uid


async def test_what_an_earlier_hub_left_half_started_is_replaced(hub):
    await hub.running()
    before = await hub.pods.read(POD)
    await hub.running(lease_epoch=6)
    assert (await hub.pods.read(POD)).metadata.uid != before.metadata.uid


async def test_an_orphan_is_ended_and_what_came_after_it_is_not(hub):
    await hub.running()
    host = hub.host()
    [orphan] = await host.find()
    await hub.running(lease_epoch=6)
    await host.destroy(orphan)
    [found] = await host.find()
    await host.destroy(found)
    await hub.pods.until_gone(POD)


# -- the watch


async def test_a_cluster_that_cannot_be_watched_fails_a_start_and_nothing_else(hub):
    hub.config.KubeSpawner.enable_user_namespaces = True
    spawner = await hub.open()

    async def refused(*args, **kwargs):
        raise ApiException(status=403, reason="Forbidden")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("perijove.plugins.kube_watch.Continuous._list_and_update", refused)
        with pytest.raises(SpawnFailed):
            await spawner.start()
    assert await hub.host().find() == []


async def test_a_watch_of_all_namespaces_that_gives_up_does_not_end_the_hub(hub):
    """KubeSpawner would call `sys.exit()` from a task here."""
    hub.config.KubeSpawner.enable_user_namespaces = True
    await hub.host().find()
    [reflector] = KubeSpawner.reflectors.values()
    reflector.on_failure()


async def test_a_watch_that_gave_up_is_replaced_at_the_next_use(hub):
    spawner = await hub.running()
    reflector = spawner.plugin.pod_reflector
    reflector.watch_task.cancel()
    await until(reflector.watch_task.done)
    await hub.pods.delete(POD, grace_period_seconds=0)
    exited = await hub.ended(spawner)
    assert exited.cause.reason == "deleted"
