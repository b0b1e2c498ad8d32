"""KubeSpawner, unmodified, hosted: against an API server that keeps pods in memory and runs them at once."""

import asyncio
import json
from dataclasses import replace

import pytest
from aiohttp import web
from traitlets.config import Config

from perijove.domain.errors import SpawnFailed
from perijove.domain.ids import ServerId, UserId
from perijove.domain.ports import ServerSpec, UserFacts
from perijove.plugins.load import HubFacts, load_spawner_host
from perijove.testing.waiting import until

kubespawner = pytest.importorskip("kubespawner", reason="jupyterhub-kubespawner is not installed")

SPEC = ServerSpec(
    id=ServerId(21),
    user=UserFacts(id=UserId(4), name="ann@example.org", groups=("staff",)),
    name="gpu",
    display_name="GPU",
    generation=3,
    api_token="fresh",
)


class PodServer:
    """The few calls that a start and a stop make."""

    def __init__(self):
        self.pods = {}
        self.version = 1
        self.changed = asyncio.Condition()
        self.log = []
        self.refuse = ""

    async def note(self, kind, pod):
        self.version += 1
        pod["metadata"]["resourceVersion"] = str(self.version)
        self.log.append((self.version, {"type": kind, "object": json.loads(json.dumps(pod))}))
        async with self.changed:
            self.changed.notify_all()

    async def create(self, request):
        if self.refuse:
            message = {"kind": "Status", "code": 403, "reason": "Forbidden", "message": self.refuse}
            return web.json_response(message, status=403)
        pod = await request.json()
        name = pod["metadata"]["name"]
        pod["metadata"] |= {"uid": f"uid-{name}", "namespace": "default"}
        container = {"name": "notebook", "image": "i", "imageID": "i", "ready": True, "restartCount": 0}
        container["state"] = {"running": {}}
        pod["status"] = {"phase": "Running", "podIP": "10.1.2.3", "containerStatuses": [container]}
        self.pods[name] = pod
        await self.note("ADDED", pod)
        return web.json_response(pod, status=201)

    async def read(self, request):
        pod = self.pods.get(request.match_info["name"])
        return web.json_response(pod or {"kind": "Status", "code": 404}, status=200 if pod else 404)

    async def delete(self, request):
        pod = self.pods.pop(request.match_info["name"], None)
        if pod is None:
            return web.json_response({"kind": "Status", "code": 404}, status=404)
        await self.note("DELETED", pod)
        return web.json_response(pod)

    async def listing(self, request):
        events = request.match_info["kind"] != "pods"
        if request.query.get("watch") not in ("1", "true", "True"):
            items = [] if events else list(self.pods.values())
            return web.json_response({"items": items, "metadata": {"resourceVersion": str(self.version)}})
        response = web.StreamResponse()
        await response.prepare(request)
        seen = int(request.query.get("resource_version") or request.query.get("resourceVersion") or 0)
        while True:
            for version, change in [] if events else self.log:
                if version > seen:
                    seen = version
                    await response.write(json.dumps(change).encode() + b"\n")
            async with self.changed:
                await self.changed.wait()


@pytest.fixture
async def cluster():
    server = PodServer()
    app = web.Application()
    base = "/api/v1/namespaces/default/"
    app.router.add_post(f"{base}pods", server.create)
    app.router.add_get(f"{base}{{kind:pods|events}}", server.listing)
    app.router.add_get(f"{base}pods/{{name}}", server.read)
    app.router.add_delete(f"{base}pods/{{name}}", server.delete)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    server.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield server
    await runner.cleanup()


@pytest.fixture
async def make(cluster, tmp_path, monkeypatch):
    config = tmp_path / "kubeconfig"
    config.write_text(
        json.dumps(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "current-context": "c",
                "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
                "clusters": [{"name": "c", "cluster": {"server": cluster.url}}],
                "users": [{"name": "u", "user": {"token": "t"}}],
            }
        )
    )
    monkeypatch.setattr("kubernetes_asyncio.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(config))
    # Read once a process, and each test has a server of its own.
    kubespawner.clients.load_config.cache_clear()
    c = Config()
    c.KubeSpawner.namespace = "default"
    c.KubeSpawner.start_timeout = 10
    hosts = []

    def make():
        facts = HubFacts(hub_id="k", data_dir=tmp_path, connect_url="http://hub:8081")
        cls = "kubespawner.KubeSpawner"
        hosts.append(load_spawner_host(spawner_class=cls, traits=c, facts=facts, log_dir=tmp_path / "logs"))
        return hosts[-1]

    make.config = c
    yield make
    clients = [await host.open(SPEC) for host in hosts[:1]]
    await kubespawner.KubeSpawner._stop_all_reflectors()
    for client in clients:
        await client.plugin.api.api_client.close()


async def test_state_goes_through_a_row_and_back(make):
    first = await make().open(SPEC)
    state = first.state()
    assert state["pod_name"].startswith("jupyter-ann")
    assert json.loads(json.dumps(state)) == state
    again = await make().open(replace(SPEC, state={**state, "pod_name": "kept-from-before"}))
    assert again.plugin.pod_name == "kept-from-before"


async def test_a_pod_is_started_found_again_and_stopped(make, cluster):
    host = make()
    assert host.host_bound is False
    spawner = await host.open(SPEC)
    events = asyncio.create_task(_collect(spawner.progress()))
    url = await spawner.start()
    assert url == "http://10.1.2.3:8888"
    # This API server tells no events; that the iteration ends with the start is the promise.
    assert await asyncio.wait_for(events, 5) == []
    (pod,) = cluster.pods.values()
    environment = {item["name"]: item.get("value") for item in pod["spec"]["containers"][0]["env"]}
    assert environment["JUPYTERHUB_SERVICE_PREFIX"] == "/user/ann@example.org/gpu/"
    assert environment["JUPYTERHUB_API_URL"] == "http://hub:8081/hub/api"
    state = spawner.state()
    spawner.close()

    again = await make().open(replace(SPEC, state=state, url=url, api_token=""))
    assert await again.poll() is None
    await again.stop()
    assert cluster.pods == {}
    assert await until(again.poll)


async def _collect(events):
    return [event async for event in events]


async def test_what_the_api_server_refuses_is_a_failed_start_with_details(make, cluster):
    cluster.refuse = "exceeded quota: team-a"
    spawner = await make().open(SPEC)
    with pytest.raises(SpawnFailed) as caught:
        await spawner.start()
    assert "exceeded quota" in caught.value.details


async def test_profiles_of_the_configuration_are_a_form_and_become_options(make):
    make.config.KubeSpawner.profile_list = [
        {"display_name": "Small", "slug": "small", "default": True},
        {"display_name": "Big", "slug": "big", "kubespawner_override": {"cpu_limit": 4}},
    ]
    host = make()
    assert 'value="big"' in await host.options_form(SPEC)
    options = await host.options_from_form(SPEC, {"profile": ["big"]})
    assert options == {"profile": "big"}


async def test_a_link_chooses_a_profile_and_what_is_to_be_chosen_in_it(make):
    """`spawn?opt-profile=big&opt-profile-option-big--image=old`, whose prefix the page takes off."""
    choices = {"image": {"display_name": "Image", "choices": {"old": {"display_name": "Old"}}}}
    make.config.KubeSpawner.profile_list = [{"display_name": "Big", "slug": "big", "profile_options": choices}]
    query = {"profile": ["big"], "profile-option-big--image": ["old"]}
    assert await make().options_from_query(SPEC, query) == {"profile": "big", "image": "old"}
