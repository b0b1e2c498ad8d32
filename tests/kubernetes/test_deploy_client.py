"""The client against a server in trouble: what is repeated, what is said, what is resumed."""

import asyncio
from contextlib import aclosing

import pytest

from perijove.kube import access as accesses
from perijove.kube.client import open_client
from perijove.kube.errors import (
    ClusterNotFound,
    ClusterUnavailable,
    FieldConflict,
    HeldField,
    KindUnknown,
    NotAuthenticated,
    NotPermitted,
    ObjectInvalid,
    ObjectNotFound,
)
from perijove.kube.refs import Ref
from perijove.kube.transport import Patience
from perijove.kube.watching import Change, Following, Snapshot
from perijove.testing.waiting import until

QUICK = Patience(attempt_seconds=0.3, deadline_seconds=10, first_pause_seconds=0.01, longest_pause_seconds=0.05)
HASTY = Patience(attempt_seconds=0.2, deadline_seconds=0.3, first_pause_seconds=0.01, longest_pause_seconds=0.05)


def settings(cluster, name="settings", **data):
    metadata = {"name": name, "namespace": cluster.namespace}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data or {"key": "value"}}


@pytest.fixture
async def client(cluster):
    async with open_client(kubeconfig=cluster.kubeconfig, patience=QUICK) as client:
        yield client


async def test_an_object_is_applied_read_listed_and_deleted(cluster, client):
    manifest = settings(cluster)
    written = await client.apply(manifest, manager="perijove")
    assert (await client.get(Ref.of(manifest)))["data"] == {"key": "value"}
    listing = await client.list("v1", "ConfigMap", cluster.namespace, fields="metadata.name=settings")
    assert [item["metadata"]["uid"] for item in listing.items] == [written.item["metadata"]["uid"]]
    assert listing.items[0]["kind"] == "ConfigMap"
    assert await client.delete(Ref.of(manifest), uid=written.item["metadata"]["uid"])
    assert await client.find(Ref.of(manifest)) is None
    assert not await client.delete(Ref.of(manifest))


async def test_an_object_of_the_same_name_but_another_identity_is_not_deleted(cluster, client):
    await client.apply(settings(cluster), manager="perijove")
    assert not await client.delete(Ref.of(settings(cluster)), uid="another")
    assert await client.find(Ref.of(settings(cluster))) is not None


async def test_a_dry_run_changes_nothing(cluster, client):
    written = await client.apply(settings(cluster), manager="perijove", dry_run=True)
    assert written.item["data"] == {"key": "value"}
    assert await client.find(Ref.of(settings(cluster))) is None


async def test_a_list_is_read_in_pages_to_its_end(cluster, client, monkeypatch):
    monkeypatch.setattr("perijove.kube.client._PAGE", 2)
    for number in range(5):
        manifest = settings(cluster, f"s{number}")
        manifest["metadata"]["labels"] = {"for": "pages"}
        await client.apply(manifest, manager="perijove")
    listing = await client.list("v1", "ConfigMap", cluster.namespace, labels="for=pages")
    assert [item["metadata"]["name"] for item in listing.items] == [f"s{number}" for number in range(5)]


async def test_fields_of_another_manager_are_named_with_it(cluster, client):
    await client.apply(settings(cluster, replicas="1", other="x"), manager="helm")
    with pytest.raises(FieldConflict) as caught:
        await client.apply(settings(cluster, replicas="2", other="x"), manager="perijove")
    assert caught.value.conflicts == (HeldField(".data.replicas", "helm"),)
    forced = await client.apply(settings(cluster, replicas="2"), manager="perijove", force=True)
    assert forced.item["data"]["replicas"] == "2"


async def test_what_the_server_does_not_accept_is_said_field_by_field(cluster, client):
    deployment = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "hub", "namespace": cluster.namespace},
        "spec": {
            "selector": {"matchLabels": {"component": "hub"}},
            "template": {
                "metadata": {"labels": {"component": "proxy"}},
                "spec": {"containers": [{"name": "hub", "image": "hub"}]},
            },
        },
    }
    with pytest.raises(ObjectInvalid) as caught:
        await client.apply(deployment, manager="perijove")
    assert [cause.field for cause in caught.value.causes] == ["spec.template.metadata.labels"]
    assert 'Deployment.apps "hub" is invalid' in str(caught.value)


async def test_a_kind_that_the_cluster_lacks_is_named_with_what_to_install(cluster, client):
    with pytest.raises(KindUnknown, match=r"no Certificate of cert-manager\.io/v1") as caught:
        await client.list("cert-manager.io/v1", "Certificate", cluster.namespace)
    assert "cert-manager" in caught.value.remedy


async def test_a_missing_permission_is_named_with_verb_resource_namespace_and_remedy(cluster):
    token = cluster.fake.token_for("default")
    path = cluster.fake.kubeconfig(token, name="poor")
    async with open_client(kubeconfig=path, patience=QUICK) as client:
        with pytest.raises(NotPermitted) as caught:
            await client.apply(settings(cluster), manager="perijove")
    assert 'cannot patch resource "configmaps"' in str(caught.value)
    assert f'namespace "{cluster.namespace}"' in str(caught.value)
    assert f"kubectl create role perijove-deploy -n {cluster.namespace} --verb=patch" in caught.value.remedy


async def test_wrong_credentials_are_said_at_once(cluster):
    path = cluster.fake.kubeconfig("wrong", name="wrong")
    async with open_client(kubeconfig=path, patience=QUICK) as client:
        with pytest.raises(NotAuthenticated, match="does not accept these credentials"):
            await client.list("v1", "Pod", cluster.namespace)


