"""Several proxies, each following any hub: what users notice when hubs and proxies come and go."""

import asyncio
import signal
from http import HTTPStatus

import aiohttp
import pytest

from perijove.testing.waiting import until

DATABASE = "postgres"
# Between a server's being ready and every proxy's knowing the way to it.
PROMPT_SECONDS = 1.0
TIMEOUT = aiohttp.ClientTimeout(total=30)


@pytest.fixture(scope="module")
def shared(new_cluster):
    return new_cluster("postgres", hubs=2, proxies=3, drain_seconds=20)


@pytest.fixture
async def session():
    async with aiohttp.ClientSession(timeout=TIMEOUT) as session:
        yield session


async def started(cluster, name, at=None):
    """A user's server, ready by the word of a hub."""
    hub = at or cluster.hubs[0]
    assert (await cluster.api("POST", f"/users/{name}", at=hub))[0] == 201
    status, _ = await cluster.api("POST", f"/users/{name}/server", at=hub)
    assert status in (201, 202)

    async def ready():
        _, user = await cluster.api("GET", f"/users/{name}", at=hub)
        return user["servers"].get("", {}).get("ready")

    await until(ready)


async def gets_server(session, proxy, name):
    """What somebody at this proxy sees under the server's address right now."""
    async with session.get(f"{proxy.url}user/{name}/where", allow_redirects=False) as response:
        return response.status == HTTPStatus.OK and (await response.json())["user"] == name


async def test_every_proxy_knows_the_way_within_a_second_of_ready(cluster, session, name):
    await started(cluster, name)
    began = asyncio.get_running_loop().time()
    for proxy in cluster.proxies:
        await until(lambda proxy=proxy: gets_server(session, proxy, name), every=0.005)
    took = asyncio.get_running_loop().time() - began
    # How long asking takes here, when there is nothing to wait for.
    for proxy in cluster.proxies:
        assert await gets_server(session, proxy, name)
    asking = asyncio.get_running_loop().time() - began - took
    assert took < PROMPT_SECONDS + 2 * asking


async def test_nobody_is_sent_to_a_server_before_their_proxy_knows_it(cluster, name):
    """From the login to the server in one chain of redirects, at each proxy, however late that one hears of it."""
    cluster.world.behave(start_seconds=0.2)
    for number, proxy in enumerate(cluster.proxies):
        user = f"{name}-{number}"
        async with proxy.browser() as browser:
            await browser.log_in(user)
            seen = []
            response, _ = await browser.get(f"hub/spawn/{user}")
            while response.url.path.startswith("/hub/spawn-pending"):
                response, _ = await browser.get(response.url.path)
            seen = [step.url.path for step in response.history]
            assert response.url.path == f"/user/{user}/", seen
            # Without a route the proxy would have asked the hub, which would have redirected once more.
            assert "/hub/user" not in " ".join(seen)
            assert (await response.json())["user"] == user


@pytest.mark.promise("hub", "SIGKILL", "answering requests")
async def test_no_read_fails_when_a_hub_is_killed(cluster, session):
    """Requests in flight that only read are answered by another hub: not one of a steady stream fails."""
    one = cluster.hubs[0]
    statuses, stop = [], asyncio.Event()
    headers = {"Authorization": f"token {cluster.token}"}

    async def ask(proxy):
        while not stop.is_set():
            async with session.get(f"{proxy.url}hub/api/users?limit=5", headers=headers) as response:
                await response.read()
                statuses.append(response.status)

    askers = [asyncio.create_task(ask(proxy)) for proxy in cluster.proxies for _ in range(4)]
    await until(lambda: len(statuses) > 50)
    one.kill()
    asked = len(statuses)
    await until(lambda: len(statuses) > asked + 200, seconds=30)
    await one.restart()
    asked = len(statuses)
    await until(lambda: len(statuses) > asked + 50, seconds=30)
    stop.set()
    await asyncio.gather(*askers)
    assert set(statuses) == {HTTPStatus.OK}


@pytest.mark.promise("hub", "SIGSTOP", "answering requests")
async def test_reads_that_wait_for_a_frozen_hub_are_answered_by_another(cluster, session):
    """A hub that sleeps with requests in its hands keeps nobody waiting for longer than it takes to notice."""
    cluster.hubs[0].freeze()
    headers = {"Authorization": f"token {cluster.token}"}

    async def ask(proxy):
        async with session.get(f"{proxy.url}hub/api/users?limit=5", headers=headers) as response:
            return response.status

    async with asyncio.timeout(15):
        found = await asyncio.gather(*(ask(proxy) for proxy in cluster.proxies for _ in range(4)))
    assert set(found) == {HTTPStatus.OK}


@pytest.mark.promise("hub", "SIGKILL", "start.requested")
async def test_a_request_that_may_have_happened_is_not_repeated(cluster, session, name):
    """The hub dies after it wrote down what was asked of it: the user is told to try again, and gets one server."""
    await cluster.api("POST", f"/users/{name}")
    cluster.arm("start.requested", signal.SIGKILL)
    headers = {"Authorization": f"token {cluster.token}"}
    async with session.post(f"{cluster.proxies[0].url}hub/api/users/{name}/server", headers=headers) as response:
        assert response.status == HTTPStatus.SERVICE_UNAVAILABLE
        assert int(response.headers["Retry-After"]) > 0
    await until(lambda: gets_server(session, cluster.proxies[0], name))
    status, answer = await cluster.api("POST", f"/users/{name}/server")
    assert status in (201, 400), answer
    (server,) = cluster.world.servers(name)
    assert server["generation"] == 1


