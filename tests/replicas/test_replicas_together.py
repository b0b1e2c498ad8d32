"""Five hubs, two, and one: limits are exact, and what one hub must do at a time is done by one."""

import asyncio
import itertools
import sys
from collections import Counter
from datetime import UTC, datetime
from http import HTTPStatus

import psutil
import pytest
from sqlalchemy import update

from perijove.reconcile.managed_services import MARK
from perijove.store.schema import leases, servers
from perijove.testing.hub import is_alive
from perijove.testing.waiting import until

DATABASE = "postgres"
ACTIVE, AT_ONCE, ASKED = 6, 3, 20
LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)
CONFIG = {
    "hub": {
        "activeServerLimit": ACTIVE,
        "concurrentSpawnLimit": AT_ONCE,
        "services": {"counter": {"command": [sys.executable, "-c", "import time; time.sleep(3600)"]}},
    },
    "cull": {"enabled": True, "timeout": 3600, "every": 1},
}
_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def shared(new_cluster):
    return new_cluster("postgres", CONFIG, hubs=5, proxies=1)


@pytest.fixture(scope="module", params=[5, 2, 1])
def count(request):
    return request.param


@pytest.fixture
async def hubs(shared, count):
    """So many that run; the others are ended."""
    for hub in shared.hubs[count:]:
        if not hub.ended:
            assert await hub.stop() == 0
    for replica in (*shared.hubs[:count], *shared.proxies):
        await replica.ready()
    return shared.hubs[:count]


@pytest.fixture
async def cluster(shared, hubs):
    shared.world.behave()
    shared.world.clear()
    await shared.execute(update(servers).values(next_poll=LONG_AGO))
    await until(lambda: nothing_active(shared, hubs[0]), seconds=20)
    return shared


async def nothing_active(cluster, hub):
    return (await cluster.api("GET", "/users?state=active", at=hub))[1] == []


async def storm(cluster, hubs):
    """That many users ask for a server at the same moment, at every hub. Status -> how many, and who they were."""
    names = [f"eve{next(_numbers)}" for _ in range(ASKED)]
    assert (await cluster.api("POST", "/users", {"usernames": names}, at=hubs[0]))[0] == 201
    turn = itertools.cycle(hubs)
    asked = [cluster.api("POST", f"/users/{name}/server", at=next(turn)) for name in names]
    answers = await asyncio.gather(*asked)
    return Counter(status for status, _ in answers), names


async def test_limits_are_exact_whoever_is_asked(cluster, hubs):
    """Of many who ask at once at all hubs, as many get a server as there are places, and not one more."""
    cluster.world.behave(start_seconds=3)
    statuses, _ = await storm(cluster, hubs)
    accepted = statuses[HTTPStatus.CREATED] + statuses[HTTPStatus.ACCEPTED]
    assert (accepted, statuses[HTTPStatus.TOO_MANY_REQUESTS]) == (AT_ONCE, ASKED - AT_ONCE), statuses
    await until(lambda: len(cluster.world.servers()) == AT_ONCE)
    cluster.world.behave()
    await until(lambda: nothing_starts(cluster, hubs[0]))
    # Starts are over at once now, so all places can be taken, in as many goes as it takes.
    for _ in range(ACTIVE):
        await storm(cluster, hubs)
        assert len(cluster.world.servers()) <= ACTIVE
        await until(lambda: nothing_starts(cluster, hubs[0]))
    assert len(cluster.world.servers()) == ACTIVE


async def nothing_starts(cluster, hub):
    return not any(user["pending"] for user in (await cluster.api("GET", "/users?state=active", at=hub))[1])


async def test_idle_servers_are_culled_once(cluster, hubs):
    """All hubs look for what is idle; each server is stopped by one."""
    statuses, _ = await storm(cluster, hubs)
    assert statuses[HTTPStatus.TOO_MANY_REQUESTS] == ASKED - AT_ONCE, statuses
    await until(lambda: nothing_starts(cluster, hubs[0]))
    running = {f"{server['server_id']}/{server['generation']}" for server in cluster.world.servers()}
    told = len(cluster.world.history)
    await cluster.execute(update(servers).values(last_activity=LONG_AGO, started=LONG_AGO))
    await until(lambda: nothing_active(cluster, hubs[0]), seconds=20)
    stops = [line.partition(" ")[2].rpartition("/")[0] for line in cluster.world.history[told:] if "stop" in line]
    assert sorted(stops) == sorted(running)


async def test_a_service_with_a_command_runs_once(cluster, hubs):
    """One process, whichever hub holds it; when that hub is gone another one starts it."""

    def instances():
        found = []
        for process in psutil.process_iter():
            try:
                if process.environ().get(MARK, "").endswith("/counter") and process.ppid() in pids:
                    found.append(process)
            except psutil.Error:
                continue
        return found

    pids = {hub.process.pid for hub in hubs}
    (service,) = await until(instances, seconds=60)
    if len(hubs) < 2:
        return
    holder = next(hub for hub in hubs if hub.process.pid == service.ppid())
    holder.kill()
    # As if the time of its lease had passed.
    await cluster.execute(update(leases).where(leases.c.name == "service counter").values(expires=LONG_AGO))
    pids.discard(holder.process.pid)
    (successor,) = await until(instances, seconds=30)
    assert successor.pid != service.pid
    assert not is_alive(service)
    await holder.restart()
    pids.add(holder.process.pid)
    assert [process.pid for process in instances()] == [successor.pid]
