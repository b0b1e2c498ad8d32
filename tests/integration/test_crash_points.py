"""A hub killed at any step of a start, a stop or a removal: the next one ends it as if nothing had happened.

Then two hubs, of which one freezes at such a step, is given up for dead, and wakes when the other has done the work.
Real hubs, a real proxy and real processes on one database. Each test has a user of its own.
"""

import asyncio
import hashlib
import itertools
import sys
from contextlib import asynccontextmanager
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path

import aiohttp
import pytest

from perijove.lib import faults
from perijove.testing import until
from perijove.testing.shown_server import ShownServer
from perijove.testing.stand import Stand, run_stand

TINY = Path(__file__).parent / "tiny_server.py"
START = [point for point in faults.POINTS if point.startswith("start.")]
STOP = [point for point in faults.POINTS if point.startswith("stop.")]
# What a removal does beyond a stop.
REMOVE = ["stop.marked", "stop.settled", *(point for point in faults.POINTS if point.startswith("remove."))]
_numbers = itertools.count(1)


@dataclass
class Case(ShownServer):
    """One user's server in the stand that all tests share."""

    stand: Stand
    starts_kept: Path
    user: str
    server: str = ""

    @property
    def base(self) -> str:
        return f"user/{self.user}/{self.server}/" if self.server else f"user/{self.user}/"

    # -- asking

    async def api(self, method, path, body=None):
        return await self.stand.api(method, path, body)

    async def start(self):
        """Ask for it; the answer may be lost with the hub."""
        await self.stand.api("POST", f"/users/{self.user}")
        return await self._ask("POST")

    async def stop(self, *, remove=False):
        return await self._ask("DELETE", {"remove": True} if remove else None)

    async def _ask(self, method, body=None):
        try:
            return await self.api(method, self.path, body)
        except aiohttp.ClientError as error:
            return 0, str(error)

    async def page(self, path=""):
        """What anybody gets from the server."""
        async with self.stand.browser() as browser:
            response, text = await browser.get(f"{self.base}{path}", allow_redirects=False)
            return response.status, await response.json() if response.status == HTTPStatus.OK else text

    async def is_served(self):
        return (await self.page())[0] == HTTPStatus.OK

    # -- judging

    def starts(self):
        """Process ids of all its starts. No two ever ran at the same time."""
        kept = self.starts_kept / hashlib.sha256(f"/{self.base}".encode()).hexdigest()[:16]
        assert not kept.with_suffix(".twice").exists(), "two servers ran at the same time"
        path = kept.with_suffix(".starts")
        return [int(line) for line in path.read_text().split()] if path.exists() else []

    def row(self):
        return self.stand.row(self.user, self.server)

    async def assert_runs(self):
        """Exactly one process, reachable, with a token that works and a door that opens. Its process."""
        assert await self.is_ready()
        [process] = self.stand.processes(self.user, self.server)
        await until(self.is_served)
        _, home = await self.page()
        assert home["pid"] == process.pid == self.starts()[-1]
        status, itself = await self.page("whoami")
        assert (status, itself["name"]) == (HTTPStatus.OK, self.user)
        async with self.stand.browser() as browser:
            await browser.log_in(self.user)
            response, text = await browser.get(f"{self.base}private")
            assert response.status == HTTPStatus.OK, text
            assert (await response.json())["name"] == self.user
        row = self.row()
        assert (row["desired"], row["observed"], row["phase"]) == ("running", "running", "")
        return process

    async def assert_gone(self, token):
        """Nothing runs, nothing is routed, and the token that the server had opens nothing."""
        assert await self.is_over()
        assert self.stand.processes(self.user, self.server) == []
        assert not await self.is_served()
        assert (await self.stand.api("GET", "/user", token=token))[0] == HTTPStatus.FORBIDDEN
        self.starts()


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    starts = tmp_path_factory.mktemp("starts")
    config = {
        "hub": {
            "allowNamedServers": True,
            "config": {
                "JupyterHub": {"authenticator_class": "dummy"},
                "Authenticator": {"allow_all": True},
            },
        },
        "singleuser": {"cmd": [sys.executable, str(TINY)], "extraEnv": {"TEST_STARTS": str(starts)}},
    }
    with run_stand(tmp_path_factory.mktemp("stand"), config, hubs=2) as stand:
        yield stand, starts


@pytest.fixture
def case(shared):
    """A user nobody was. What a failed test leaves is ended; a hub with nothing to do serves the next test too."""
    stand, starts = shared
    yield Case(stand, starts, f"user{next(_numbers)}")
    if not stand.is_at_rest():
        stand.end_hubs()
        stand.forget_servers()
        stand.start_proxy()


def token_of(process):
    return process.environ()["JUPYTERHUB_API_TOKEN"]