@pytest.mark.promise("all hubs", "SIGKILL", "notebooks in use")
async def test_with_every_hub_down_notebooks_go_on(cluster, session, name):
    """Running servers take requests and websockets as before; the hub's pages say 503 and when to try again."""
    await started(cluster, name)
    proxy = cluster.proxies[1]
    await until(lambda: gets_server(session, proxy, name))
    async with session.ws_connect(f"{proxy.url}user/{name}/ws") as socket:
        for hub in cluster.hubs:
            hub.kill()
        await socket.send_str("still here")
        assert (await socket.receive()).data == "still here"
        for other in cluster.proxies:
            assert await gets_server(session, other, name)
            async with session.ws_connect(f"{other.url}user/{name}/ws") as second:
                await second.send_str("and new")
                assert (await second.receive()).data == "and new"
            async with session.get(f"{other.url}hub/home", allow_redirects=False) as response:
                assert response.status == HTTPStatus.SERVICE_UNAVAILABLE
                assert int(response.headers["Retry-After"]) > 0
        for hub in cluster.hubs:
            await hub.restart()
        await socket.send_str("as before")
        assert (await socket.receive()).data == "as before"

    async def login_is_back():
        async with session.get(f"{proxy.url}hub/login") as response:
            return response.status == HTTPStatus.OK

    await until(login_is_back)


@pytest.mark.promise("all hubs and a proxy", "SIGKILL", "notebooks in use")
async def test_a_proxy_that_starts_while_every_hub_is_down_serves_what_it_last_knew(cluster, session, name):
    await started(cluster, name)
    proxy = cluster.proxies[2]
    await until(lambda: gets_server(session, proxy, name))
    table = proxy.directory / "routes.json"
    await until(lambda: name in table.read_text())
    for replica in (*cluster.hubs, proxy):
        replica.kill()
    proxy.start()

    async def serves():
        try:
            return await gets_server(session, proxy, name)
        except aiohttp.ClientError:
            return False

    await until(serves, seconds=30)
    for hub in cluster.hubs:
        await hub.restart()
    await started(cluster, f"{name}-later")
    await until(lambda: gets_server(session, proxy, f"{name}-later"))


@pytest.mark.promise("proxy", "SIGTERM", "websocket open")
async def test_a_proxy_that_is_told_to_stop_lets_websockets_end_by_themselves(cluster, session, name):
    """It accepts nothing new, carries what is open for as long as --drain-timeout, and ends when nothing is left."""
    await started(cluster, name)
    proxy = cluster.proxies[2]
    await until(lambda: gets_server(session, proxy, name))
    async with session.ws_connect(f"{proxy.url}user/{name}/ws") as socket:
        proxy.process.send_signal(signal.SIGTERM)

        async def refuses():
            try:
                async with aiohttp.ClientSession(timeout=TIMEOUT) as newcomer:
                    await gets_server(newcomer, proxy, name)
            except aiohttp.ClientConnectorError:
                return True
            return False

        await until(refuses)
        for number in range(5):
            await socket.send_str(str(number))
            assert (await socket.receive()).data == str(number)
        assert not proxy.ended
    await until(lambda: proxy.ended)
    assert proxy.process.returncode == 0


@pytest.mark.promise("proxy", "SIGKILL", "serving")
async def test_when_a_proxy_dies_the_others_serve_and_it_comes_back_by_itself(cluster, session, name):
    await started(cluster, name)
    first, *others = cluster.proxies
    for proxy in cluster.proxies:
        await until(lambda proxy=proxy: gets_server(session, proxy, name))
    first.kill()
    for proxy in others:
        assert await gets_server(session, proxy, name)
    await first.restart()
    assert await gets_server(session, first, name)


@pytest.mark.promise("hub followed by a proxy", "SIGSTOP", "routes change")
async def test_routes_reach_a_proxy_whose_hub_froze(cluster, session, name):
    """It hears nothing, notices, and goes on at another hub where it stopped."""
    frozen, awake = cluster.hubs
    frozen.freeze()
    await started(cluster, name, at=awake)
    for proxy in cluster.proxies:
        await until(lambda proxy=proxy: gets_server(session, proxy, name), seconds=15)


@pytest.mark.promise("way from proxy to hub", "cut", "answering requests")
@pytest.mark.parametrize("way", ["silence", "cut"])
async def test_a_proxy_without_a_way_to_one_hub_uses_the_other(cluster, session, name, way):
    """Refused or swallowed: requests and routes go by the hub that is left, and by both when the way is mended."""
    proxy = cluster.proxies[0]
    getattr(proxy.links[0], way)()
    async with asyncio.timeout(20):
        for _ in range(4):
            assert (await cluster.api("GET", "/users?limit=1", at=proxy))[0] == HTTPStatus.OK
    await started(cluster, name, at=cluster.hubs[0])
    await until(lambda: gets_server(session, proxy, name), seconds=15)
    proxy.links[0].mend()
    for _ in range(4):
        assert (await cluster.api("GET", "/users?limit=1", at=proxy))[0] == HTTPStatus.OK
