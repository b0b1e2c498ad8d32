"""Trouble that a test asks for, and the log of who asked what."""

import asyncio

import aiohttp
import pytest

AGENT = {"User-Agent": "perijove-hub/1"}


@pytest.fixture
async def ask(cluster):
    cluster.fake.server.log.clear()
    headers = {"Authorization": await cluster.authorization(), **AGENT}
    connector = aiohttp.TCPConnector(ssl=cluster.tls, force_close=True)
    async with aiohttp.ClientSession(cluster.fake.url, headers=headers, connector=connector) as session:

        async def once(method="GET", path="pods", body=None, seconds=5):
            timeout = aiohttp.ClientTimeout(total=seconds)
            url = f"/api/v1/namespaces/{cluster.namespace}/{path}"
            async with session.request(method, url, json=body, timeout=timeout) as response:
                return response.status, dict(response.headers), await response.json()

        yield once


async def test_the_next_requests_that_match_are_refused(cluster, ask):
    fault = cluster.fake.server.faults.answer(429, times=2, retry_after=3, verb="list", resource="pods")
    status, headers, body = await ask()
    assert (status, headers["Retry-After"], body["reason"]) == (429, "3", "TooManyRequests")
    assert (await ask(path="secrets"))[0] == 200
    assert (await ask())[0] == 429
    assert (await ask())[0] == 200
    assert fault.exhausted


async def test_an_internal_error_has_its_words(cluster, ask):
    cluster.fake.server.faults.answer(500, message="etcdserver: request timed out")
    status, _, body = await ask()
    assert status == 500
    assert body["message"] == "Internal error occurred: etcdserver: request timed out"


async def test_a_hanging_server_is_left_to_the_clients_patience(cluster, ask):
    cluster.fake.server.faults.hang(resource="pods")
    with pytest.raises(asyncio.TimeoutError):
        await ask(seconds=0.1)
    assert (await ask())[0] == 200


async def test_a_connection_breaks_before_the_work(cluster, ask):
    cluster.fake.server.faults.drop(verb="create")
    with pytest.raises(aiohttp.ClientError):
        await ask("POST", "configmaps", {"metadata": {"name": "a"}})
    assert (await ask(path="configmaps/a"))[0] == 404


async def test_or_after_it(cluster, ask):
    cluster.fake.server.faults.drop(verb="create", after=True)
    with pytest.raises(aiohttp.ClientError):
        await ask("POST", "configmaps", {"metadata": {"name": "a"}})
    assert (await ask(path="configmaps/a"))[0] == 200


async def test_requests_are_counted_by_agent(cluster, ask):
    await ask()
    await ask()
    await ask(path="secrets/none")
    log = cluster.fake.server.log
    assert log.count(verb="list", resource="pods", agent="perijove-hub") == 2
    assert log.by_agent()["perijove-hub/1", "get", "secrets"] == 1
    assert log.find(resource="secrets")[0].status == 404


async def test_a_server_that_stops_comes_back_with_everything(cluster, ask):
    await ask("POST", "configmaps", {"metadata": {"name": "a"}})
    await cluster.fake.server.stop()
    with pytest.raises(aiohttp.ClientError):
        await ask()
    await cluster.fake.server.start()
    assert (await ask(path="configmaps/a"))[0] == 200


async def test_a_slow_server_answers_in_the_end(cluster, ask):
    cluster.fake.server.faults.slow(0.3, resource="pods")
    with pytest.raises(asyncio.TimeoutError):
        await ask(seconds=0.05)
    cluster.fake.server.faults.slow(0.05, resource="pods")
    assert (await ask())[0] == 200
