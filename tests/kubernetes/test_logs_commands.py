"""`perijove logs` and `perijove events`: the story of a failed start, of this user and nobody else, cause first."""

import asyncio
import json
import sys

import pytest

from perijove.kube.access import find
from perijove.kube.client import open_client
from perijove.operate.following import follow_events, follow_lines
from perijove.operate.naming import Naming
from perijove.operate.story import read_story
from perijove.operate.subjects import Subject
from perijove.testing.commands import cluster_commands
from perijove.testing.kube.stories import Pods
from perijove.testing.waiting import until

USERNAME, SERVERNAME = "hub.jupyter.org/username", "hub.jupyter.org/servername"


@pytest.fixture
def server(cluster):
    """A user's pod, as KubeSpawner marks it."""

    async def make(user, script="sleep 600", *, name="", image="busybox:1.36", server="", component="", **spec):
        labels = {"component": component or "singleuser-server"}
        annotations = {USERNAME: user, **({SERVERNAME: server} if server else {})} if not component else {}
        main = {"name": "notebook", "image": image, "command": ["sh", "-c", script]}
        metadata = {"name": name or f"jupyter-{user}", "labels": labels, "annotations": annotations}
        spec = {"restartPolicy": "Never", "terminationGracePeriodSeconds": 1, "containers": [main], **spec}
        await cluster.core.create_namespaced_pod(cluster.namespace, {"metadata": metadata, "spec": spec})
        return metadata["name"]

    return make


@pytest.fixture
def pods(cluster):
    return Pods(cluster)


@pytest.fixture
def logs(cluster):
    return cluster_commands(cluster, "logs")


@pytest.fixture
def events(cluster):
    return cluster_commands(cluster, "events")


async def test_an_image_that_cannot_be_pulled_is_the_first_thing_one_reads(server, pods, events):
    name = await server("ann", image="registry.invalid/lab:1")
    await server("bob", image="registry.invalid/other:2")
    for one in (name, "jupyter-bob"):
        await pods.until_waiting("ImagePullBackOff", one)
    code, out, err = await events("ann")
    assert code == 0
    assert err.startswith("cause: jupyter-ann: The server's image cannot be pulled: registry.invalid/lab:1")
    assert "pod jupyter-ann Scheduled" in out
    assert "Failed" in out
    assert "bob" not in out
    assert out.index("Scheduled") < out.index("Failed")


async def test_a_server_that_ended_is_told_with_its_end_and_last_lines_among_the_events(server, pods, logs):
    name = await server("ann", "echo loading; echo no such module: lab; exit 3")
    await pods.until_phase("Failed", name)
    code, out, err = await logs("ann")
    assert code == 0
    assert "exit code 3" in err
    lines = out.splitlines()
    places = [
        next(n for n, line in enumerate(lines) if words in line) for words in ("Started", "loading", "no such", "ended")
    ]
    assert places == sorted(places)
    assert any("jupyter-ann/notebook ended: Error, exit code 3" in line for line in lines)


async def test_what_is_said_of_a_users_volume_belongs_to_the_story(cluster, server, pods, events):
    """The claim's own events, of which the pod's say only that it waits."""
    claim = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Mi"}}}
    body = {"metadata": {"name": "claim-ann"}, "spec": {**claim, "storageClassName": "no-such-class"}}
    await cluster.core.create_namespaced_persistent_volume_claim(cluster.namespace, body)
    home = [{"name": "home", "persistentVolumeClaim": {"claimName": "claim-ann"}}]
    name = await server("ann", volumes=home)
    await pods.until_event("FailedScheduling", name)
    told = {
        "metadata": {"name": "claim-ann.1", "namespace": cluster.namespace},
        "involvedObject": {"kind": "PersistentVolumeClaim", "name": "claim-ann", "namespace": cluster.namespace},
        "type": "Warning",
        "reason": "ProvisioningFailed",
        "message": 'storageclass "no-such-class" not found',
        "lastTimestamp": "2026-01-02T03:04:05Z",
    }
    await cluster.core.create_namespaced_event(cluster.namespace, told)
    code, out, err = await events("ann", "--format", "json")
    story = json.loads(out)
    assert (code, err) == (0, "")
    assert "volume" in story["cause"]
    assert {"source": "volume claim-ann", "warning": True} in [
        {"source": entry["source"], "warning": entry["warning"]} for entry in story["entries"]
    ]


