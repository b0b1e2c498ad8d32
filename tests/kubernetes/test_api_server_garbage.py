"""Owners take what they own with them, namespaces everything, and quotas and limits hold."""

import json
import secrets

import pytest

from perijove.testing.waiting import until


async def note(cluster, name, owner=None):
    metadata = {"name": name}
    if owner is not None:
        metadata["ownerReferences"] = [
            {"apiVersion": "v1", "kind": "ConfigMap", "name": owner.metadata.name, "uid": owner.metadata.uid}
        ]
        metadata["ownerReferences"][0]["blockOwnerDeletion"] = True
    return await cluster.core.create_namespaced_config_map(cluster.namespace, {"metadata": metadata})


async def gone(cluster, name):
    try:
        await cluster.core.read_namespaced_config_map(name, cluster.namespace)
    except cluster.ApiException as error:
        return error.status == 404
    return False


async def test_dependents_follow_their_owner(cluster):
    owner = await note(cluster, "owner")
    middle = await note(cluster, "middle", owner)
    await note(cluster, "last", middle)
    await cluster.core.delete_namespaced_config_map("owner", cluster.namespace)
    await until(lambda: gone(cluster, "last"), seconds=60)


async def test_in_the_foreground_the_owner_goes_last(cluster):
    owner = await note(cluster, "owner")
    body = {"metadata": {"name": "held", "finalizers": ["perijove.test/hold"]}}
    body["metadata"]["ownerReferences"] = [
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "name": "owner",
            "uid": owner.metadata.uid,
            "blockOwnerDeletion": True,
        }
    ]
    await cluster.core.create_namespaced_config_map(cluster.namespace, body)
    await cluster.core.delete_namespaced_config_map("owner", cluster.namespace, propagation_policy="Foreground")

    async def marked():
        held = await cluster.core.read_namespaced_config_map("held", cluster.namespace)
        return held.metadata.deletion_timestamp

    await until(marked, seconds=60)
    assert not await gone(cluster, "owner")
    await cluster.core.patch_namespaced_config_map("held", cluster.namespace, {"metadata": {"finalizers": None}})
    await until(lambda: gone(cluster, "owner"), seconds=60)


async def test_orphans_stay(cluster):
    owner = await note(cluster, "owner")
    await note(cluster, "child", owner)
    await cluster.core.delete_namespaced_config_map("owner", cluster.namespace, propagation_policy="Orphan")
    await until(lambda: gone(cluster, "owner"), seconds=60)
    child = await cluster.core.read_namespaced_config_map("child", cluster.namespace)
    assert not child.metadata.owner_references


async def test_a_namespace_goes_with_everything_in_it(cluster):
    name = f"perijove-test-{secrets.token_hex(3)}"
    await cluster.core.create_namespace({"metadata": {"name": name}})
    await cluster.core.create_namespaced_config_map(name, {"metadata": {"name": "a"}})
    await cluster.core.delete_namespace(name)

    async def ended():
        try:
            await cluster.core.read_namespace(name)
        except cluster.ApiException as error:
            return error.status == 404
        return False

    await until(ended, seconds=60)


async def test_nothing_is_made_in_a_namespace_that_is_not_there(cluster):
    with pytest.raises(cluster.ApiException) as caught:
        await cluster.core.create_namespaced_config_map("nowhere", {"metadata": {"name": "a"}})
    assert caught.value.status == 404
    assert json.loads(caught.value.body)["message"] == 'namespaces "nowhere" not found'


def pod(name="p", **resources):
    container = {"name": "c", "image": "busybox:1.36", "command": ["sleep", "60"], "resources": resources}
    return {"metadata": {"name": name}, "spec": {"containers": [container], "terminationGracePeriodSeconds": 0}}


async def quota(cluster, **hard):
    keys = {name.replace("__", "."): value for name, value in hard.items()}
    body = {"metadata": {"name": "team"}, "spec": {"hard": keys}}
    await cluster.core.create_namespaced_resource_quota(cluster.namespace, body)

    async def counted():
        found = await cluster.core.read_namespaced_resource_quota("team", cluster.namespace)
        return found.status.used is not None

    await until(counted, seconds=20)


async def test_a_pod_over_the_quota_is_refused_with_the_numbers(cluster):
    await quota(cluster, requests__cpu="1")
    await cluster.core.create_namespaced_pod(cluster.namespace, pod("first", requests={"cpu": "600m"}))
    with pytest.raises(cluster.ApiException) as caught:
        await cluster.core.create_namespaced_pod(cluster.namespace, pod("second", requests={"cpu": "500m"}))
    assert caught.value.status == 403
    assert json.loads(caught.value.body)["message"] == (
        'pods "second" is forbidden: exceeded quota: team, requested: requests.cpu=500m, '
        "used: requests.cpu=600m, limited: requests.cpu=1"
    )


async def test_a_quota_on_limits_wants_limits(cluster):
    await quota(cluster, limits__memory="1Gi")
    with pytest.raises(cluster.ApiException) as caught:
        await cluster.core.create_namespaced_pod(cluster.namespace, pod())
    assert "failed quota: team: must specify limits.memory for: c" in json.loads(caught.value.body)["message"]


async def test_limit_ranges_fill_in_and_bound(cluster):
    limits = {"type": "Container", "default": {"memory": "64Mi"}, "max": {"memory": "128Mi"}}
    body = {"metadata": {"name": "bounds"}, "spec": {"limits": [limits]}}
    await cluster.core.create_namespaced_limit_range(cluster.namespace, body)

    async def filled():
        made = await cluster.core.create_namespaced_pod(cluster.namespace, pod(), dry_run="All")
        return (made.spec.containers[0].resources.limits or {}).get("memory") == "64Mi"

    await until(filled, seconds=20)
    with pytest.raises(cluster.ApiException) as caught:
        await cluster.core.create_namespaced_pod(cluster.namespace, pod(limits={"memory": "1Gi"}))
    assert "maximum memory usage per Container is 128Mi, but limit is 1Gi" in caught.value.body
