"""`perijove storage`: users' volumes found under every name, and deleted only when that is right."""

import asyncio
import json

import pytest

from perijove.kube.access import find
from perijove.kube.client import open_client
from perijove.operate.deletion import Deletion
from perijove.operate.errors import UsersUnknown, VolumeInUse
from perijove.operate.naming import Naming, namespaces_of, of_values
from perijove.operate.people import People, ask_hub, everybody
from perijove.operate.volumes import is_orphan, read_volumes
from perijove.services.tokens import create_token
from perijove.services.users import create_users
from perijove.testing.commands import cluster_commands
from perijove.testing.inside import hub_inside
from perijove.testing.kube.stories import Pods
from perijove.testing.waiting import until

USER = "hub.jupyter.org/username"
MIKSCH = "miksch@win.dtu.dk"
OLD = "claim-miksch-40win-2edtu-2edk"
NEW = "claim-miksch-win-dtu-dk---5ec1e680"


@pytest.fixture
async def client(cluster):
    access = await find(cluster.kubeconfig)
    async with open_client(access) as client:
        yield client


@pytest.fixture
def claim(cluster):
    async def make(name, user="", *, namespace=cluster.namespace, labels=None, spec=None):
        annotations = {USER: user} if user else {}
        spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Mi"}}, **(spec or {})}
        body = {"metadata": {"name": name, "annotations": annotations, "labels": labels or {}}, "spec": spec}
        return await cluster.core.create_namespaced_persistent_volume_claim(namespace, body)

    return make


@pytest.fixture
def run(cluster):
    return cluster_commands(cluster, "storage")


async def holder(cluster, claim, name="jupyter-x", user=MIKSCH, sub_path=None):
    """A server's pod, as far as volumes are concerned."""
    mount = {"name": "home", "mountPath": "/data", **({"subPath": sub_path} if sub_path else {})}
    script = "trap 'exit 0' TERM; while :; do sleep 0.1; done"
    main = {"name": "notebook", "image": "busybox:1.36", "command": ["sh", "-c", script], "volumeMounts": [mount]}
    volumes = [{"name": "home", "persistentVolumeClaim": {"claimName": claim}}]
    spec = {"containers": [main], "volumes": volumes, "terminationGracePeriodSeconds": 1}
    metadata = {"name": name, "labels": {"component": "singleuser-server"}, "annotations": {USER: user}}
    await cluster.core.create_namespaced_pod(cluster.namespace, {"metadata": metadata, "spec": spec})
    await Pods(cluster).until_phase("Running", name)


async def volumes(client, cluster, people=None, naming=Naming(), users=()):  # noqa: B008 - it has no state
    return await read_volumes(client, [cluster.namespace], naming, users=users, people=people)


async def test_a_users_volumes_are_found_under_every_naming_scheme(client, cluster, claim):
    """By what is written on them; where nothing is, by label or name; a template of the release's too."""
    await claim(OLD)
    await claim(NEW)
    await claim("home-of-7", user=MIKSCH)
    await claim("labelled", labels={USER: "miksch-40win-2edtu-2edk"})
    await claim("vol-miksch-40win-2edtu-2edk-x", labels={"component": "singleuser-storage"})
    await claim("claim-a-2eb", user="a-2eb")
    await claim("database")
    naming = of_values({"singleuser": {"storage": {"dynamic": {"pvcNameTemplate": "vol-{username}-x"}}}}, "jhub")
    found = {
        one.name: (one.user, one.known_by) for one in await volumes(client, cluster, naming=naming, users=[MIKSCH])
    }
    assert found == {
        OLD: (MIKSCH, "name"),
        NEW: (MIKSCH, "name"),
        "home-of-7": (MIKSCH, "annotation"),
        "labelled": (MIKSCH, "label"),
        "vol-miksch-40win-2edtu-2edk-x": (MIKSCH, "name"),
        "claim-a-2eb": ("a-2eb", "annotation"),
    }


async def test_a_name_of_the_old_scheme_is_read_back_without_any_list_of_users(client, cluster, claim):
    await claim(OLD)
    await claim(NEW)
    assert {one.name: one.user for one in await volumes(client, cluster)} == {OLD: MIKSCH, NEW: ""}


async def test_a_renamed_users_volume_is_theirs_because_their_server_remembers_it(client, cluster, claim):
    await claim("claim-before", user="before")
    people = People("a test")
    people.add_server("after", "", {"pvc_name": "claim-before", "namespace": cluster.namespace}, "2026-01-02")
    [volume] = await volumes(client, cluster, people)
    assert (volume.user, volume.known_by, volume.last_used) == ("after", "remembered", "2026-01-02")
    assert not is_orphan(volume, people)


