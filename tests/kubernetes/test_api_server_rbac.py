"""A service account may do what its roles say, and nothing else."""

import pytest


@pytest.fixture
async def hub(cluster):
    """The service account `hub`, and ways to ask as it."""
    await cluster.core.create_namespaced_service_account(cluster.namespace, {"metadata": {"name": "hub"}})
    token = await cluster.token_for("hub")
    rbac = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{cluster.namespace}"

    class Hub:
        user = f"system:serviceaccount:{cluster.namespace}:hub"
        core = f"/api/v1/namespaces/{cluster.namespace}"
        roles = f"{rbac}/roles"

        async def ask(self, method, path, body=None, **query):
            return await cluster.request(method, path, body, token=token, **query)

        async def may(self, *rules, name="hub"):
            await cluster.request("POST", f"{rbac}/roles", role(name, *rules))
            subject = {"kind": "ServiceAccount", "name": "hub", "namespace": cluster.namespace}
            reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name}
            binding = {"metadata": {"name": name}, "roleRef": reference, "subjects": [subject]}
            status, answer = await cluster.request("POST", f"{rbac}/rolebindings", binding)
            assert status == 201, answer

    return Hub()


def role(name, *rules):
    return {"metadata": {"name": name}, "rules": list(rules)}


def rule(*verbs, resources, groups=("",), names=()):
    made = {"verbs": list(verbs), "apiGroups": list(groups), "resources": list(resources)}
    return made | ({"resourceNames": list(names)} if names else {})


async def test_without_a_role_everything_is_forbidden_in_the_servers_words(cluster, hub):
    status, refused = await hub.ask("GET", f"{hub.core}/pods")
    assert status == 403
    assert refused["message"] == (
        f'pods is forbidden: User "{hub.user}" cannot list resource "pods" in API group "" '
        f'in the namespace "{cluster.namespace}"'
    )
    status, refused = await hub.ask("GET", f"{hub.core}/pods/jupyter-ann/log")
    assert refused["message"] == (
        f'pods "jupyter-ann" is forbidden: User "{hub.user}" cannot get resource "pods/log" in API group "" '
        f'in the namespace "{cluster.namespace}"'
    )
    status, refused = await hub.ask("GET", "/api/v1/nodes")
    assert refused["message"].endswith('cannot list resource "nodes" in API group "" at the cluster scope')


async def test_a_role_permits_its_verbs_on_its_resources(hub):
    await hub.may(rule("get", "list", resources=["pods", "events"]))
    assert (await hub.ask("GET", f"{hub.core}/pods"))[0] == 200
    assert (await hub.ask("GET", f"{hub.core}/pods/nobody"))[0] == 404
    assert (await hub.ask("GET", f"{hub.core}/pods/nobody/log"))[0] == 403
    assert (await hub.ask("DELETE", f"{hub.core}/pods/nobody"))[0] == 403
    assert (await hub.ask("GET", f"{hub.core}/secrets"))[0] == 403


async def test_watching_is_a_verb_of_its_own(hub):
    await hub.may(rule("list", resources=["pods"]))
    assert (await hub.ask("GET", f"{hub.core}/pods", watch="1"))[0] == 403


async def test_resource_names_narrow_a_rule(hub):
    await hub.may(rule("get", "list", resources=["secrets"], names=["hub"]))
    assert (await hub.ask("GET", f"{hub.core}/secrets/hub"))[0] == 404
    assert (await hub.ask("GET", f"{hub.core}/secrets/other"))[0] == 403
    assert (await hub.ask("GET", f"{hub.core}/secrets"))[0] == 403
    assert (await hub.ask("GET", f"{hub.core}/secrets", fieldSelector="metadata.name=hub"))[0] == 200


async def test_nobody_grants_what_they_do_not_hold(hub):
    everything = rule("*", resources=["roles", "rolebindings"], groups=["rbac.authorization.k8s.io"])
    await hub.may(everything, name="granter")
    # `*` holds escalate as well, as in a cluster: named verbs do not.
    assert (await hub.ask("POST", hub.roles, role("free", rule("get", resources=["secrets"]))))[0] == 201


async def test_a_role_beyond_ones_own_is_an_escalation(hub):
    verbs = ("get", "create", "patch")
    await hub.may(rule(*verbs, resources=["roles"], groups=["rbac.authorization.k8s.io"]), name="granter")
    status, refused = await hub.ask("POST", hub.roles, role("spy", rule("get", resources=["secrets"])))
    assert status == 403
    assert "is attempting to grant RBAC permissions not currently held" in refused["message"]
    assert '{APIGroups:[""], Resources:["secrets"], Verbs:["get"]}' in refused["message"]
    await hub.may(rule("get", resources=["secrets"]), name="reader")
    assert (await hub.ask("POST", hub.roles, role("spy", rule("get", resources=["secrets"]))))[0] == 201


async def test_a_token_nobody_has_is_unauthorized(cluster):
    status, refused = await cluster.request("GET", "/api/v1/pods", token="made-up")
    assert (status, refused["reason"]) == (401, "Unauthorized")


async def test_one_may_ask_what_one_may_do(cluster, hub):
    await hub.may(rule("list", resources=["pods"]))

    async def allowed(verb):
        attributes = {"namespace": cluster.namespace, "verb": verb, "resource": "pods"}
        path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
        _, answer = await hub.ask("POST", path, {"spec": {"resourceAttributes": attributes}})
        return answer["status"]["allowed"]

    assert await allowed("list")
    assert not await allowed("delete")
