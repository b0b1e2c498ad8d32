"""Pods are reached at their addresses, services by name and address, and the API server from within pods."""

import asyncio
import sys

import aiohttp
import pytest

from perijove.testing.kube.stories import Pods
from perijove.testing.waiting import until

# Says its pod's name to whoever asks; listens where it is told to.
WEB = """
import http.server, os
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        body = os.environ["NAME"].encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *_):
        pass
http.server.ThreadingHTTPServer((os.environ["BIND"], 8888), Handler).serve_forever()
"""
PYTHON = "python:3.12-slim"


@pytest.fixture
def pods(cluster):
    return Pods(cluster)


@pytest.fixture
def inside(cluster):
    """From this machine the addresses of pods are reached in this process's cluster alone."""
    return cluster.fake


def server(name):
    env = [{"name": "BIND", "value": "0.0.0.0"}, {"name": "NAME", "value": name}]
    port = {"containerPort": 8888, "name": "http"}
    probe = {"httpGet": {"port": "http"}, "periodSeconds": 1}
    return {
        "image": PYTHON,
        "command": ["python3", "-S", "-c", WEB],
        "env": env,
        "ports": [port],
        "readinessProbe": probe,
    }


async def ask(url):
    try:
        async with aiohttp.ClientSession() as session, session.get(url) as response:
            return await response.text()
    except aiohttp.ClientError:
        return None


async def service(cluster, **spec):
    body = {
        "metadata": {"name": "web"},
        "spec": {"selector": {"tier": "web"}, "ports": [{"port": 8000, "targetPort": "http"}], **spec},
    }
    return await cluster.core.create_namespaced_service(cluster.namespace, body)


async def label(cluster, name):
    await cluster.core.patch_namespaced_pod(name, cluster.namespace, {"metadata": {"labels": {"tier": "web"}}})


async def test_two_pods_listen_on_the_same_port(inside, pods):
    for name in ("a", "b"):
        await pods.create(name=name, container=server(name))
    for name in ("a", "b"):
        pod = await pods.until_ready(name)
        assert await ask(f"http://{pod.status.pod_ip}:8888/") == name


async def test_a_service_reaches_each_of_its_ready_pods(inside, cluster, pods):
    made = await service(cluster)
    for name in ("a", "b"):
        await pods.create(name=name, container=server(name))
        await label(cluster, name)
        await pods.until_ready(name)
    seen = set()

    async def both():
        seen.add(await ask(f"http://{made.spec.cluster_ip}:8000/"))
        return {"a", "b"} <= seen

    await until(both)
    await pods.delete("a")
    await pods.until_gone("a")
    assert await ask(f"http://{made.spec.cluster_ip}:8000/") == "b"


async def test_endpoints_name_the_ready_and_the_unready(cluster, pods):
    await service(cluster)
    await pods.create(name="a")
    await label(cluster, "a")
    pod = await pods.until_ready("a")

    async def listed():
        found = await cluster.core.list_namespaced_endpoints(cluster.namespace)
        return [one.ip for item in found.items for subset in item.subsets or [] for one in subset.addresses or []]

    assert await until(listed, seconds=60) == [pod.status.pod_ip]


async def test_a_load_balancer_has_an_address_that_answers(inside, cluster, pods):
    await service(cluster, type="LoadBalancer")
    await pods.create(name="a", container=server("a"))
    await label(cluster, "a")
    await pods.until_ready("a")

    async def address():
        found = await cluster.core.read_namespaced_service("web", cluster.namespace)
        return found.status.load_balancer.ingress

    (ingress,) = await until(address)
    url = f"http://{ingress.ip}:8000/"

    async def answers():
        return await ask(url) == "a"

    await until(answers)


async def test_a_load_balancer_that_never_comes(inside, cluster):
    inside.services.held.add("web")
    await service(cluster, type="LoadBalancer")
    await asyncio.sleep(0)
    found = await cluster.core.read_namespaced_service("web", cluster.namespace)
    assert not found.status.load_balancer.ingress


async def test_pods_find_services_by_name(inside, cluster, pods):
    await service(cluster)
    await pods.create(name="a", container=server("a"))
    await label(cluster, "a")
    await pods.until_ready("a")
    script = (
        "import os, urllib.request as r\n"
        f"for host in ('web', 'web.{cluster.namespace}', 'web.{cluster.namespace}.svc.cluster.local'):\n"
        "    print(r.urlopen(f'http://{host}:8000/').read().decode())\n"
        "print(os.environ['WEB_SERVICE_PORT'])"
    )
    asker = {"image": PYTHON, "command": ["python3", "-c", script]}
    assert (await pods.output("", name="asker", container=asker)).split() == ["a", "a", "a", "8000"]


async def test_a_pod_asks_the_api_server_as_its_service_account(inside, cluster, pods):
    script = (
        "import asyncio, json\n"
        "from kubernetes_asyncio import client, config\n"
        "async def main():\n"
        "    config.load_incluster_config()\n"
        "    async with client.ApiClient() as api:\n"
        "        try:\n"
        f"            await client.CoreV1Api(api).list_namespaced_pod('{cluster.namespace}')\n"
        "        except client.ApiException as error:\n"
        "            print(error.status, json.loads(error.body)['message'])\n"
        "asyncio.run(main())\n"
    )
    container = {"image": PYTHON, "command": [sys.executable, "-c", script]}
    printed = await pods.output("", container=container)
    assert printed.startswith("403")
    assert f'User "system:serviceaccount:{cluster.namespace}:default" cannot list resource "pods"' in printed
