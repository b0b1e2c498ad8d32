"""A stock single-user server, started by a stock KubeSpawner in a pod."""

import asyncio
import json
from types import SimpleNamespace

import aiohttp
import pytest
from aiohttp import web
from kubespawner import KubeSpawner
from traitlets.config import Config

from perijove.testing.waiting import until

TOKEN = "of-the-server"


@pytest.fixture
async def hub_url():
    """All that a single-user server wants of a hub before somebody logs in."""

    async def version(_request):
        return web.json_response({"version": "6.1.1"})

    app = web.Application()
    app.router.add_get("/hub/api", version)
    app.router.add_route("*", "/{path:.*}", version)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


@pytest.fixture
async def spawner(cluster, hub_url, monkeypatch):
    """As a hub makes one."""
    assert cluster.fake, "its pods reach a hub on this machine"
    cluster.use_for_kubespawner(monkeypatch)
    monkeypatch.setattr(KubeSpawner, "reflectors", {})
    config = Config()
    config.KubeSpawner.namespace = cluster.namespace
    config.KubeSpawner.image = "quay.io/jupyterhub/k8s-singleuser-sample:4.2.0"
    config.KubeSpawner.hub_connect_url = "http://hub:8081"
    config.KubeSpawner.storage_pvc_ensure = True
    config.KubeSpawner.storage_capacity = "1Gi"
    config.KubeSpawner.pvc_name_template = "claim-{username}"
    config.KubeSpawner.volumes = [{"name": "home", "persistentVolumeClaim": {"claimName": "claim-{username}"}}]
    config.KubeSpawner.volume_mounts = [{"name": "home", "mountPath": "/home/jovyan"}]
    config.KubeSpawner.uid = 1000
    config.KubeSpawner.fs_gid = 100
    config.KubeSpawner.start_timeout = 60
    user = SimpleNamespace(
        name="ann", id=1, url="/user/ann/", escaped_name="ann", settings={}, groups=[], auth_state=None, admin=False
    )
    hub = SimpleNamespace(base_url="/hub/", api_url=f"{hub_url}/hub/api", url=hub_url, public_host="", server=None)
    made = KubeSpawner(config=config, user=user, hub=hub, _mock=True)
    made.orm_spawner = SimpleNamespace(name="", server=None, state={}, oauth_client=None)
    made.api_token = TOKEN
    made.get_env = lambda: {
        "JUPYTERHUB_API_TOKEN": TOKEN,
        "JUPYTERHUB_CLIENT_ID": "jupyterhub-user-ann",
        "JUPYTERHUB_HOST": "",
        "JUPYTERHUB_BASE_URL": "/",
        "JUPYTERHUB_API_URL": f"{hub_url}/hub/api",
        "JUPYTERHUB_USER": "ann",
        "JUPYTERHUB_SERVICE_PREFIX": "/user/ann/",
        "JUPYTERHUB_SERVICE_URL": "http://0.0.0.0:8888/user/ann/",
        "JUPYTERHUB_OAUTH_SCOPES": "[]",
    }
    yield made
    await stop_reflectors()


async def stop_reflectors():
    for by_namespace in KubeSpawner.reflectors.values():
        for reflector in by_namespace.values() if isinstance(by_namespace, dict) else [by_namespace]:
            await reflector.stop()
    for task in asyncio.all_tasks():
        if "close_client_task" in repr(task):
            task.cancel()


async def test_a_stock_single_user_server_starts_and_answers_at_its_pods_address(cluster, spawner):
    url = await spawner.start()
    assert url.endswith(":8888")

    async def version():
        try:
            async with aiohttp.ClientSession() as session, session.get(f"{url}/user/ann/api") as response:
                return await response.json()
        except aiohttp.ClientError:
            return None

    answered = await until(version, seconds=40, every=0.1)
    assert "version" in answered
    claim = await cluster.core.read_namespaced_persistent_volume_claim("claim-ann", cluster.namespace)
    assert claim.status.phase == "Bound"
    assert await spawner.poll() is None
    await spawner.stop()
    assert await spawner.poll() is not None
    assert json.loads(json.dumps(spawner.get_state()))
