"""What a pod's containers are given, what they do, and how they end."""

import pytest

from perijove.testing.kube.stories import IMAGE, WAIT, Pods, terminated
from perijove.testing.waiting import until


@pytest.fixture
def pods(cluster):
    return Pods(cluster)


@pytest.fixture
async def settings(cluster):
    await cluster.core.create_namespaced_config_map(
        cluster.namespace, {"metadata": {"name": "settings"}, "data": {"colour": "red", "app.conf": "a=1\n"}}
    )
    await cluster.core.create_namespaced_secret(
        cluster.namespace, {"metadata": {"name": "keys"}, "stringData": {"token": "s3cret"}}
    )


async def test_variables_come_from_values_objects_and_the_pod_itself(pods, settings):
    env = [
        {"name": "PLAIN", "value": "one"},
        {"name": "BUILT", "value": "$(PLAIN)-two-$(NOBODY)-$$(PLAIN)"},
        {"name": "COLOUR", "valueFrom": {"configMapKeyRef": {"name": "settings", "key": "colour"}}},
        {"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "keys", "key": "token"}}},
        {"name": "NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
        {"name": "LABEL", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['app']"}}},
        {"name": "MISSING", "valueFrom": {"secretKeyRef": {"name": "keys", "key": "no", "optional": True}}},
        {"name": "MEMORY", "valueFrom": {"resourceFieldRef": {"resource": "limits.memory", "divisor": "1Mi"}}},
    ]
    container = {"env": env, "envFrom": [{"prefix": "C_", "configMapRef": {"name": "settings"}}]}
    container["resources"] = {"limits": {"memory": "64Mi"}}
    script = 'echo "$PLAIN|$BUILT|$COLOUR|$TOKEN|$NAME|$LABEL|${MISSING-unset}|$MEMORY|$C_colour"'
    printed = await pods.output(script, container=container)
    assert printed.strip() == "one|one-two-$(NOBODY)-$(PLAIN)|red|s3cret|p|p|unset|64|red"


async def test_a_pod_knows_its_address(pods):
    env = [{"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}]
    printed = await pods.output("echo $POD_IP", container={"env": env})
    assert printed.strip() == (await pods.read()).status.pod_ip


async def test_config_maps_and_secrets_are_files(pods, settings):
    volumes = [
        {"name": "all", "configMap": {"name": "settings"}},
        {"name": "one", "secret": {"secretName": "keys", "items": [{"key": "token", "path": "deep/t"}]}},
    ]
    mounts = [
        {"name": "all", "mountPath": "/etc/all"},
        {"name": "all", "mountPath": "/opt/here/app.conf", "subPath": "app.conf"},
        {"name": "one", "mountPath": "/run/one"},
    ]
    script = "cat /etc/all/colour /opt/here/app.conf /run/one/deep/t; touch /etc/all/x 2>/dev/null || echo ' read-only'"
    printed = await pods.output(script, container={"volumeMounts": mounts}, volumes=volumes)
    assert printed == "reda=1\ns3cret read-only\n"


async def test_containers_share_an_empty_directory_and_nothing_else(pods):
    mount = {"volumeMounts": [{"name": "shared", "mountPath": "/shared"}]}
    first = {"name": "first", "image": IMAGE, "command": ["sh", "-c", "echo here > /shared/a; echo x > /own"], **mount}
    printed = await pods.output(
        "cat /shared/a; test -e /own || echo apart",
        container=mount,
        initContainers=[first],
        volumes=[{"name": "shared", "emptyDir": {}}],
    )
    assert printed == "here\napart\n"


async def test_what_is_on_a_claim_outlives_the_pod(cluster, pods):
    claim = {
        "metadata": {"name": "claim-ann"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Mi"}}},
    }
    await cluster.core.create_namespaced_persistent_volume_claim(cluster.namespace, claim)
    spec = {
        "container": {"volumeMounts": [{"name": "home", "mountPath": "/home/jovyan", "subPath": "home/ann"}]},
        "volumes": [{"name": "home", "persistentVolumeClaim": {"claimName": "claim-ann"}}],
        "securityContext": {"runAsUser": 1000, "fsGroup": 100},
    }
    await pods.output("echo kept > /home/jovyan/a; id -u", name="first", **spec)
    assert await pods.output("cat /home/jovyan/a", name="second", **spec) == "kept\n"


async def test_users_and_groups_are_the_pods(pods):
    printed = await pods.output(
        "id -u; id -g; id -G", securityContext={"runAsUser": 1234, "runAsGroup": 2345, "fsGroup": 100}
    )
    user, group, groups = printed.splitlines()
    assert (user, group) == ("1234", "2345")
    assert "100" in groups.split()


async def test_a_read_only_root_is_read_only_but_for_its_volumes(pods):
    container = {"securityContext": {"readOnlyRootFilesystem": True}}
    container["volumeMounts"] = [{"name": "tmp", "mountPath": "/tmp"}]
    script = "touch /tmp/a && echo volume; touch /a 2>/dev/null || echo refused"
    printed = await pods.output(script, container=container, volumes=[{"name": "tmp", "emptyDir": {}}])
    assert printed == "volume\nrefused\n"


@pytest.mark.parametrize(("script", "phase", "code"), [("exit 0", "Succeeded", 0), ("exit 3", "Failed", 3)])
async def test_a_pod_ends_as_its_container_does(pods, script, phase, code):
    await pods.create(script)
    pod = await pods.until_phase(phase)
    end = terminated(pod)
    assert (end.exit_code, end.reason) == (code, "Error" if code else "Completed")


async def test_a_container_that_fails_again_and_again_is_backed_off(pods):
    await pods.create("echo trying; exit 1", restartPolicy="Always")
    status = await pods.until_waiting("CrashLoopBackOff")
    assert status.restart_count >= 1
    assert status.last_state.terminated.exit_code == 1
    assert "restarting failed container=main" in status.state.waiting.message
    event = await pods.until_event("BackOff")
    assert event.type == "Warning"
    assert "Back-off restarting failed container main in pod p" in event.message
    assert await pods.log(previous=True) == "trying\n"


async def test_init_containers_run_one_after_another_before_the_others(pods):
    mount = {"volumeMounts": [{"name": "w", "mountPath": "/w"}]}
    inits = [
        {"name": f"init-{number}", "image": IMAGE, "command": ["sh", "-c", f"echo {number} >> /w/order"], **mount}
        for number in (1, 2)
    ]
    spec = {"initContainers": inits, "volumes": [{"name": "w", "emptyDir": {}}]}
    assert await pods.output("cat /w/order", container=mount, **spec) == "1\n2\n"


async def test_an_init_container_that_fails_is_the_end_of_a_pod_that_does_not_restart(pods):
    await pods.create(initContainers=[{"name": "init", "image": IMAGE, "command": ["sh", "-c", "exit 9"]}])
    pod = await pods.until_phase("Failed")
    assert pod.status.init_container_statuses[0].state.terminated.exit_code == 9


async def test_sidecars_run_beside_and_end_last(pods):
    sidecar = {"name": "side", "image": IMAGE, "command": ["sh", "-c", WAIT], "restartPolicy": "Always"}
    await pods.create("sleep 0.2", initContainers=[sidecar])
    pod = await pods.until_phase("Succeeded")
    assert pod.status.init_container_statuses[0].state.terminated is not None


async def test_a_pod_is_asked_to_end_and_ends_in_its_own_time(pods):
    await pods.create("trap 'echo bye; exit 0' TERM; echo up; while :; do sleep 0.05; done")

    async def up():
        return (await pods.read()).status.phase == "Running" and "up" in await pods.log()

    await until(up, seconds=60)
    await pods.delete()
    await pods.until_gone(seconds=4)


async def test_a_container_that_does_not_listen_is_killed_when_its_grace_is_over(pods):
    await pods.create("trap '' TERM; while :; do sleep 0.05; done", terminationGracePeriodSeconds=1)
    await pods.until_phase("Running")
    await pods.delete()
    pod = await pods.read()
    assert pod.metadata.deletion_timestamp is not None
    assert pod.metadata.deletion_grace_period_seconds == 1
    await pods.until_gone(seconds=20)


async def test_deletion_without_grace_is_at_once(pods):
    await pods.create("trap '' TERM; while :; do sleep 0.05; done")
    await pods.until_phase("Running")
    await pods.delete(grace_period_seconds=0)
    assert await pods.find() is None


async def test_the_hook_before_the_end_runs_in_the_container(cluster, pods):
    """What it leaves is on a claim: the container's own log goes with the pod."""
    claim = {
        "metadata": {"name": "notes"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Mi"}}},
    }
    await cluster.core.create_namespaced_persistent_volume_claim(cluster.namespace, claim)
    volumes = [{"name": "notes", "persistentVolumeClaim": {"claimName": "notes"}}]
    container = {"volumeMounts": [{"name": "notes", "mountPath": "/notes"}]}
    hook = {"preStop": {"exec": {"command": ["sh", "-c", "echo stopping > /notes/a"]}}}
    await pods.create(container={**container, "lifecycle": hook}, volumes=volumes)
    await pods.until_phase("Running")
    await pods.delete()
    await pods.until_gone()
    assert await pods.output("cat /notes/a", name="after", container=container, volumes=volumes) == "stopping\n"


async def test_a_hook_after_the_start_that_fails_is_told(pods):
    hook = {"postStart": {"exec": {"command": ["sh", "-c", "echo no network; exit 1"]}}}
    await pods.create(container={"lifecycle": hook})
    event = await pods.until_event("FailedPostStartHook")
    assert event.type == "Warning"
    await pods.until_phase("Failed")


async def test_logs_have_a_tail_and_can_be_followed(cluster, pods):
    await pods.create("for i in 1 2 3; do echo line $i; done; sleep 0.5; echo line 4")
    await pods.until(lambda pod: pod.status.phase in ("Running", "Succeeded"))

    async def three():
        return "line 3" in await pods.log()

    await until(three, seconds=60)
    assert (await pods.log(tail_lines=1)).startswith("line")
    followed = await pods.log(follow=True)
    assert followed.splitlines() == ["line 1", "line 2", "line 3", "line 4"]


async def test_a_log_of_several_containers_wants_a_name(cluster, pods):
    containers = [{"name": name, "image": IMAGE, "command": ["sh", "-c", f"echo {name}"]} for name in ("a", "b")]
    await pods.create(containers=containers)
    await pods.until_phase("Succeeded")
    with pytest.raises(cluster.ApiException) as caught:
        await pods.log()
    assert "a container name must be specified for pod p, choose one of: [a b]" in caught.value.body
    assert await pods.log(container="b") == "b\n"


async def test_a_config_map_that_changes_changes_in_running_pods(cluster, pods, settings):
    """A real node takes up to a minute and a half for it."""
    volumes = [{"name": "all", "configMap": {"name": "settings"}}]
    container = {"volumeMounts": [{"name": "all", "mountPath": "/etc/all"}]}
    script = "until grep -q blue /etc/all/colour; do sleep 0.05; done; echo changed"
    await pods.create(script, container=container, volumes=volumes)
    await pods.until_phase("Running")
    await cluster.core.patch_namespaced_config_map("settings", cluster.namespace, {"data": {"colour": "blue"}})
    await pods.until(lambda pod: pod.status.phase == "Succeeded", seconds=120)
    assert await pods.log() == "changed\n"


async def test_storage_that_waits_for_its_first_pod(cluster, pods):
    """Made in this cluster alone: a class is not of a namespace."""
    body = {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {"name": "late"},
        "provisioner": "perijove.test/directory",
        "volumeBindingMode": "WaitForFirstConsumer",
    }
    assert cluster.fake
    await cluster.request("POST", "/apis/storage.k8s.io/v1/storageclasses", body)
    claim = {
        "accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": "1Mi"}},
        "storageClassName": "late",
    }
    await cluster.core.create_namespaced_persistent_volume_claim(
        cluster.namespace, {"metadata": {"name": "claim-ann"}, "spec": claim}
    )
    await pods.until_event("WaitForFirstConsumer", "claim-ann")
    await pods.create(volumes=[{"name": "home", "persistentVolumeClaim": {"claimName": "claim-ann"}}])
    await pods.until_phase("Running")
    found = await cluster.core.read_namespaced_persistent_volume_claim("claim-ann", cluster.namespace)
    assert found.status.phase == "Bound"
