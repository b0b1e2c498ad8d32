"""Every way in which a pod does not come up or does not stay, with the words of a real node."""

import pytest

from perijove.testing.kube.stories import Pods, is_ready, terminated
from perijove.testing.waiting import until


@pytest.fixture
def pods(cluster):
    return Pods(cluster)


async def test_an_image_that_cannot_be_pulled(pods):
    await pods.create(container={"image": "registry.invalid/lab:1"})
    status = await pods.until_waiting("ImagePullBackOff")
    assert 'Back-off pulling image "registry.invalid/lab:1"' in status.state.waiting.message
    assert (await pods.read()).status.phase == "Pending"
    event = await pods.until_event("Failed")
    assert event.type == "Warning"


async def test_an_image_that_a_test_calls_missing_and_then_lets_come(cluster, pods):
    cluster.fake.kubelet.images.missing.add("example.org/late:*")
    await pods.create(container={"image": "example.org/late:1"})
    await pods.until_waiting("ErrImagePull")
    cluster.fake.kubelet.images.missing.clear()
    await pods.until_phase("Running")


async def test_a_pull_that_takes_its_time(cluster, pods):
    cluster.fake.kubelet.images.pull_seconds["example.org/large:*"] = 0.5
    await pods.create(container={"image": "example.org/large:1"})
    status = await pods.until_waiting("ContainerCreating")
    assert status.image_id == ""
    await pods.until_phase("Running")


async def test_more_than_any_node_has(pods):
    await pods.create(container={"resources": {"requests": {"cpu": "10000"}}})
    pod = await pods.until(lambda one: bool(one.status.conditions))
    (condition,) = pod.status.conditions
    assert (condition.type, condition.status, condition.reason) == ("PodScheduled", "False", "Unschedulable")
    assert "Insufficient cpu" in condition.message
    assert "nodes are available" in (await pods.until_event("FailedScheduling")).message


async def test_a_node_selector_that_no_node_has(pods):
    await pods.create(nodeSelector={"perijove.test/none": "1"})
    event = await pods.until_event("FailedScheduling")
    assert "didn't match Pod's node affinity/selector" in event.message


async def test_a_taint_that_is_not_tolerated(cluster, pods):
    nodes = cluster.fake.objects.resource("nodes")
    taint = {"key": "hub.jupyter.org/dedicated", "value": "user", "effect": "NoSchedule"}
    node = cluster.fake.control.items("nodes")[0]
    cluster.fake.control.change("nodes", node, lambda latest: latest["spec"].update(taints=[taint]))
    assert nodes.kind == "Node"
    await pods.create(name="refused")
    assert (
        "untolerated taint {hub.jupyter.org/dedicated: user}"
        in (await pods.until_event("FailedScheduling", "refused")).message
    )
    await pods.create(name="taken", tolerations=[{"key": "hub.jupyter.org/dedicated", "operator": "Exists"}])
    await pods.until_phase("Running", "taken")


async def test_configuration_that_is_missing_and_then_there(cluster, pods):
    env = [{"name": "A", "valueFrom": {"configMapKeyRef": {"name": "later", "key": "a"}}}]
    await pods.create(container={"env": env})
    status = await pods.until_waiting("CreateContainerConfigError")
    assert status.state.waiting.message == 'configmap "later" not found'
    await cluster.core.create_namespaced_config_map(
        cluster.namespace, {"metadata": {"name": "later"}, "data": {"a": "1"}}
    )
    await pods.until_phase("Running")


async def test_a_volume_that_is_missing(pods):
    volume = {"name": "v", "secret": {"secretName": "nobody"}}
    await pods.create(container={"volumeMounts": [{"name": "v", "mountPath": "/v"}]}, volumes=[volume])
    event = await pods.until_event("FailedMount")
    assert 'secret "nobody" not found' in event.message
    await pods.until_waiting("ContainerCreating")


async def test_a_command_that_is_not_there(pods):
    await pods.create(container={"command": ["/no/such/program"]})
    pod = await pods.until_phase("Failed")
    assert terminated(pod).exit_code in (127, 128)


async def test_a_service_account_that_is_not_there(cluster, pods):
    with pytest.raises(cluster.ApiException) as caught:
        await pods.create(serviceAccountName="nobody")
    assert caught.value.status == 403
    assert "error looking up service account" in caught.value.body


async def test_memory_beyond_the_limit(pods):
    """`tail` keeps all of a line that never ends."""
    limits = {"resources": {"limits": {"memory": "48Mi"}}}
    await pods.create("tail -n 1 /dev/zero", container=limits)
    pod = await pods.until_phase("Failed")
    end = terminated(pod)
    assert (end.exit_code, end.reason) == (137, "OOMKilled")


