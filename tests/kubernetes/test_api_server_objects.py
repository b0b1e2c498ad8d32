"""The API server's contract, as a client sees it."""

import json

import pytest
from kubernetes_asyncio.client import ApiException


def config_map(name="settings", **data):
    return {"metadata": {"name": name}, "data": data or {"key": "value"}}


def refusal(caught):
    return caught.value.status, json.loads(caught.value.body)["message"]


async def test_an_object_is_what_was_created_with_identity_and_revision(cluster):
    made = await cluster.core.create_namespaced_config_map(cluster.namespace, config_map())
    read = await cluster.core.read_namespaced_config_map("settings", cluster.namespace)
    assert made.metadata.uid == read.metadata.uid
    assert read.metadata.resource_version == made.metadata.resource_version
    assert read.data == {"key": "value"}
    assert read.metadata.creation_timestamp is not None


async def test_a_name_is_taken_once(cluster):
    await cluster.core.create_namespaced_config_map(cluster.namespace, config_map())
    with pytest.raises(ApiException) as caught:
        await cluster.core.create_namespaced_config_map(cluster.namespace, config_map())
    assert refusal(caught) == (409, 'configmaps "settings" already exists')


async def test_generate_name_makes_names_of_its_own(cluster):
    body = {"metadata": {"generateName": "note-"}, "data": {}}
    first = await cluster.core.create_namespaced_config_map(cluster.namespace, body)
    second = await cluster.core.create_namespaced_config_map(cluster.namespace, body)
    assert first.metadata.name.startswith("note-")
    assert first.metadata.name != second.metadata.name


async def test_what_is_not_there_is_named(cluster):
    with pytest.raises(ApiException) as caught:
        await cluster.apps.read_namespaced_deployment("hub", cluster.namespace)
    assert refusal(caught) == (404, 'deployments.apps "hub" not found')


async def test_a_replacement_of_an_old_version_is_refused(cluster):
    made = await cluster.core.create_namespaced_config_map(cluster.namespace, config_map())
    stale = config_map() | {"metadata": {"name": "settings", "resourceVersion": made.metadata.resource_version}}
    await cluster.core.patch_namespaced_config_map("settings", cluster.namespace, {"data": {"key": "newer"}})
    with pytest.raises(ApiException) as caught:
        await cluster.core.replace_namespaced_config_map("settings", cluster.namespace, stale)
    status, message = refusal(caught)
    assert status == 409
    assert "the object has been modified; please apply your changes to the latest version" in message


async def test_a_deletion_of_another_object_of_that_name_is_refused(cluster):
    await cluster.core.create_namespaced_config_map(cluster.namespace, config_map())
    with pytest.raises(ApiException) as caught:
        await cluster.core.delete_namespaced_config_map(
            "settings", cluster.namespace, body={"preconditions": {"uid": "another"}}
        )
    status, message = refusal(caught)
    assert status == 409
    assert "Precondition failed: UID in precondition: another" in message


async def test_an_object_with_finalizers_stays_until_they_are_gone(cluster):
    body = config_map() | {"metadata": {"name": "settings", "finalizers": ["perijove.test/hold"]}}
    await cluster.core.create_namespaced_config_map(cluster.namespace, body)
    await cluster.core.delete_namespaced_config_map("settings", cluster.namespace)
    held = await cluster.core.read_namespaced_config_map("settings", cluster.namespace)
    assert held.metadata.deletion_timestamp is not None
    release = [{"op": "remove", "path": "/metadata/finalizers"}]
    await cluster.core.patch_namespaced_config_map("settings", cluster.namespace, release)
    with pytest.raises(ApiException) as caught:
        await cluster.core.read_namespaced_config_map("settings", cluster.namespace)
    assert caught.value.status == 404


async def test_lists_come_in_pages_of_one_snapshot(cluster):
    for number in range(5):
        await cluster.core.create_namespaced_config_map(
            cluster.namespace, {"metadata": {"name": f"page-{number}", "labels": {"paged": "yes"}}}
        )
    first = await cluster.core.list_namespaced_config_map(cluster.namespace, label_selector="paged=yes", limit=2)
    await cluster.core.delete_namespaced_config_map("page-4", cluster.namespace)
    names = [item.metadata.name for item in first.items]
    token = first.metadata._continue
    while token:
        page = await cluster.core.list_namespaced_config_map(
            cluster.namespace, label_selector="paged=yes", limit=2, _continue=token
        )
        names += [item.metadata.name for item in page.items]
        token = page.metadata._continue
    assert names == [f"page-{number}" for number in range(5)]