async def names(cluster):
    found = await cluster.core.list_namespaced_persistent_volume_claim(cluster.namespace)
    return [one.metadata.name for one in found.items if one.metadata.deletion_timestamp is None]


async def test_a_claim_that_tells_nothing_is_of_whom_a_server_holds_it(client, cluster, claim):
    """Its hash cannot be read back, and nobody wrote on it: but it is certainly not orphaned."""
    await claim("claim-x---12345678", labels={"component": "singleuser-storage"})
    await holder(cluster, "claim-x---12345678", "jupyter-ann", "ann")
    [volume] = await volumes(client, cluster)
    assert (volume.user, volume.known_by) == ("ann", "held")


async def test_a_claim_that_all_share_is_shown_with_each_ones_part_and_never_deleted(client, cluster, claim):
    await claim("everybodys", spec={"accessModes": ["ReadWriteMany"]})
    await holder(cluster, "everybodys", "jupyter-ann", "ann", "home/ann")
    [volume] = await volumes(client, cluster)
    assert volume.shared
    assert [(one.user, one.sub_paths) for one in volume.held_by] == [("ann", ("home/ann",))]
    with pytest.raises(VolumeInUse, match="several users"):
        await Deletion(client=client).delete([volume])


async def test_what_users_own_namespaces_hold_is_found_and_another_hubs_is_not(cluster):
    """The pattern of KubeSpawner's own template, `jhub-*`, fits the namespace of another release as well."""
    naming = of_values({"hub": {"config": {"KubeSpawner": {"enable_user_namespaces": True}}}}, "jhub")
    assert naming.user_namespaces == "jhub-*"
    core, apps = cluster.core, cluster.apps
    own, other = f"{cluster.namespace}-ann", f"{cluster.namespace}-staging"
    for name in (own, other):
        await core.create_namespace({"metadata": {"name": name}})
    labels = {"component": "hub"}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "hub", "image": "busybox:1.36"}]}}
    spec = {"replicas": 0, "selector": {"matchLabels": labels}, "template": template}
    await apps.create_namespaced_deployment(other, {"metadata": {"name": "hub", "labels": labels}, "spec": spec})
    async with open_client(await find(cluster.kubeconfig)) as client:
        found = await namespaces_of(client, cluster.namespace, f"{cluster.namespace}-*")
    for name in (own, other):
        await core.delete_namespace(name)
    assert found == [cluster.namespace, own]


async def test_a_volume_in_use_is_deleted_only_after_its_pod_is_gone(client, cluster, claim):
    await claim(OLD, user=MIKSCH)
    await holder(cluster, OLD)
    [volume] = await volumes(client, cluster)
    with pytest.raises(VolumeInUse, match=r"in use by pod jupyter-x \(Running\)"):
        await Deletion(client=client).delete([volume])
    said = []
    deletion = Deletion(client=client, wait=True, timeout_seconds=30, look_seconds=0.05, tell=said.append)
    deleting = asyncio.create_task(deletion.delete([volume]))
    await until(lambda: said)
    assert not deleting.done()
    await Pods(cluster).delete("jupyter-x")
    await deleting
    assert await client.find(volume.ref) is None


async def test_a_volume_that_took_the_name_of_the_one_looked_at_is_not_deleted(client, cluster, claim):
    await claim(OLD, user=MIKSCH)
    [volume] = await volumes(client, cluster)
    await cluster.core.delete_namespaced_persistent_volume_claim(OLD, cluster.namespace)
    await until(lambda: client_gone(client, volume))
    await claim(OLD, user=MIKSCH)
    said = []
    await Deletion(client=client, tell=said.append).delete([volume])
    assert said == [f"{cluster.namespace}/{OLD} was gone already"]
    assert await client.find(volume.ref) is not None


async def client_gone(client, volume):
    return await client.find(volume.ref) is None


async def test_a_list_of_users_that_changes_while_it_is_read_is_read_again():
    """Somebody deleted moves everybody after them by one: without a look back one user would be missing."""
    people, deleted = [f"user{number}" for number in range(5)], []

    async def fetch(offset):
        if offset and not deleted:
            deleted.append(people.pop(0))
        return people[offset : offset + 2], offset + 2 < len(people)

    assert await everybody(fetch, str) == ["user1", "user2", "user3", "user4"]
    with pytest.raises(UsersUnknown):
        await everybody(lambda offset: asyncio.sleep(0, ([str(offset), object()], True)), id)


