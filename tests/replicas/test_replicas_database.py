"""The database restarts, dies, freezes, moves, or cannot be reached by one hub: nobody is logged out, told wrong
things, or kept waiting for ever; and everything recovers by itself.
"""

import asyncio
import itertools
import signal
from collections import Counter
from contextlib import asynccontextmanager, suppress
from http import HTTPStatus

import aiohttp
import pytest

from perijove.cli.listening import free_port
from perijove.testing.waiting import until

AGAIN = HTTPStatus.SERVICE_UNAVAILABLE
# Of each who asks, between one request and the next: the machine is needed for the database.
BREATH_SECONDS = 0.02
TIMEOUT = aiohttp.ClientTimeout(total=60)


@pytest.fixture(scope="module")
def shared(new_cluster, own_server):
    return new_cluster(own_server.create_database(), hubs=2, proxies=1)


@pytest.fixture
async def session():
    async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True), timeout=TIMEOUT) as session:
        yield session


# What people and programs go on asking: pages, calls, a wrong token, something that is written.
REQUESTS = (
    ("GET", "hub/home", "person", {HTTPStatus.OK}),
    ("GET", "hub/api/user", "program", {HTTPStatus.OK}),
    ("GET", "hub/api/users?limit=2", "program", {HTTPStatus.OK}),
    ("GET", "hub/api/users?limit=2", "impostor", {HTTPStatus.FORBIDDEN}),
    ("POST", "hub/api/groups/{}", "program", {HTTPStatus.CREATED}),
)


@asynccontextmanager
async def users_at_work(cluster, session, name):
    """They ask on; each answer is the right one, or 503 with a time to try again. Yields what was answered."""
    proxy = cluster.proxies[0]
    async with proxy.browser() as browser:
        assert (await browser.log_in(name))[0] == HTTPStatus.OK
        cookies = {cookie.key: cookie.value for cookie in browser.session.cookie_jar}
    answers, stop = Counter(), asyncio.Event()
    groups = itertools.count()
    who = {
        "person": {"cookies": cookies},
        "program": {"headers": {"Authorization": f"token {cluster.token}"}},
        "impostor": {"headers": {"Authorization": f"token {'0' * 32}"}},
    }

    async def ask(method, path, asker, good):
        while not stop.is_set():
            address = f"{proxy.url}{path.format(f'{name}-{next(groups)}')}"
            options = {"allow_redirects": False, **who[asker]}
            async with session.request(method, address, **options) as response:
                text = await response.text()
                answers[response.status] += 1
                if response.status == AGAIN:
                    assert int(response.headers["Retry-After"]) > 0
                else:
                    assert response.status in good, f"{method} {path} as {asker}: {response.status} {text[:2000]}"
            # A breath, unless nobody asks any more.
            with suppress(TimeoutError):
                async with asyncio.timeout(BREATH_SECONDS):
                    await stop.wait()

    async with asyncio.TaskGroup() as group:
        for request in REQUESTS:
            group.create_task(ask(*request))
        await until(lambda: answers[HTTPStatus.OK] > 5)
        yield answers
        fine = answers[HTTPStatus.OK] + answers[HTTPStatus.CREATED]
        await until(lambda: answers[HTTPStatus.OK] + answers[HTTPStatus.CREATED] > fine + 20, seconds=40)
        stop.set()


async def start_works(cluster, name):
    """What is asked for now happens: both hubs work."""
    for number, hub in enumerate(cluster.hubs):
        user = f"{name}-s{number}"
        await cluster.api("POST", f"/users/{user}", at=hub)
        await cluster.api("POST", f"/users/{user}/server", at=hub)
        await until(lambda user=user, hub=hub: ready(cluster, user, hub), seconds=20)


async def ready(cluster, user, hub):
    status, model = await cluster.api("GET", f"/users/{user}", at=hub)
    return status == HTTPStatus.OK and model["servers"].get("", {}).get("ready")


@pytest.mark.promise("database", "restart", "users at work")
async def test_a_restart_of_the_database_is_a_moment_of_503(cluster, own_server, session, name):
    async with users_at_work(cluster, session, name):
        await asyncio.to_thread(own_server.restart)
    await start_works(cluster, name)


