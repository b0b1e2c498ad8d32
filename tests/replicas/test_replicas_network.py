"""Hubs, proxies and database on machines of their own, and packets between two of them that vanish.

What only a real network does: open connections stall, new ones are neither made nor refused. The same cuts, made by
forwarders of TCP, are in `test_replicas_database` and `test_replicas_proxies`, for where namespaces are not permitted.
"""

import asyncio
from http import HTTPStatus

import aiohttp
import pytest

from perijove.testing.databases import DatabaseMissing, PostgreSQL
from perijove.testing.network import NetworkForbidden, run_network
from perijove.testing.replicas import run_cluster
from perijove.testing.simulated_world import run_world
from perijove.testing.waiting import until

DATABASE = "postgres"


@pytest.fixture(scope="module")
def network():
    try:
        with run_network() as network:
            yield network
    except NetworkForbidden as reason:
        pytest.skip(f"no network namespaces here: {reason}")


@pytest.fixture(scope="module")
def shared(network, tmp_path_factory):
    try:
        server = PostgreSQL(host=network.ip)
    except DatabaseMissing as missing:
        pytest.skip(f"{missing}; scripts/system-packages test installs it")
    with (
        server,
        run_world(ip=network.ip) as world,
        run_cluster(
            tmp_path_factory.mktemp("cluster"),
            database=server.create_database(),
            hubs=2,
            proxies=1,
            world=world,
            network=network,
        ) as cluster,
    ):
        yield cluster


async def reads(cluster, *, at=None):
    status, _ = await cluster.api("GET", "/users?limit=1", at=at)
    return status == HTTPStatus.OK


async def starts(cluster, user, at=None):
    """Asked for as a program does that tries again when told to; then ready, and reached through the proxy."""
    for path in (f"/users/{user}", f"/users/{user}/server"):
        while (await cluster.api("POST", path, at=at))[0] == HTTPStatus.SERVICE_UNAVAILABLE:
            pass
    proxy = cluster.proxies[0]

    async def served():
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"{proxy.url}user/{user}/x", allow_redirects=False) as response,
        ):
            return response.status == HTTPStatus.OK

    await until(served, seconds=30)
    assert len(cluster.world.servers(user)) == 1


@pytest.mark.promise("way from hub to database", "packets vanish", "users at work")
async def test_a_hub_whose_packets_to_the_database_vanish_leaves_the_work_to_the_other(cluster, network, name):
    lost = cluster.hubs[0]
    lost.machine.lose(network.ip)
    try:
        async with asyncio.timeout(60):
            for _ in range(4):
                assert await reads(cluster)
            await starts(cluster, name)
    finally:
        lost.machine.find(network.ip)
    await until(lambda: reads(cluster, at=lost), seconds=30)
    await starts(cluster, f"{name}-later", at=lost)


@pytest.mark.promise("way from proxy to hub", "packets vanish", "users at work")
async def test_a_proxy_whose_packets_to_a_hub_vanish_goes_by_the_other(cluster, name):
    (proxy,) = cluster.proxies
    for hub in cluster.hubs:
        proxy.machine.lose(hub.machine.ip)
        try:
            async with asyncio.timeout(60):
                for _ in range(4):
                    assert await reads(cluster)
                await starts(cluster, f"{name}-{hub.slot}")
        finally:
            proxy.machine.find(hub.machine.ip)


@pytest.mark.promise("way from proxy to all hubs", "packets vanish", "notebooks in use")
async def test_a_proxy_cut_off_from_every_hub_goes_on_with_notebooks(cluster, name):
    await starts(cluster, name)
    (proxy,) = cluster.proxies
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(f"{proxy.url}user/{name}/ws") as socket,
    ):
        for hub in cluster.hubs:
            proxy.machine.lose(hub.machine.ip)
        try:
            for _ in range(3):
                await socket.send_str("here")
                assert (await socket.receive()).data == "here"
            async with session.get(f"{proxy.url}user/{name}/x") as response:
                assert response.status == HTTPStatus.OK
            async with session.get(f"{proxy.url}hub/home", timeout=aiohttp.ClientTimeout(total=30)) as response:
                assert response.status == HTTPStatus.SERVICE_UNAVAILABLE
                assert int(response.headers["Retry-After"]) > 0
        finally:
            for hub in cluster.hubs:
                proxy.machine.find(hub.machine.ip)
        await starts(cluster, f"{name}-later")