async def test_orphans_are_those_of_users_the_hub_does_not_have(run, cluster, claim, tmp_path):
    """Asked of a real hub's API; not a person's whose server runs nowhere, and nothing that only has such a name."""
    await claim(OLD, user=MIKSCH)
    await claim("claim-ann", user="ann")
    await claim("claim-of-some-application")
    async with hub_inside(tmp_path) as inside:
        await create_users(inside.hub, ["ann"], actor="test")
        token = (await create_token(inside.hub, "admin", note="operator", actor="admin")).token
        narrow = (await create_token(inside.hub, "admin", note="x", actor="admin", scopes=["list:users"])).token
        code, out, err = await run("orphans", "--hub", inside.url, "--format", "json", JUPYTERHUB_API_TOKEN=token)
        assert code == 0, err
        assert [(one["name"], one["user"]) for one in json.loads(out)] == [(OLD, MIKSCH)]
        assert "2 users, from the hub at" in err
        code, out, err = await run("orphans", "--hub", inside.url, "--delete", "--yes", JUPYTERHUB_API_TOKEN=token)
        assert (code, out.splitlines()[-1]) == (0, f"{cluster.namespace}/{OLD} deleted")
        assert set(await names(cluster)) == {"claim-ann", "claim-of-some-application"}
        with pytest.raises(UsersUnknown, match="does not show this token the servers"):
            await ask_hub(inside.url, narrow)
        with pytest.raises(UsersUnknown, match="does not accept the token"):
            await ask_hub(inside.url, "wrong")
        assert (await ask_hub(f"{inside.url}hub/api", token)).servers.keys() == {"admin", "ann"}


async def test_without_the_hubs_users_nothing_is_called_an_orphan(run):
    code, out, err = await run("orphans")
    assert (code, out) == (2, "")
    assert "nobody's volume can be called orphaned" in err
    assert "--hub" in err


@pytest.mark.parametrize(("content", "reason"), [(None, "No such file or directory"), (b"\xff\xfe", "it is not text")])
async def test_a_token_file_that_cannot_be_read_is_named_in_one_line(run, tmp_path, content, reason):
    file = tmp_path / "token"
    if content is not None:
        file.write_bytes(content)
    code, out, err = await run("orphans", "--hub", "http://127.0.0.1:1", "--token-file", str(file))
    assert (code, out) == (2, "")
    assert f"Cannot read {file}: {reason}." in err
    assert "Traceback" not in err


async def test_of_many_volumes_none_is_deleted_while_one_is_in_use_and_pods_are_listed_once(
    client, cluster, claim, monkeypatch
):
    """All of them are looked at before the first goes, at the cost of one list."""
    for name in ("claim-ann", "claim-ben", OLD):
        await claim(name, user=name)
    await holder(cluster, OLD)
    found = await volumes(client, cluster)
    lists = []
    listing = client.list

    async def counted(*words, **options):
        lists.append(words)
        return await listing(*words, **options)

    monkeypatch.setattr(client, "list", counted)
    with pytest.raises(VolumeInUse, match=f"^{OLD} is in use by pod jupyter-x"):
        await Deletion(client=client).delete(found)
    assert lists == [("v1", "Pod", cluster.namespace)]
    assert set(await names(cluster)) == {"claim-ann", "claim-ben", OLD}


async def test_the_commands_show_and_delete_as_scripts_and_people_use_them(run, cluster, claim):
    await claim(OLD, user=MIKSCH, labels={"component": "singleuser-storage"})
    await holder(cluster, OLD)
    code, out, _ = await run("list", "--user", MIKSCH, "--format", "json")
    [found] = json.loads(out)
    assert (code, found["name"], found["user"], found["phase"]) == (0, OLD, MIKSCH, "Bound")
    code, out, _ = await run("show", OLD)
    assert code == 0
    assert f"{MIKSCH} (it says so itself)" in out
    assert "pod jupyter-x (Running)" in out
    code, _, err = await run("delete", OLD)
    assert code == 2
    assert "There is nobody to ask." in err
    code, _, err = await run("delete", "--user", MIKSCH, "--yes")
    assert code == 1
    assert f"{OLD} is in use by pod jupyter-x (Running)" in err
    await Pods(cluster).delete("jupyter-x", grace_period_seconds=0)
    await Pods(cluster).until_gone("jupyter-x")
    code, out, _ = await run("delete", "--user", MIKSCH, "--yes", "--wait")
    assert (code, out) == (0, f"{cluster.namespace}/{OLD} deleted\n")
    code, out, _ = await run("list", "--format", "json")
    assert (code, json.loads(out)) == (0, [])