async def test_memory_on_demand(cluster, pods):
    await pods.create(restartPolicy="OnFailure")
    await pods.until_phase("Running")
    cluster.fake.kubelet.kill_for_memory(cluster.namespace, "p")
    pod = await pods.until(lambda one: one.status.container_statuses[0].restart_count == 1)
    assert terminated(pod).reason == "OOMKilled"


async def test_eviction_by_the_node(cluster, pods):
    await pods.create()
    await pods.until_phase("Running")
    await cluster.fake.kubelet.evict(cluster.namespace, "p", "The node was low on resource: memory.")
    pod = await pods.read()
    assert (pod.status.phase, pod.status.reason) == ("Failed", "Evicted")
    assert pod.status.message == "The node was low on resource: memory."
    assert (await pods.until_event("Evicted")).type == "Warning"


async def test_eviction_by_request_heeds_budgets(cluster, pods):
    await pods.create()
    await pods.until_ready()
    budget = {"metadata": {"name": "keep"}, "spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "p"}}}}
    path = f"/apis/policy/v1/namespaces/{cluster.namespace}/poddisruptionbudgets"
    await cluster.request("POST", path, budget | {"apiVersion": "policy/v1", "kind": "PodDisruptionBudget"})
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "p"}}
    target = f"/api/v1/namespaces/{cluster.namespace}/pods/p/eviction"
    status, refused = await cluster.request("POST", target, eviction)
    assert status == 429
    assert refused["message"] == "Cannot evict pod as it would violate the pod's disruption budget."
    await cluster.request("DELETE", f"{path}/keep")
    status, _ = await cluster.request("POST", target, eviction)
    assert status == 201
    await pods.until_gone()


async def test_a_pod_is_ready_when_its_probe_says_so(pods):
    probe = {"exec": {"command": ["sh", "-c", "test -e /tmp/ready"]}, "periodSeconds": 1}
    script = "sleep 0.5; touch /tmp/ready; trap 'exit 0' TERM; while :; do sleep 0.1; done"
    await pods.create(script, container={"readinessProbe": probe})
    pod = await pods.until_phase("Running")
    assert not is_ready(pod)
    await pods.until_ready()
    assert (await pods.until_event("Unhealthy")).message.startswith("Readiness probe failed")


async def test_a_container_that_is_not_alive_is_restarted(pods):
    probe = {"exec": {"command": ["false"]}, "periodSeconds": 1, "failureThreshold": 1}
    await pods.create(container={"livenessProbe": probe}, restartPolicy="Always", terminationGracePeriodSeconds=1)
    await pods.until(lambda one: one.status.container_statuses[0].restart_count >= 1)
    assert "failed liveness probe, will be restarted" in (await pods.until_event("Killing")).message


async def test_a_claim_whose_storage_never_comes(cluster, pods):
    cluster.fake.volumes.stuck_classes.add("standard")
    claim = {
        "metadata": {"name": "claim-ann"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
    }
    await cluster.core.create_namespaced_persistent_volume_claim(cluster.namespace, claim)
    await pods.until_event("ExternalProvisioning", "claim-ann")
    await pods.create(volumes=[{"name": "home", "persistentVolumeClaim": {"claimName": "claim-ann"}}])
    event = await pods.until_event("FailedScheduling")
    assert "unbound immediate PersistentVolumeClaims" in event.message


async def test_a_claim_that_a_pod_uses_is_not_deleted_before_it(cluster, pods):
    claim = {
        "metadata": {"name": "claim-ann"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Mi"}}},
    }
    core = cluster.core
    await core.create_namespaced_persistent_volume_claim(cluster.namespace, claim)
    await pods.create(volumes=[{"name": "home", "persistentVolumeClaim": {"claimName": "claim-ann"}}])
    await pods.until_phase("Running")
    await core.delete_namespaced_persistent_volume_claim("claim-ann", cluster.namespace)
    held = await core.read_namespaced_persistent_volume_claim("claim-ann", cluster.namespace)
    assert held.metadata.deletion_timestamp is not None
    await pods.create(name="late", volumes=[{"name": "home", "persistentVolumeClaim": {"claimName": "claim-ann"}}])
    assert (
        'persistentvolumeclaim "claim-ann" is being deleted'
        in (await pods.until_event("FailedScheduling", "late")).message
    )
    await pods.delete("late")
    await pods.delete()
    await pods.until_gone()

    async def gone():
        found = await core.list_namespaced_persistent_volume_claim(cluster.namespace)
        return not found.items

    await until(gone, seconds=60)
