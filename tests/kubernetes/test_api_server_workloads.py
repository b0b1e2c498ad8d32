"""Deployments, DaemonSets, StatefulSets and Jobs come to what they ask for, and say how far they are."""

import pytest

from perijove.testing.waiting import until

SLEEP = ["sh", "-c", "trap 'exit 0' TERM; while :; do sleep 0.1; done"]


def template(name, *, command=SLEEP, image="busybox:1.36", **spec):
    container = {"name": "main", "image": image, "command": command}
    spec = {"containers": [container], "terminationGracePeriodSeconds": 1, **spec}
    return {"metadata": {"labels": {"app": name}}, "spec": spec}


def deployment(name="web", *, replicas=2, strategy=None, **more):
    spec = {
        "replicas": replicas,
        "selector": {"matchLabels": {"app": name}},
        "template": template(name, **more),
        "progressDeadlineSeconds": 600,
    }
    if strategy:
        spec["strategy"] = strategy
    return {"metadata": {"name": name}, "spec": spec}


def rolled_out(item):
    status, wanted = item.status, item.spec.replicas
    return (
        status.observed_generation == item.metadata.generation
        and (status.updated_replicas or 0) == wanted
        and (status.replicas or 0) == wanted
        and (status.available_replicas or 0) == wanted
    )


@pytest.fixture
def web(cluster):
    async def read():
        return await cluster.apps.read_namespaced_deployment("web", cluster.namespace)

    async def done():
        return rolled_out(await read())

    async def condition(kind):
        found = (await read()).status.conditions or []
        return next((one for one in found if one.type == kind), None)

    async def pods():
        return (await cluster.core.list_namespaced_pod(cluster.namespace, label_selector="app=web")).items

    class Web:
        pass

    result = Web()
    result.read, result.done, result.condition, result.pods = read, done, condition, pods
    return result


async def test_a_deployment_runs_as_many_pods_as_it_asks_for(cluster, web):
    await cluster.apps.create_namespaced_deployment(cluster.namespace, deployment())
    await until(web.done, seconds=60)
    assert (await web.condition("Available")).status == "True"
    assert (await web.condition("Progressing")).reason == "NewReplicaSetAvailable"
    assert len(await web.pods()) == 2


async def test_a_new_template_takes_over_pod_by_pod(cluster, web):
    await cluster.apps.create_namespaced_deployment(cluster.namespace, deployment())
    await until(web.done, seconds=60)
    before = {pod.metadata.name for pod in await web.pods()}
    patch = {"spec": {"template": {"metadata": {"annotations": {"version": "2"}}}}}
    await cluster.apps.patch_namespaced_deployment("web", cluster.namespace, patch)
    await until(web.done, seconds=60)

    async def only_new():
        names = {pod.metadata.name for pod in await web.pods()}
        return len(names) == 2 and not names & before

    await until(only_new, seconds=60)
    assert (await web.read()).metadata.annotations["deployment.kubernetes.io/revision"] == "2"


async def test_a_template_that_cannot_start_leaves_the_old_pods_serving(cluster, web):
    await cluster.apps.create_namespaced_deployment(cluster.namespace, deployment())
    await until(web.done, seconds=60)
    container = {"name": "main", "image": "registry.invalid/never:1"}
    patch = {"spec": {"progressDeadlineSeconds": 2, "template": {"spec": {"containers": [container]}}}}
    await cluster.apps.patch_namespaced_deployment("web", cluster.namespace, patch)

    async def given_up():
        found = await web.condition("Progressing")
        return found.reason == "ProgressDeadlineExceeded"

    await until(given_up, seconds=60)
    assert (await web.read()).status.available_replicas == 2