@pytest.mark.parametrize(
    ("selector", "names"),
    [
        ("tier=web", {"a"}),
        ("tier!=web", {"b", "c"}),
        ("tier in (web, db)", {"a", "b"}),
        ("tier notin (web,db)", {"c"}),
        ("tier", {"a", "b"}),
        ("!tier", {"c"}),
        ("tier=web,shape=round", {"a"}),
        ("tier=web,shape=square", set()),
    ],
)
async def test_label_selectors_choose(cluster, selector, names):
    labels = {"a": {"tier": "web", "shape": "round"}, "b": {"tier": "db"}, "c": {}}
    for name, chosen in labels.items():
        body = {"metadata": {"name": name, "labels": {"test": "selectors", **chosen}}}
        await cluster.core.create_namespaced_config_map(cluster.namespace, body)
    found = await cluster.core.list_namespaced_config_map(
        cluster.namespace, label_selector=f"test=selectors,{selector}"
    )
    assert {item.metadata.name for item in found.items} == names


async def test_a_value_of_the_wrong_type_is_refused_in_gos_words(cluster):
    body = {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i", "env": [{"name": 1}]}]}}
    with pytest.raises(ApiException) as caught:
        await cluster.core.create_namespaced_pod(cluster.namespace, body)
    status, message = refusal(caught)
    assert status == 400
    assert "cannot unmarshal number into Go struct field EnvVar.spec.containers.env.name of type string" in message


async def test_what_is_missing_and_what_is_wrong_is_told_with_its_path(cluster):
    container = {"name": "c", "image": "i", "volumeMounts": [{"name": "home", "mountPath": "/home"}]}
    with pytest.raises(ApiException) as caught:
        await cluster.core.create_namespaced_pod(
            cluster.namespace, {"metadata": {"name": "Not_A_Name"}, "spec": {"containers": [container]}}
        )
    status, message = refusal(caught)
    assert status == 422
    assert 'spec.containers[0].volumeMounts[0].name: Not found: "home"' in message
    assert 'metadata.name: Invalid value: "Not_A_Name"' in message


async def test_unknown_fields_are_dropped_and_strictly_refused(cluster):
    body = config_map() | {"dta": {}}
    with pytest.raises(ApiException) as caught:
        await cluster.core.create_namespaced_config_map(cluster.namespace, body, field_validation="Strict")
    assert caught.value.status == 400
    assert 'unknown field "dta"' in refusal(caught)[1]
    await cluster.core.create_namespaced_config_map(cluster.namespace, body)


async def test_a_dry_run_says_what_would_be_and_leaves_nothing(cluster):
    made = await cluster.core.create_namespaced_config_map(cluster.namespace, config_map(), dry_run="All")
    assert made.data == {"key": "value"}
    with pytest.raises(ApiException) as caught:
        await cluster.core.read_namespaced_config_map("settings", cluster.namespace)
    assert caught.value.status == 404


@pytest.mark.parametrize("port", [0, 65536, 99999])
async def test_a_port_that_no_network_has_is_refused(cluster, port):
    words = f"Invalid value: {port}: must be between 1 and 65535, inclusive"
    container = {"name": "c", "image": "busybox", "ports": [{"containerPort": port}]}
    pod = {"metadata": {"name": "p"}, "spec": {"containers": [container]}}
    service = {"metadata": {"name": "s"}, "spec": {"ports": [{"port": 80, "targetPort": port}]}}
    for create, body, where in (
        (cluster.core.create_namespaced_pod, pod, "spec.containers[0].ports[0].containerPort"),
        (cluster.core.create_namespaced_service, service, "spec.ports[0].targetPort"),
    ):
        with pytest.raises(ApiException) as caught:
            await create(cluster.namespace, body)
        status, message = refusal(caught)
        assert status == 422
        assert f"{where}: {words}" in message
