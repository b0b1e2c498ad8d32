"""A hub killed at any step of a start, a stop or a removal: the next one ends it as if nothing had happened.

Real hubs, a real proxy and real processes on one database. Each test has a user of its own.
"""

import hashlib
import itertools
import sys
from http import HTTPStatus
from pathlib import Path

import aiohttp
import pytest

from perijove.lib import faults
from perijove.testing import until
from perijove.testing.hub import OPEN
from perijove.testing.stand import run_stand

TINY = Path(__file__).parent / "tiny_server.py"
START = [point for point in faults.POINTS if point.startswith("start.")]
STOP = [point for point in faults.POINTS if point.startswith("stop.")]
_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def stand(tmp_path_factory):
    directory = tmp_path_factory.mktemp("stand")
    starts = tmp_path_factory.mktemp("starts")
    config = {"hub": {"config": {"Authenticator": OPEN["hub"]["config"]["Authenticator"]}}}
    config["hub"]["config"]["JupyterHub"] = {"authenticator_class": "dummy", "allow_named_servers": True}
    config["singleuser"] = {"cmd": [sys.executable, str(TINY)], "extraEnv": {"TEST_STARTS": str(starts)}}
    with run_stand(directory, config, hubs=2) as made:
        made.starts = starts
        yield made


@pytest.fixture
def user(stand):
    """A name nobody had; afterwards no hub runs and nothing of theirs."""
    yield f"user{next(_numbers)}"
    for hub in stand.hubs:
        if not hub.ended:
            hub.kill()
    for process in stand.processes():
        process.kill()
    stand.hubs.clear()


async def ask(stand, method, path):
    """A request whose answer may be lost with the hub."""
    try:
        return await stand.api(method, path)
    except aiohttp.ClientError as error:
        return 0, str(error)


async def started(stand, user, server=""):
    await stand.api("POST", f"/users/{user}")
    return await ask(stand, "POST", f"/users/{user}/servers/{server}")


async def stopped(stand, user, server="", *, remove=False):
    body = {"remove": True} if remove else None
    try:
        return await stand.api("DELETE", f"/users/{user}/servers/{server}", body)
    except aiohttp.ClientError as error:
        return 0, str(error)


async def model(stand, user, server=""):
    status, answered = await stand.api("GET", f"/users/{user}?include_stopped_servers=1")
    assert status == HTTPStatus.OK, answered
    return answered["servers"].get(server)


async def settled(stand, user, server=""):
    async def over():
        found = await model(stand, user, server)
        return found if found is None or found["pending"] is None else False

    await until(lambda: is_over(stand, user, server), seconds=20, every=0.05)
    return await model(stand, user, server)


async def is_over(stand, user, server):
    found = await model(stand, user, server)
    return found is None or found["pending"] is None


def starts(stand, user, server=""):
    prefix = f"/user/{user}/{server}/" if server else f"/user/{user}/"
    kept = stand.starts / hashlib.sha256(prefix.encode()).hexdigest()[:16]
    assert not kept.with_suffix(".twice").exists(), "two servers ran at the same time"
    path = kept.with_suffix(".starts")
    return [int(line) for line in path.read_text().split()] if path.exists() else []


async def page(stand, path):
    """What anybody gets at this path of the proxy."""
    async with stand.browser() as browser:
        response, text = await browser.get(path, allow_redirects=False)
        return response.status, await response.json() if response.status == HTTPStatus.OK else text


async def is_served(stand, path):
    return (await page(stand, path))[0] == HTTPStatus.OK


async def assert_runs(stand, user, server=""):
    """Exactly one process, reachable, with a token that works and a door that opens."""
    found = await model(stand, user, server)
    assert found["ready"], found
    [process] = stand.processes(user, server)
    base = f"user/{user}/{server}/" if server else f"user/{user}/"
    await until(lambda: is_served(stand, base))
    _, home = await page(stand, base)
    assert home["pid"] == process.pid == starts(stand, user, server)[-1]
    status, itself = await page(stand, f"{base}whoami")
    assert (status, itself["name"]) == (HTTPStatus.OK, user)
    async with stand.browser() as browser:
        await browser.log_in(user)
        response, text = await browser.get(f"{base}private")
        assert response.status == HTTPStatus.OK, text
        assert (await response.json())["name"] == user
    row = stand.row(user, server)
    assert (row["desired"], row["observed"], row["phase"], row["lease_owner"]) == ("running", "running", "", None)
    return process


async def assert_gone(stand, user, server=""):
    """Nothing runs, nothing is routed."""
    found = await model(stand, user, server)
    assert found is None or found["stopped"], found
    assert stand.processes(user, server) == []
    base = f"user/{user}/{server}/" if server else f"user/{user}/"

    async def unrouted():
        return (await page(stand, base))[0] != HTTPStatus.SERVICE_UNAVAILABLE

    await until(unrouted)
    assert not await is_served(stand, base)


@pytest.mark.parametrize("point", START)
async def test_a_start_survives_the_hub(stand, user, point):
    """Killed at this point, the start comes to its end in the next hub: one server, started once."""
    hub = await stand.hub(kill_at=point)
    await started(stand, user)
    await hub.killed_itself()
    await stand.hub()
    last = await stand.end_of_progress(user)
    assert last.get("ready"), last
    process = await assert_runs(stand, user)
    assert starts(stand, user) == [process.pid]