async def test_recreate_ends_all_old_pods_before_the_first_new_one(cluster, web):
    body = deployment(replicas=1, strategy={"type": "Recreate"})
    await cluster.apps.create_namespaced_deployment(cluster.namespace, body)
    await until(web.done, seconds=60)
    old = (await web.pods())[0].metadata.name
    patch = {"spec": {"template": {"metadata": {"annotations": {"version": "2"}}}}}
    await cluster.apps.patch_namespaced_deployment("web", cluster.namespace, patch)
    most = 0

    async def replaced():
        nonlocal most
        names = [pod.metadata.name for pod in await web.pods()]
        most = max(most, len(names))
        return names and old not in names

    await until(replaced, seconds=60)
    assert most == 1


async def test_scaling_and_deleting_take_pods_away(cluster, web):
    await cluster.apps.create_namespaced_deployment(cluster.namespace, deployment(replicas=3))
    await until(web.done, seconds=60)
    await cluster.apps.patch_namespaced_deployment_scale("web", cluster.namespace, {"spec": {"replicas": 1}})

    async def count_is(number):
        return len(await web.pods()) == number

    await until(lambda: count_is(1), seconds=60)
    await cluster.apps.delete_namespaced_deployment("web", cluster.namespace)
    await until(lambda: count_is(0), seconds=60)


async def test_pods_that_quota_refuses_are_told_in_the_deployments_conditions(cluster, web):
    quota = {"metadata": {"name": "few"}, "spec": {"hard": {"pods": "1"}}}
    await cluster.core.create_namespaced_resource_quota(cluster.namespace, quota)

    async def counted():
        found = await cluster.core.read_namespaced_resource_quota("few", cluster.namespace)
        return found.status.used

    await until(counted, seconds=20)
    await cluster.apps.create_namespaced_deployment(cluster.namespace, deployment())

    async def refused():
        return await web.condition("ReplicaFailure")

    found = await until(refused, seconds=60)
    assert "exceeded quota: few, requested: pods=1, used: pods=1, limited: pods=1" in found.message


async def test_a_daemon_set_has_a_pod_on_every_node(cluster):
    body = {"metadata": {"name": "puller"}, "spec": {"selector": {"matchLabels": {"app": "puller"}}}}
    body["spec"]["template"] = template("puller")
    await cluster.apps.create_namespaced_daemon_set(cluster.namespace, body)

    async def everywhere():
        status = (await cluster.apps.read_namespaced_daemon_set("puller", cluster.namespace)).status
        return status.desired_number_scheduled and status.number_ready == status.desired_number_scheduled

    await until(everywhere, seconds=60)


async def test_a_stateful_set_numbers_its_pods_and_their_claims(cluster):
    claim = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Mi"}}}
    body = {
        "metadata": {"name": "db"},
        "spec": {
            "replicas": 2,
            "serviceName": "db",
            "selector": {"matchLabels": {"app": "db"}},
            "template": template("db"),
            "volumeClaimTemplates": [{"metadata": {"name": "data"}, "spec": claim}],
        },
    }
    await cluster.apps.create_namespaced_stateful_set(cluster.namespace, body)

    async def ready():
        found = await cluster.apps.read_namespaced_stateful_set("db", cluster.namespace)
        return found.status.ready_replicas == 2

    await until(ready, seconds=90)
    names = {pod.metadata.name for pod in (await cluster.core.list_namespaced_pod(cluster.namespace)).items}
    assert names == {"db-0", "db-1"}
    claims = (await cluster.core.list_namespaced_persistent_volume_claim(cluster.namespace)).items
    assert {one.metadata.name for one in claims} == {"data-db-0", "data-db-1"}


@pytest.mark.parametrize(
    ("command", "kind"), [(["sh", "-c", "exit 0"], "Complete"), (["sh", "-c", "exit 3"], "Failed")]
)
async def test_a_job_ends_as_its_pods_do(cluster, command, kind):
    body = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": "hook"},
        "spec": {"backoffLimit": 1, "template": template("hook", command=command, restartPolicy="Never")},
    }
    batch = cluster.batch
    await batch.create_namespaced_job(cluster.namespace, body)

    async def ended():
        found = await batch.read_namespaced_job("hook", cluster.namespace)
        return {one.type for one in found.status.conditions or []} & {"Complete", "Failed"}

    assert await until(ended, seconds=60) == {kind}