async def test_an_expired_token_of_a_plug_in_is_fetched_again(cluster, tmp_path):
    """An exec plug-in is asked anew when the cluster refuses its token."""
    fake = cluster.fake
    plugin = tmp_path / "plugin"
    plugin.write_text(
        f"""#!/bin/sh
echo >> {tmp_path}/calls
token=stale; [ $(wc -l < {tmp_path}/calls) -gt 1 ] && token={fake.admin_token}
cat <<END
{{"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": {{"token": "$token"}}}}
END
"""
    )
    plugin.chmod(0o755)
    content = cluster.kubeconfig.read_text().replace(
        f'{{"token": "{fake.admin_token}"}}',
        f'{{"exec": {{"apiVersion": "client.authentication.k8s.io/v1", "command": "{plugin}"}}}}',
    )
    path = tmp_path / "kubeconfig"
    path.write_text(content)
    async with open_client(kubeconfig=path, patience=QUICK) as client:
        await client.list("v1", "Pod", cluster.namespace)
    assert len((tmp_path / "calls").read_text().splitlines()) == 2


async def test_a_kubeconfig_that_leads_nowhere_says_which_and_why(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("KUBECONFIG", raising=False)
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    with pytest.raises(ClusterNotFound, match="there is no cluster to talk to"):
        await accesses.find()
    with pytest.raises(ClusterNotFound, match="there is no file"):
        await accesses.find(tmp_path / "absent")
    path = tmp_path / "config"
    path.write_text("apiVersion: v1\nkind: Config\ncurrent-context: ''\n")
    with pytest.raises(ClusterNotFound, match="does not lead to a cluster"):
        await accesses.find(path)


@pytest.mark.parametrize("status", [429, 500, 503, 504])
async def test_trouble_of_the_server_is_sat_out(cluster, client, status):
    """An answer that another attempt may change is asked for again."""
    fault = cluster.fake.server.faults.answer(status, times=3, retry_after=0, verb="patch", resource="configmaps")
    told = []
    client.transport.on_retry = lambda why, seconds: told.append(why)
    await client.apply(settings(cluster), manager="perijove")
    assert fault.met == 3
    assert all(f"answers {status}" in why for why in told)


async def test_the_pause_that_a_server_asks_for_is_kept(cluster, client):
    cluster.fake.server.faults.answer(429, retry_after=1, verb="patch", resource="configmaps")
    waits = []
    client.transport.on_retry = lambda why, seconds: waits.append(seconds)
    await client.apply(settings(cluster), manager="perijove")
    assert waits == [1.0]


@pytest.mark.parametrize("after", [False, True])
async def test_a_broken_connection_is_no_failure(cluster, client, after):
    """Before or after the work was done: applying twice is applying."""
    cluster.fake.server.faults.drop(times=2, after=after, verb="patch", resource="configmaps")
    await client.apply(settings(cluster), manager="perijove")
    assert (await client.get(Ref.of(settings(cluster))))["data"] == {"key": "value"}


async def test_a_server_that_does_not_answer_is_asked_again(cluster, client):
    fault = cluster.fake.server.faults.hang(times=1, verb="get", resource="configmaps")
    with pytest.raises(ObjectNotFound):
        await client.get(Ref.of(settings(cluster)))
    assert fault.met == 1


async def test_patience_ends_with_the_last_words_of_the_server(cluster):
    cluster.fake.server.faults.answer(500, times=1000, message="etcdserver: no leader", verb="list")
    async with open_client(kubeconfig=cluster.kubeconfig, patience=HASTY) as client:
        with pytest.raises(
            ClusterUnavailable, match=r"answers 500: .*etcdserver: no leader \(GET /api/v1/.* for 0\.3 s"
        ):
            await client.list("v1", "Pod", cluster.namespace)


async def test_a_server_that_is_not_there_is_said_to_be_unreachable():
    access = accesses.explicit("http://127.0.0.1:9", "token")
    async with open_client(access, patience=HASTY) as client:
        with pytest.raises(ClusterUnavailable, match=r"at http://127.0.0.1:9 cannot be reached"):
            await client.version()


async def test_a_watch_tells_every_change_over_broken_streams_and_lost_history(cluster, client):
    """Followers see changes made while their stream was broken, and a whole list when history is gone."""
    fake = cluster.fake
    seen, snapshots = [], []

    async def follow():
        following = Following(client=client, api_version="v1", kind="ConfigMap", namespace=cluster.namespace)
        async with aclosing(following.changes()) as changes:
            async for change in changes:
                if isinstance(change, Snapshot):
                    snapshots.append({item["metadata"]["name"] for item in change.items})
                elif isinstance(change, Change):
                    seen.append((change.type, change.item["metadata"]["name"]))

    task = asyncio.create_task(follow())
    await until(lambda: fake.server.watches.open)
    await client.apply(settings(cluster, "one"), manager="perijove")
    await until(lambda: ("ADDED", "one") in seen)
    fake.server.watches.disconnect()
    await client.apply(settings(cluster, "two"), manager="perijove")
    await until(lambda: ("ADDED", "two") in seen)
    assert len(snapshots) == 1
    fake.server.watches.disconnect()
    await client.apply(settings(cluster, "three"), manager="perijove")
    fake.server.store.compact()
    await until(lambda: len(snapshots) == 2 or ("ADDED", "three") in seen)
    assert len(snapshots) == 1 or "three" in snapshots[1]
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
