"""Server-side apply and patches: who owns what, and what that means."""

import json

import pytest

from perijove.testing.waiting import until

APPLY = "application/apply-patch+yaml"
STRATEGIC = "application/strategic-merge-patch+json"
MERGE = "application/merge-patch+json"


@pytest.fixture
def hub(cluster):
    """A Deployment that nobody runs, and ways to write it."""

    class Hub:
        path = f"/apis/apps/v1/namespaces/{cluster.namespace}/deployments/hub"

        def wanted(self, image="hub:1", **spec):
            container = {"name": "hub", "image": image, "env": [{"name": "A", "value": "1"}]}
            return {
                "apiVersion": "apps/v1",
                "kind": "Deployment",
                "metadata": {"name": "hub", "labels": {"app": "hub"}},
                "spec": {
                    "replicas": 0,
                    "selector": {"matchLabels": {"app": "hub"}},
                    "template": {"metadata": {"labels": {"app": "hub"}}, "spec": {"containers": [container]}},
                    **spec,
                },
            }

        async def patch(self, body, kind, **query):
            return await cluster.request("PATCH", self.path, body, content_type=kind, **query)

        async def apply(self, body, manager="perijove", **query):
            return await self.patch(body, APPLY, fieldManager=manager, **query)

        async def read(self):
            return (await cluster.request("GET", self.path))[1]

    return Hub()


def container(item, name="hub"):
    return next(one for one in item["spec"]["template"]["spec"]["containers"] if one["name"] == name)


async def test_apply_makes_what_is_not_there_and_owns_what_it_said(hub):
    status, made = await hub.apply(hub.wanted())
    assert status == 201
    (entry,) = (one for one in made["metadata"]["managedFields"] if one["operation"] == "Apply")
    assert (entry["manager"], entry["apiVersion"]) == ("perijove", "apps/v1")
    owned = entry["fieldsV1"]["f:spec"]["f:template"]["f:spec"]["f:containers"]['k:{"name":"hub"}']
    assert set(owned) == {".", "f:name", "f:image", "f:env"}


async def test_applying_the_same_again_changes_nothing(hub):
    _, made = await hub.apply(hub.wanted())
    status, again = await hub.apply(hub.wanted())
    assert status == 200
    assert again["metadata"]["generation"] == made["metadata"]["generation"]


async def test_a_field_that_is_no_longer_applied_goes(hub):
    await hub.apply(hub.wanted())
    body = hub.wanted()
    del body["metadata"]["labels"], body["spec"]["template"]["spec"]["containers"][0]["env"]
    _, item = await hub.apply(body)
    assert "labels" not in item["metadata"]
    assert "env" not in container(item)


async def test_a_field_that_another_applier_also_wants_stays(hub):
    await hub.apply(hub.wanted())
    await hub.apply({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"labels": {"app": "hub"}}}, "other")
    body = hub.wanted()
    del body["metadata"]["labels"]
    _, item = await hub.apply(body)
    assert item["metadata"]["labels"] == {"app": "hub"}


async def test_a_conflict_names_the_other_manager_and_the_field(hub):
    await hub.apply(hub.wanted())
    change = {"spec": {"template": {"spec": {"containers": [{"name": "hub", "image": "hub:edited"}]}}}}
    await hub.patch(change, STRATEGIC, fieldManager="kubectl-edit")
    status, refused = await hub.apply(hub.wanted("hub:2"))
    assert status == 409
    path = '.spec.template.spec.containers[name="hub"].image'
    assert refused["message"] == (f'Apply failed with 1 conflict: conflict with "kubectl-edit" using apps/v1: {path}')
    assert refused["details"]["causes"] == [
        {
            "reason": "FieldManagerConflict",
            "message": 'conflict with "kubectl-edit" using apps/v1',
            "field": path,
        }
    ]
    assert container(await hub.read())["image"] == "hub:edited"


async def test_several_conflicts_are_listed(hub):
    await hub.apply(hub.wanted())
    status, refused = await hub.apply(hub.wanted("hub:2", replicas=3), "helm")
    assert status == 409
    assert refused["message"].startswith('Apply failed with 2 conflicts: conflicts with "perijove":\n- .spec.replicas')


async def test_force_takes_the_field_over(hub):
    await hub.apply(hub.wanted())
    status, item = await hub.apply(hub.wanted("hub:2"), "helm", force="true")
    assert status == 200
    assert container(item)["image"] == "hub:2"
    loser = next(one for one in item["metadata"]["managedFields"] if one["manager"] == "perijove")
    owned = loser["fieldsV1"]["f:spec"]["f:template"]["f:spec"]["f:containers"]['k:{"name":"hub"}']
    assert "f:image" not in owned