@pytest.mark.parametrize("point", START)
async def test_a_start_survives_its_hub(case, point):
    """Killed at this point, the start comes to its end in the next hub: one server, whoever watches is told."""
    hub = await case.stand.hub(kill_at=point)
    await case.start()
    await hub.killed_itself()
    await case.stand.hub()
    last = await case.stand.end_of_progress(case.user)
    assert last.get("ready"), last
    await case.assert_runs()
    # What was started but not yet written down is started again; everything else is taken over.
    assert len(case.starts()) == (2 if point == "start.spawned" else 1)


@pytest.mark.parametrize("point", ["start.claimed", "start.spawned", "start.recorded"])
async def test_a_start_that_lost_its_hub_can_be_cancelled(case, point):
    """Nobody has to wait for a start that nobody wants: the next hub ends what the last one began."""
    hub = await case.stand.hub(kill_at=point)
    await case.start()
    await hub.killed_itself()
    [*begun] = case.stand.processes(case.user)
    tokens = [token_of(process) for process in begun]
    await case.stand.hub()
    await case.stop()
    await until(case.is_over)
    await case.assert_gone(tokens[0] if tokens else "none")
    last = await case.stand.end_of_progress(case.user) if case.row()["failure"] != "null" else {}
    assert not last.get("ready")


@pytest.mark.parametrize("point", STOP)
async def test_a_stop_survives_its_hub(case, point):
    """Killed at this point, the stop comes to its end in the next hub, and the server starts again when asked."""
    hub = await case.stand.hub(kill_at=point)
    await case.start()
    await until(case.is_ready)
    process = await case.assert_runs()
    token = token_of(process)
    await case.stop()
    await hub.killed_itself()
    await case.stand.hub()
    await until(case.is_over)
    await case.assert_gone(token)
    await case.start()
    await until(case.is_ready)
    assert (await case.assert_runs()).pid != process.pid


@pytest.mark.parametrize("point", REMOVE)
async def test_a_removal_survives_its_hub(case, point):
    """A named server killed at any step of its removal is gone in the end, with its row."""
    case.server = "lab"
    hub = await case.stand.hub(kill_at=point)
    await case.start()
    await until(case.is_ready)
    [process] = case.stand.processes(case.user, "lab")
    token = token_of(process)
    await case.stop(remove=True)
    await hub.killed_itself()
    await case.stand.hub()
    await until(lambda: case.row() is None)
    await case.assert_gone(token)


async def test_a_killed_hub_finds_its_servers_again(case):
    hub = await case.stand.hub()
    await case.start()
    await until(case.is_ready)
    process = await case.assert_runs()
    hub.kill()
    assert await case.is_served()
    await case.stand.hub()
    assert await case.assert_runs() == process
    assert case.starts() == [process.pid]


async def test_a_server_that_dies_while_no_hub_runs_is_noticed_with_a_reason(case):
    hub = await case.stand.hub()
    await case.start()
    await until(case.is_ready)
    process = await case.assert_runs()
    token = token_of(process)
    hub.kill()
    process.kill()
    await case.stand.hub()
    await until(case.is_over)
    await case.assert_gone(token)
    assert "ended by itself" in (await case.stand.end_of_progress(case.user))["message"]
    await case.start()
    await until(case.is_ready)
    await case.assert_runs()


@asynccontextmanager
async def unanswered(request):
    """A request to a hub that freezes meanwhile."""
    task = asyncio.create_task(request)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def take_over(case):
    """Another hub on the same database, machine and proxy, after the frozen one's lease."""
    case.stand.expire_leases()
    case.stand.start_proxy(slots=[1])
    await case.stand.hub(slot=1)


@pytest.mark.parametrize("point", ["start.prepared", "start.spawned", "start.ready"])
async def test_a_hub_that_wakes_after_its_lease_leaves_its_successors_server_alone(case, point):
    """Frozen at this point of a start while another hub does the work: its late writes and deeds are refused."""
    frozen = await case.stand.hub(freeze_at=point)
    async with unanswered(case.start()):
        await frozen.froze_itself()
    await take_over(case)
    await until(case.is_ready)
    process = await case.assert_runs()
    before = case.row()
    frozen.wake()
    await until(lambda: "another replica took over" in frozen.log)
    assert await case.assert_runs() == process
    changing = {"lease_epoch", "lease_owner", "lease_expires", "next_poll", "last_activity"}
    assert {name for name, value in case.row().items() if value != before[name]} <= changing


async def test_a_hub_that_wakes_in_a_stop_of_long_ago_leaves_the_next_server_alone(case):
    """Frozen in a stop; another hub ends it and starts the server anew. The old stop is nobody's any more."""
    frozen = await case.stand.hub(freeze_at="stop.marked")
    await case.start()
    await until(case.is_ready)
    await case.assert_runs()
    async with unanswered(case.stop()):
        await frozen.froze_itself()
    await take_over(case)
    await until(case.is_over)
    await case.start()
    await until(case.is_ready)
    process = await case.assert_runs()
    frozen.wake()
    await until(lambda: "another replica took over" in frozen.log)
    assert await case.assert_runs() == process
