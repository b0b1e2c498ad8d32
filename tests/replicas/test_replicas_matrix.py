"""A hub killed or frozen at any step of a start, a poll, a stop or a removal, with others beside it.

Another one finishes or undoes the work. A frozen one sleeps past its lease, and wakes when all is done: its late
writes are refused and its late deeds touch nothing. There is exactly one server a row and none without one, and
whoever asked for something sees at most that they have to ask again.
"""

import asyncio
import itertools
import signal
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus

import aiohttp
import pytest
from sqlalchemy import select, update

from perijove.lib import faults
from perijove.store.schema import servers, users
from perijove.testing.replicas import Cluster, HubReplica
from perijove.testing.shown_server import ShownServer
from perijove.testing.waiting import until

DATABASE = "postgres"
# What the owner of a request is told when its hub is lost.
AGAIN = HTTPStatus.SERVICE_UNAVAILABLE
SUPERSEDED = "another replica took over"
LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)
NEVER = datetime(2100, 1, 1, tzinfo=UTC)
_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def shared(new_cluster):
    return new_cluster("postgres", hubs=3, proxies=1)


@pytest.fixture
async def cluster(shared):
    await shared.ready(hubs=2)
    shared.world.behave()
    return shared


@dataclass
class Case(ShownServer):
    """One user's server."""

    cluster: Cluster
    user: str
    server: str = ""

    async def api(self, method, path, body=None):
        return await self.cluster.api(method, path, body)

    async def ask(self, method, body=None):
        """Start or stop it, as a program does that tries again when told to."""
        while True:
            status, answer = await self.api(method, self.path, body)
            if status != AGAIN:
                return status, answer

    @asynccontextmanager
    async def asking(self, method, good, body=None):
        """It is asked for, and whoever asks is answered in the end: well, or that they should ask again."""
        asked = asyncio.create_task(self.ask(method, body))
        yield
        status, answer = await asked
        # Asked again, it may have happened already.
        assert status in {*good, HTTPStatus.BAD_REQUEST, HTTPStatus.NO_CONTENT, HTTPStatus.NOT_FOUND}, answer

    async def row(self):
        statement = (
            select(servers)
            .join(users, users.c.id == servers.c.user_id)
            .where(users.c.name == self.user, servers.c.name == self.server)
        )
        rows = await self.cluster.rows(statement)
        return rows[0]._mapping if rows else None

    def running(self):
        return self.cluster.world.servers(self.user)

    async def is_served(self):
        prefix = f"user/{self.user}/{self.server}/" if self.server else f"user/{self.user}/"
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"{self.cluster.proxies[0].url}{prefix}", allow_redirects=False) as response,
        ):
            return response.status == HTTPStatus.OK

    async def assert_runs(self):
        """One server, the one in the row, reached by its address, with a token that opens. Returns it."""
        await until(self.is_served)
        (server,) = self.running()
        row = await self.row()
        assert (row["desired"], row["observed"], row["phase"]) == ("running", "running", "")
        assert (row["url"], row["generation"]) == (server["url"], server["generation"])
        status, itself = await self.cluster.api("GET", "/user", token=server["token"])
        assert (status, itself["name"]) == (HTTPStatus.OK, self.user)
        return server

    async def assert_gone(self, server):
        """Nothing runs, nothing is routed, and the token of what ran opens nothing."""
        assert self.running() == []
        assert not await self.is_served()
        assert (await self.cluster.api("GET", "/user", token=server["token"]))[0] == HTTPStatus.FORBIDDEN


@pytest.fixture
async def case(cluster):
    case = Case(cluster, f"cy{next(_numbers)}")
    status, answer = await cluster.api("POST", f"/users/{case.user}")
    assert status == HTTPStatus.CREATED, answer
    return case


async def past_its_lease(cluster: Cluster, point: str, number: signal.Signals) -> HubReplica:
    """The hub that comes to this step and is hurt there, when the time of its lease is over."""
    cluster.arm(point, number)
    return await hurt_past_its_lease(cluster)


async def hurt_past_its_lease(cluster: Cluster) -> HubReplica:
    hub = await cluster.hurt()
    await cluster.expire_leases()
    return hub


async def nothing_is_polled(cluster: Cluster) -> None:
    """No server is polled or will be: a hub at the poll of another case's server would be hurt in the place of ours."""

    async def put_off():
        idle = servers.c.lease_owner.is_(None)
        await cluster.execute(update(servers).where(idle).values(next_poll=NEVER))
        return await cluster.rows(select(servers.c.id).where(servers.c.next_poll < NEVER)) == []

    await until(put_off)