async def test_one_of_several_servers_is_meant_by_its_name(server, pods, logs):
    for name, named in (("jupyter-ann", ""), ("jupyter-ann--gpu", "gpu")):
        await server("ann", f"echo I am {name}", name=name, server=named)
        await pods.until_phase("Succeeded", name)
    _, out, _ = await logs("ann/gpu")
    assert "I am jupyter-ann--gpu" in out
    assert "jupyter-ann/notebook" not in out
    _, out, _ = await logs("ann/")
    assert "I am jupyter-ann--gpu" not in out
    _, out, _ = await logs("ann")
    assert out.count("I am") == 2


async def test_a_pod_that_is_gone_is_told_from_what_the_cluster_remembers(server, pods, events):
    name = await server("ann", image="registry.invalid/lab:1")
    await pods.until_waiting("ErrImagePull", name)
    await pods.delete(name, grace_period_seconds=0)
    await pods.until_gone(name)
    _, out, err = await events("ann")
    assert "There is no pod of ann. The last warning:" in err
    assert "pod jupyter-ann Failed" in out


# What a hub writes, in the words of its own logging.
HUB = """
from structlog import get_logger
from perijove.lib import log
log.configure(json={json})
write = get_logger("perijove.reconcile.starting").warning
quota = 'pods "jupyter-{{}}" is forbidden: exceeded quota: small, requested: pods=1, used: pods=1, limited: pods=1'
for user in ("ann", "bob"):
    short = "The server does not fit into what is left of the quota."
    write("server start failed", user=user, server="", reason="quota", message=short, details=quota.format(user))
write("server had a mishap", user="ann", server="gpu", reason="oom", message="It needed more memory.", details="")
"""


@pytest.mark.parametrize("json_lines", [False, True], ids=["console", "json"])
async def test_of_a_pod_that_the_cluster_refused_to_make_the_hub_tells_why(server, pods, events, tmp_path, json_lines):
    """There is no event of what was never made. Mishaps of servers that run on are told as well."""
    program = tmp_path / "hub.py"
    program.write_text(HUB.format(json=json_lines))
    await server("", f"exec {sys.executable} {program}", name="hub-1", component="hub")
    await pods.until_phase("Succeeded", "hub-1")
    code, out, err = await events("ann")
    assert code == 0
    assert err.startswith("cause: There is no pod of ann. The hub said: server start failed: The server does not fit")
    assert 'pods "jupyter-ann" is forbidden: exceeded quota: small, requested: pods=1' in err
    assert "hub server had a mishap gpu: It needed more memory." in out
    assert "bob" not in out + err
    _, out, _ = await events("ann/gpu")
    assert "start failed" not in out
    assert "mishap" in out


async def test_the_hubs_and_the_proxys_lines_are_had_as_they_are(server, pods, logs):
    for component in ("hub", "proxy"):
        await server("", f"echo here is the {component}", name=component, component=component)
        await pods.until_phase("Succeeded", component)
    _, out, _ = await logs("--hub")
    assert "here is the hub" in out
    assert "here is the proxy" not in out
    code, _, err = await logs("--hub", "--proxy")
    assert code == 2
    assert "Say whose" in err


async def test_a_user_of_whom_there_is_nothing_gets_no_empty_answer(logs):
    code, _, err = await logs("nobody")
    assert code == 1
    assert "There is nothing of nobody in" in err


async def test_following_goes_on_with_new_events_and_new_lines(cluster, server, pods):
    subject, places = Subject.of("ann"), [cluster.namespace]
    async with open_client(await find(cluster.kubeconfig)) as client:
        story = await read_story(client, places, subject, Naming())
        said, wrote = [], []
        following = [
            follow_events(client, places, subject, Naming(), known=story.entries, tell=said.append),
            follow_lines(client, places, subject, known=story.entries, tell=wrote.append),
        ]
        tasks = [asyncio.create_task(one) for one in following]
        await server("bob", "echo line 2; sleep 600")
        await server("ann", "echo line 1; echo line 2; sleep 600")
        await until(lambda: any("Started" in entry.text for entry in said))
        await until(lambda: any(entry.text == "line 2" for entry in wrote))
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    assert {entry.source for entry in said} == {"pod jupyter-ann"}
    assert [(entry.source, entry.text) for entry in wrote] == [("jupyter-ann/notebook", f"line {n}") for n in (1, 2)]
