"""The commands as somebody sees them: output, exit codes, questions."""

import asyncio
import json
import sys
from pathlib import Path

import pytest

from perijove.kube.refs import Ref
from perijove.testing.commands import run_command
from perijove.testing.deploying import config_text
from perijove.testing.waiting import until


@pytest.fixture
def run(releases, cluster):
    """`perijove <words>` against the cluster: exit code, standard output and error."""

    async def run(*words, config=None, connect=True):
        more = ["-n", releases.namespace]
        if config is not None:
            path = releases.directory / "config.yaml"
            path.write_text(config)
            more += ["-f", str(path)]
        if connect:
            more += ["--kubeconfig", str(cluster.kubeconfig)]
        return await run_command(*words, *more)

    return run


async def test_the_installed_program_is_these_commands(cluster):
    """As a shell sees it: a process, its exit code, and a message in place of a traceback."""
    program = str(Path(sys.executable).with_name("perijove"))
    words = ("status", "-n", cluster.namespace, "--kubeconfig", str(cluster.kubeconfig))
    process = await asyncio.create_subprocess_exec(
        program, *words, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, err = await process.communicate()
    assert (process.returncode, out) == (1, b"")
    assert err.decode().split("\n")[0] == "error: nothing is deployed by Perijove in the namespace jhub"


async def test_a_release_lives_from_deploy_to_uninstall(run, releases):
    """Deploy, look, change, go back, leave: what scripts see of it."""
    code, out, err = await run("deploy", config=config_text())
    assert (code, out.splitlines()[-1]) == (0, "Revision 1 is deployed in the namespace jhub.")
    assert "✓ Deployment hub created" in err
    assert "✓ Deployment hub: 1 of 1 pod ready" in err

    code, out, _ = await run("status", "--format", "json")
    found = json.loads(out)
    assert (code, found["ready"], found["revision"]["state"]) == (0, True, "deployed")

    code, out, _ = await run("deploy", "--dry-run", "--diff", config=config_text(hub="other"))
    assert code == 0
    assert "~ Deployment hub" in out
    assert "+          value: other" in out

    assert (await run("deploy", config=config_text(hub="other")))[0] == 0
    code, out, _ = await run("rollback", "--yes")
    assert (code, out) == (0, "Rollback to 1: now revision 3.\n")
    code, out, _ = await run("status", "--history")
    assert "superseded" in out
    assert "rollback to 1" in out

    await releases.client.delete(Ref("v1", "Service", "hub", releases.namespace))
    code, out, _ = await run("status", "--format", "json")
    assert (code, json.loads(out)["missing"]) == (1, ["Service hub"])

    code, out, err = await run("uninstall", "--yes")
    assert (code, out) == (0, "Uninstalled.\n")
    assert "= PersistentVolumeClaim hub-db-dir stays" in err
    assert await releases.find("apps/v1", "Deployment", "hub") is None
    assert await releases.find("v1", "PersistentVolumeClaim", "hub-db-dir") is not None
    listing = await releases.client.list("v1", "Secret", releases.namespace)
    assert [item["metadata"]["name"] for item in listing.items] == ["hub"]

    code, _, err = await run("status")
    assert code == 1
    assert "nothing is deployed by Perijove in the namespace jhub" in err


async def adas(releases):
    """What she runs and stores in the namespace."""
    labels = {"component": "singleuser-server", "hub.jupyter.org/username": "ada"}
    container = {"name": "notebook", "image": "busybox:1.36", "command": ["sleep", "3600"]}
    spec = {"containers": [container], "terminationGracePeriodSeconds": 0}
    metadata = {"name": "jupyter-ada", "labels": labels}
    await releases.apply({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})
    storage = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    metadata = {"name": "claim-ada", "labels": {"component": "singleuser-storage"}}
    await releases.apply({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": metadata, "spec": storage})

    async def runs():
        found = await releases.get("v1", "Pod", "jupyter-ada")
        return found if found["status"].get("phase") == "Running" else None

    pod = await until(runs, seconds=30, every=0.05)
    claim = await releases.get("v1", "PersistentVolumeClaim", "claim-ada")
    return [pod["metadata"]["uid"], claim["metadata"]["uid"]]


async def test_what_was_uninstalled_comes_back_with_its_volume_and_keys_and_users_never_went(run, releases):
    await run("deploy", "--no-wait", config=config_text())
    hers = await adas(releases)
    claim = await releases.get("v1", "PersistentVolumeClaim", "hub-db-dir")
    secret = await releases.get("v1", "Secret", "hub")
    await run("uninstall", "--yes")
    assert await adas(releases) == hers
    assert (await run("deploy", "--no-wait", config=config_text()))[0] == 0
    again = await releases.get("v1", "PersistentVolumeClaim", "hub-db-dir")
    assert again["metadata"]["uid"] == claim["metadata"]["uid"]
    assert (await releases.get("v1", "Secret", "hub"))["data"] == secret["data"]


async def test_volumes_and_servers_go_only_when_they_are_named(run, releases):
    await run("deploy", "--no-wait", config=config_text())
    await adas(releases)
    code, _, err = await run("uninstall")
    assert code == 2
    assert "There is nobody to ask" in err
    assert "1 servers of users run on" in err
    assert await releases.find("apps/v1", "Deployment", "hub") is not None
    assert (await run("uninstall", "--yes", "--stop-servers", "--delete-volumes"))[0] == 0
    assert await releases.find("v1", "Pod", "jupyter-ada") is None
    assert await releases.find("v1", "PersistentVolumeClaim", "hub-db-dir") is None
    assert await releases.find("v1", "PersistentVolumeClaim", "claim-ada") is not None


async def test_a_failed_deploy_ends_with_the_reason_and_exit_code_1(run):
    code, out, err = await run("deploy", "--timeout", "3s", config=config_text(hub="crash"))
    assert (code, "Revision" in out) == (1, False)
    assert "error: Deployment hub does not come up" in err
    assert "| no database at postgresql://db" in err


async def test_deletions_are_asked_for(run, releases):
    """Without a terminal nobody can be asked: exit code 2, and nothing is changed."""
    await run("deploy", "--no-wait", config=config_text(more="ingress: {enabled: true, hosts: [a.example.org]}"))
    code, out, err = await run("deploy", "--no-wait", config=config_text())
    assert code == 2
    assert "- Ingress jupyterhub" in out
    assert "This will delete 1 objects. Go on? There is nobody to ask." in err
    assert await releases.find("networking.k8s.io/v1", "Ingress", "jupyterhub") is not None
    assert (await run("deploy", "--no-wait", "--yes", config=config_text()))[0] == 0
    assert await releases.find("networking.k8s.io/v1", "Ingress", "jupyterhub") is None


async def test_a_configuration_that_cannot_be_used_reaches_no_cluster(run, cluster):
    before = len(cluster.fake.server.log.entries)
    code, _, err = await run("deploy", config="hub: {replica: 2}")
    assert code == 2
    assert "replicas" in err
    assert len(cluster.fake.server.log.entries) == before


async def test_durations_are_understood_or_refused(run):
    code, _, err = await run("deploy", "--timeout", "soon", config=config_text())
    assert code == 2
    assert "`soon` is no duration" in err


async def test_manifests_are_rendered_without_a_cluster(run, tmp_path):
    code, out, _ = await run("render", config=config_text(), connect=False)
    assert code == 0
    assert "kind: Deployment" in out
    directory = tmp_path / "manifests"
    assert (await run("render", "--output-dir", str(directory), config=config_text(), connect=False))[0] == 0
    files = sorted(path.name for path in directory.iterdir())
    assert any(name.endswith("deployment-hub.yaml") for name in files)
    assert all((directory / name).stat().st_mode & 0o077 == 0 for name in files)


async def test_a_rendering_keeps_the_keys_it_is_given(run, tmp_path, releases):
    await run("deploy", "--no-wait", config=config_text())
    secret = tmp_path / "hub.json"
    secret.write_text(json.dumps(await releases.get("v1", "Secret", "hub")))
    words = ("render", "--secrets-from", str(secret))
    first = await run(*words, config=config_text(), connect=False)
    assert first == await run(*words, config=config_text(), connect=False)
