"""What a person with an open notebook notices of a hub that crashes: nothing."""

import asyncio
import sys
from contextlib import suppress
from pathlib import Path

import aiohttp
import psutil
import pytest

from perijove.testing import kernels, run_hub, until
from perijove.testing.stand import run_stand

TINY = Path(__file__).parent / "tiny_server.py"
ANYBODY = {"JupyterHub": {"authenticator_class": "dummy"}, "Authenticator": {"allow_all": True}}


@pytest.fixture
def stand(tmp_path):
    with run_stand(tmp_path, {"hub": {"config": ANYBODY}}) as made:
        yield made


async def is_in_state(stand, user, state):
    _, model = await stand.api("GET", f"/users/{user}?include_stopped_servers=1")
    return model["servers"][""][state]


def servers_of(stand, user: str) -> list[psutil.Process]:
    """Servers themselves: a stock one has children that come and go, and kernels."""
    found = stand.processes(user)
    with_children = {process.pid for process in found}
    alive = []
    for process in found:
        with suppress(psutil.NoSuchProcess):
            if process.ppid() not in with_children:
                alive.append(process)
    return alive


@pytest.mark.slow
async def test_a_stock_server_outlives_the_hubs_that_crash_at_its_start_and_stop(stand):
    """JupyterHub's own single-user server: its hub dies in the start, under an open notebook, and in the stop."""
    hub = await stand.hub(kill_at="start.recorded")
    await stand.api("POST", "/users/ada")
    asked = asyncio.gather(stand.api("POST", "/users/ada/server"), return_exceptions=True)
    await hub.killed_itself()
    await asked
    [first] = servers_of(stand, "ada")
    hub = await stand.hub(kill_at="stop.marked")
    assert (await stand.end_of_progress("ada"))["ready"]
    assert servers_of(stand, "ada") == [first]
    _, made = await stand.api("POST", "/users/ada/tokens", {"note": "notebook"})
    headers = {"Authorization": f"token {made['token']}"}
    server = f"{stand.url}user/ada/"
    async with aiohttp.ClientSession(headers=headers) as session:
        kernel = await kernels.start_kernel(session, server)
        async with session.ws_connect(f"{server}api/kernels/{kernel}/channels") as socket:
            assert await kernels.evaluate(socket, "1 + 1") == "2"
            hub.kill()
            assert await kernels.evaluate(socket, "2 + 2") == "4"
            hub = await stand.hub(kill_at="stop.marked")
            assert await kernels.evaluate(socket, "3 + 3") == "6"
    assert await is_in_state(stand, "ada", "ready")
    assert servers_of(stand, "ada") == [first]
    asked = asyncio.gather(stand.api("DELETE", "/users/ada/server"), return_exceptions=True)
    await hub.killed_itself()
    await asked
    assert servers_of(stand, "ada") == [first]
    await stand.hub()
    await until(lambda: is_in_state(stand, "ada", "stopped"), seconds=20)
    assert stand.processes("ada") == []


async def test_open_connections_go_on_while_the_hub_is_killed_and_started_again(tmp_path):
    """A stream and a websocket through the proxy of `perijove up`, from before the crash until after it."""
    config = {
        "hub": {"config": ANYBODY},
        "singleuser": {"cmd": [sys.executable, str(TINY)], "extraEnv": {"TEST_STARTS": str(tmp_path)}},
    }
    async with run_hub(config) as hub, aiohttp.ClientSession() as session:
        await hub.api("POST", "/users/ada")
        await hub.api("POST", "/users/ada/server")
        base = f"{hub.url}user/ada/"
        await until(lambda: answers(session, base), every=0.05)
        async with session.get(f"{base}ticks") as stream, session.ws_connect(f"{base}echo") as socket:
            before = int(await stream.content.readline())
            killed = hub.hub_process()
            killed.kill()
            await socket.send_str("while it is down")
            assert await socket.receive_str() == "while it is down"
            await hub.until_hub_is_back(killed)
            await socket.send_str("when it is back")
            assert await socket.receive_str() == "when it is back"
            received = stream.content.read_nowait() + await stream.content.readline()
            ticks = [int(line) for line in received.split()]
            assert ticks == list(range(before + 1, ticks[-1] + 1))


async def answers(session, url):
    async with session.get(url, allow_redirects=False) as response:
        return response.status == 200


@pytest.mark.slow
async def test_a_frozen_hub_is_replaced_when_its_lease_ends_and_its_proxy_gives_it_up(tmp_path):
    """Nobody helps: the lease runs out, the second hub takes over, and the proxy passes over the silent first."""
    config = {
        "hub": {"config": ANYBODY},
        "singleuser": {"cmd": [sys.executable, str(TINY)], "extraEnv": {"TEST_STARTS": str(tmp_path)}},
    }
    with run_stand(tmp_path, config, hubs=2) as stand:
        frozen = await stand.hub(freeze_at="start.prepared")
        await stand.api("POST", "/users/ada")
        asked = asyncio.gather(stand.api("POST", "/users/ada/server"), return_exceptions=True)
        await frozen.froze_itself()
        await stand.hub(slot=1, through_proxy=False)
        await until(lambda: stand.row("ada")["observed"] == "running", seconds=30, every=0.1)
        [process] = stand.processes("ada")
        async with aiohttp.ClientSession() as session:
            await until(lambda: answers(session, f"{stand.url}user/ada/"), seconds=30, every=0.1)
        frozen.wake()
        await asked
        await until(lambda: "another replica took over" in frozen.log)
        assert stand.processes("ada") == [process]
        assert await is_in_state(stand, "ada", "ready")