async def wakes(case: Case, hub: HubReplica, was: str) -> None:
    """It goes on where it slept, and has done by the end whatever it had in mind."""
    before, said = await case.row(), hub.log.count(SUPERSEDED)
    hub.wake()
    await hub.ready()
    if was not in _OVER:
        await until(lambda: hub.log.count(SUPERSEDED) > said)
    after = await case.row()
    changing = {"lease_epoch", "lease_owner", "lease_expires", "next_poll", "last_activity"}
    changed = {name for name, value in (after or {}).items() if value != (before or {}).get(name)}
    assert changed <= changing, {name: (before[name], after[name]) for name in changed}


# Steps at which nobody holds a lease any more, or yet.
_OVER = {point for point in faults.POINTS if point.endswith((".requested", ".settled", "remove.deleted"))}
HURTS = {"SIGKILL": signal.SIGKILL, "SIGSTOP": signal.SIGSTOP}


def steps(prefix):
    """Every way to be hurt at every step of this kind, each a cell of the matrix."""
    return [
        pytest.param(point, number, id=f"{point}-{name}", marks=pytest.mark.promise("hub", name, point))
        for point in faults.POINTS
        if point.startswith(prefix)
        for name, number in HURTS.items()
    ]


@pytest.mark.parametrize(("point", "number"), steps("start."))
async def test_a_start_is_finished_by_another_hub(case, point, number):
    """Another hub finishes the start: one server, of one start, ready."""
    async with case.asking("POST", (HTTPStatus.CREATED, HTTPStatus.ACCEPTED)):
        hub = await past_its_lease(case.cluster, point, number)
        await until(case.is_ready, seconds=20)
    server = await case.assert_runs()
    assert server["generation"] == 1
    if number is signal.SIGSTOP:
        await wakes(case, hub, point)
        assert await case.assert_runs() == server


@pytest.mark.parametrize(("point", "number"), steps("stop."))
async def test_a_stop_is_finished_by_another_hub(case, point, number):
    """Another hub finishes the stop, and the server starts again when asked, once."""
    await case.ask("POST")
    await until(case.is_ready)
    before = await case.assert_runs()
    async with case.asking("DELETE", (HTTPStatus.NO_CONTENT, HTTPStatus.ACCEPTED)):
        hub = await past_its_lease(case.cluster, point, number)
        await until(case.is_over, seconds=20)
    await case.assert_gone(before)
    await case.ask("POST")
    await until(case.is_ready)
    after = await case.assert_runs()
    assert after["generation"] == 2
    if number is signal.SIGSTOP:
        await wakes(case, hub, point)
        assert await case.assert_runs() == after


@pytest.mark.parametrize(("point", "number"), steps("remove."))
async def test_a_removal_is_finished_by_another_hub(case, point, number):
    """Another hub finishes the removal of a named server: no row, no server."""
    case.server = "lab"
    await case.ask("POST")
    await until(case.is_ready)
    before = await case.assert_runs()

    async def no_row():
        return await case.row() is None

    async with case.asking("DELETE", (HTTPStatus.NO_CONTENT, HTTPStatus.ACCEPTED), {"remove": True}):
        hub = await past_its_lease(case.cluster, point, number)
        await until(no_row, seconds=20)
    await case.assert_gone(before)
    if number is signal.SIGSTOP:
        await wakes(case, hub, point)
        assert await no_row()


@pytest.mark.parametrize(("point", "number"), steps("poll."))
async def test_a_server_that_died_is_noticed_by_another_hub(case, point, number):
    """Another hub notices that the server died, says so, and it starts again when asked."""
    await case.ask("POST")
    await until(case.is_ready)
    before = await case.assert_runs()
    await nothing_is_polled(case.cluster)
    case.cluster.arm(point, number)
    case.cluster.world.kill(case.user)
    # As if the time for its poll had come: what dies right after its start is not seen by a look once a second.
    await case.cluster.execute(
        update(servers).where(servers.c.id == (await case.row())["id"]).values(next_poll=LONG_AGO)
    )
    hub = await hurt_past_its_lease(case.cluster)
    await until(case.is_over, seconds=20)
    await case.assert_gone(before)
    assert (await case.row())["failure"]["reason"] == "exited"
    await case.ask("POST")
    await until(case.is_ready)
    after = await case.assert_runs()
    if number is signal.SIGSTOP:
        await wakes(case, hub, point)
        assert await case.assert_runs() == after