@pytest.mark.promise("database", "SIGKILL, gone for a while", "users at work")
async def test_while_the_database_is_gone_everybody_is_told_to_try_again(cluster, own_server, session, name):
    async with users_at_work(cluster, session, name) as answers:
        await asyncio.to_thread(own_server.kill)
        # Long enough for pools to be empty, feeds to be broken and leases to be doubted.
        refused = answers[AGAIN]
        await until(lambda: answers[AGAIN] > refused + 50, seconds=40)
        await asyncio.to_thread(own_server.start)
    await start_works(cluster, name)
    for hub in cluster.hubs:
        assert "Traceback" not in hub.log
        assert own_server.password not in hub.log


@pytest.mark.promise("database", "SIGSTOP", "users at work")
async def test_a_database_that_freezes_keeps_nobody_waiting_for_ever(cluster, own_server, session, name):
    async with users_at_work(cluster, session, name) as answers:
        own_server.freeze()
        try:
            refused = answers[AGAIN]
            await until(lambda: answers[AGAIN] > refused + 3, seconds=50)
        finally:
            own_server.thaw()
    await start_works(cluster, name)


@pytest.mark.promise("database", "fails over to another address", "users at work")
async def test_a_database_that_moves_is_found_where_its_name_leads(cluster, own_server, session, name):
    async with users_at_work(cluster, session, name):
        await asyncio.to_thread(own_server.stop)
        old, own_server.port = own_server.port, free_port()
        await asyncio.to_thread(own_server.start)
        for hub in cluster.hubs:
            hub.database.lead_to(own_server.host, own_server.port)
    cluster.database_url = cluster.database_url.replace(f":{old}/", f":{own_server.port}/")
    await start_works(cluster, name)


@pytest.mark.promise("way from hub to database", "cut", "users at work")
@pytest.mark.parametrize("way", ["cut", "silence"])
async def test_a_hub_without_its_database_leaves_the_work_to_the_other(cluster, session, name, way):
    """Reads go to the hub that can; a start that the lost hub had begun is finished; revoked is revoked, at both."""
    lost, other = cluster.hubs
    await cluster.api("POST", f"/users/{name}", at=other)
    _, token = await cluster.api("POST", f"/users/{name}/tokens", at=other)
    assert (await cluster.api("GET", "/user", token=token["token"], at=lost))[0] == HTTPStatus.OK
    async with users_at_work(cluster, session, name) as answers:
        getattr(lost.database, way)()
        assert (await cluster.api("DELETE", f"/users/{name}/tokens/{token['id']}", at=other))[0] == 204
        revoked = asyncio.get_running_loop().time()

        async def is_not_believed():
            # Within a second, although the lost hub hears nothing of it: what it cannot check it does not answer.
            async with asyncio.timeout(30):
                status, _ = await cluster.api("GET", "/user", token=token["token"], at=lost)
            asked = asyncio.get_running_loop().time()
            assert status == AGAIN or asked - revoked < 1, status
            return status == AGAIN

        await until(is_not_believed, seconds=30)
        await until(lambda: tells_proxies(session, lost), seconds=30)
        fine = answers[HTTPStatus.OK]
        await until(lambda: answers[HTTPStatus.OK] > fine + 20, seconds=40)
        lost.database.mend()
    await start_works(cluster, name)
    assert (await cluster.api("GET", "/user", token=token["token"], at=lost))[0] == HTTPStatus.FORBIDDEN


async def tells_proxies(session, hub):
    """That it is of no use at present; to whoever would restart it, it is well."""
    async with session.get(f"{hub.url}hub/health") as response:
        assert response.status == HTTPStatus.OK
        return "X-Perijove-Away" in response.headers


@pytest.mark.promise("way from hub to database", "silence", "start.spawned")
async def test_a_start_of_a_hub_that_lost_its_database_is_finished_by_the_other(cluster, name):
    """It had called the spawner; cut off it cannot write what came of it. One server runs in the end."""
    await cluster.api("POST", f"/users/{name}", at=cluster.hubs[1])
    cluster.arm("start.spawned", signal.SIGSTOP)
    asked = asyncio.create_task(cluster.api("POST", f"/users/{name}/server"))
    hub = await cluster.hurt()
    hub.database.silence()
    hub.wake()
    await until(lambda: cluster.world.servers(name))
    await cluster.expire_leases()
    (other,) = [one for one in cluster.hubs if one is not hub]
    await until(lambda: ready(cluster, name, other), seconds=30)
    await asked
    hub.database.mend()
    await until(lambda: ready(cluster, name, hub), seconds=30)
    (running,) = cluster.world.servers(name)
    _, model = await cluster.api("GET", f"/users/{name}")
    assert model["servers"][""]["ready"]
    assert running["generation"] == 1
