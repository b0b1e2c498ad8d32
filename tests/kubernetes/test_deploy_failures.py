"""What does not come up says why, and what served before serves again."""

import pytest

from perijove.deploy.errors import DeployFailed, RolloutFailed
from perijove.deploy.history import State
from perijove.deploy.waiting import Deadline
from perijove.testing.deploying import config_text

SHORT = Deadline(timeout_seconds=1.5, hopeless_seconds=0.3, look_seconds=0.05)


async def failure(releases, text, **wishes):
    with pytest.raises(RolloutFailed) as caught:
        await releases.deploy(text, deadline=SHORT, **wishes)
    return caught.value


async def states(releases):
    history = await releases.deployment().history(releases.namespace).all()
    return [(one.number, one.state) for one in history]


async def test_a_container_that_ends_shows_its_exit_code_and_last_lines(releases):
    caught = await failure(releases, config_text(hub="crash"))
    assert "Deployment hub does not come up" in str(caught)
    assert "container hub ended with exit code 3" in str(caught)
    assert "    | no database at postgresql://db" in str(caught)
    assert await states(releases) == [(1, State.FAILED)]


async def test_what_served_before_serves_again(releases):
    """A hub that owns its database file was stopped for its successor, which fails: it is started again."""
    await releases.deploy(config_text())
    caught = await failure(releases, config_text(hub="crash", more="cull: {timeout: 1}"))
    assert "exit code 3" in str(caught)
    hub = await releases.get("apps/v1", "Deployment", "hub")
    assert hub["status"]["availableReplicas"] == 1
    environment = hub["spec"]["template"]["spec"]["containers"][0]["env"]
    assert not next(one for one in environment if one["name"] == "BEHAVIOUR").get("value")
    assert await states(releases) == [(2, State.FAILED), (1, State.DEPLOYED)]
    assert "done: revision 1 serves again" in releases.told.text
    history = await releases.deployment().history(releases.namespace).all()
    assert "exit code 3" in history[0].message


async def test_replicas_go_on_serving_while_their_successors_fail(releases):
    """With rolling updates the old proxies were never stopped."""
    await releases.deploy(config_text())
    before = await pods(releases, "proxy")
    await failure(releases, config_text(proxy="crash"), go_back=False)
    assert before <= await pods(releases, "proxy")
    await releases.deploy(config_text())
    assert await states(releases) == [(3, State.DEPLOYED), (2, State.FAILED), (1, State.SUPERSEDED)]


async def pods(releases, component):
    listing = await releases.client.list("v1", "Pod", releases.namespace, labels=f"component={component}")
    return {
        one["metadata"]["name"]
        for one in listing.items
        if any(each["type"] == "Ready" and each["status"] == "True" for each in one["status"].get("conditions") or ())
    }


async def test_an_image_that_cannot_be_pulled_is_named(releases):
    text = config_text(more="perijove: {image: {name: registry.invalid/perijove, tag: v9}}")
    caught = await failure(releases, text)
    assert "the image registry.invalid/perijove:v9 of container hub cannot be pulled" in str(caught)
    assert "imagePullSecret" in caught.remedy


async def test_a_pod_that_no_node_takes_says_what_the_scheduler_said(releases):
    caught = await failure(releases, config_text().replace("hub:\n", "hub:\n  nodeSelector: {disk: ssd}\n"))
    assert "no node takes it: 0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector" in str(
        caught
    )
    assert "node selectors" in caught.remedy


async def test_a_quota_that_is_too_small_is_said(releases, cluster):
    assert cluster.fake
    await releases.apply(
        {
            "apiVersion": "v1",
            "kind": "ResourceQuota",
            "metadata": {"name": "small"},
            "spec": {"hard": {"pods": "1"}},
        }
    )
    caught = await failure(releases, config_text())
    assert "its pods cannot be made" in str(caught)
    assert "exceeded quota: small" in str(caught)
    assert "Raise the namespace's quota" in caught.remedy


async def test_a_volume_that_nobody_provides_is_the_cause_and_not_the_scheduler(releases, cluster):
    cluster.fake.volumes.stuck_classes.add("standard")
    caught = await failure(releases, config_text())
    assert "the PersistentVolumeClaim hub-db-dir is not bound: " in str(caught)
    assert "provisioner" in str(caught)
    assert "storage class" in caught.remedy


async def test_a_secret_that_is_not_there_is_named(releases):
    more = config_text().replace(
        "  extraEnv:\n    POD_IP",
        "  extraEnv:\n    KEY: {valueFrom: {secretKeyRef: {name: absent, key: k}}}\n    POD_IP",
        1,
    )
    caught = await failure(releases, more)
    assert 'container hub cannot be started (CreateContainerConfigError): secret "absent" not found' in str(caught)


async def test_a_container_that_does_not_answer_is_told_from_its_probes(releases):
    caught = await failure(releases, config_text(hub="deaf"))
    assert "container hub does not answer: " in str(caught)
    assert "not up after 1.5 s" in str(caught)


async def test_trouble_is_told_while_there_is_still_hope(releases):
    await failure(releases, config_text(hub="crash"))
    told = [line for line in releases.told.lines if line.startswith("trouble: ")]
    assert any("exit code 3" in line for line in told)


async def test_a_mended_configuration_is_simply_deployed_again(releases):
    await failure(releases, config_text(hub="crash"))
    revision = await releases.deploy(config_text())
    assert revision.number == 2
    assert (await releases.get("apps/v1", "Deployment", "hub"))["status"]["availableReplicas"] == 1


async def test_images_are_pulled_before_anything_is_changed(releases):
    """A user image that does not exist fails the deploy while the old release serves on, untouched."""
    await releases.deploy(config_text())
    before = await releases.get("v1", "Secret", "hub")
    text = config_text(more="singleuser: {image: {name: registry.invalid/notebook, tag: new}}")
    text = text.replace("hook: {enabled: false}", "hook: {enabled: true}")
    caught = await failure(releases, text)
    assert "registry.invalid/notebook:new" in str(caught)
    assert (await releases.get("v1", "Secret", "hub"))["metadata"]["resourceVersion"] == before["metadata"][
        "resourceVersion"
    ]
    assert await releases.find("apps/v1", "DaemonSet", "hook-image-puller") is None
    assert await states(releases) == [(1, State.DEPLOYED)]


async def test_a_failure_of_going_back_is_said_with_the_first(releases, cluster):
    await releases.deploy(config_text())
    # Somebody's own pods have room left for nothing.
    quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "none"}, "spec": {"hard": {"pods": "0"}}}
    assert cluster.fake
    await releases.apply(quota)
    with pytest.raises(DeployFailed) as caught:
        await releases.deploy(config_text(hub="crash"), deadline=SHORT)
    assert "exceeded quota: none" in str(caught.value)
    assert "Going back to revision 1 failed as well" in str(caught.value)