async def test_what_nobody_applied_is_left_alone(hub):
    await hub.apply(hub.wanted())
    await hub.patch({"metadata": {"annotations": {"note": "by hand"}}}, MERGE, fieldManager="somebody")
    extra = {"spec": {"template": {"spec": {"containers": [{"name": "sidecar", "image": "s:1"}]}}}}
    await hub.patch(extra, STRATEGIC, fieldManager="injector")
    _, item = await hub.apply(hub.wanted("hub:2"))
    assert item["metadata"]["annotations"]["note"] == "by hand"
    assert container(item, "sidecar")["image"] == "s:1"


async def test_a_default_that_stands_in_the_way_is_told(hub):
    """The way from RollingUpdate to Recreate: the default of the one is forbidden by the other."""
    await hub.apply(hub.wanted())
    status, refused = await hub.apply(hub.wanted(strategy={"type": "Recreate"}))
    assert status == 422
    assert "may not be specified when strategy `type` is 'Recreate'" in refused["message"]
    status, item = await hub.apply(hub.wanted(strategy={"type": "Recreate", "rollingUpdate": None}))
    assert status == 200
    assert item["spec"]["strategy"] == {"type": "Recreate"}


async def test_a_dry_run_of_an_apply_finds_conflicts_and_writes_nothing(hub):
    await hub.apply(hub.wanted())
    status, would = await hub.apply(hub.wanted("hub:2"), dryRun="All")
    assert status == 200
    assert container(would)["image"] == "hub:2"
    assert container(await hub.read())["image"] == "hub:1"
    status, _ = await hub.apply(hub.wanted("hub:3"), "helm", dryRun="All")
    assert status == 409


async def test_strategic_patches_merge_lists_by_their_keys(hub):
    await hub.apply(hub.wanted())
    env = [{"name": "B", "value": "2"}, {"$patch": "delete", "name": "A"}]
    change = {"spec": {"template": {"spec": {"containers": [{"name": "hub", "env": env}]}}}}
    _, item = await hub.patch(change, STRATEGIC)
    assert container(item)["env"] == [{"name": "B", "value": "2"}]
    assert container(item)["image"] == "hub:1"


async def test_merge_patches_replace_lists(hub):
    await hub.apply(hub.wanted())
    change = {"spec": {"template": {"spec": {"containers": [{"name": "other", "image": "o:1"}]}}}}
    _, item = await hub.patch(change, MERGE)
    assert [one["name"] for one in item["spec"]["template"]["spec"]["containers"]] == ["other"]


async def test_json_patches_test_and_set(hub):
    await hub.apply(hub.wanted())
    kind = "application/json-patch+json"
    pause = {"op": "add", "path": "/spec/paused", "value": True}
    status, item = await hub.patch([{"op": "test", "path": "/spec/replicas", "value": 0}, pause], kind)
    assert (status, item["spec"]["paused"]) == (200, True)
    status, _ = await hub.patch([{"op": "test", "path": "/spec/replicas", "value": 9}], kind)
    assert status == 422


async def test_a_custom_kind_is_served_once_it_is_defined(cluster):
    schema = {
        "type": "object",
        "properties": {
            "spec": {"type": "object", "required": ["size"], "properties": {"size": {"type": "integer"}}},
            "status": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
        },
    }
    version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
    version["subresources"] = {"status": {}}
    definition = {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "moons.perijove.test"},
        "spec": {
            "group": "perijove.test",
            "scope": "Namespaced",
            "names": {"plural": "moons", "kind": "Moon", "singular": "moon"},
            "versions": [version],
        },
    }
    await cluster.request("POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", definition)
    try:
        path = f"/apis/perijove.test/v1/namespaces/{cluster.namespace}/moons"

        async def served():
            return (await cluster.request("GET", path))[0] == 200

        await until(served, seconds=20)
        moon = {"apiVersion": "perijove.test/v1", "kind": "Moon", "metadata": {"name": "io"}, "spec": {"size": 3643}}
        status, _ = await cluster.request("PATCH", f"{path}/io", moon, content_type=APPLY, fieldManager="perijove")
        assert status == 201
        _, item = await cluster.request("PATCH", f"{path}/io/status", {"status": {"seen": 1}}, content_type=MERGE)
        assert item["status"] == {"seen": 1}
        status, refused = await cluster.request("POST", path, moon | {"metadata": {"name": "x"}, "spec": {}})
        assert status == 422
        assert "spec.size: Required value" in refused["message"]
        status, _ = await cluster.request("PATCH", f"{path}/io", {}, content_type=STRATEGIC)
        assert status == 415
    finally:
        await cluster.request("DELETE", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/moons.perijove.test")


async def test_discovery_lists_what_is_served(cluster):
    _, core = await cluster.request("GET", "/api/v1")
    assert {"pods", "pods/log", "pods/status", "persistentvolumeclaims"} <= {one["name"] for one in core["resources"]}
    _, groups = await cluster.request("GET", "/apis")
    assert {"apps", "batch", "policy", "networking.k8s.io"} <= {one["name"] for one in groups["groups"]}
    _, version = await cluster.request("GET", "/version")
    assert json.dumps(version["gitVersion"])
