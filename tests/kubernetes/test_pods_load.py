"""What several hubs that watch the same pods cost the API server, counted in its own log."""

import asyncio
from types import SimpleNamespace

import pytest
from kubespawner.spawner import PodReflector

from perijove.plugins.kube_watch import Continuous
from perijove.testing.kube.kubelet.images import Image
from perijove.testing.kube.spawning import open_spawner_half
from perijove.testing.waiting import until

PODS = 60
PERIODS = 2
LABELS = {"component": "singleuser-server"}


@pytest.fixture
async def half(cluster, tmp_path, monkeypatch):
    async with open_spawner_half(cluster, tmp_path, monkeypatch) as half:
        monkeypatch.setattr(Continuous, "watch_seconds", 1.0)
        yield half


@pytest.fixture
async def watched_pods(cluster):
    cluster.fake.kubelet.images.known["hollow"] = Image(hollow=True)
    # As much as a real pod's status, and then some.
    filler = {"hub.jupyter.org/username": "x" * 2000}

    async def create(number):
        metadata = {"name": f"jupyter-{number}", "labels": LABELS, "annotations": filler}
        spec = {"containers": [{"name": "notebook", "image": "hollow"}], "terminationGracePeriodSeconds": 0}
        await cluster.core.create_namespaced_pod(cluster.namespace, {"metadata": metadata, "spec": spec})

    await asyncio.gather(*(create(number) for number in range(PODS)))

    async def running():
        found = await cluster.core.list_namespaced_pod(cluster.namespace)
        return sum(pod.status.phase == "Running" for pod in found.items) == PODS

    await until(running, seconds=30, every=0.1)


async def open_hubs(half, count):
    """Each with watches of its own, as in processes of their own."""
    hosts = [half.host() for _ in range(count)]
    for host in hosts:
        host._class.reflectors = {}
        await host.ended()
    return hosts


async def close_hubs(hosts):
    for host in hosts:
        await host._class._stop_all_reflectors()


def cost(log, hubs):
    """Lists, and bytes of everything, of pods."""
    return log.count(verb="list", resource="pods"), log.sent_bytes(resource="pods") / hubs


async def over_periods(cluster, hubs):
    """Some watches, while one pod changes: what they cost together."""
    log, core = cluster.fake.server.log, cluster.core
    await core.patch_namespaced_pod("jupyter-7", cluster.namespace, {"metadata": {"labels": {"turn": str(hubs)}}})
    wanted = log.count(verb="watch", resource="pods") + PERIODS * hubs
    await until(lambda: log.count(verb="watch", resource="pods") >= wanted, seconds=30, every=0.02)


async def test_a_hub_lists_once_and_five_cost_less_than_one_stock_reflector(cluster, half, watched_pods):
    log = cluster.fake.server.log
    spent = {}
    for count in (1, 2, 5):
        log.clear()
        hosts = await open_hubs(half, count)
        first_lists = log.sent_bytes(verb="list", resource="pods")
        await over_periods(cluster, count)
        assert log.count(verb="list", resource="pods") == count
        spent[count] = log.sent_bytes(resource="pods") - first_lists
        await close_hubs(hosts)
    parent = await half.open()
    log.clear()
    stock = PodReflector(
        parent=parent.plugin, namespace=cluster.namespace, labels=LABELS, timeout_seconds=1, restart_seconds=1
    )
    await stock.start()
    listed = log.sent_bytes(verb="list", resource="pods")
    await over_periods(cluster, 1)
    lists, stocks = log.count(verb="list", resource="pods"), log.sent_bytes(resource="pods") - listed
    await stock.stop()
    assert lists > PERIODS
    assert spent[5] < 6 * spent[1]
    assert spent[5] < stocks / 2, SimpleNamespace(ours=spent, stock=stocks)


async def test_starts_of_one_hub_share_its_watches(cluster, half):
    log = cluster.fake.server.log
    await asyncio.gather(*(half.host().ended() for _ in range(5)))
    for number, name in enumerate(("a", "b", "c")):
        await half.running(id=number + 30, name=name)
    assert log.count(verb="list", resource="pods") == 1
    assert log.count(verb="list", resource="events") == 1


async def test_what_was_missed_is_listed_once_more_and_seen(cluster, half, watched_pods):
    """The API server has forgotten what happened while the connection was broken."""
    [host] = await open_hubs(half, 1)
    [reflector] = host._class.reflectors.values()
    log, server = cluster.fake.server.log, cluster.fake.server
    fault = server.faults.answer(503, times=5, verb="watch")
    server.watches.disconnect("pods")
    await until(lambda: fault.met)
    await cluster.core.delete_namespaced_pod("jupyter-1", cluster.namespace, grace_period_seconds=0)
    server.store.compact()
    log.clear()
    await until(lambda: f"{cluster.namespace}/jupyter-1" not in reflector.resources, seconds=10)
    assert log.count(verb="list", resource="pods") == 1
    await close_hubs([host])
